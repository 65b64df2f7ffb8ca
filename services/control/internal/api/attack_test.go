// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/api"
)

var rewrite = flag.Bool("update", false, "write the golden files anew")

// A header must never become what the interceptors believe: not the caller, not their address, not another HTTP method.
func TestForgedHeaders(t *testing.T) {
	w := newWorld(t)
	path := "/v1/" + w.tenant
	for name, header := range map[string][]string{
		"metadata prefix":          {"Grpc-Metadata-Authorization", "Bearer " + w.owner},
		"metadata prefix, binary":  {"Grpc-Metadata-Authorization-Bin", "QmVhcmVy"},
		"the gateway's own copy":   {"Grpcgateway-Authorization", "Bearer " + w.owner},
		"another header":           {"X-Api-Key", w.owner},
		"forwarded authorization":  {"X-Forwarded-Authorization", "Bearer " + w.owner},
		"basic with the key":       {"Authorization", "Basic " + w.owner},
		"scheme without a space":   {"Authorization", "Bearer" + w.owner},
		"key as a cookie":          {"Cookie", "Authorization=Bearer " + w.owner},
		"internal metadata, tries": {"X-Tenantry-Rest-Idempotency-Key", "Bearer " + w.owner},
	} {
		if r := w.http("", "GET", path, nil, header...); r.code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, r.code, r.body)
		}
	}
	if r := w.http("", "GET", path+"?access_token="+w.owner, nil); r.code == http.StatusOK {
		t.Errorf("key in the query: %d", r.code)
	}
	if r := w.http(w.owner, "POST", path, nil, "X-HTTP-Method-Override", "DELETE"); r.code != http.StatusMethodNotAllowed {
		t.Errorf("method override: %d %s", r.code, r.body)
	}
	if r := w.http(w.owner, "POST", path, []byte("a=b"), "Content-Type", "application/x-www-form-urlencoded"); r.code == http.StatusOK {
		t.Errorf("form POST to a GET route: %d", r.code)
	}

	// The address of a caller comes from its connection: not from X-Forwarded-For, nor from metadata that the gateway uses.
	w.http(w.owner, "PATCH", path, []byte(`{"displayName":"forged"}`), "X-Forwarded-For", "203.0.113.9", "X-Tenantry-Rest-Source", "203.0.113.9")
	if err := w.call(
		w.owner, &controlv1.UpdateTenantRequest{Tenant: &controlv1.Tenant{Name: w.tenant, DisplayName: "forged again"}}, &controlv1.Tenant{},
		"x-tenantry-rest-source", "203.0.113.9", "x-tenantry-rest-user-agent", "forged", "x-tenantry-rest-if-match", `"forged"`,
	); err != nil {
		t.Errorf("metadata of the gateway was believed from outside: %v", err)
	}
	var l controlv1.ListAuditEventsResponse
	w.must(w.owner, &controlv1.ListAuditEventsRequest{Parent: w.tenant, Filter: "action=tenant.updated"}, &l)
	if len(l.GetAuditEvents()) != 2 {
		t.Fatalf("%d events", len(l.GetAuditEvents()))
	}
	for _, e := range l.GetAuditEvents() {
		if e.GetIp() != "127.0.0.1" || e.GetUserAgent() == "forged" || !strings.HasPrefix(e.GetRequestId(), "req_") || e.GetActor().GetType() != controlv1.AuditActor_API_KEY {
			t.Errorf("event: %v", e)
		}
	}
}

// Each answer is a standard error, and nothing is made.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	path := "/v1/" + w.org + "/tenants:provision"
	deep := strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60)
	for name, c := range map[string]struct {
		body   string
		code   int
		reason string
		header []string
	}{
		"no JSON":                 {`{"tenantId":`, 400, "REQUEST_MALFORMED", nil},
		"a list":                  {`[]`, 400, "REQUEST_MALFORMED", nil},
		"something behind":        {`{"tenantId":"evil"} {"tenantId":"evil"}`, 400, "REQUEST_MALFORMED", nil},
		"a member twice":          {`{"tenantId":"evil","tenantId":"evil2"}`, 400, "REQUEST_MALFORMED", nil},
		"a member in both names":  {`{"tenantId":"evil","tenant_id":"evil2"}`, 400, "REQUEST_MALFORMED", nil},
		"an unknown member":       {`{"tenantId":"evil","recipientJwk":{}}`, 400, "REQUEST_MALFORMED", nil},
		"a wrong type":            {`{"tenantId":7}`, 400, "REQUEST_MALFORMED", nil},
		"an unknown enum value":   {`{"tenantId":"evil","waitFor":"FOREVER"}`, 400, "REQUEST_MALFORMED", nil},
		"not UTF-8":               {"{\"tenantId\":\"ev\xffil\"}", 400, "REQUEST_MALFORMED", nil},
		"a lone surrogate":        {`{"tenantId":"ev\ud800il"}`, 400, "REQUEST_MALFORMED", nil},
		"no content type":         {`{"tenantId":"evil"}`, 415, "MEDIA_TYPE_UNSUPPORTED", []string{"Content-Type", ""}},
		"another content type":    {`{"tenantId":"evil"}`, 415, "MEDIA_TYPE_UNSUPPORTED", []string{"Content-Type", "text/plain"}},
		"another character set":   {`{"tenantId":"evil"}`, 415, "MEDIA_TYPE_UNSUPPORTED", []string{"Content-Type", "application/json; charset=latin1"}},
		"compressed":              {`{"tenantId":"evil"}`, 415, "MEDIA_TYPE_UNSUPPORTED", []string{"Content-Encoding", "gzip"}},
		"too large":               {`{"tenantId":"` + strings.Repeat("e", 1<<20) + `"}`, 413, "REQUEST_TOO_LARGE", nil},
		"a slug with capitals":    {`{"tenantId":"Evil"}`, 400, "INVALID_ARGUMENT", nil},
		"a slug like an id":       {`{"tenantId":"tnt_evil"}`, 400, "INVALID_ARGUMENT", nil},
		"U+0000 in a text":        {`{"tenantId":"evil","tenant":{"labels":{"a":"x\u0000"}}}`, 400, "INVALID_ARGUMENT", nil},
		"U+0000 in a free value":  {`{"tenantId":"evil","tenant":{"appMetadata":{"a":["x\u0000"]}}}`, 400, "INVALID_ARGUMENT", nil},
		"U+0000 in a free name":   {`{"tenantId":"evil","tenant":{"appMetadata":{"a":{"x\u0000":1}}}}`, 400, "INVALID_ARGUMENT", nil},
		"metadata above 16 KiB":   {`{"tenantId":"evil","tenant":{"appMetadata":{"a":"` + strings.Repeat("x", 17<<10) + `"}}}`, 400, "INVALID_ARGUMENT", nil},
		"deeply nested metadata":  {`{"tenantId":"evil","tenant":{"appMetadata":` + deep + `}}`, 400, "INVALID_ARGUMENT", nil},
		"a request id of no UUID": {`{"tenantId":"evil","requestId":"1"}`, 400, "INVALID_ARGUMENT", nil},
		"a header of no UUID":     {`{"tenantId":"evil"}`, 400, "INVALID_ARGUMENT", []string{"Idempotency-Key", "one"}},
		"an evil hostname":        {`{"tenantId":"evil","hosts":[{"label":"a.b"}]}`, 400, "", nil},
		"a blueprint of others":   {`{"tenantId":"evil","blueprint":"` + w.other + `/blueprints/standard"}`, 400, "INVALID_ARGUMENT", nil},
	} {
		r := w.http(w.owner, "POST", path, []byte(c.body), c.header...)
		if st := r.status(); r.code != c.code && c.reason != "" || st == nil || reason(st) == "" || c.reason != "" && reason(st) != c.reason {
			t.Errorf("%s: %d %.300s", name, r.code, r.body)
		}
		if r.code == http.StatusOK || r.code >= 500 {
			t.Errorf("%s: %d %.300s", name, r.code, r.body)
		}
	}
	for name, c := range map[string]struct {
		method, path string
		code         int
	}{
		"an absurd page size":       {"GET", "/v1/" + w.org + "/tenants?pageSize=99999999", 400},
		"a page size of no number":  {"GET", "/v1/" + w.org + "/tenants?pageSize=many", 400},
		"a negative page size":      {"GET", "/v1/" + w.org + "/tenants?page_size=-1", 400},
		"skip":                      {"GET", "/v1/" + w.org + "/tenants?skip=10", 400},
		"a parameter twice":         {"GET", "/v1/" + w.org + "/tenants?pageSize=1&pageSize=2", 400},
		"a parameter by both names": {"GET", "/v1/" + w.org + "/tenants?pageSize=1&page_size=2", 400},
		"the parent in the query":   {"GET", "/v1/" + w.org + "/tenants?parent=" + w.other, 400},
		"a query that is no UTF-8":  {"GET", "/v1/" + w.org + "/tenants?filter=%ff", 400},
		"a broken escape":           {"GET", "/v1/" + w.org + "/tenants?filter=%zz", 400},
		"a forged page token":       {"GET", "/v1/" + w.org + "/tenants?pageToken=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 400},
		"a filter by anything":      {"GET", "/v1/" + w.org + "/tenants?filter=owner%3Dx", 400},
		"an order by anything":      {"GET", "/v1/" + w.org + "/tenants?orderBy=issuer", 400},
		"an unknown path":           {"GET", "/v1/" + w.org + "/secrets", 404},
		"an unknown verb":           {"POST", "/v1/" + w.tenant + ":explode", 405},
		"a wrong method":            {"PUT", "/v1/" + w.tenant, 405},
		"outside the API":           {"GET", "/v2/orgs", 404},
		"dots in the path":          {"GET", "/v1/orgs/../orgs", 404},
		"an escaped slash":          {"GET", "/v1/orgs%2F" + w.org[5:], 404},
		"an empty segment":          {"GET", "/v1/orgs//tenants", 404},
	} {
		if r := w.http(w.owner, c.method, c.path, nil); r.code != c.code || reason(r.status()) == "" {
			t.Errorf("%s: %d, not %d: %.300s", name, r.code, c.code, r.body)
		}
	}
	if r := w.http(w.owner, "GET", "/v1/"+w.tenant, []byte(`{}`)); r.code != http.StatusBadRequest {
		t.Errorf("a body of a GET: %d", r.code)
	}
	var l controlv1.ListTenantsResponse
	w.must(w.owner, &controlv1.ListTenantsRequest{Parent: w.org, ShowDeleted: true}, &l)
	if len(l.GetTenants()) != 2 {
		t.Errorf("%d tenants, 2 before", len(l.GetTenants()))
	}
}

// A caller learns of everything that is wrong at once.
func TestAllViolationsAtOnce(t *testing.T) {
	w := newWorld(t)
	err := w.call(w.owner, &controlv1.ProvisionTenantRequest{
		Parent: w.org, TenantId: "No Slug", RequestId: "x", Tenant: &controlv1.Tenant{DisplayName: strings.Repeat("n", 101)},
		ApiKeys: []*controlv1.ApiKeySpec{{Id: "a", Permissions: []string{"everything!"}}},
	}, answerOf(&controlv1.ProvisionTenantRequest{}))
	fields := map[string]bool{}
	for _, d := range status.Convert(err).Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range b.GetFieldViolations() {
				fields[v.GetField()] = true
			}
		}
	}
	for _, f := range []string{"tenant_id", "request_id", "tenant.display_name", "api_keys[0].permissions[0]"} {
		if !fields[f] {
			t.Errorf("%s is missing: %v", f, fields)
		}
	}
}

func TestPageTokenOfAnotherCaller(t *testing.T) {
	w := newWorld(t)
	second := w.mint(w.org, &controlv1.ApiKey{Role: "orgOwner"})
	for range 3 {
		w.newUser()
	}
	for _, path := range []string{"/v1/" + w.org + "/tenants", "/v1/" + w.tenant + "/users", "/v1/" + w.tenant + "/auditEvents", "/v1/" + w.tenant + "/users:search?q=gavin"} {
		join := "?"
		if strings.Contains(path, "?") {
			join = "&"
		}
		var page struct{ NextPageToken string }
		if err := json.Unmarshal(w.http(w.owner, "GET", path+join+"pageSize=1", nil).body, &page); err != nil || page.NextPageToken == "" {
			t.Fatalf("%s: %v, no next page", path, err)
		}
		next := path + join + "pageSize=1&pageToken=" + page.NextPageToken
		if r := w.http(w.owner, "GET", next, nil); r.code != http.StatusOK {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
		if r := w.http(second, "GET", next, nil); r.code != http.StatusBadRequest || reason(r.status()) != "PAGE_TOKEN_INVALID" {
			t.Errorf("%s by another caller: %d %s", path, r.code, r.body)
		}
		if r := w.http(w.owner, "GET", strings.Replace(next, w.tenant, w.neighbour, 1)+"x", nil); r.code != http.StatusBadRequest {
			t.Errorf("%s changed: %d", path, r.code)
		}
	}
	var page struct{ NextPageToken string }
	if err := json.Unmarshal(w.http(w.owner, "GET", "/v1/"+w.tenant+"/users?pageSize=1", nil).body, &page); err != nil {
		t.Fatal(err)
	}
	if r := w.http(w.owner, "GET", "/v1/"+w.neighbour+"/users?pageToken="+page.NextPageToken, nil); r.code != http.StatusBadRequest {
		t.Errorf("token at another tenant: %d", r.code)
	}
	if r := w.http(w.owner, "GET", "/v1/"+w.tenant+"/users?filter=state%3DACTIVE&pageToken="+page.NextPageToken, nil); r.code != http.StatusBadRequest {
		t.Errorf("token with another filter: %d", r.code)
	}
}

// No secret of a call may be in the log: not the key of the caller, not the ones that it was given, not a password.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	w := newWorld(t)
	key := w.newKey().GetSecret()
	w.http(w.owner, "POST", "/v1/"+w.tenant+"/users", []byte(`{"emails":[{"address":"erlich@hooli.example"}],"password":"aviato-aviato-aviato"}`))
	w.http(w.owner+"x", "GET", "/v1/"+w.tenant, nil)
	w.http("", "GET", "/v1/"+w.tenant+"?key="+w.owner, nil)
	text := w.log.String()
	if !strings.Contains(text, "CreateUser") {
		t.Fatal("the log is empty")
	}
	for _, secret := range []string{w.owner, w.platform, key, w.owner[38:60], key[38:60], "aviato"} {
		if strings.Contains(text, secret) {
			t.Errorf("%.12s… is in the log", secret)
		}
	}
}

// What is not the caller's own tenant is refused when the caller says which tenant it means.
func TestTenantHeader(t *testing.T) {
	w := newWorld(t)
	uid := w.tenant[strings.LastIndexByte(w.tenant, '/')+1:]
	other := w.neighbour[strings.LastIndexByte(w.neighbour, '/')+1:]
	for header, code := range map[string]int{uid: 200, "hooli": 200, w.tenant: 200, other: 400, "raviga": 400, "Hooli": 400, "-": 400, "tnt_x": 400} {
		r := w.http(w.owner, "GET", "/v1/"+w.tenant, nil, "X-Tenantry-Tenant", header)
		if r.code != code || code == 400 && reason(r.status()) != "TENANT_MISMATCH" {
			t.Errorf("%q: %d %s", header, r.code, r.body)
		}
		err := w.call(w.owner, &controlv1.GetTenantRequest{Name: w.tenant}, &controlv1.Tenant{}, "x-tenantry-tenant", header)
		if (err == nil) != (code == 200) {
			t.Errorf("gRPC %q: %v", header, err)
		}
	}
	// A key of one tenant may leave its ids out; a key of more may not.
	if r := w.http(w.tenantKey, "GET", "/v1/orgs/-/tenants/-", nil); r.code != http.StatusOK || !strings.Contains(string(r.body), uid) {
		t.Errorf("tenants/-: %d %s", r.code, r.body)
	}
	if r := w.http(w.tenantKey, "GET", "/v1/orgs/-/tenants/-", nil, "X-Tenantry-Tenant", other); r.code != http.StatusBadRequest {
		t.Errorf("tenants/- with the header of another: %d", r.code)
	}
	if r := w.http(w.owner, "GET", "/v1/orgs/-/tenants/-", nil); r.code != http.StatusNotFound {
		t.Errorf("tenants/- of an org's key: %d", r.code)
	}
}

func TestHostnameChecksAreLimitedForEachKey(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.HostnameChecks = 0.5 }) // a burst of 2.5
	path, body := "/v1/"+w.org+"/hostnameClaims:check", []byte(`{"label":"newco"}`)
	var last reply
	for range 4 {
		last = w.http(w.owner, "POST", path, body)
	}
	if last.code != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" || reason(last.status()) != "RATE_LIMITED" {
		t.Errorf("%d %v %s", last.code, last.header, last.body)
	}
	if r := w.http(w.stranger, "POST", "/v1/"+w.other+"/hostnameClaims:check", body); r.code != http.StatusOK {
		t.Errorf("another key: %d", r.code)
	}
}

func TestPlatformKeyReadsNoPersonalData(t *testing.T) {
	w := newWorld(t)
	w.newUser()
	err := w.call(w.platform, &controlv1.ListUsersRequest{Parent: w.tenant}, &controlv1.ListUsersResponse{})
	if reason(status.Convert(err)) != "SUPPORT_ACCESS_REQUIRED" {
		t.Errorf("users: %v", err)
	}
	var l controlv1.ListAuditEventsResponse
	w.must(w.platform, &controlv1.ListAuditEventsRequest{Parent: w.tenant}, &l)
	for _, e := range l.GetAuditEvents() {
		if e.GetChain() != controlv1.AuditEvent_CONTROL {
			t.Errorf("event of a user: %v", e)
		}
	}
}

// The wire forms of errors. Bytes are not compared: the JSON library varies its spaces on purpose.
func TestGoldenErrors(t *testing.T) {
	w := newWorld(t)
	for name, r := range map[string]reply{
		"unauthenticated":   w.http("", "GET", "/v1/"+w.org, nil),
		"not_found":         w.http(w.stranger, "GET", "/v1/orgs/one", nil),
		"permission_denied": w.http(w.nobody, "GET", "/v1/orgs/one", nil),
		"invalid_argument":  w.http(w.owner, "POST", "/v1/orgs/one/tenants:provision", []byte(`{"tenantId":"Bad One","requestId":"x"}`)),
		"hostname_taken":    w.http(w.owner, "POST", "/v1/orgs/one/tenants:provision", []byte(`{"tenantId":"hooli2","blueprint":"orgs/one/blueprints/standard","hosts":[{"label":"hooli"}]}`)),
		"too_large":         w.http(w.owner, "POST", "/v1/orgs", make([]byte, 1<<20+1)),
		"method":            w.http(w.owner, "PUT", "/v1/orgs", nil),
		"etag":              w.http(w.owner, "PATCH", "/v1/orgs/one", []byte(`{"displayName":"x"}`), "If-Match", `"old"`),
	} {
		t.Run(name, func(t *testing.T) {
			var got map[string]any
			if err := json.Unmarshal(r.body, &got); err != nil {
				t.Fatalf("%v: %s", err, r.body)
			}
			details, _ := got["details"].([]any)
			for _, d := range details {
				if m, ok := d.(map[string]any); ok && m["requestId"] != nil {
					if id, _ := m["requestId"].(string); !strings.HasPrefix(id, "req_") || r.header.Get("X-Request-Id") != id {
						t.Errorf("request id %q, header %q", id, r.header.Get("X-Request-Id"))
					}
					m["requestId"] = "req_…"
				}
			}
			got["http"] = float64(r.code)
			file := filepath.Join("testdata", name+".json")
			if *rewrite {
				b, err := json.MarshalIndent(got, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, append(b, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// gRPC callers can send what JSON cannot.
func TestBadMessages(t *testing.T) {
	w := newWorld(t)
	nan, err := structpb.NewStruct(map[string]any{"a": "b"})
	w.ok(err)
	nan.Fields["a"] = structpb.NewNumberValue(nanValue())
	for name, c := range map[string]struct {
		req  *controlv1.UpdateTenantRequest
		want codes.Code
	}{
		"no resource":       {&controlv1.UpdateTenantRequest{}, codes.InvalidArgument},
		"no name":           {&controlv1.UpdateTenantRequest{Tenant: &controlv1.Tenant{}}, codes.InvalidArgument},
		"a name of no kind": {&controlv1.UpdateTenantRequest{Tenant: &controlv1.Tenant{Name: "tenants/x"}}, codes.InvalidArgument},
		"the platform":      {&controlv1.UpdateTenantRequest{Tenant: &controlv1.Tenant{Name: "platform/tenants/x"}}, codes.NotFound},
		"a number of no kind": {
			&controlv1.UpdateTenantRequest{Tenant: &controlv1.Tenant{Name: w.tenant, AppMetadata: nan}}, codes.InvalidArgument,
		},
	} {
		if err := w.call(w.owner, c.req, &controlv1.Tenant{}); status.Code(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
