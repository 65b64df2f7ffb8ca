// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package id

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const sample = "tnt_00041061050r3gg28a1c60t3gf"

func TestParsePrintsTheSameText(t *testing.T) {
	v, err := ParseTenant(sample)
	if err != nil {
		t.Fatal(err)
	}
	if v.String() != sample {
		t.Errorf("prints %s", v)
	}
	// 0x00 01 02 … 0f in base32, so the encoding has a known answer.
	if want := "00010203-0405-0607-0809-0a0b0c0d0e0f"; v.UUID() != want {
		t.Errorf("UUID %s, want %s", v.UUID(), want)
	}
}

func TestParseRefusesSecondSpellings(t *testing.T) {
	body := sample[4:]
	for name, text := range map[string]string{
		"empty":                  "",
		"prefix only":            "tnt_",
		"another kind":           "org_" + body,
		"prefix of a longer one": "tntx_" + body,
		"no underscore":          "tnt" + body,
		"hyphen":                 "tnt-" + body,
		"upper case":             "tnt_" + strings.ToUpper(body),
		"upper case prefix":      "TNT_" + body,
		"ambiguous i":            "tnt_" + body[:25] + "i",
		"ambiguous l":            "tnt_" + body[:25] + "l",
		"ambiguous o":            "tnt_o" + body[1:],
		"u":                      "tnt_" + body[:25] + "u",
		"overflow":               "tnt_8" + body[1:],
		"all bits and more":      "tnt_" + strings.Repeat("z", 26),
		"short":                  sample[:29],
		"long":                   sample + "0",
		"leading space":          " " + sample,
		"trailing newline":       sample + "\n",
		"nul":                    sample[:29] + "\x00",
		"not ASCII":              "tnt_" + body[:24] + "é",
		"zero":                   "tnt_" + strings.Repeat("0", 26),
		"uuid":                   "00010203-0405-0607-0809-0a0b0c0d0e0f",
	} {
		v, err := ParseTenant(text)
		if !errors.Is(err, ErrMalformed) || !v.IsZero() {
			t.Errorf("%s: %v, %v", name, v, err)
		}
		if err != nil && len(text) > 5 && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error repeats the input: %v", name, err)
		}
	}
}

func TestFromUUID(t *testing.T) {
	v := NewUser()
	back, err := FromUUID[userKind](v.UUID())
	if err != nil || back != v {
		t.Fatalf("%v, %v", back, err)
	}
	for _, bad := range []string{
		"", strings.ToUpper("abcdef01-0405-0607-0809-0a0b0c0d0e0f"), "00000000-0000-0000-0000-000000000000",
		"000102030405060708090a0b0c0d0e0f", "{0010203-0405-0607-0809-0a0b0c0d0e0}", "0001020g-0405-0607-0809-0a0b0c0d0e0f",
	} {
		if _, err := FromUUID[userKind](bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNewIsUUIDv7(t *testing.T) {
	before := time.Now().Truncate(time.Millisecond)
	v := NewTenant()
	if v[6]>>4 != 7 || v[8]>>6 != 2 {
		t.Errorf("version %d, variant %b", v[6]>>4, v[8]>>6)
	}
	// Identifiers run ahead of the clock only while more than 4 million a second are drawn.
	if at := v.Time(); at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("time %v, now %v", at, before)
	}
}

func TestNewIsOrderedAndUnique(t *testing.T) {
	var list []Event
	for range 20000 {
		list = append(list, NewEvent())
	}
	if !slices.IsSortedFunc(list, Event.Compare) {
		t.Error("not in creation order")
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.String()
	}
	if !slices.IsSorted(texts) {
		t.Error("text order is not byte order")
	}
}

func TestNewAcrossGoroutinesIsUnique(t *testing.T) {
	var (
		mu   sync.Mutex
		seen = make(map[Session]bool)
		wg   sync.WaitGroup
	)
	for range 16 {
		wg.Go(func() {
			own := make([]Session, 2000)
			for i := range own {
				own[i] = NewSession()
			}
			if !slices.IsSortedFunc(own, Session.Compare) {
				t.Error("not in creation order")
			}
			mu.Lock()
			defer mu.Unlock()
			for _, v := range own {
				seen[v] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != 16*2000 {
		t.Errorf("%d different identifiers", len(seen))
	}
}

func TestClockStepsBack(t *testing.T) {
	first := tick(1 << 62)
	t.Cleanup(func() { clock.Store(0) })
	if second := tick(5); second != first+1 {
		t.Errorf("%d after %d", second, first)
	}
}

func TestZeroIsNone(t *testing.T) {
	var v Client
	if v.String() != "" || !v.IsZero() {
		t.Errorf("prints %q", v)
	}
	type doc struct {
		A Client            `json:"a"`
		B Client            `json:"b,omitzero"`
		M map[Tenant]string `json:"m"`
	}
	tnt := NewTenant()
	in := doc{M: map[Tenant]string{tnt: "x"}}
	data, err := json.Marshal(in)
	if err != nil || string(data) != `{"a":"","m":{"`+tnt.String()+`":"x"}}` {
		t.Fatalf("%s, %v", data, err)
	}
	out := doc{A: NewClient()}
	if err := json.Unmarshal(data, &out); err != nil || !out.A.IsZero() || out.M[tnt] != "x" {
		t.Errorf("%+v, %v", out, err)
	}
	keep := NewClient()
	was := keep
	if err := keep.UnmarshalText([]byte(tnt.String())); !errors.Is(err, ErrMalformed) || keep != was {
		t.Errorf("a tenant's id became a client's: %v, %v", keep, err)
	}
}

func TestPrefixesAreDistinct(t *testing.T) {
	kinds := []Kind{
		orgKind{},
		tenantKind{},
		clientKind{},
		clientSecretKind{},
		userKind{},
		membershipKind{},
		invitationKind{},
		roleKind{},
		groupKind{},
		apiKeyKind{},
		blueprintKind{},
		revisionKind{},
		connectionKind{},
		domainKind{},
		signingKeyKind{},
		sessionKind{},
		grantKind{},
		eventKind{},
		operationKind{},
		userPoolKind{},
		rolloutKind{},
		serviceAccountKind{},
	}
	seen := map[string]bool{}
	for _, k := range kinds {
		p := k.Prefix()
		if seen[p] || len(p) < 2 || len(p) > 3 || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("prefix %q", p)
		}
		seen[p] = true
	}
}

func TestAllocations(t *testing.T) {
	v := NewTenant()
	text := v.String()
	buf := make([]byte, 0, 64)
	for name, c := range map[string]struct {
		most float64
		f    func()
	}{
		"String":     {1, func() { _ = v.String() }},
		"AppendText": {0, func() { buf, _ = v.AppendText(buf[:0]) }},
		"Parse":      {0, func() { _, _ = ParseTenant(text) }},
		"New":        {1, func() { _ = NewTenant() }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n > c.most {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What parses prints the same bytes, and every identifier parses.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("tnt_7zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("tnt_8zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := ParseTenant(text); err == nil && v.String() != text {
			t.Fatalf("%q prints %q", text, v)
		}
		if len(text) >= 16 {
			v := Tenant([]byte(text)[:16])
			if back, err := ParseTenant(v.String()); v.IsZero() == (err == nil) || back != v {
				t.Fatalf("%x: %v, %v", v[:], back, err)
			}
			if raw, ok := DecodeBase32(string(AppendBase32(nil, v))); !ok || raw != v {
				t.Fatalf("%x: %x", v[:], raw)
			}
		}
	})
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = NewTenant()
	}
}

func BenchmarkParse(b *testing.B) {
	text := NewTenant().String()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseTenant(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkString(b *testing.B) {
	v := NewTenant()
	b.ReportAllocs()
	for b.Loop() {
		_ = v.String()
	}
}
