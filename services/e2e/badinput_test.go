// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// badCall is a call of the REST API that must be refused.
type badCall struct {
	name string
	e2etest.Call
	// want is the HTTP status.
	want int
	// field, when set, is the field that the refusal must name.
	field string
}

// refused is 400 or 409: a name that nobody can have is answered like one that somebody has.
const refused = 0

// forbiddenWords are what no error says (UX.md 4 of the design notes: no apology, no blame, no riddle).
var forbiddenWords = regexp.MustCompile(`(?i)\b(please|sorry|oops|forbidden|an error occurred|required field)\b`)

func TestBadInputOfTheAPIIsRefusedClearlyAndChangesNothing(t *testing.T) {
	t.Parallel()
	rig := e2etest.Start(t, e2etest.Options{Binaries: true})
	org := rig.NewOrg(t, "bad")
	tenant := org.Provision(t, "hooli")
	other := rig.NewOrg(t, "other")
	otherPage := pageToken(t, rig, other)
	calls := badCalls(org, tenant, otherPage)
	settle(t, rig)
	before := rig.State(t)
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			if c.Key == "" {
				c.Key = org.Key
			}
			a := rig.Do(t, c.Call)
			checkRefusal(t, a, c.want, c.field)
			if diff := before.Diff(rig.State(t)); diff != "" {
				t.Errorf("it changed %s", diff)
				before = rig.State(t)
			}
		})
	}
}

// settle waits until what provisioning does in the background is done.
func settle(t *testing.T, rig *e2etest.Rig) {
	t.Helper()
	last, moving := rig.State(t), ""
	for deadline := time.Now().Add(e2eWait); ; {
		pause()
		now := rig.State(t)
		moving = last.Diff(now)
		if wanted := e2etest.Count(t, rig.Control.AdminURL, "SELECT count(*) FROM rsa_wanted"); wanted > 0 {
			moving += fmt.Sprintf("; %d tenants wait for an RSA key", wanted)
		}
		// A mail of a tenant that is not served is postponed ('scheduled'), for as long as the tenant may come back.
		if mails := e2etest.Count(t, rig.Identity.AdminURL, "SELECT count(*) FROM river_job WHERE state IN ('available', 'running', 'retryable')"); mails > 0 {
			moving += fmt.Sprintf("; %d mails wait", mails)
		}
		if moving == "" {
			return
		}
		if last = now; time.Now().After(deadline) {
			t.Fatalf("the system is not at rest after %v: %s", e2eWait, moving)
		}
	}
}

func checkRefusal(t *testing.T, a *e2etest.Answer, status int, field string) {
	t.Helper()
	if a.Status != status && (status != refused || a.Status != http.StatusBadRequest && a.Status != http.StatusConflict) {
		t.Errorf("status %d, want %d: %.400s", a.Status, status, a.Body)
	}
	if a.Status == http.StatusRequestHeaderFieldsTooLarge {
		return // answered before there is a request
	}
	if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("content type %q", got)
	}
	message := e2etest.Str(a.JSON, "message")
	if message == "" || a.JSON["code"] == nil {
		t.Errorf("no google.rpc.Status: %.400s", a.Body)
	}
	if word := forbiddenWords.FindString(message); word != "" {
		t.Errorf("the message says %q: %s", word, message)
	}
	if a.Reason() == "" {
		t.Errorf("no reason that a program can switch on: %.400s", a.Body)
	}
	if field != "" {
		named := strings.Contains(message, field)
		for f := range a.Fields() {
			named = named || strings.Contains(f, field)
		}
		if !named {
			t.Errorf("field %q is not named: %.400s", field, a.Body)
		}
	}
	for _, inner := range []string{"goroutine", "jackc", "SQLSTATE", "panic", ".go:", "strconv.", "proto:"} {
		if strings.Contains(string(a.Body), inner) {
			t.Errorf("the answer shows the inside (%q): %.400s", inner, a.Body)
		}
	}
}

// pageToken is a real token of another org's list.
func pageToken(t *testing.T, rig *e2etest.Rig, org *e2etest.Org) string {
	t.Helper()
	org.Provision(t, "one")
	org.Provision(t, "two")
	token := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+org.Name+"/tenants?pageSize=1", nil), "nextPageToken")
	if token == "" {
		t.Fatal("no page token for the second of two tenants")
	}
	return token
}

func badCalls(org *e2etest.Org, tenant *e2etest.Tenant, otherPage string) []badCall {
	provision := "/v1/" + org.Name + "/tenants:provision"
	tenants := "/v1/" + org.Name + "/tenants"
	get := func(name, path string, want int, field string) badCall {
		return badCall{name, e2etest.Call{Method: http.MethodGet, Path: path}, want, field}
	}
	raw := func(name, body string, want int, field string) badCall {
		return badCall{name, e2etest.Call{Method: http.MethodPost, Path: provision, Body: body}, want, field}
	}
	with := func(name string, want int, field string, change map[string]any) badCall {
		body := org.ProvisionRequest("bad-" + e2etest.Unique(""))
		maps.Copy(body, change)
		return badCall{name, e2etest.Call{Method: http.MethodPost, Path: provision, Body: body}, want, field}
	}
	header := func(name, key, value string, want int) badCall {
		return badCall{name, e2etest.Call{Method: http.MethodGet, Path: tenants, Header: http.Header{key: {value}}}, want, ""}
	}
	calls := []badCall{
		raw("malformed JSON", `{"tenantId": `, 400, ""),
		raw("JSON with a tail", `{"tenantId":"x"} {}`, 400, ""),
		raw("no JSON at all", `tenantId=hooli`, 400, ""),
		raw("a list for an object", `[]`, 400, ""),
		raw("an empty body", ``, 400, ""),
		raw("the same member twice", `{"tenantId":"a1","tenantId":"b2","blueprint":"`+org.Blueprint+`"}`, 400, ""),
		raw("deeply nested JSON", strings.Repeat(`{"tenant":`, 20000)+strings.Repeat(`}`, 20000), 400, ""),
		raw("invalid UTF-8", "{\"tenantId\":\"bad\",\"blueprint\":\""+org.Blueprint+"\",\"tenant\":{\"displayName\":\"\xff\xfe\"}}", 400, ""),
		raw("a body of 2 MiB", `{"tenantId":"bad","tenant":{"displayName":"`+strings.Repeat("x", 2<<20)+`"}}`, 413, ""),
		with("an unknown field", 400, "colour", map[string]any{"colour": "red"}),
		with("an unknown nested field", 400, "surprise", map[string]any{"tenant": map[string]any{"surprise": 1}}),
		with("a number for a text", 400, "tenantId", map[string]any{"tenantId": 7}),
		with("a text for a message", 400, "", map[string]any{"owner": "gavin"}),
		with("an unknown enum value", 400, "waitFor", map[string]any{"waitFor": "TOMORROW"}),
		with("an enum number out of range", 400, "wait_for", map[string]any{"waitFor": 99}),
		with("no slug", 400, "tenant_id", map[string]any{"tenantId": ""}),
		with("no blueprint", 400, "blueprint", map[string]any{"blueprint": ""}),
		with("a blueprint of nobody", 404, "", map[string]any{"blueprint": org.Name + "/blueprints/nobody"}),
		with("a blueprint of another org", 400, "", map[string]any{"blueprint": "orgs/somebody/blueprints/standard"}),
		with("a request id that is no UUID", 400, "request_id", map[string]any{"requestId": "1"}),
		with("an owner without @", 400, "owner.email", map[string]any{"owner": map[string]any{"email": "gavin"}}),
		with("U+0000 in a name", 400, "tenant.display_name", map[string]any{"tenant": map[string]any{"displayName": "a\x00b"}}),
		with("a name of 101 characters", 400, "tenant.display_name", map[string]any{"tenant": map[string]any{"displayName": strings.Repeat("ü", 101)}}),
		with("a parameter that the blueprint lacks", 400, "", map[string]any{"parameters": map[string]any{"speed": "fast"}}),
		with("a parameter outside its pattern", 400, "", map[string]any{"parameters": map[string]any{"brandColor": "red;}"}}),
		with("a policy looser than is possible", 400, "", map[string]any{"overrides": map[string]any{"tokenPolicy": map[string]any{"accessTtl": "864000s"}}}),
		with("a duration of words", 400, "", map[string]any{"overrides": map[string]any{"tokenPolicy": map[string]any{"accessTtl": "soon"}}}),
		with("101 hosts", 400, "", map[string]any{"hosts": many(101, func(i int) any { return map[string]any{"label": fmt.Sprintf("h%d", i)} })}),
		with("two primary hosts", 400, "", map[string]any{"hosts": []any{map[string]any{"label": "p1", "primary": true}, map[string]any{"label": "p2", "primary": true}}}),
		with("metadata of 70 members", 400, "", map[string]any{"tenant": map[string]any{"appMetadata": members(70)}}),

		get("page size −1", tenants+"?pageSize=-1", 400, "page_size"),
		get("page size 1,001", tenants+"?pageSize=1001", 400, "page_size"),
		get("page size 2³¹", tenants+"?pageSize=2147483648", 400, ""),
		get("page size of letters", tenants+"?pageSize=all", 400, ""),
		get("page size twice", tenants+"?pageSize=1&pageSize=2", 400, ""),
		get("a page token of letters", tenants+"?pageToken=abc", 400, "page_token"),
		get("a page token of another org", tenants+"?pageSize=1&pageToken="+otherPage, 400, "page_token"),
		get("a page token of another list", "/v1/"+org.Name+"/apiKeys?pageToken="+otherPage, 400, "page_token"),
		get("a page token of 10,000 bytes", tenants+"?pageToken="+strings.Repeat("A", 10000), 400, "page_token"),
		get("a page token with one bit changed", tenants+"?pageToken="+flip(otherPage), 400, "page_token"),
		get("an unknown query parameter", tenants+"?colour=red", 400, "colour"),
		get("a filter that nobody can read", tenants+"?filter=state%3D%3D%3D", 400, "filter"),
		get("a filter by an unknown field", tenants+"?filter=secret%3D%22x%22", 400, "filter"),
		get("an order by an unknown field", tenants+"?orderBy=secret", 400, "order_by"),
		get("a query of invalid UTF-8", tenants+"?filter=%ff%fe", 400, ""),
		get("dots for a name", "/v1/orgs/..%2f..%2fetc/tenants", 404, ""),
		get("U+0000 in a resource name", "/v1/orgs/a%00b/tenants", 404, ""),
		get("an id of another kind", "/v1/orgs/cli_01j9zq2n5r0000000000000000/tenants", 404, ""),
		get("a path of nobody", "/v1/everything", 404, ""),
		{"a method that the path does not answer", e2etest.Call{Method: http.MethodPut, Path: tenants, Body: map[string]any{}}, 405, ""},
		{"a form for JSON", e2etest.Call{
			Method: http.MethodPost, Path: tenants, Body: "pageSize=1", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		}, 415, ""},
		{"a method override", e2etest.Call{
			Method: http.MethodPost, Path: "/v1/" + org.Name + "/tenants/" + tenant.Slug, Header: http.Header{"X-Http-Method-Override": {"DELETE"}},
		}, 405, ""},
		{"an update of an unknown field", e2etest.Call{
			Method: http.MethodPatch, Path: "/v1/" + tenant.Name + "?updateMask=secret", Body: map[string]any{"displayName": "x"},
		}, 400, ""},
		{"an update of a fixed field", e2etest.Call{
			Method: http.MethodPatch, Path: "/v1/" + tenant.Name + "?updateMask=type", Body: map[string]any{"type": "PRODUCTION"},
		}, 400, ""},
		{"an update with another etag", e2etest.Call{
			Method: http.MethodPatch, Path: "/v1/" + tenant.Name + "?updateMask=displayName", Body: map[string]any{"displayName": "x", "etag": "W/1"},
		}, 409, ""},
		{"a delete with another etag", e2etest.Call{Method: http.MethodDelete, Path: "/v1/" + tenant.Name + "?force=true&etag=other"}, 409, ""},
		{"a key that is no key", e2etest.Call{Method: http.MethodGet, Path: tenants, Key: "tnk_nonsense"}, 401, ""},
		{"a key with one letter changed", e2etest.Call{Method: http.MethodGet, Path: tenants, Key: flip(org.Key)}, 401, ""},
		{"a key of 10,000 letters", e2etest.Call{Method: http.MethodGet, Path: tenants, Key: "tnk_" + strings.Repeat("a", 10000)}, 401, ""},
		header("a header of 64 KiB", "X-Big", strings.Repeat("x", 64<<10), 431),
		header("the tenant of another name in X-Tenantry-Tenant", "X-Tenantry-Tenant", "tnt_00000000000000000000000000", 400),
	}
	for _, uri := range evilRedirectURIs {
		calls = append(calls, badCall{"redirect URI " + uri, e2etest.Call{
			Method: http.MethodPost, Path: "/v1/" + tenant.Name + "/clients?clientId=evil", Body: map[string]any{
				"kind": "WEB", "clientType": "CONFIDENTIAL", "redirectUris": []string{uri}, "grantTypes": []string{"authorization_code"},
			},
		}, 400, "redirect_uris"})
	}
	for _, label := range evilLabels {
		body := org.ProvisionRequest(e2etest.Unique("evil"))
		body["hosts"] = []any{map[string]any{"label": label}}
		calls = append(calls, badCall{fmt.Sprintf("host label %q", label), e2etest.Call{Method: http.MethodPost, Path: provision, Body: body}, refused, ""})
	}
	for _, domain := range evilDomains {
		body := org.ProvisionRequest(e2etest.Unique("evil"))
		body["hosts"] = []any{map[string]any{"domain": domain}}
		calls = append(calls, badCall{fmt.Sprintf("host domain %q", domain), e2etest.Call{Method: http.MethodPost, Path: provision, Body: body}, refused, ""})
	}
	for _, label := range takenLabels(tenant) {
		body := org.ProvisionRequest(e2etest.Unique("taken"))
		body["hosts"] = []any{map[string]any{"label": label}}
		calls = append(calls, badCall{fmt.Sprintf("host label %q, which is not free", label), e2etest.Call{Method: http.MethodPost, Path: provision, Body: body}, 409, ""})
	}
	return calls
}

var evilRedirectURIs = []string{
	"javascript:alert(1)", "data:text/html,x", "http://app.example/cb", "https://app.example/cb#fragment", "https://user@app.example/cb", "//app.example/cb", "/cb",
	"https://*.example/cb", "https://app.example\\@evil.example/cb", "https://app.example/\tcb", "https://", "https:app.example", "file:///etc/passwd",
}

var evilLabels = []string{
	"-edge", "edge-", "two..dots", "two.labels", "under_score", "sp ace", "slash/", "q?uery", "#", "@", "hooli:8080", "[::1]", "xn--a", "xn--", "a\u202eb",
	"nul\u0000", "line\nfeed", strings.Repeat("a", 64), "١٢٣.", "%00", "..", "*",
}

var evilDomains = []string{
	"127.0.0.1", "[::1]", "0x7f.1", "2130706433", "*.hooli.example", "hooli..example", ".hooli.example", "hooli_x.example", "hooli.example/path", "hooli.example:443",
	"user@hooli.example", strings.Repeat("a.", 130) + "example", "example", "ho oli.example", "hooli.example\u0000", "xn--.example",
}

// takenLabels are names of a tenant's host as others would write it, and names that nobody gets.
func takenLabels(tenant *e2etest.Tenant) []string {
	return []string{tenant.Slug, strings.ToUpper(tenant.Slug), "Hooli", "ｈｏｏｌｉ", "www", "piedpiper", "WWW"}
}

func many(n int, f func(int) any) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = f(i)
	}
	return all
}

func members(n int) map[string]any {
	m := make(map[string]any, n)
	for i := range n {
		m[fmt.Sprintf("m%d", i)] = i
	}
	return m
}

// flip changes one letter in the middle.
func flip(s string) string {
	b := []byte(s)
	i := len(b) / 2
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}
