// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// rig is the handler over a control database with tenants of two orgs.
type rig struct {
	t       *testing.T
	handler *Handler
	control *provision.Service
	owner   map[string]tenancy.Principal // by org slug
	orgs    map[string]tenancy.Org
	tenants map[string]tenancy.Tenant

	source string // address of the caller; empty for httptest's

	mu  sync.Mutex
	now time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	db := dbtest.New(t, "control", store.Migrate)
	st, err := store.Open(t.Context(), store.Config{URL: db.URL("tenantry_control"), MaxConns: 8})
	must(t, err)
	t.Cleanup(st.Close)
	key, err := secret.GeneratePrivateKey("local", secret.PurposeSigning, time.Now())
	must(t, err)
	page := sha256.Sum256([]byte("page"))
	r := &rig{t: t, owner: map[string]tenancy.Principal{}, orgs: map[string]tenancy.Org{}, tenants: map[string]tenancy.Tenant{}, now: time.Now()}
	r.control, err = provision.New(provision.Config{
		Store: st, Recipients: []secret.PublicKey{key.Public()}, PublicURL: "https://{host}", APIDomain: "api.example", PageKey: page[:], Development: true, Now: r.clock,
		Sector: func(_ context.Context, uri string) ([]string, error) {
			if uri != "https://sector.example/uris" {
				return nil, fmt.Errorf("%s is not to be reached", uri)
			}
			return []string{"https://app.example/cb", "https://other.example/cb"}, nil
		},
	})
	must(t, err)
	r.handler, err = New(Config{Control: r.control, Logger: slog.New(slog.DiscardHandler), Now: r.clock})
	must(t, err)
	platform := tenancy.Principal{
		Key: id.NewAPIKey(), Mint: &tenancy.MintGrant{MayMintManagers: true},
		Rights: tenancy.Rights{Scope: tenancy.ScopePlatform, Permissions: tenancy.NewPermissionSet("*")},
	}
	for _, slug := range []string{"piedpiper", "hooligan"} {
		org, err := r.control.CreateOrg(t.Context(), platform, provision.OrgInput{Slug: slug, Org: tenancy.Org{BaseDomain: slug + ".example"}})
		must(t, err)
		owner := tenancy.Principal{
			Key: id.NewAPIKey(), OrgSlug: slug, Mint: &tenancy.MintGrant{MayMintManagers: true},
			Rights: tenancy.Rights{Scope: tenancy.ScopeOrg, Org: org.ID, Permissions: tenancy.NewPermissionSet("*")},
		}
		r.owner[slug], r.orgs[slug] = owner, org
		_, err = r.control.CreateBlueprint(t.Context(), owner, org.ID, provision.BlueprintInput{Slug: "standard", Blueprint: blueprint.Blueprint{Draft: blueprint.Spec{}}})
		must(t, err)
		_, err = r.control.PublishBlueprint(t.Context(), owner, org.ID, "standard", "first", provision.Call{})
		must(t, err)
	}
	return r
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tenant provisions a tenant with a registration policy; its host is <slug>.<org>.example.
func (r *rig) tenant(org, slug, mode string) string {
	r.t.Helper()
	res, err := r.control.ProvisionTenant(r.t.Context(), r.owner[org], r.orgs[org].ID, provision.ProvisionInput{
		TenantID: slug, Blueprint: "standard", Owner: &provision.OwnerSpec{Email: "gavin@" + slug + ".example"}, WaitFor: provision.DepthCommitted,
		Overrides: &tenancy.Policy{Policy: &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{DynamicRegistration: proto.String(mode)}}},
	})
	must(r.t, err)
	r.tenants[slug] = res.Tenant
	return slug + "." + org + ".example"
}

// initial mints an initial access token of a tenant.
func (r *rig) initial(org, slug string, labels map[string]string) string {
	r.t.Helper()
	k, err := r.control.MintAPIKey(r.t.Context(), r.owner[org], r.orgs[org].ID, r.tenants[slug].ID, provision.MintInput{Key: tenancy.APIKey{
		Permissions: []string{tenancy.PermissionRegister}, Labels: labels,
	}})
	must(r.t, err)
	return k.Text
}

// answer is what a request got.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (r *rig) do(method, host, path, token string, body any) *answer {
	r.t.Helper()
	text, ok := body.(string)
	if !ok && body != nil {
		raw, err := json.Marshal(body)
		must(r.t, err)
		text = string(raw)
	}
	req := httptest.NewRequestWithContext(r.t.Context(), method, "http://"+host+path, strings.NewReader(text))
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if r.source != "" {
		req.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(r.source), 4711).String()
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	a := &answer{t: r.t, status: w.Code, header: w.Header(), raw: w.Body.String()}
	if a.header.Get("Content-Type") == "application/json" {
		must(r.t, json.Unmarshal(w.Body.Bytes(), &a.body))
	}
	return a
}

func (a *answer) want(status int, code string) *answer {
	a.t.Helper()
	if got, _ := a.body["error"].(string); a.status != status || got != code {
		a.t.Fatalf("%d %s, want %d %s", a.status, a.raw, status, code)
	}
	return a
}

func (a *answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

type object = map[string]any

var web = object{"redirect_uris": []string{"https://app.example/cb"}, "client_name": "App"}

func with(base object, pairs ...any) object {
	o := object{}
	for k, v := range base {
		o[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		o[pairs[i].(string)] = pairs[i+1]
	}
	return o
}

func TestLifeOfARegisteredClient(t *testing.T) {
	r := newRig(t)
	host := r.tenant("piedpiper", "hooli", snapshot.RegistrationOpen)
	made := r.do("POST", host, Path, "", with(web, "contacts", []string{"a@app.example"}, "software_id", "x", "unknown_member", 1, "initiate_login_uri", "https://app.example/start")).want(201, "")
	for name, want := range map[string]string{
		"token_endpoint_auth_method": "client_secret_basic", "application_type": "web", "id_token_signed_response_alg": "RS256", "subject_type": "public",
		"client_name": "App", "software_id": "x", "initiate_login_uri": "https://app.example/start",
	} {
		if made.text(name) != want {
			t.Errorf("%s is %v, want %s", name, made.body[name], want)
		}
	}
	client := made.text("client_id")
	if got := fmt.Sprint(made.body["grant_types"], made.body["response_types"], made.body["contacts"], made.body["client_secret_expires_at"]); got != "[authorization_code] [code] [a@app.example] 0" {
		t.Error(got)
	}
	if uri := made.text("registration_client_uri"); uri != "https://"+host+Path+"/"+client {
		t.Error(uri)
	}
	if made.text("client_secret") == "" || made.body["unknown_member"] != nil || made.header.Get("Cache-Control") != "no-store" {
		t.Error(made.raw)
	}
	token := made.text("registration_access_token")

	read := r.do("GET", host, Path+"/"+client, token, nil).want(200, "")
	if read.text("registration_access_token") != token || read.text("initiate_login_uri") != "https://app.example/start" || read.body["client_secret"] != nil {
		t.Error(read.raw)
	}
	// What is left out goes back to its default.
	put := r.do("PUT", host, Path+"/"+client, token, with(web, "client_id", client, "client_secret", made.text("client_secret"), "client_name", "New")).want(200, "")
	if put.text("client_name") != "New" || put.body["initiate_login_uri"] != nil || put.body["contacts"] != nil || put.body["client_secret"] != nil {
		t.Error(put.raw)
	}
	r.do("PUT", host, Path+"/"+client, token, web).want(400, "invalid_client_metadata")
	r.do("PUT", host, Path+"/"+client, token, with(web, "client_id", client, "client_secret", "wrong")).want(400, "invalid_client_metadata")
	r.do("PUT", host, Path+"/"+client, token, with(web, "client_id", client, "token_endpoint_auth_method", "none")).want(400, "invalid_client_metadata")

	// It is a client like the others, but nobody's own.
	cid, err := id.ParseClient(client)
	must(t, err)
	c, err := r.control.GetClient(t.Context(), r.owner["piedpiper"], r.orgs["piedpiper"].ID, r.tenants["hooli"].ID, cid.String())
	must(t, err)
	if c.FirstParty || len(c.Audiences) > 0 || strings.Contains(strings.Join(c.Scopes, " "), "roles") {
		t.Errorf("%+v", c.ClientSettings)
	}
	if del := r.do("DELETE", host, Path+"/"+client, token, nil); del.status != 204 || del.raw != "" {
		t.Error(del.raw)
	}
	gone := r.do("GET", host, Path+"/"+client, token, nil).want(401, "invalid_token")
	if !strings.HasPrefix(gone.header.Get("WWW-Authenticate"), "Bearer") {
		t.Error(gone.header)
	}
	events, err := r.control.ListAuditEvents(t.Context(), r.owner["piedpiper"], r.orgs["piedpiper"].ID, r.tenants["hooli"].ID, tenancy.Page{Size: 100})
	must(t, err)
	seen := map[string]int{}
	for _, e := range events.Items {
		if strings.HasSuffix(e.Resource, client) {
			seen[e.Action]++
		}
	}
	if seen["client.created"] != 1 || seen["client.updated"] != 1 || seen["client.deleted"] != 1 {
		t.Errorf("audit events %v", seen)
	}
}

func TestPolicyDecidesWhoMayRegister(t *testing.T) {
	r := newRig(t)
	off, initial := r.tenant("piedpiper", "off", snapshot.RegistrationOff), r.tenant("piedpiper", "initial", snapshot.RegistrationInitialToken)
	open := r.tenant("piedpiper", "open", snapshot.RegistrationOpen)
	for _, path := range []string{Path, Path + "/cli_x"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"} {
			r.do(method, off, path, "", web).want(404, "not_found")
		}
	}
	unknown := r.do("POST", "nobody.piedpiper.example", Path, "", web)
	if unknown.status != 404 || unknown.raw != unknownHostPage || unknown.header.Get("X-Request-Id") != "" {
		t.Error(unknown.status, unknown.raw)
	}
	if base := r.do("POST", "piedpiper.example", Path, "", web); base.raw != unknownHostPage {
		t.Error(base.raw)
	}
	r.do("POST", initial, Path, "", web).want(401, "invalid_token")
	once := r.initial("piedpiper", "initial", nil)
	r.do("POST", initial, Path, once, with(web, "redirect_uris", []string{"http://app.example/cb"})).want(400, "invalid_redirect_uri") // and costs no use
	r.do("POST", initial, Path, once, web).want(201, "")
	r.do("POST", initial, Path, once, web).want(401, "invalid_token")
	thrice := r.initial("piedpiper", "initial", map[string]string{tenancy.LabelRegistrations: "3"})
	var (
		wg sync.WaitGroup
		mu sync.Mutex
		n  int
	)
	for range 8 {
		wg.Go(func() {
			if r.do("POST", initial, Path, thrice, web).status == 201 {
				mu.Lock()
				defer mu.Unlock()
				n++
			}
		})
	}
	if wg.Wait(); n != 3 {
		t.Errorf("%d registrations with a token for three", n)
	}
	// A token of another tenant of the org, of another org, of another kind.
	r.do("POST", open, Path, thrice, web).want(401, "invalid_token")
	r.tenant("hooligan", "theirs", snapshot.RegistrationInitialToken)
	r.do("POST", initial, Path, r.initial("hooligan", "theirs", nil), web).want(401, "invalid_token")
	reader, err := r.control.MintAPIKey(t.Context(), r.owner["piedpiper"], r.orgs["piedpiper"].ID, r.tenants["initial"].ID, provision.MintInput{Key: tenancy.APIKey{Permissions: []string{"users.get"}}})
	must(t, err)
	r.do("POST", initial, Path, reader.Text, web).want(401, "invalid_token")
	r.do("POST", initial, Path, "tnk_junk", web).want(401, "invalid_token")
	// An initial access token is good for nothing else.
	who, err := r.control.Authenticate(t.Context(), thrice)
	must(t, err)
	if _, err := r.control.Authorize(t.Context(), who, "clients.list", provision.Scope{Org: "piedpiper", Tenant: "initial"}); err == nil {
		t.Error("an initial access token lists clients")
	}
	machine := object{"grant_types": []string{"client_credentials"}}
	r.do("POST", open, Path, "", machine).want(400, "invalid_client_metadata")
}

func TestMetadataThatIsRefused(t *testing.T) {
	r := newRig(t)
	host := r.tenant("piedpiper", "hooli", snapshot.RegistrationOpen)
	for name, c := range map[string]struct {
		body any
		code string
	}{
		"no redirect URI":                     {object{}, "invalid_redirect_uri"},
		"a fragment":                          {object{"redirect_uris": []string{"https://app.example/cb#x"}}, "invalid_redirect_uri"},
		"javascript":                          {object{"redirect_uris": []string{"javascript:alert(1)"}}, "invalid_redirect_uri"},
		"redirect_uris of another type":       {object{"redirect_uris": "https://app.example/cb"}, "invalid_redirect_uri"},
		"no JSON":                             {"redirect_uris=x", "invalid_client_metadata"},
		"two documents":                       {`{"redirect_uris":["https://app.example/cb"]}{}`, "invalid_client_metadata"},
		"a member twice":                      {`{"redirect_uris":["https://app.example/cb"],"client_name":"a","client_name":"b"}`, "invalid_client_metadata"},
		"a login address without TLS":         {with(web, "initiate_login_uri", "http://app.example/start"), "invalid_client_metadata"},
		"a logo that runs":                    {with(web, "logo_uri", "javascript:alert(1)"), "invalid_client_metadata"},
		"jwks and jwks_uri":                   {with(web, "jwks", object{"keys": []any{}}, "jwks_uri", "https://app.example/jwks"), "invalid_client_metadata"},
		"private_key_jwt without keys":        {with(web, "token_endpoint_auth_method", "private_key_jwt"), "invalid_client_metadata"},
		"alg none":                            {with(web, "id_token_signed_response_alg", "none"), "invalid_client_metadata"},
		"response types without their grant":  {with(web, "response_types", []string{"id_token"}, "grant_types", []string{"authorization_code"}), "invalid_client_metadata"},
		"response types without the policy":   {with(web, "response_types", []string{"code id_token"}, "grant_types", []string{"authorization_code", "implicit"}), "invalid_client_metadata"},
		"a sector that does not list it":      {with(web, "subject_type", "pairwise", "sector_identifier_uri", "https://sector.example/uris", "redirect_uris", []string{"https://evil.example/cb"}), "invalid_redirect_uri"},
		"a sector that cannot be reached":     {with(web, "subject_type", "pairwise", "sector_identifier_uri", "https://169.254.169.254/latest"), "invalid_client_metadata"},
		"a scope of the platform":             {with(web, "scope", "tenants.provision admin"), "invalid_client_metadata"},
		"impersonation by token exchange":     {with(web, "grant_types", []string{"authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"}), "invalid_client_metadata"},
		"an algorithm that we have no key of": {with(web, "userinfo_signed_response_alg", "PS512"), "invalid_client_metadata"},
		"encrypted request objects":           {with(web, "request_object_encryption_alg", "RSA-OAEP"), "invalid_client_metadata"},
		"a name with a line break":            {with(web, "client_name", "App\nEvil"), "invalid_client_metadata"},
		"a statement of nobody":               {with(web, "software_statement", "a.b.c"), "unapproved_software_statement"},
	} {
		a := r.do("POST", host, Path, "", c.body)
		if a.status != 400 || a.text("error") != c.code || a.text("error_description") == "" {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.raw, c.code)
		}
		r.pass(10 * time.Second)
	}
	pairwise := with(web, "subject_type", "pairwise", "sector_identifier_uri", "https://sector.example/uris")
	r.do("POST", host, Path, "", pairwise).want(201, "")
	scoped := r.do("POST", host, Path, "", with(web, "scope", "openid tenants.provision email")).want(201, "")
	if scoped.text("scope") != "openid email" {
		t.Error(scoped.text("scope"))
	}
}

// A client is changed by its own token alone, whoever's other token is sent and whosever name is in the path or body.
func TestClientTakeover(t *testing.T) {
	r := newRig(t)
	host, sibling := r.tenant("piedpiper", "hooli", snapshot.RegistrationOpen), r.tenant("piedpiper", "raviga", snapshot.RegistrationOpen)
	foreign := r.tenant("hooligan", "theirs", snapshot.RegistrationOpen)
	victim := r.do("POST", host, Path, "", web).want(201, "")
	evil := with(web, "client_id", victim.text("client_id"), "redirect_uris", []string{"https://evil.example/cb"})
	path, token := Path+"/"+victim.text("client_id"), victim.text("registration_access_token")
	admin := r.do("POST", host, Path, "", web).want(201, "").text("registration_access_token")
	named, err := id.ParseClient(victim.text("client_id"))
	must(t, err)
	forged, _ := secret.NewToken(secret.RegistrationToken, named)
	same := map[string]bool{}
	for name, a := range map[string]struct{ host, token string }{
		"a token that was made up": {host, forged}, "another client of the tenant": {host, admin}, "a client of a sibling": {host, r.do("POST", sibling, Path, "", web).text("registration_access_token")},
		"a client of another org": {host, r.do("POST", foreign, Path, "", web).text("registration_access_token")}, "no token": {host, ""}, "its secret": {host, victim.text("client_secret")},
		"its token at a sibling": {sibling, token}, "its token at another org": {foreign, token}, "an initial access token": {host, r.initial("piedpiper", "hooli", nil)},
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			got := r.do(method, a.host, path, a.token, evil)
			if got.status != 401 {
				t.Errorf("%s by %s: %d %s", method, name, got.status, got.raw)
			}
			same[got.raw] = true
			if a.host == host {
				continue
			}
		}
		r.pass(time.Minute)
	}
	if len(same) != 1 {
		t.Errorf("refusals differ: %v", same)
	}
	r.do("PUT", host, Path+"/"+id.NewClient().String(), token, evil).want(401, "invalid_token")
	if kept := r.do("GET", host, path, token, nil).want(200, ""); !strings.Contains(kept.raw, "https://app.example/cb") || strings.Contains(kept.raw, "evil") {
		t.Error(kept.raw)
	}
}

func TestRegistrationFlooding(t *testing.T) {
	r := newRig(t)
	host := r.tenant("piedpiper", "hooli", snapshot.RegistrationOpen)
	made := 0
	for range newBurst + 5 {
		a := r.do("POST", host, Path, "", web)
		if a.status == 201 {
			made++
			continue
		}
		if a.status != 429 || a.header.Get("Retry-After") == "" {
			t.Fatal(a.status, a.raw)
		}
	}
	if made != newBurst {
		t.Errorf("%d registrations at once, want %d", made, newBurst)
	}
	r.pass(2 * time.Second)
	r.do("POST", host, Path, "", web).want(201, "")
	big := with(web, "client_name", strings.Repeat("x", 70<<10))
	r.do("POST", host, Path, "", big).want(400, "invalid_client_metadata")
}

// All that a tenant has is in one record of 64 KiB. Strangers who register large clients must leave room for the tenant's admins.
func TestStrangersCannotFillTheTenantsRecord(t *testing.T) {
	r := newRig(t)
	host := r.tenant("piedpiper", "hooli", snapshot.RegistrationOpen)
	var uris []string
	for i := range 10 {
		uris = append(uris, fmt.Sprintf("https://app.example/%d/%s", i, strings.Repeat("x", 900)))
	}
	large := with(web, "redirect_uris", uris)
	small := r.do("POST", host, Path, "", web).want(201, "")
	made := 0
	for ; made < 20; made++ {
		r.source = fmt.Sprintf("198.51.%d.1", made) // from many networks
		if a := r.do("POST", host, Path, "", large); a.status != 201 {
			break
		}
		r.pass(5 * time.Second)
	}
	if made < 2 || made > 6 {
		t.Fatalf("%d clients of 9 KiB registered themselves", made)
	}
	r.source = ""
	// By growing it is no different.
	grown := with(large, "client_id", small.text("client_id"))
	if a := r.do("PUT", host, Path+"/"+small.text("client_id"), small.text("registration_access_token"), grown); a.status == 200 {
		t.Error("a client made itself large beyond the share of strangers")
	}
	// The admins still can.
	_, err := r.control.CreateClient(t.Context(), r.owner["piedpiper"], r.orgs["piedpiper"].ID, r.tenants["hooli"].ID, provision.ClientInput{
		Client: tenancy.Client{ClientSettings: tenancy.ClientSettings{
			DisplayName: "Ours", Type: tenancy.ClientConfidential, Kind: tenancy.KindWeb, GrantTypes: []string{"authorization_code"}, RedirectURIs: uris,
		}},
	})
	if err != nil {
		t.Errorf("the tenant's admins cannot register a client any more: %v", err)
	}
}

// One stranger, from any address of one network, cannot take the room of all others within a day: not by number, not by size, not by
// growing what is there, and not by a process that forgets.
func TestAttackOneNetworkTakesTheRoomOfAll(t *testing.T) {
	r := newRig(t)
	host := r.tenant("piedpiper", "hooli", snapshot.RegistrationOpen)
	var uris []string
	for i := range 8 {
		uris = append(uris, fmt.Sprintf("https://app.example/%d/%s", i, strings.Repeat("x", 900)))
	}
	large := with(web, "redirect_uris", uris)
	r.source = "203.0.113.1"
	first := r.do("POST", host, Path, "", web).want(201, "")
	r.do("POST", host, Path, "", large).want(201, "")
	r.source = "203.0.113.200"
	r.do("POST", host, Path, "", large).want(403, "access_denied")
	grown := with(large, "client_id", first.text("client_id"))
	r.do("PUT", host, Path+"/"+first.text("client_id"), first.text("registration_access_token"), grown).want(403, "access_denied")
	// Others still can, and so does a client that somebody has vouched for.
	r.source = "192.0.2.1"
	r.do("POST", host, Path, "", large).want(201, "")
	r.source = "203.0.113.1"
	r.do("POST", host, Path, r.initial("piedpiper", "hooli", nil), large).want(201, "")

	small := r.tenant("piedpiper", "raviga", snapshot.RegistrationOpen)
	made := 0
	for i := range 80 {
		r.source = fmt.Sprintf("2001:db8:1:%x::1", i)
		if i%10 == 0 { // a replica that has just started
			fresh, err := New(r.handler.cfg)
			must(t, err)
			r.handler = fresh
		}
		a := r.do("POST", small, Path, "", web)
		if a.status != 201 {
			a.want(403, "access_denied")
			continue
		}
		made++
	}
	if made == 0 || made > tenancy.MaxRegistered/10 {
		t.Errorf("one network registered %d clients in a day", made)
	}
	r.source = "2001:db8:2::1"
	r.do("POST", small, Path, "", web).want(201, "")
	r.pass(25 * time.Hour)
	r.source = "2001:db8:1::1"
	r.do("POST", small, Path, "", web).want(201, "")
}

// A client that nobody has vouched for may not come to people by itself, nor ask them for what an application's API does.
func TestAttackStrangersGrants(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]oauth2.ClientMetadata{
		"backchannel requests":  {GrantTypes: []string{oauth2.GrantTypeCIBA}},
		"authorization_details": {GrantTypes: []string{oauth2.GrantTypeAuthorizationCode}, DetailsTypes: []string{"payment"}},
		"grants without people": {GrantTypes: []string{oauth2.GrantTypeClientCredentials}},
	} {
		if _, err := settings(&m, false); oauth2.CodeOf(err) != oauth2.CodeInvalidClientMetadata {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := settings(&m, true); err != nil {
			t.Errorf("%s, vouched for: %v", name, err)
		}
	}
}

func TestSoftwareStatements(t *testing.T) {
	r := newRig(t)
	host := r.tenant("piedpiper", "hooli", snapshot.RegistrationOpen)
	trusted, stranger := signer(t), signer(t)
	set, err := jose.ParseForeignSet(trusted.set)
	must(t, err)
	r.handler.cfg.Statements = []StatementIssuer{{Issuer: "https://registry.example", Keys: set}}
	claims := object{"iss": "https://registry.example", "client_name": "Vouched", "software_id": "sw", "redirect_uris": []string{"https://vouched.example/cb"}}
	good := trusted.sign(t, claims)
	a := r.do("POST", host, Path, "", with(web, "software_statement", good)).want(201, "")
	if a.text("client_name") != "Vouched" || a.text("software_id") != "sw" || fmt.Sprint(a.body["redirect_uris"]) != "[https://vouched.example/cb]" || a.text("software_statement") != good {
		t.Error(a.raw)
	}
	for name, statement := range map[string]string{
		"a stranger's key": stranger.sign(t, claims), "another issuer's name": trusted.sign(t, with(claims, "iss", "https://evil.example")),
		"expired":       trusted.sign(t, with(claims, "exp", r.clock().Add(-time.Hour).Unix())),
		"not yet valid": trusted.sign(t, with(claims, "nbf", r.clock().Add(time.Hour).Unix())),
		"alg none":      "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".", "cut off": good[:len(good)-4], "no metadata": trusted.sign(t, with(claims, "redirect_uris", 1)),
	} {
		if a := r.do("POST", host, Path, "", with(web, "software_statement", statement)); a.status != 400 || a.text("error") != "invalid_software_statement" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
}

// registry is somebody who signs software statements.
type registry struct {
	signer *jose.Signer
	set    []byte
}

func signer(t *testing.T) registry {
	t.Helper()
	key, err := jose.GenerateKey(jose.ES256)
	must(t, err)
	s := jose.NewSigner(key, "registry")
	return registry{signer: s, set: append(append([]byte(`{"keys":[`), s.Public().JWK()...), `]}`...)}
}

func (s registry) sign(t *testing.T, claims object) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	must(t, err)
	token, err := s.signer.Sign("JWT", payload)
	must(t, err)
	return token
}

// FuzzSoftwareStatement: whatever is sent, a statement is believed only with the trusted signature, which no input here has.
func FuzzSoftwareStatement(f *testing.F) {
	key, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		f.Fatal(err)
	}
	s := jose.NewSigner(key, "registry")
	set, err := jose.ParseForeignSet(append(append([]byte(`{"keys":[`), s.Public().JWK()...), `]}`...))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJFUzI1NiIsImtpZCI6InJlZ2lzdHJ5In0.eyJpc3MiOiJodHRwczovL3JlZ2lzdHJ5LmV4YW1wbGUifQ.AAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if m, err := statementOf(token, []StatementIssuer{{Issuer: "https://registry.example", Keys: set}}, time.Unix(1_800_000_000, 0)); err == nil {
			t.Fatalf("believed %q: %+v", token, m)
		}
	})
}
