// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"strconv"
	"testing"
)

func TestTextsOfLibrariesArePlain(t *testing.T) {
	said := func(_ any, err error) string {
		if err == nil {
			t.Fatal("parsed")
		}
		return err.Error()
	}
	number := func(s string) (any, error) { return strconv.ParseInt(s, 10, 32) }
	truth := func(s string) (any, error) { return strconv.ParseBool(s) }
	for text, want := range map[string]string{
		"proto:\u00a0syntax error":            "syntax error",
		said(number("all")):                   `"all" is not a number in range`,
		said(number("99999999999")):           `"99999999999" is not a number in range`,
		said(number(`a"b`)):                   `"a\"b" is not a number in range`,
		"page_size: " + said(truth("maybe")):  `page_size: "maybe" is neither true nor false`,
		errors.New("nothing of that").Error(): "nothing of that",
	} {
		if got := plain(text); got != want {
			t.Errorf("plain(%q) = %q, want %q", text, got, want)
		}
	}
}
