// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

var inviteURL = regexp.MustCompile(`https?://\S+/invite/[A-Za-z0-9_.~-]+`)

// invitationMail waits for the owner's mail and returns the address in it.
func invitationMail(t *testing.T, rig *e2etest.Rig, tn *e2etest.Tenant) (address string) {
	t.Helper()
	e2etest.Eventually(t, e2eWait, "the invitation mail", func() bool {
		for _, m := range rig.Mail.Mails(tn.Owner) {
			if u := inviteURL.FindString(m.Text); strings.HasPrefix(u, tn.Issuer) {
				address = u
			}
		}
		return address != ""
	})
	return address
}

// volatile is what differs between two answers to the same request: handles, tokens, nonces, ids, times.
var volatile = regexp.MustCompile(`[A-Za-z0-9_+/=-]{16,}|req_[a-z0-9]+|"(iat|exp|nbf|auth_time|updated_at)":\d+`)

// judge is what an answer tells: everything but what is different each time.
func judge(a *e2etest.Answer) string {
	h := a.Header.Clone()
	for _, k := range []string{"Date", "X-Request-Id", "Content-Length"} {
		h.Del(k)
	}
	return volatile.ReplaceAllString(seen(&e2etest.Answer{Status: a.Status, Header: h, Body: a.Body}), "·")
}

// TestEveryRouteOfTheAPIRefusesTheKeysOfOthers calls every path of the published OpenAPI document without a key, with another org's
// and with another tenant's.
func TestEveryRouteOfTheAPIRefusesTheKeysOfOthers(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org, foreign := rig.NewOrg(t, "routes"), rig.NewOrg(t, "strangers")
	tenant, neighbour := org.Provision(t, "alpha"), org.Provision(t, "beta")
	stranger := foreign.Provision(t, "alpha")
	user := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+tenant.Name+"/users", nil), "users", 0, "name")
	key := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+tenant.Name+"/apiKeys", nil), "apiKeys", 0, "name")
	orgKey := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+org.Name+"/apiKeys", nil), "apiKeys", 0, "name")
	signing := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+tenant.Name+"/signingKeys", nil), "signingKeys", 0, "name")
	operation := e2etest.Str(rig.API(t, org.Key, http.MethodPost, "/v1/"+org.Name+"/tenants:provision", org.ProvisionRequest("gamma")), "name")
	last := func(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
	// real and missing are the same names, once of what exists and once of what does not.
	real := map[string]string{
		"org": last(org.Resource), "tenant": last(tenant.Name), "user": last(user), "apiKey": last(key), "signingKey": last(signing), "client": tenant.Clients["web"].ID,
		"blueprint": "standard", "revision": "1", "operation": last(operation),
	}
	missing := map[string]string{}
	for k, v := range real {
		missing[k] = lookalikeID(v)
	}

	paths, _ := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/openapi.json"}).JSON["paths"].(map[string]any)
	if len(paths) < 30 {
		t.Fatalf("the document has %d paths", len(paths))
	}
	routes := 0
	for path, methods := range paths {
		for method := range methods.(map[string]any) { //nolint:forcetypeassert // a document of ours: let it fail loudly
			method = strings.ToUpper(method)
			routes++
			fill := func(names map[string]string) string {
				if strings.Contains(path, "/orgs/{org}/apiKeys/") {
					names = with(names, "apiKey", last(orgKey))
				}
				return regexp.MustCompile(`\{(\w+)\}`).ReplaceAllStringFunc(path, func(m string) string { return names[m[1:len(m)-1]] })
			}
			call := func(key string, names map[string]string) *e2etest.Answer {
				c := e2etest.Call{Method: method, Path: fill(names), Key: key}
				if method == http.MethodPost || method == http.MethodPatch {
					c.Body = map[string]any{}
				}
				return rig.Do(t, c)
			}
			if a := call("", real); a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s without a key: %d %.200s", method, path, a.Status, a.Body)
			}
			for who, key := range map[string]string{
				"another org's key": foreign.Key, "a key of a tenant of another org": stranger.Keys["tenant-admin"], "another tenant's key": neighbour.Keys["tenant-admin"],
			} {
				a := call(key, real)
				if path == "/v1/orgs" && method == http.MethodGet {
					if strings.Contains(string(a.Body), last(org.Resource)) && who != "another tenant's key" {
						t.Errorf("%s lists the org: %.300s", who, a.Body)
					}
					continue
				}
				if a.Status/100 == 2 && !attached(method, path, who) {
					t.Errorf("%s %s with %s: %d %.300s", method, path, who, a.Status, a.Body)
					continue
				}
				if attached(method, path, who) {
					continue
				}
				if got, none := judge(a), judge(call(key, missing)); got != none {
					t.Errorf("%s %s with %s: told apart from what does not exist\n%s\n--- does not exist:\n%s", method, path, who, got, none)
				}
			}
		}
	}
	t.Logf("%d routes × 4", routes)
	// Nothing of it had an effect.
	if a := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + tenant.Name, Key: tenant.Keys["tenant-admin"]}); a.Status != http.StatusOK || e2etest.Str(a.JSON, "state") != "ACTIVE" {
		t.Errorf("the tenant is %d %.300s", a.Status, a.Body)
	}
}

// attached are the org's resources that a tenant-locked key may read because its tenant uses them (API.md 5.4).
func attached(method, path, who string) bool {
	return who == "another tenant's key" && method == http.MethodGet && strings.HasPrefix(path, "/v1/orgs/{org}/blueprints/{blueprint}")
}

func with(m map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	for k, v := range m {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// lookalikeID is an id of the same kind that nobody has; slugs get another letter.
func lookalikeID(s string) string {
	b := []byte(s)
	i := len(b) - 2
	if i < 0 {
		return s + "9"
	}
	if b[i] == '0' {
		b[i] = '1'
	} else {
		b[i] = '0'
	}
	return string(b)
}

// TestRavigasUsersAreHiddenFromHoolisKey is the sentence of the walk: the answer for what is not yours is that for what is not there.
func TestRavigasUsersAreHiddenFromHoolisKey(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org := rig.NewOrg(t, "walk")
	hooli, raviga := org.Provision(t, "hooli"), org.Provision(t, "raviga")
	who := e2etest.NewPerson()
	atHooli := hooli.RP(t, "web").Register(e2etest.NewBrowser(t), who, nil)
	atRaviga := raviga.RP(t, "web").Register(e2etest.NewBrowser(t), who, nil)
	if atHooli.Claims["sub"] == atRaviga.Claims["sub"] {
		t.Error("the same sub in two tenants")
	}
	key := hooli.Keys["user-reader"]
	mine := rig.API(t, key, http.MethodGet, "/v1/"+hooli.Name+"/users", nil)
	if n := len(e2etest.List(mine, "users")); n != 2 {
		t.Errorf("%d users at Hooli, want the owner and the one who registered", n)
	}
	theirs := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + raviga.Name + "/users", Key: key})
	nobody := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + raviga.Name[:len(raviga.Name)-2] + "00/users", Key: key})
	if theirs.Status != http.StatusNotFound || theirs.Reason() != "NOT_FOUND" {
		t.Errorf("Raviga's users: %d %s", theirs.Status, theirs.Body)
	}
	if a, b := judge(theirs), judge(nobody); a != b {
		t.Errorf("told apart:\n%s\n%s", a, b)
	}
	for _, form := range []string{"orgs/-/tenants/-", org.Name + "/tenants/-"} {
		if n := len(e2etest.List(rig.API(t, key, http.MethodGet, "/v1/"+form+"/users", nil), "users")); n != 2 {
			t.Errorf("%d users at %s of a key with one tenant", n, form)
		}
	}
	one := e2etest.Str(mine, "users", 0, "uid")
	crossed := fmt.Sprintf("/v1/%s/users/%s", raviga.Name, one)
	if a := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: crossed, Key: raviga.Keys["tenant-admin"]}); a.Status != http.StatusNotFound {
		t.Errorf("Hooli's user under Raviga's name: %d", a.Status)
	}
}
