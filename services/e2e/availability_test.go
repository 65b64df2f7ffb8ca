// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

var killRounds = flag.Int("kill-rounds", 30, "how often the control plane is killed during provisioning")

// TestLoginsGoOnWithTheControlPlaneStopped runs the three binaries and stops the one that owns configuration (PROMISES.md R-10).
func TestLoginsGoOnWithTheControlPlaneStopped(t *testing.T) {
	t.Parallel()
	rig := e2etest.Start(t, e2etest.Options{Binaries: true})
	org := rig.NewOrg(t, "stopped")
	warm, cold := org.Provision(t, "warm"), org.Provision(t, "cold")
	rp := warm.RP(t, "web")
	who, browser := e2etest.NewPerson(), e2etest.NewBrowser(t)
	before := rp.Register(browser, who, nil)
	jwks := send(t, http.MethodGet, warm.Issuer+"/.well-known/jwks.json", "", nil)

	rig.Program(e2etest.Control).Stop()
	if _, err := e2etest.HTTPClient().Get(rig.REST + "/healthz"); err == nil {
		t.Fatal("the control plane still answers")
	}

	// Whoever is logged in stays so, a new browser logs in, a new person registers, also at a tenant that no replica has seen before.
	again := rp.Login(browser, who, url.Values{"prompt": {"none"}})
	if again.Claims["sub"] != before.Claims["sub"] {
		t.Error("another sub")
	}
	fresh := rp.Login(e2etest.NewBrowser(t), who, nil)
	if fresh.Claims["sub"] != before.Claims["sub"] {
		t.Error("another sub")
	}
	refreshed, err := rp.Refresh(before.RefreshToken)
	if err != nil || refreshed.AccessToken == "" {
		t.Errorf("refresh: %v", err)
	}
	if info, err := rp.UserInfo(fresh); err != nil || info["sub"] != before.Claims["sub"] {
		t.Errorf("userinfo: %v %v", info, err)
	}
	now := send(t, http.MethodGet, warm.Issuer+"/.well-known/jwks.json", "", nil)
	if now.Status != http.StatusOK || !bytes.Equal(now.Body, jwks.Body) {
		t.Errorf("jwks: %d %s", now.Status, now.Body)
	}
	machine := e2etest.PostForm(t, rp.Endpoint("token_endpoint"), warm.Clients["api"], url.Values{"grant_type": {"client_credentials"}})
	if machine.Status != http.StatusOK {
		t.Errorf("client_credentials: %d %s", machine.Status, machine.Body)
	}
	active := e2etest.PostForm(t, rp.Endpoint("introspection_endpoint"), warm.Clients["web"], url.Values{"token": {fresh.AccessToken}})
	if active.Status != http.StatusOK || active.JSON["active"] != true {
		t.Errorf("introspection: %d %s", active.Status, active.Body)
	}
	cold.RP(t, "web").Register(e2etest.NewBrowser(t), e2etest.NewPerson(), nil)

	// Replicas that start now, start.
	for _, name := range []string{e2etest.Login, e2etest.Token} {
		rig.Program(name).Kill()
		rig.Program(name).Start()
	}
	rp.Login(e2etest.NewBrowser(t), who, nil)

	rig.Program(e2etest.Control).Start()
	rig.API(t, warm.Keys["user-reader"], http.MethodGet, "/v1/"+warm.Name+"/users", nil)
}

// TestAFlushedConfigurationIsRestoredByteForByte empties the configuration Redis (PROMISES.md R-12).
func TestAFlushedConfigurationIsRestoredByteForByte(t *testing.T) {
	t.Parallel()
	rig := e2etest.Start(t, e2etest.Options{Binaries: true})
	org := rig.NewOrg(t, "flush")
	org.ShareChat(t, 8090)
	hooli, raviga := org.Provision(t, "hooli"), org.Provision(t, "raviga")
	gone := org.Provision(t, "gone")
	rig.API(t, org.Key, http.MethodDelete, "/v1/"+gone.Name+"?force=true", nil)
	rp := hooli.RP(t, "web")
	who, browser := e2etest.NewPerson(), e2etest.NewBrowser(t)
	tokens := rp.Register(browser, who, nil)
	settle(t, rig)
	before := bodies(e2etest.RedisDump(t, rig.ConfigRedis.URL()))

	for round := range 3 {
		e2etest.RedisDo(t, rig.ConfigRedis.URL(), "FLUSHALL")
		start := time.Now()
		// What is in memory is served all the while.
		if _, err := rp.UserInfo(tokens); err != nil {
			t.Errorf("while it is empty: %v", err)
		}
		e2etest.Eventually(t, 20*time.Second, "everything is back", func() bool {
			return same(before, bodies(e2etest.RedisDump(t, rig.ConfigRedis.URL())))
		})
		t.Logf("round %d: restored after %v", round, time.Since(start).Round(time.Millisecond))
	}
	// A replica with nothing in memory serves from what was restored.
	rig.Program(e2etest.Token).Stop()
	rig.Program(e2etest.Token).Start()
	rp.Login(e2etest.NewBrowser(t), who, nil)
	raviga.RP(t, "web")
	if a := send(t, http.MethodGet, gone.Issuer+"/login", "", nil); a.Status != http.StatusNotFound {
		t.Errorf("the deleted tenant came back: %d", a.Status)
	}
}

// bodies are the values of a configuration Redis without what is made anew at each signing: time of signing and signature.
func bodies(dump map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range dump {
		switch {
		case len(k) > 2 && (k[:2] == "t:" || k[:2] == "o:" || k[:2] == "r:") && len(v) >= 80:
			out[k] = v[:8] + v[80:] // version and body
		case len(k) > 2 && (k[:2] == "h:" || k[:2] == "b:"):
			out[k] = v
		}
	}
	return out
}

// same compares two dumps, and names no difference: what is missing changes from poll to poll.
func same(a, b map[string]string) bool {
	if len(a) == 0 || len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// TestKillDuringProvisioningLeavesAllOrNothing kills the control plane in the middle of calls (PROMISES.md R-01).
func TestKillDuringProvisioningLeavesAllOrNothing(t *testing.T) {
	t.Parallel()
	rig := e2etest.Start(t, e2etest.Options{Binaries: true})
	org := rig.NewOrg(t, "kill")
	program := rig.Program(e2etest.Control)
	var (
		mu     sync.Mutex
		acked  = map[string]bool{}
		inside int
		slugs  []string
	)
	for round := range *killRounds {
		var callers sync.WaitGroup
		for caller := range 3 {
			callers.Go(func() {
				for i := 0; ; i++ {
					slug := fmt.Sprintf("k%d-%d-%d", round, caller, i)
					status, cut := provisionUntilKilled(rig, org, slug)
					mu.Lock()
					slugs = append(slugs, slug)
					acked[slug] = status == http.StatusOK
					if cut {
						inside++
					}
					mu.Unlock()
					if cut || status != http.StatusOK {
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(500_000)) * time.Microsecond) // the moment of the kill is what is tried
		program.Kill()
		callers.Wait()
		program.Start()
		if t.Failed() {
			t.FailNow()
		}
	}
	if inside < *killRounds {
		t.Errorf("only %d calls were cut: the kills came too early or too late", inside)
	}
	e2etest.Eventually(t, e2eWait, "nothing is waiting", func() bool {
		return e2etest.Count(t, rig.Control.AdminURL, "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM identity_seeds)") == 0
	})
	start := time.Now()
	e2etest.Eventually(t, e2eWait, "what does not exist is known not to exist", func() bool {
		return send(t, http.MethodGet, rig.Base("nobody."+org.Slug+".localhost")+"/.well-known/openid-configuration", "", nil).Status == http.StatusNotFound
	})
	t.Logf("everything published %v after the last start", time.Since(start).Round(time.Millisecond))
	cutAndThere := 0
	for _, slug := range slugs {
		if there := whole(t, rig, org, slug, acked[slug]); there && !acked[slug] {
			cutAndThere++
		}
	}
	t.Logf("%d rounds, %d calls: %d answered, %d cut, of which %d tenants exist whole", *killRounds, len(slugs), count(acked), inside, cutAndThere)
	// Nothing is left of what does not exist.
	for what, sql := range map[string]string{
		"hostnames": "SELECT count(*) FROM hostnames x" + ownerless,
		"keys":      "SELECT count(*) FROM api_keys x" + ownerless,
		"clients":   "SELECT count(*) FROM clients x" + ownerless,
		"roles":     "SELECT count(*) FROM tenant_roles x" + ownerless,
		"snapshots": "SELECT count(*) FROM snapshots x WHERE kind IN (1, 2) AND NOT EXISTS (SELECT FROM tenants t WHERE t.id = x.subject)",
	} {
		if n := e2etest.Count(t, rig.Control.AdminURL, sql); n != 0 {
			t.Errorf("%d orphan %s", n, what)
		}
	}
}

// ownerless are rows of a tenant that does not exist. Rows of an org have no tenant, or the zero one.
const ownerless = " WHERE x.tenant_id <> '00000000-0000-0000-0000-000000000000' AND NOT EXISTS (SELECT FROM tenants t WHERE t.id = x.tenant_id)"

func count(m map[string]bool) (n int) {
	for _, v := range m {
		if v {
			n++
		}
	}
	return n
}

// provisionUntilKilled calls and reports the status, 0 when there was no answer, and whether the connection broke off.
func provisionUntilKilled(rig *e2etest.Rig, org *e2etest.Org, slug string) (status int, cut bool) {
	body := org.ProvisionRequest(slug)
	req, err := http.NewRequest(http.MethodPost, rig.REST+"/v1/"+org.Name+"/tenants:provision", jsonBody(body))
	if err != nil {
		return 0, false
	}
	req.Header.Set("Authorization", "Bearer "+org.Key)
	req.Header.Set("Content-Type", "application/json")
	res, err := e2etest.HTTPClient().Do(req)
	if err != nil {
		return 0, true
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0, true
	}
	return res.StatusCode, false
}

func jsonBody(v any) io.Reader {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings
	}
	return bytes.NewReader(raw)
}

// whole looks at a tenant that may or may not exist: then all of it does, through the API, at its host, and as a person who was
// invited; or none of it.
func whole(t *testing.T, rig *e2etest.Rig, org *e2etest.Org, slug string, acked bool) (there bool) {
	t.Helper()
	a := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + org.Name + "/tenants/" + slug, Key: org.Key})
	host := rig.Base(slug + "." + org.Slug + ".localhost")
	found := send(t, http.MethodGet, host+"/.well-known/openid-configuration", "", nil)
	if a.Status == http.StatusNotFound {
		if acked {
			t.Errorf("%s was acknowledged and is gone", slug)
		}
		if found.Status != http.StatusNotFound {
			t.Errorf("%s does not exist, and its host answers %d", slug, found.Status)
		}
		return false
	}
	if a.Status != http.StatusOK {
		t.Errorf("%s: %d %s", slug, a.Status, a.Body)
		return false
	}
	if found.Status != http.StatusOK || e2etest.Str(found.JSON, "issuer") != host {
		t.Errorf("%s exists, and its host answers %d", slug, found.Status)
	}
	name := e2etest.Str(a.JSON, "name")
	for list, want := range map[string]int{"clients": 5, "apiKeys": 2, "users": 1} {
		got := len(e2etest.List(rig.API(t, org.Key, http.MethodGet, "/v1/"+name+"/"+list, nil), list))
		if got != want {
			t.Errorf("%s has %d %s, want %d", slug, got, list, want)
		}
	}
	keys := rig.API(t, org.Key, http.MethodGet, "/v1/"+name+"/signingKeys", nil)
	if len(e2etest.List(keys, "signingKeys")) == 0 {
		t.Errorf("%s has no signing key", slug)
	}
	return true
}

// TestOneHostnameHasOneOwner lets sign-ups race for the spellings of one name (PROMISES.md R-07).
func TestOneHostnameHasOneOwner(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org := rig.NewOrg(t, "race")
	for round := range 15 {
		name := fmt.Sprintf("münchen%d", round)
		ascii := ""
		var wg sync.WaitGroup
		answers := make([]*e2etest.Answer, 8)
		for i := range answers {
			body := org.ProvisionRequest(fmt.Sprintf("m%d-%d", round, i))
			label := name
			switch i % 4 {
			case 1:
				label = fmt.Sprintf("MÜNCHEN%d", round)
			case 2:
				label = fmt.Sprintf("Mu\u0308nchen%d", round) // decomposed
			}
			body["hosts"] = []any{map[string]any{"label": label}}
			wg.Go(func() {
				answers[i] = rig.Do(t, e2etest.Call{Method: http.MethodPost, Path: "/v1/" + org.Name + "/tenants:provision", Key: org.Key, Body: body})
			})
		}
		wg.Wait()
		won := 0
		for _, a := range answers {
			switch {
			case a.Status == http.StatusOK:
				won++
				ascii = e2etest.Str(a.JSON, "response", "hosts", 0, "host")
			case a.Status == http.StatusConflict && a.Reason() == "HOSTNAME_UNAVAILABLE":
			default:
				t.Errorf("round %d: %d %.300s", round, a.Status, a.Body)
			}
		}
		if won != 1 {
			t.Errorf("round %d: %d winners of %s", round, won, ascii)
		}
	}
}
