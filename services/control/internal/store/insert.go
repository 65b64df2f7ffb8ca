// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"math/bits"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// insert is an INSERT of any number of rows: what many tenants have alike costs one statement for up to eight of them.
type insert struct {
	text [4]string // for 1, 2, 4 and 8 rows, so that there are few to prepare
}

var parameter = regexp.MustCompile(`\$\d+`)

// newInsert makes the statements from the columns and the expressions of one row, which may use a parameter more than once.
func newInsert(table, columns, row string) (s insert) {
	n := 0
	for _, p := range parameter.FindAllString(row, -1) {
		v, _ := strconv.Atoi(p[1:]) // digits only
		n = max(n, v)
	}
	for i := range s.text {
		rows := make([]string, 1<<i)
		for j := range rows {
			rows[j] = "(" + parameter.ReplaceAllStringFunc(row, func(p string) string {
				v, _ := strconv.Atoi(p[1:])
				return "$" + strconv.Itoa(v+j*n)
			}) + ")"
		}
		s.text[i] = "INSERT INTO " + table + " (" + columns + ") VALUES " + strings.Join(rows, ", ")
	}
	return s
}

// queue adds the statements for the rows, in their order.
func (s *insert) queue(b *pgx.Batch, rows ...[]any) {
	for len(rows) > 0 {
		i := min(bits.Len(uint(len(rows)))-1, len(s.text)-1)
		args := rows[0]
		if i > 0 {
			args = make([]any, 0, len(rows[0])<<i)
			for _, r := range rows[:1<<i] {
				args = append(args, r...)
			}
		}
		b.Queue(s.text[i], args...)
		rows = rows[1<<i:]
	}
}
