// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import "testing"

func TestBindingText(t *testing.T) {
	const a, b = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", "A4bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-c"
	for _, want := range []Binding{{}, {JKT: a}, {X5T: b}, {JKT: a, X5T: b}} {
		if got, ok := ParseBinding(want.String()); !ok || got != want {
			t.Errorf("ParseBinding(%q) = %+v, %v", want.String(), got, ok)
		}
	}
	for _, text := range []string{"x", "jkt:", "x5t:", "jkt:" + a + " ", "jkt:" + a + "x5t:" + b, "x5t:" + b + " jkt:" + a, "jkt:" + a + " x5t:", a, "jkt:" + a[:42] + "=", " "} {
		if got, ok := ParseBinding(text); ok {
			t.Errorf("ParseBinding(%q) = %+v", text, got)
		}
	}
}
