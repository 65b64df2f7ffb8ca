// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// table prints rows for people, aligned and cut to the terminal's width, or for programs, separated by tabs without a heading.
type table struct {
	app      *app
	headings []string
	rows     [][]string
	// keep is the column that is never cut: the name that other commands take.
	keep int
}

// table begins one. The first column is the one that is never cut.
func (a *app) table(headings ...string) *table { return &table{app: a, headings: headings} }

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

// printable takes out what would change the terminal or the table: names may hold any Unicode.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			return -1
		}
		return r
	}, s)
}

const gap = 2 // between columns

func (t *table) print() error {
	w := bufio.NewWriter(t.app.out)
	if !t.app.outTerminal {
		for _, r := range t.rows {
			if _, err := w.WriteString(strings.Join(r, "\t") + "\n"); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	widths := make([]int, len(t.headings))
	for _, r := range append([][]string{t.headings}, t.rows...) {
		for i, c := range r {
			widths[i] = max(widths[i], cells(c))
		}
	}
	t.fit(widths, t.app.width())
	for n, r := range append([][]string{t.headings}, t.rows...) {
		var line strings.Builder
		for i, c := range r {
			c = cut(c, widths[i])
			line.WriteString(c)
			if i < len(r)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-cells(c)+gap))
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if n == 0 && t.app.color(true) {
			text = "\x1b[1m" + text + "\x1b[0m"
		}
		if _, err := w.WriteString(text + "\n"); err != nil {
			return err
		}
	}
	return w.Flush()
}

// fit makes the widest columns narrower until the table fits; none under 8, and never the one to keep.
func (t *table) fit(widths []int, limit int) {
	for {
		total, widest := -gap, -1
		for i, w := range widths {
			total += w + gap
			if i != t.keep && w > 8 && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if total <= limit || widest < 0 {
			return
		}
		widths[widest] -= min(total-limit, widths[widest]-8, 1+widths[widest]/8)
	}
}

// cells is how many columns of a terminal a text takes.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n++
		if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
			n++
		}
	}
	return n
}

func cut(s string, limit int) string {
	if cells(s) <= limit {
		return s
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		w := cells(string(r))
		if n+w > limit-1 {
			break
		}
		b.WriteRune(r)
		n += w
	}
	return b.String() + "…"
}

// color reports whether colours may be used: never the only sign of anything.
func (a *app) color(terminal bool) bool {
	return terminal && !a.flags.noColor && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

// age is how long ago a time was, for people; programs get the time itself.
func (a *app) age(at time.Time, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	if !a.outTerminal {
		return at.UTC().Format(time.RFC3339)
	}
	return shortAge(now.Sub(at))
}

func shortAge(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return unit(d/time.Second, "s")
	case d < time.Hour:
		return unit(d/time.Minute, "m")
	case d < 48*time.Hour:
		return unit(d/time.Hour, "h")
	case d < 2*365*24*time.Hour:
		return unit(d/(24*time.Hour), "d")
	}
	return unit(d/(365*24*time.Hour), "y")
}

func unit(n time.Duration, s string) string { return strconv.Itoa(int(n)) + s }
