// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Answer is what the REST API answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// JSON is the decoded body, nil when there is none.
	JSON map[string]any
}

// Call is one request of the REST API.
type Call struct {
	Method, Path string
	// Key goes into the Authorization header; "" sends none.
	Key string
	// Body is sent as JSON; a []byte or string is sent as it is. Nil sends none.
	Body any
	// Header is sent besides.
	Header http.Header
}

// Do sends a call.
func (r *Rig) Do(t testing.TB, c Call) *Answer {
	t.Helper()
	var body io.Reader
	switch b := c.Body.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(b)
	case string:
		body = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(t.Context(), c.Method, r.REST+c.Path, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	for k, v := range c.Header {
		req.Header[k] = v
	}
	res, err := HTTPClient().Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", c.Method, c.Path, err)
	}
	return read(t, res)
}

func read(t testing.TB, res *http.Response) *Answer {
	t.Helper()
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: %v", res.Request.URL, err)
	}
	a := &Answer{Status: res.StatusCode, Header: res.Header, Body: raw}
	if err := json.Unmarshal(raw, &a.JSON); err != nil {
		a.JSON = nil
	}
	return a
}

// API sends a call that must succeed and returns its answer.
func (r *Rig) API(t testing.TB, key, method, path string, body any) map[string]any {
	t.Helper()
	a := r.Do(t, Call{Method: method, Path: path, Key: key, Body: body})
	if a.Status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Body)
	}
	return a.JSON
}

// Reason is the machine-readable reason of a refusal (google.rpc.ErrorInfo), "" when it has none.
func (a *Answer) Reason() string {
	details, _ := a.JSON["details"].([]any)
	for _, d := range details {
		if m, ok := d.(map[string]any); ok && strings.HasSuffix(Str(m, "@type"), "ErrorInfo") {
			return Str(m, "reason")
		}
	}
	return ""
}

// Fields are the fields of a refusal that were wrong, with what is wrong with each.
func (a *Answer) Fields() map[string]string {
	fields := map[string]string{}
	details, _ := a.JSON["details"].([]any)
	for _, d := range details {
		m, _ := d.(map[string]any)
		violations, _ := m["fieldViolations"].([]any)
		for _, v := range violations {
			if f, ok := v.(map[string]any); ok {
				fields[Str(f, "field")] = Str(f, "description")
			}
		}
	}
	return fields
}

// At finds a value by keys and list indexes; nil when there is none.
func At(v any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[s]
		case int:
			l, _ := v.([]any)
			if s >= len(l) {
				return nil
			}
			v = l[s]
		}
	}
	return v
}

// Str is At for a string; "" when there is none.
func Str(v any, path ...any) string {
	s, _ := At(v, path...).(string)
	return s
}

// List is At for a list.
func List(v any, path ...any) []any {
	l, _ := At(v, path...).([]any)
	return l
}

// Eventually waits until something is true, and fails when it is not in time.
func Eventually(t testing.TB, within time.Duration, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
