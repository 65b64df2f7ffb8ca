// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run is one call of the program, with what it would see.
type run struct {
	env      map[string]string
	stdin    string
	terminal bool
	width    int
}

func (r run) do(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"TENANTRY_CONFIG": filepath.Join(t.TempDir(), "none.json")}
	for k, v := range r.env {
		env[k] = v
	}
	a := &app{
		in: strings.NewReader(r.stdin), out: &stdout, err: &stderr, getenv: func(k string) string { return env[k] },
		inTerminal: r.terminal, outTerminal: r.terminal, errTerminal: r.terminal,
		width: func() int { return max(r.width, 40) },
	}
	code = a.main(context.Background(), args)
	return code, stdout.String(), stderr.String()
}

// api answers as the control plane would, and remembers the requests.
type api struct {
	*httptest.Server

	requests []string // method, path and query
	bodies   []string
	keys     []string
}

func answering(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.requests = append(a.requests, r.Method+" "+r.URL.RequestURI())
		a.bodies = append(a.bodies, string(body))
		a.keys = append(a.keys, r.Header.Get("Authorization"))
		answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) env() map[string]string {
	return map[string]string{"TENANTRY_SERVER": a.URL, "TENANTRY_API_KEY": "tnk_test", "TENANTRY_ORG": "piedpiper"}
}

// Spacing that no encoder of ours makes, so that a re-encoded answer would be seen.
const tenants = `{"tenants" :[ {"name":"orgs/org_1/tenants/tnt_1","slug":"hooli","displayName":"Hooli \u001b[31m","state":"ACTIVE","type":"DEVELOPMENT",` +
	`"issuer":"http://hooli.localhost:8080","createTime":"2026-01-02T03:04:05Z"},` +
	`{"name":"orgs/org_1/tenants/tnt_2","slug":"raviga","state":"SUSPENDED","type":"PRODUCTION","issuer":"https://login.raviga.example","createTime":"2026-01-02T03:04:05Z"}],"nextPageToken":""}`

func TestJSONIsTheAnswerByteForByte(t *testing.T) {
	s := answering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tenants)) })
	code, out, errOut := run{env: s.env()}.do(t, "tenant", "list", "--json")
	if code != exitOK || out != tenants || errOut != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
	if s.requests[0] != "GET /v1/orgs/piedpiper/tenants?page_size=1000" || s.keys[0] != "Bearer tnk_test" {
		t.Errorf("asked %q with %q", s.requests[0], s.keys[0])
	}
}

func TestATableForPeopleAndTabsForPrograms(t *testing.T) {
	s := answering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tenants)) })
	env := s.env()
	env["NO_COLOR"] = "1"
	_, out, errOut := run{env: env, terminal: true, width: 80}.do(t, "tenant", "list")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "SLUG    ADDRESS") || !strings.Contains(lines[2], "raviga  login.raviga.example  suspended  prod") {
		t.Errorf("table:\n%s", out)
	}
	if errOut != "2 tenants of piedpiper\n" {
		t.Errorf("stderr %q", errOut)
	}
	_, out, _ = run{env: env}.do(t, "tenant", "list")
	if want := "hooli\thooli.localhost:8080\tactive\tdev\t2026-01-02T03:04:05Z\n"; !strings.HasPrefix(out, want) {
		t.Errorf("not a terminal: %q", out)
	}
}

func TestATableFitsTheTerminalAndKeepsTheName(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out, outTerminal: true, getenv: func(string) string { return "" }, width: func() int { return 40 }}
	a.flags.noColor = true
	tab := a.table("SLUG", "ADDRESS", "STATE")
	tab.row("a-tenant-of-a-length", strings.Repeat("x", 60), "active")
	if err := tab.print(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := cells(strings.TrimRight(line, "\n")); n > 40 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if !strings.Contains(out.String(), "a-tenant-of-a-length") || !strings.Contains(out.String(), "…") {
		t.Errorf("table:\n%s", out.String())
	}
}

func TestANameCannotDriveTheTerminal(t *testing.T) {
	if got := printable("a\x1b[31mb\u202ec\td\n"); got != "a[31mbc d " {
		t.Errorf("%q", got)
	}
}

func TestExitCodes(t *testing.T) {
	refuse := func(status int, reason string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(map[string]any{"code": 3, "message": "it is so", "details": []any{
				map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "tenantry.dev"},
				map[string]any{"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req_1"},
			}})
		}
	}
	pending := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"name":"operations/op_1","done":true,"response":{"propagation":"PENDING","tenant":{"slug":"hooli"}}}`))
	}
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		args   []string
		code   int
		says   string
	}{
		"unknown command":     {nil, []string{"tenant", "lst"}, exitUsage, "tenantry tenant list"},
		"unknown top command": {nil, []string{"tennant"}, exitUsage, "tenantry tenant"},
		"unknown flag":        {nil, []string{"tenant", "list", "--filtr", "x"}, exitUsage, "--filter"},
		"missing argument":    {nil, []string{"tenant", "get"}, exitUsage, "which tenant"},
		"one word too many":   {nil, []string{"tenant", "get", "a", "b"}, exitUsage, `"b"`},
		"refused key":         {refuse(http.StatusUnauthorized, "API_KEY_INVALID"), []string{"tenant", "list"}, exitKey, "API_KEY_INVALID"},
		"too few rights":      {refuse(http.StatusForbidden, "PERMISSION_DENIED"), []string{"tenant", "list"}, exitKey, "req_1"},
		"not found":           {refuse(http.StatusNotFound, "NOT_FOUND"), []string{"tenant", "get", "hooli"}, exitFailed, "NOT_FOUND"},
		"taken":               {refuse(http.StatusConflict, "HOSTNAME_UNAVAILABLE"), []string{"tenant", "provision", "hooli", "--blueprint", "b"}, exitFailed, "tenantry tenant provision hooli-eu --blueprint b"},
		"still running":       {pending, []string{"tenant", "provision", "hooli", "--blueprint", "b"}, exitStillRunning, "operations/op_1"},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"TENANTRY_SERVER": "http://localhost:1", "TENANTRY_API_KEY": "tnk_test", "TENANTRY_ORG": "piedpiper"}
			if tc.answer != nil {
				env = answering(t, tc.answer).env()
			}
			code, _, errOut := run{env: env}.do(t, tc.args...)
			if code != tc.code || !strings.Contains(errOut, tc.says) {
				t.Errorf("code %d, want %d; stderr %q, want %q in it", code, tc.code, errOut, tc.says)
			}
		})
	}
}

func TestNoKeyIsNotSentAnywhere(t *testing.T) {
	s := answering(t, func(http.ResponseWriter, *http.Request) {})
	env := s.env()
	delete(env, "TENANTRY_API_KEY")
	if code, _, errOut := (run{env: env}).do(t, "tenant", "list"); code != exitKey || len(s.requests) != 0 {
		t.Errorf("code %d, %d requests, %q", code, len(s.requests), errOut)
	}
}

func TestAContextsKeyDoesNotGoToAnotherServer(t *testing.T) {
	s := answering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) })
	file := filepath.Join(t.TempDir(), "config.json")
	all := &Contexts{Current: "prod", path: file, Contexts: map[string]Context{"prod": {Server: "https://api.example.com", Key: "tnk_prod", Org: "orgs/acme"}}}
	if err := all.Save(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	code, _, _ := run{env: map[string]string{"TENANTRY_CONFIG": file}}.do(t, "tenant", "list", "--server", s.URL)
	if code != exitKey || len(s.requests) != 0 {
		t.Errorf("code %d, requests %v with %v", code, s.requests, s.keys)
	}
}

func TestDeletingNeedsTheSlugTyped(t *testing.T) {
	answer := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"name":"orgs/o/tenants/tnt_1","slug":"hooli","displayName":"Hooli","etag":"e1"}`))
	}
	for name, tc := range map[string]struct {
		run   run
		args  []string
		code  int
		sends int // real deletions
	}{
		"nobody to ask":    {run{}, nil, exitUsage, 0},
		"no input allowed": {run{terminal: true, stdin: "hooli\n"}, []string{"--no-input"}, exitUsage, 0},
		"something else":   {run{terminal: true, stdin: "holi\n"}, nil, exitUsage, 0},
		"typed":            {run{terminal: true, stdin: "hooli\n"}, nil, exitOK, 1},
		"by flag":          {run{}, []string{"--confirm", "hooli"}, exitOK, 1},
		"wrong flag":       {run{}, []string{"--confirm", "raviga"}, exitUsage, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, answer)
			tc.run.env = s.env()
			code, _, errOut := tc.run.do(t, append([]string{"tenant", "delete", "hooli"}, tc.args...)...)
			deletions := 0
			for _, r := range s.requests {
				if strings.HasPrefix(r, "DELETE ") && !strings.Contains(r, "validate_only") {
					deletions++
				}
			}
			if code != tc.code || deletions != tc.sends {
				t.Errorf("code %d, %d deletions, stderr %q", code, deletions, errOut)
			}
		})
	}
}

func TestAMintedKeyIsAloneOnStdout(t *testing.T) {
	s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"apiKey":{"name":"orgs/o/apiKeys/key_1"},"secret":"tnk_secret"}`))
	})
	code, out, errOut := run{env: s.env()}.do(t, "key", "mint", "portal", "--role", "tenantCreator")
	if code != exitOK || out != "tnk_secret\n" || strings.Contains(errOut, "tnk_secret") || !strings.Contains(errOut, "only now") {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
	var body struct {
		APIKeyID string `json:"apiKeyId"`
		APIKey   struct{ Role string }
	}
	if err := json.Unmarshal([]byte(s.bodies[0]), &body); err != nil || body.APIKeyID != "portal" || body.APIKey.Role != "tenantCreator" {
		t.Errorf("sent %s", s.bodies[0])
	}
}

func TestHelpOpensWithExamples(t *testing.T) {
	_, out, _ := run{}.do(t, "tenant", "--help")
	if i, j := strings.Index(out, "Examples:"), strings.Index(out, "Usage:"); i < 0 || i > j {
		t.Errorf("help:\n%s", out)
	}
}

func TestABadBootstrapFileNamesLineAndField(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.yaml")
	text := `apiVersion: tenantry.dev/v1
kind: Blueprint
metadata: {name: b, org: o}
parameters: {color: {type: colour}}
spec:
  config: {tokenPolicy: {accessTtl: soon, acessAlg: ES256}}
  roles: {id: admin}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := run{}.do(t, "apply", "-f", file)
	for _, want := range []string{
		"b.yaml:4: parameters.color.type: must be one of STRING, NUMBER, BOOLEAN",
		"b.yaml:6: spec.config.tokenPolicy.accessTtl: must be a duration",
		"b.yaml:6: spec.config.tokenPolicy.acessAlg: unknown field",
		"b.yaml:7: spec.roles: must be a list",
	} {
		if !strings.Contains(errOut, want) {
			t.Errorf("code %d, no %q in\n%s", code, want, errOut)
		}
	}
}

func TestABadConfigurationNamesLineAndField(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token.yaml")
	if err := os.WriteFile(file, []byte("listen:\n  adress: :8080\ntimeout: 90s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := run{}.do(t, "config", "check", "token", file)
	if code != exitFailed || !strings.Contains(errOut, `token.yaml:2: listen.adress: unknown field; did you mean "address"?`) {
		t.Errorf("code %d, stderr %q", code, errOut)
	}
}
