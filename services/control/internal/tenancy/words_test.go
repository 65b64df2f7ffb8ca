// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// UX.md section 4: every reason has a cure, and no text apologises or says "invalid".
func TestEveryReasonHasACauseAndACureInPlainWords(t *testing.T) {
	banned := regexp.MustCompile(`(?i)\b(please|sorry|oops|invalid|forbidden|an error occurred|required field)\b`)
	seen := map[Reason]bool{}
	for _, r := range Reasons {
		if seen[r.Reason] {
			t.Errorf("%s stands twice in the table", r.Reason)
		}
		seen[r.Reason] = true
		if r.Text == "" || r.Cause == "" || r.Cure == "" {
			t.Errorf("%s lacks a text, a cause or a cure", r.Reason)
		}
		if w := banned.FindString(r.Text + " " + r.Cause + " " + r.Cure); w != "" {
			t.Errorf("%s says %q", r.Reason, w)
		}
	}
	if Reason("NEW").Info().Reason != ReasonInternal {
		t.Error("a reason that is not in the table is not treated as INTERNAL")
	}
}

func TestErrorsCarryTheirReasonAndHideTheirCause(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.1: secret")
	err := fmt.Errorf("wrapped: %w", Refuse(ReasonUnavailable).Because(cause))
	if !errors.Is(err, ReasonUnavailable) || errors.Is(err, ReasonNotFound) || !errors.Is(err, cause) || ReasonOf(err) != ReasonUnavailable {
		t.Errorf("%v is not recognised", err)
	}
	var e *Error
	if !errors.As(err, &e) || strings.Contains(e.Message(), "secret") {
		t.Error("the message for callers holds the cause")
	}
	if ReasonOf(cause) != ReasonInternal {
		t.Error("an unknown error is not INTERNAL")
	}
}

var testFields = []FilterField{
	{Name: "slug", Has: true}, {Name: "state", Check: func(v string) bool { return v == "ACTIVE" }}, {Name: "labels.*"},
}

func TestFilters(t *testing.T) {
	for text, want := range map[string]string{
		``:                                     ``,
		`slug="hooli"`:                         `slug="hooli" `,
		`slug:hoo`:                             `slug:"hoo" `,
		`  state = ACTIVE AND slug = "a\"b\\"`: `state="ACTIVE" slug="a\"b\\" `,
		`labels.team = "x y"`:                  `labels.team="x y" `,
		`slug=a AND slug=b`:                    `slug="a" slug="b" `,
	} {
		f, err := ParseFilter(text, testFields)
		if err != nil || f.Canonical() != want {
			t.Errorf("%q: %q, %v; want %q", text, f.Canonical(), err, want)
		}
	}
	for _, text := range []string{
		`slug`, `slug=`, `="x"`, `slug="x`, `slug="x" OR state=ACTIVE`, `NOT slug=x`, `(slug=x)`, `slug="x"state=ACTIVE`, `state=SUSPENDED`,
		`state:ACTIVE`, `password="x"`, `labels.="x"`, `labels="x"`, `slug="a` + "\x00" + `"`, `slug="a\n"`, `slug>"a"`, `slug!="a"`, `slug=a AND`,
		`slug=a and slug=b`, strings.Repeat("slug=a AND ", 16) + "slug=a", `slug="` + strings.Repeat("x", 3000) + `"`, `slug='a'; DROP TABLE tenants`,
	} {
		_, err := ParseFilter(text, testFields)
		var e *Error
		if !errors.As(err, &e) || e.Reason != ReasonFilterUnsupported || !strings.Contains(e.Message(), "slug = or :") {
			t.Errorf("%.40q: %v; want a refusal that lists the allowed fields", text, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`slug="a" AND state=ACTIVE`, `labels.a:"b"`, `slug = "\\\""`, `a.b-c_d="é"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := ParseFilter(text, testFields)
		if err != nil {
			return
		}
		var again strings.Builder
		for i, r := range parsed {
			if i > 0 {
				again.WriteString(" AND ")
			}
			again.WriteString(strings.TrimSuffix(Filter{r}.Canonical(), " "))
		}
		second, err := ParseFilter(again.String(), testFields)
		if err != nil || second.Canonical() != parsed.Canonical() {
			t.Errorf("%q prints as %q, which reads as %q (%v)", text, again.String(), second.Canonical(), err)
		}
	})
}

func TestForgedAndCarriedPageTokensAreRefused(t *testing.T) {
	p := NewPageTokens(bytes.Repeat([]byte{1}, 32))
	token := p.Make([]byte("cursor"), "tenants", "org_a", "key_a", "", "create_time", "false")
	if got, err := p.Read(token, "tenants", "org_a", "key_a", "", "create_time", "false"); err != nil || string(got) != "cursor" {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := p.Read("", "x"); err != nil || got != nil {
		t.Errorf("the first page: %q, %v", got, err)
	}
	for name, read := range map[string]func() ([]byte, error){
		"another caller":   func() ([]byte, error) { return p.Read(token, "tenants", "org_a", "key_b", "", "create_time", "false") },
		"another org":      func() ([]byte, error) { return p.Read(token, "tenants", "org_b", "key_a", "", "create_time", "false") },
		"another filter":   func() ([]byte, error) { return p.Read(token, "tenants", "org_a", "key_a", "x", "create_time", "false") },
		"moved boundaries": func() ([]byte, error) { return p.Read(token, "tenantso", "rg_a", "key_a", "", "create_time", "false") },
		"another key":      func() ([]byte, error) { return NewPageTokens(bytes.Repeat([]byte{2}, 32)).Read(token, "tenants") },
		"a byte changed": func() ([]byte, error) {
			return p.Read("A"+token[1:], "tenants", "org_a", "key_a", "", "create_time", "false")
		},
		"cut off": func() ([]byte, error) {
			return p.Read(token[:10], "tenants", "org_a", "key_a", "", "create_time", "false")
		},
		"not base64":        func() ([]byte, error) { return p.Read("!!!", "x") },
		"absurdly long":     func() ([]byte, error) { return p.Read(strings.Repeat("A", 1<<20), "x") },
		"cursor of nothing": func() ([]byte, error) { return p.Read(token[:22], "x") },
	} {
		if got, err := read(); !errors.Is(err, ReasonPageTokenInvalid) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestEtagsDifferByResourceAndVersion(t *testing.T) {
	a, b := id.NewTenant(), id.NewTenant()
	if Etag(a, 1) == Etag(a, 2) || Etag(a, 1) == Etag(b, 1) {
		t.Error("two states have one etag")
	}
	if err := CheckEtag(Etag(a, 1), a, 2); !errors.Is(err, ReasonEtagMismatch) {
		t.Errorf("an old etag: %v", err)
	}
	for _, ok := range []string{"", "*", Etag(a, 2)} {
		if err := CheckEtag(ok, a, 2); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
}

func TestLabelsHaveOneSpelling(t *testing.T) {
	for in, want := range map[string]string{
		"hooli": "hooli", "HOOLI": "hooli", "bücher": "xn--bcher-kva", "BÜCHER": "xn--bcher-kva", "xn--bcher-kva": "xn--bcher-kva", "a-b": "a-b", "7": "7",
	} {
		if got, ok := NormalizeLabel(in); !ok || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", "a.b", "a.", ".a", "-a", "a-", "a_b", "a b", "a:80", "a/b", "ａ．ｂ", "a。b", "xn--", "xn--a", "a\x00b", strings.Repeat("a", 64), "*", "a@b", "\u200dx",
	} {
		if got, ok := NormalizeLabel(in); ok {
			t.Errorf("%q is taken as the label %q", in, got)
		}
	}
}

func TestBaseDomains(t *testing.T) {
	for in, want := range map[string]string{"ppvc.example": "ppvc.example", "PPVC.Example.": "ppvc.example", "bücher.example": "xn--bcher-kva.example"} {
		if got, err := CheckBaseDomain(in, false); err != nil || got != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, in := range []string{"", "com", "localhost", "x.localhost", "10.0.0.1", "a..b", "a b.example", "_a.example", "ppvc.example:80", "http://ppvc.example"} {
		if got, err := CheckBaseDomain(in, false); err == nil {
			t.Errorf("%q is taken as the base domain %q", in, got)
		}
	}
	if _, err := CheckBaseDomain("localhost", true); err != nil {
		t.Errorf("localhost in development: %v", err)
	}
}

func TestAnAuditChainShowsEveryTampering(t *testing.T) {
	chain := func() []AuditEvent {
		var events []AuditEvent
		var prev []byte
		for i := range 5 {
			e := AuditEvent{ID: id.Event{1, byte(i)}, Time: time.Unix(int64(i), 999), Actor: "key_a", Action: ActionTenantUpdated, ChangedFields: []string{"a", "b"}}
			e.Seal(int64(i+1), prev)
			prev = e.Hash
			events = append(events, e)
		}
		return events
	}
	if err := VerifyChain(nil, chain()); err != nil {
		t.Fatal(err)
	}
	for name, tamper := range map[string]func([]AuditEvent) []AuditEvent{
		"actor":     func(e []AuditEvent) []AuditEvent { e[2].Actor = "key_b"; return e },
		"time":      func(e []AuditEvent) []AuditEvent { e[2].Time = e[2].Time.Add(time.Second); return e },
		"fields":    func(e []AuditEvent) []AuditEvent { e[2].ChangedFields = []string{"ab"}; return e },
		"removed":   func(e []AuditEvent) []AuditEvent { return append(e[:2], e[3:]...) },
		"swapped":   func(e []AuditEvent) []AuditEvent { e[1], e[2] = e[2], e[1]; return e },
		"rewritten": func(e []AuditEvent) []AuditEvent { e[2].Actor = "x"; e[2].Seal(3, e[1].Hash); return e },
		"beginning": func(e []AuditEvent) []AuditEvent { return e[1:] },
	} {
		if err := VerifyChain(nil, tamper(chain())); err == nil {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}
