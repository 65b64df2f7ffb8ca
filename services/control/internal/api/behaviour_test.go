// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
)

func nanValue() float64 { return math.NaN() }

func TestIdempotencyKeyAndReplay(t *testing.T) {
	w := newWorld(t)
	path := "/v1/" + w.org + "/tenants:provision"
	body := `{"tenantId":"pied","blueprint":"` + w.blueprint + `","waitFor":"COMMITTED"}`
	key := "0192f6a0-0000-7000-8000-0000000000aa"
	first := w.http(w.owner, "POST", path, []byte(body), "Idempotency-Key", key)
	second := w.http(w.owner, "POST", path, []byte(body), "Idempotency-Key", key)
	if first.code != http.StatusOK || second.code != http.StatusOK {
		t.Fatalf("%d %d %s", first.code, second.code, second.body)
	}
	var a, b struct {
		Name     string
		Response struct {
			Tenant                struct{ Uid string }
			ApiKeys               []struct{ Secret string }
			SecretAlreadyReturned bool
		}
	}
	if err := json.Unmarshal(first.body, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(second.body, &b); err != nil {
		t.Fatal(err)
	}
	if a.Response.Tenant.Uid != b.Response.Tenant.Uid || a.Name != b.Name || a.Response.ApiKeys[0].Secret == "" || b.Response.ApiKeys[0].Secret != "" || !b.Response.SecretAlreadyReturned {
		t.Errorf("first %+v\nsecond %+v", a, b)
	}
	r := w.http(w.owner, "POST", path, []byte(strings.Replace(body, "pied", "piper", 1)), "Idempotency-Key", key)
	if r.code != http.StatusConflict || reason(r.status()) != "REQUEST_ID_REUSED" {
		t.Errorf("another body: %d %s", r.code, r.body)
	}
	r = w.http(w.owner, "POST", path, []byte(strings.Replace(body, "{", `{"requestId":"0192f6a0-0000-7000-8000-0000000000ab",`, 1)), "Idempotency-Key", key)
	if r.code != http.StatusBadRequest {
		t.Errorf("field and header differ: %d %s", r.code, r.body)
	}
	r = w.http(w.owner, "POST", "/v1/"+w.tenant+"/users", []byte(`{"emails":[{"address":"a@b.example"}]}`), "Idempotency-Key", key)
	if r.code != http.StatusBadRequest {
		t.Errorf("a method that keeps no answers: %d %s", r.code, r.body)
	}
}

func TestEtags(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/v1/" + w.tenant, "/v1/" + w.org, "/v1/" + w.blueprint, "/v1/" + w.newClient(w.tenant).GetName(), "/v1/" + w.newUser().GetName()} {
		r := w.http(w.owner, "GET", path, nil)
		etag := r.header.Get("Etag")
		if etag == "" {
			t.Fatalf("%s has no etag: %s", path, r.body)
		}
		r = w.http(w.owner, "PATCH", path, []byte(`{"displayName":"First"}`), "If-Match", etag)
		if r.code != http.StatusOK || r.header.Get("Etag") == etag {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
		r = w.http(w.owner, "PATCH", path, []byte(`{"displayName":"Second"}`), "If-Match", etag)
		if r.code != http.StatusPreconditionFailed || reason(r.status()) != "ETAG_MISMATCH" {
			t.Errorf("%s with an old etag: %d %s", path, r.code, r.body)
		}
		old, err := json.Marshal(etag)
		w.ok(err)
		r = w.http(w.owner, "PATCH", path, []byte(`{"displayName":"Third","etag":`+string(old)+`}`))
		if r.code != http.StatusConflict {
			t.Errorf("%s with an old etag in the resource: %d %s", path, r.code, r.body)
		}
		if r = w.http(w.owner, "GET", path, nil); !strings.Contains(string(r.body), "First") {
			t.Errorf("%s: %s", path, r.body)
		}
	}
}

// What a mask does not name stays; what it names and the resource does not have goes.
func TestPartialUpdates(t *testing.T) {
	w := newWorld(t)
	get := func() *controlv1.Tenant {
		var v controlv1.Tenant
		w.must(w.owner, &controlv1.GetTenantRequest{Name: w.tenant}, &v)
		return &v
	}
	patch := func(body, query string) {
		t.Helper()
		if r := w.http(w.owner, "PATCH", "/v1/"+w.tenant+query, []byte(body)); r.code != http.StatusOK {
			t.Fatalf("%s: %d %s", body, r.code, r.body)
		}
	}
	patch(`{"overrides":{"tokenPolicy":{"accessTtl":"300s"},"passwordPolicy":{"minLength":14}},"labels":{"a":"1","b":"2"},"theme":{"brand":"#112233"}}`, "")
	patch(`{"overrides":{"tokenPolicy":{"refreshTtl":"3600s"}}}`, "")
	v := get()
	if v.GetOverrides().GetTokenPolicy().GetAccessTtl().GetSeconds() != 300 || v.GetOverrides().GetTokenPolicy().GetRefreshTtl().GetSeconds() != 3600 ||
		v.GetOverrides().GetPasswordPolicy().GetMinLength() != 14 {
		t.Errorf("overrides: %v", v.GetOverrides())
	}
	patch(`{}`, "?updateMask=overrides.tokenPolicy.accessTtl,labels.a,theme")
	v = get()
	if v.GetOverrides().GetTokenPolicy().GetAccessTtl() != nil || v.GetOverrides().GetTokenPolicy().GetRefreshTtl().GetSeconds() != 3600 || len(v.GetLabels()) != 1 || v.GetTheme() != nil {
		t.Errorf("cleared: %v", v)
	}
	// What was read can be sent back as it is, and changes nothing.
	r := w.http(w.owner, "GET", "/v1/"+w.tenant, nil)
	patch(string(r.body), "")
	if again := get(); again.GetEtag() != v.GetEtag() {
		t.Errorf("sending back what was read has changed it: %v", again)
	}
	for mask, want := range map[string]string{"nothing": "INVALID_ARGUMENT", "type": "FIELD_IMMUTABLE", "overrides.nothing": "INVALID_ARGUMENT", "display_name.x": "INVALID_ARGUMENT"} {
		err := w.call(w.owner, &controlv1.UpdateTenantRequest{
			Tenant: &controlv1.Tenant{Name: w.tenant, Type: controlv1.Tenant_PRODUCTION}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{mask}},
		}, &controlv1.Tenant{})
		if reason(status.Convert(err)) != want {
			t.Errorf("mask %s: %v", mask, err)
		}
	}
	// A key of the tenant writes what is the tenant's alone.
	r = w.http(w.tenantKey, "PATCH", "/v1/"+w.tenant, []byte(`{"plan":"platinum"}`))
	if r.code != http.StatusForbidden {
		t.Errorf("plan by the tenant's key: %d %s", r.code, r.body)
	}
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	u := w.newUser()
	address := u.GetEmails()[0].GetAddress()
	r := w.http(w.owner, "POST", "/v1/"+w.tenant+"/users", []byte(`{"emails":[{"address":"`+strings.ToUpper(address)+`"}]}`))
	if r.code != http.StatusConflict || reason(r.status()) != "EMAIL_TAKEN" {
		t.Errorf("the same address: %d %s", r.code, r.body)
	}
	r = w.http(w.owner, "POST", "/v1/"+w.tenant+"/users", []byte(`{"emails":[{"address":"new@hooli.example"}],"password":"short"}`))
	if r.code != http.StatusBadRequest || reason(r.status()) != "PASSWORD_REFUSED" || strings.Contains(string(r.body), "short") {
		t.Errorf("a short password: %d %s", r.code, r.body)
	}
	r = w.http(w.owner, "POST", "/v1/"+w.tenant+"/users", []byte(`{"emails":[{"address":"new@hooli.example"}],"roles":["king"]}`))
	if r.code != http.StatusBadRequest {
		t.Errorf("an unknown role: %d %s", r.code, r.body)
	}
	var made controlv1.User
	w.must(w.owner, &controlv1.CreateUserRequest{Parent: w.tenant, ValidateOnly: true, Invite: true, User: &controlv1.User{
		Emails: []*controlv1.UserEmail{{Address: "new@hooli.example"}},
	}}, &made)
	if made.GetUid() != "" || made.GetState() != controlv1.User_INVITED {
		t.Errorf("validated only: %v", &made)
	}
	var l controlv1.ListUsersResponse
	w.must(w.tenantKey, &controlv1.ListUsersRequest{Parent: "orgs/-/tenants/-", Filter: `email="` + strings.ToUpper(address) + `"`}, &l)
	if len(l.GetUsers()) != 1 || l.GetUsers()[0].GetUid() != u.GetUid() {
		t.Errorf("by address: %v", &l)
	}
	w.must(w.owner, &controlv1.UpdateUserRequest{
		User: &controlv1.User{Name: u.GetName(), State: controlv1.User_SUSPENDED, Password: "a long enough password"},
	}, &made)
	if made.GetState() != controlv1.User_SUSPENDED || len(made.GetCredentials()) != 1 || made.GetPassword() != "" {
		t.Errorf("changed: %v", &made)
	}
	w.must(w.owner, &controlv1.DeleteUserRequest{Name: u.GetName()}, &made)
	if made.GetState() != controlv1.User_DELETED || made.GetDeleteTime() == nil {
		t.Errorf("deleted: %v", &made)
	}
	if err := w.call(w.owner, &controlv1.GetUserRequest{Name: u.GetName()}, &controlv1.User{}); reason(status.Convert(err)) != "NOT_FOUND" {
		t.Errorf("after delete: %v", err)
	}
}

// The log of a tenant is two logs in the order of time; pages of any size show each event once.
func TestAuditPagesOverBothLogs(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.newUser()
		if i%2 == 0 {
			w.newClient(w.tenant)
		}
	}
	list := func(size int32, filter string) (all []*controlv1.AuditEvent) {
		token := ""
		for range 200 {
			var l controlv1.ListAuditEventsResponse
			w.must(w.owner, &controlv1.ListAuditEventsRequest{Parent: w.tenant, PageSize: size, PageToken: token, Filter: filter}, &l)
			all = append(all, l.GetAuditEvents()...)
			if token = l.GetNextPageToken(); token == "" {
				return all
			}
		}
		t.Fatal("the pages do not end")
		return nil
	}
	whole := list(1000, "")
	chains := map[controlv1.AuditEvent_Chain]int{}
	for i, e := range whole {
		chains[e.GetChain()]++
		if i > 0 && e.GetCreateTime().AsTime().After(whole[i-1].GetCreateTime().AsTime()) {
			t.Errorf("event %d is younger than the one before it", i)
		}
	}
	if chains[controlv1.AuditEvent_CONTROL] < 4 || chains[controlv1.AuditEvent_IDENTITY] < 6 {
		t.Fatalf("chains: %v", chains)
	}
	names := func(in []*controlv1.AuditEvent) (out []string) {
		for _, e := range in {
			out = append(out, e.GetUid())
		}
		return out
	}
	for _, size := range []int32{1, 2, 3, 7} {
		if got := list(size, ""); !slices.Equal(names(got), names(whole)) {
			t.Errorf("pages of %d: %d events, not %d, or in another order", size, len(got), len(whole))
		}
	}
	for _, e := range list(2, `action:"user."`) {
		if e.GetAction() != "user.created" || e.GetChain() != controlv1.AuditEvent_IDENTITY {
			t.Errorf("filtered: %v", e)
		}
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]string{
		"/docs": "ProvisionTenant", "/docs/errors": "HOSTNAME_UNAVAILABLE", "/openapi.json": `"swagger"`, "/healthz": "ok",
	} {
		r := w.http("", "GET", path, nil)
		if r.code != http.StatusOK || !strings.Contains(string(r.body), want) || r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, r.code, r.header)
		}
		if strings.HasPrefix(path, "/docs") && (strings.Contains(string(r.body), "<script") || strings.Contains(string(r.body), `src="`) || strings.Contains(string(r.body), "<no value>")) {
			t.Errorf("%s needs something else", path)
		}
		if r := w.http("", "POST", path, nil); r.code != http.StatusMethodNotAllowed || r.header.Get("Allow") == "" {
			t.Errorf("POST %s: %d", path, r.code)
		}
	}
}

func TestReflectionOnlyWhereItIsSwitchedOn(t *testing.T) {
	w := newWorld(t)
	err := w.conn.Invoke(t.Context(), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &controlv1.GetOrgRequest{}, &controlv1.Org{})
	if err == nil {
		t.Error("reflection answers")
	}
	if err := w.conn.Invoke(t.Context(), "/tenantry.control.v1.OrgService/Nothing", &controlv1.GetOrgRequest{}, &controlv1.Org{}); err == nil {
		t.Error("an unknown method answers")
	}
}
