// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"reflect"
	"strings"
	"testing"
)

func paymentTypes(t testing.TB) []DetailType {
	t.Helper()
	var types []DetailType
	for _, text := range []string{
		`{"type":"payment","title":"Pay","fields":[
			{"name":"actions","kind":"strings","label":"May","enum":["initiate","status","cancel"],"required":true},
			{"name":"amount","kind":"object","label":"Amount","required":true,"fields":[
				{"name":"currency","kind":"string","label":"Currency","enum":["EUR","USD"],"required":true},
				{"name":"value","kind":"number","label":"Sum","required":true}]},
			{"name":"creditor","kind":"string","label":"To"},
			{"name":"instant","kind":"boolean","label":"At once"},
			{"name":"reference","kind":"string"}]}`,
		`{"type":"accounts","fields":[{"name":"ibans","kind":"strings","label":"Accounts"}]}`,
	} {
		one, err := ParseDetailType(text)
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, one)
	}
	return types
}

const payment = `[{"amount":{"value":12.50,"currency":"EUR"},"type":"payment","creditor":"Ann & <Co>","actions":["initiate","status"],"instant":true,"reference":"r1"}]`

func TestParseDetails(t *testing.T) {
	types := paymentTypes(t)
	d, err := ParseDetails(payment, types, []string{"payment"})
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"type":"payment","actions":["initiate","status"],"amount":{"currency":"EUR","value":12.50},"creditor":"Ann & <Co>","instant":true,"reference":"r1"}]`
	if got := string(d.JSON()); !equalJSONText(got, want) {
		t.Errorf("%s\nwant %s", got, want)
	}
	again, err := ParseDetails(string(d.JSON()), types, []string{"payment"})
	if err != nil || string(again.JSON()) != string(d.JSON()) {
		t.Errorf("parsed again: %s, %v", again.JSON(), err)
	}
	lines := []DetailLine{
		{Label: "May", Value: "initiate, status"},
		{Label: "Amount · Currency", Value: "EUR"},
		{Label: "Amount · Sum", Value: "12.50"},
		{Label: "To", Value: "Ann & <Co>"},
		{Label: "At once", Boolean: true, True: true},
	}
	if got := d[0].Lines(); d[0].Title() != "Pay" || !reflect.DeepEqual(got, lines) {
		t.Errorf("%q: %+v", d[0].Title(), got)
	}
	if none, err := ParseDetails("", types, nil); err != nil || none.JSON() != nil {
		t.Errorf("nothing: %v, %v", none, err)
	}
}

// equalJSONText: jsonw may escape the characters that HTML has.
func equalJSONText(a, b string) bool {
	unescape := strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">")
	return unescape.Replace(a) == unescape.Replace(b)
}

func TestParseDetailsRefuses(t *testing.T) {
	types := paymentTypes(t)
	for name, text := range map[string]string{
		"no array":               `{"type":"payment"}`,
		"an empty array":         `[]`,
		"no object":              `["payment"]`,
		"no type":                `[{"actions":["status"]}]`,
		"an unknown type":        `[{"type":"transfer"}]`,
		"a type of others":       `[{"type":"accounts"}]`,
		"a missing member":       `[{"type":"payment","actions":["status"]}]`,
		"an unknown member":      `[{"type":"payment","actions":["status"],"amount":{"currency":"EUR","value":1},"limit":5}]`,
		"an unknown inner":       `[{"type":"payment","actions":["status"],"amount":{"currency":"EUR","value":1,"x":1}}]`,
		"outside the enum":       `[{"type":"payment","actions":["steal"],"amount":{"currency":"EUR","value":1}}]`,
		"another kind":           `[{"type":"payment","actions":"status","amount":{"currency":"EUR","value":1}}]`,
		"a number as text":       `[{"type":"payment","actions":["status"],"amount":{"currency":"EUR","value":"1"}}]`,
		"null":                   `[{"type":"payment","actions":null,"amount":{"currency":"EUR","value":1}}]`,
		"a member twice":         `[{"type":"payment","actions":["status"],"amount":{"currency":"EUR","value":1,"value":9}}]`,
		"a type twice":           `[{"type":"payment","type":"accounts","actions":["status"],"amount":{"currency":"EUR","value":1}}]`,
		"a value twice":          `[{"type":"payment","actions":["status","status"],"amount":{"currency":"EUR","value":1}}]`,
		"a line break":           `[{"type":"payment","actions":["status"],"amount":{"currency":"EUR","value":1},"creditor":"a\nb"}]`,
		"text behind":            payment + `[]`,
		"cut off":                payment[:40],
		"too deep":               strings.Repeat("[", 40) + strings.Repeat("]", 40),
		"too many":               "[" + strings.TrimSuffix(strings.Repeat(`{"type":"accounts"},`, 17), ",") + "]",
		"a value without end":    `[{"type":"payment","actions":["status"],"amount":{"currency":"EUR","value":` + strings.Repeat("9", 40) + `}}]`,
		"bytes that are no text": "\xff",
	} {
		if d, err := ParseDetails(text, types, []string{"payment"}); CodeOf(err) != CodeInvalidAuthorizationDetails {
			t.Errorf("%s: %s, %v", name, d.JSON(), err)
		}
	}
}

func TestNarrowDetails(t *testing.T) {
	types, allowed := paymentTypes(t), []string{"payment", "accounts"}
	granted, err := ParseDetails(`[{"type":"accounts","ibans":["A","B"]},{"type":"accounts"},`+payment[1:], types, allowed)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"nothing named":             {"", true},
		"one of them":               {`[{"type":"accounts","ibans":["B"]}]`, true},
		"all again":                 {string(granted.JSON()), true},
		"an account more":           {`[{"type":"accounts","ibans":["B","C"]}]`, false},
		"without its limit":         {`[{"type":"payment","actions":["status"],"amount":{"currency":"EUR","value":12.50}}]`, false},
		"a larger sum":              {strings.Replace(payment, "12.50", "99", 1), false},
		"one payment twice":         {payment[:len(payment)-1] + "," + payment[1:], false},
		"fewer actions":             {strings.Replace(payment, `"initiate",`, "", 1), true},
		"not what the schema has":   {`[{"type":"accounts","x":1}]`, false},
		"something in another type": {strings.Replace(payment, `"type":"payment"`, `"type":"accounts"`, 1), false},
	} {
		got, err := Narrow(granted.JSON(), c.text, types, allowed)
		if (err == nil) != c.ok || err != nil && CodeOf(err) != CodeInvalidAuthorizationDetails {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if c.text == "" && string(got) != string(granted.JSON()) {
			t.Errorf("%s: %s", name, got)
		}
	}
	// Which of two stands for which is found out, whatever their order.
	two, first := `[{"type":"accounts","ibans":["A","B"]},{"type":"accounts","ibans":["A"]}]`, `[{"type":"accounts","ibans":["A"]},{"type":"accounts","ibans":["B","A"]}]`
	if _, err := Narrow([]byte(two), first, types, allowed); err != nil {
		t.Errorf("both in another order: %v", err)
	}
	if _, err := Narrow([]byte(two), `[{"type":"accounts","ibans":["B"]},{"type":"accounts","ibans":["B"]}]`, types, allowed); err == nil {
		t.Error("one of the two stood for both")
	}
	if _, err := Narrow(nil, `[{"type":"accounts"}]`, types, allowed); err == nil {
		t.Error("details out of nothing")
	}
}

func FuzzParseDetails(f *testing.F) {
	types, allowed := paymentTypes(f), []string{"payment", "accounts"}
	for _, s := range []string{payment, "[]", `[{"type":"accounts","ibans":["a","\u202e"]}]`, `[{"type":"accounts"},{"type":"accounts"}]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDetails(text, types, allowed)
		if err != nil {
			return
		}
		again, err := ParseDetails(string(d.JSON()), types, allowed)
		if err != nil || string(again.JSON()) != string(d.JSON()) || !d.Cover(again) {
			t.Errorf("%q: %s, then %s, %v", text, d.JSON(), again.JSON(), err)
		}
	})
}
