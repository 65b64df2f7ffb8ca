// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// seen is everything of an answer but the date.
func seen(a *e2etest.Answer) string {
	var b strings.Builder
	fmt.Fprintln(&b, a.Status)
	for _, k := range slices.Sorted(maps.Keys(a.Header)) {
		if k != "Date" {
			fmt.Fprintf(&b, "%s: %q\n", k, a.Header[k])
		}
	}
	b.Write(a.Body)
	return b.String()
}

func TestUnknownSuspendedAndDeletedHostsReadTheSameBytes(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org := rig.NewOrg(t, "hosts")
	live, suspended, deleted := org.Provision(t, "live"), org.Provision(t, "suspended"), org.Provision(t, "deleted")
	for _, tn := range []*e2etest.Tenant{live, suspended, deleted} {
		if a := send(t, http.MethodGet, tn.Issuer+"/.well-known/openid-configuration", "", nil); a.Status != http.StatusOK {
			t.Fatalf("%s: %d", tn.Host, a.Status)
		}
	}
	rig.API(t, org.Key, http.MethodPost, "/v1/"+suspended.Name+":suspend", map[string]any{"reason": "has not paid"})
	rig.API(t, org.Key, http.MethodDelete, "/v1/"+deleted.Name+"?force=true", nil)
	unknown := rig.Base("unknown." + org.Slug + ".localhost")
	closed := func(issuer string) bool {
		return send(t, http.MethodGet, issuer+"/.well-known/openid-configuration", "", nil).Status == http.StatusNotFound
	}
	e2etest.Eventually(t, e2eWait, "both hosts are closed", func() bool { return closed(suspended.Issuer) && closed(deleted.Issuer) })

	paths := []string{"/", "/login", "/oauth2/authorize?client_id=" + live.Clients["web"].ID, "/oauth2/logout", "/account", "/invite/x", "/assets/x", "/nothing"}
	for _, e := range rig.Endpoints(t) {
		paths = append(paths, strings.TrimSuffix(e.Path, "…")+"?x=1")
	}
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions, http.MethodDelete} {
			body, header := "", http.Header{"Origin": {"https://spa.example"}, "Accept-Language": {"de"}}
			if method == http.MethodPost {
				body, header = "grant_type=client_credentials", form(header)
			}
			want := seen(send(t, method, unknown+path, body, header))
			for name, issuer := range map[string]string{"suspended": suspended.Issuer, "deleted": deleted.Issuer} {
				if got := seen(send(t, method, issuer+path, body, header)); got != want {
					t.Errorf("%s %s of a host that is %s:\n%s\nunknown:\n%s", method, path, name, got, want)
				}
			}
			if !strings.HasPrefix(want, "404") {
				t.Errorf("%s %s of an unknown host: %s", method, path, want)
			}
		}
	}

	// And back to life, with the same issuer and keys.
	rig.API(t, org.Key, http.MethodPost, "/v1/"+suspended.Name+":resume", map[string]any{})
	rig.API(t, org.Key, http.MethodPost, "/v1/"+deleted.Name+":undelete", map[string]any{})
	e2etest.Eventually(t, e2eWait, "both hosts are open again", func() bool { return !closed(suspended.Issuer) && !closed(deleted.Issuer) })
}

func TestForwardedHostsOfAStrangerAreNotBelieved(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org := rig.NewOrg(t, "forward")
	hooli, raviga := org.Provision(t, "hooli"), org.Provision(t, "raviga")
	unknown := rig.Base("unknown." + org.Slug + ".localhost")
	for _, base := range []string{rig.Base(""), rig.Login, rig.Token} {
		for _, header := range []http.Header{
			{"X-Forwarded-Host": {raviga.Host}, "X-Forwarded-Proto": {"https"}},
			{"X-Forwarded-Host": {fmt.Sprintf("%s:%d", raviga.Host, rig.Port)}},
			{"Forwarded": {"for=1.2.3.4;host=" + raviga.Host + ";proto=https"}},
			{"X-Original-Host": {raviga.Host}, "X-Host": {raviga.Host}},
		} {
			ask := func(host, path string) *e2etest.Answer {
				to := base
				if base == rig.Base("") {
					to = "http://127.0.0.1:" + fmt.Sprint(rig.Port)
				}
				req := request(t, http.MethodGet, to+path, "", header)
				req.Host = host
				return e2etest.Send(t, req)
			}
			path := "/.well-known/openid-configuration"
			if base == rig.Login {
				path = "/login"
			}
			if a := ask(strings.TrimPrefix(unknown, "http://"), path); a.Status != http.StatusNotFound {
				t.Errorf("%v at an unknown host: %d", header, a.Status)
			}
			a := ask(strings.TrimPrefix(hooli.Issuer, "http://"), path)
			if a.Status != http.StatusOK || strings.Contains(string(a.Body), raviga.Host) || strings.Contains(string(a.Body), "The raviga company") {
				t.Errorf("%v at Hooli's host: %d %.300s", header, a.Status, a.Body)
			}
			for _, c := range a.Header.Values("Set-Cookie") {
				if strings.Contains(c, "Domain=") || strings.Contains(c, "Secure") {
					t.Errorf("%v made the cookie %s", header, c)
				}
			}
		}
	}
}

func TestHostnamesAreFoundHoweverTheyAreWritten(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	hooli := rig.NewOrg(t, "written").Provision(t, "hooli")
	for _, host := range []string{hooli.Host, strings.ToUpper(hooli.Host), hooli.Host + ".", hooli.Host + ":80", fmt.Sprintf("%s.:%d", strings.ToUpper(hooli.Host), rig.Port)} {
		req := request(t, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/.well-known/openid-configuration", rig.Port), "", nil)
		req.Host = host
		if a := e2etest.Send(t, req); a.Status != http.StatusOK || e2etest.Str(a.JSON, "issuer") != hooli.Issuer {
			t.Errorf("Host %q: %d, issuer %q", host, a.Status, e2etest.Str(a.JSON, "issuer"))
		}
	}
	for _, host := range []string{"", "127.0.0.1", "[::1]", "localhost", "." + hooli.Host, "x." + hooli.Host, hooli.Host + ".evil.example", hooli.Host + "@evil.example", hooli.Host + "..", "hooli\u200b"} {
		req := request(t, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/.well-known/openid-configuration", rig.Port), "", nil)
		req.Host = host
		if host == "" || strings.ContainsAny(host, "\u200b@") {
			continue // the client refuses to send it; the parser's own tests do
		}
		if a := e2etest.Send(t, req); a.Status != http.StatusNotFound {
			t.Errorf("Host %q: %d %.200s", host, a.Status, a.Body)
		}
	}
}
