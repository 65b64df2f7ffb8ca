// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

func TestCompileGivesWhatRequestsNeed(t *testing.T) {
	org := testOrg()
	doc := testTenant(t, id.Org(org.GetOrgId()), "hooli")
	doc.Overrides = tokenPolicy(7 * time.Minute)
	doc.Clients[1].Overrides = tokenPolicy(2 * time.Minute)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	doc.Clients[1].Secrets[0].ExpireTime = timestamppb.New(expires)
	tenant, err := Compile(doc, nil, org)
	if err != nil {
		t.Fatal(err)
	}
	if tenant.Policy.AccessTTL != 7*time.Minute || tenant.DefaultAudience != "https://piedpiper.api.example" || tenant.OrgName != "Pied Piper" ||
		tenant.Title() != "Tenant hooli" || len(tenant.Roles) != 1 || tenant.Roles[0].Name != "member" || tenant.Entitlements[0] != "plan:basic" ||
		tenant.MaxConfigAge != DefaultMaxConfigAge || tenant.Theme.Light.Canvas.String() != "#336699" || tenant.Development {
		t.Errorf("%+v", tenant)
	}
	for n, want := range []time.Duration{7 * time.Minute, 2 * time.Minute} {
		c, ok := tenant.Client(id.Client(doc.GetClients()[n].GetClientId()).String())
		if !ok || c.AccessTTL != want || c.RefreshTTL != 30*day || !c.Enabled || c.IDTokenAlg != "ES256" || c.AccessAlg != "ES256" {
			t.Errorf("client %d: %+v", n, c)
		}
		if n == 1 && !c.Secrets[0].ExpireTime.Equal(expires) {
			t.Errorf("secret expires %s", c.Secrets[0].ExpireTime)
		}
	}
	var meta map[string]any
	if err := json.Unmarshal(tenant.Metadata(), &meta); err != nil || meta["issuer"] != "https://hooli.example.com" || fmt.Sprint(meta["id_token_signing_alg_values_supported"]) != "[ES256]" {
		t.Errorf("metadata %s: %v", tenant.Metadata(), err)
	}
	if keys, err := jose.ParseSet(tenant.JWKS()); err != nil || len(keys) != 1 || keys[0].KeyID() != testKeys().keyID.String() {
		t.Errorf("JWKS %s: %v", tenant.JWKS(), err)
	}
	signer, err := tenant.Keys.Signer("ES256", secret.NewOpener(testRegion, testKeys().recipient))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign("at+jwt", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := tenant.Keys.Set().Verify(token, jose.VerifyOptions{Typ: []string{"at+jwt"}, Algorithms: []jose.Algorithm{jose.ES256}, MaxBytes: 4096}); err != nil {
		t.Errorf("the tenant's own token: %v", err)
	}
	clientID := id.Client(doc.GetClients()[0].GetClientId()).String()
	for name, f := range map[string]func(){
		"metadata": func() { tenant.Metadata() }, "JWKS": func() { tenant.JWKS() },
		"signer": func() { tenant.Keys.Signer("ES256", nil) }, // opened above
		"client": func() { tenant.Client(clientID) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times when it is there", name, n)
		}
	}
}

// A key sealed for another tenant does not open, nor one whose public half is not its own.
func TestSigningKeyOfAnotherTenantDoesNotOpen(t *testing.T) {
	org := testOrg()
	a, b := testTenant(t, id.Org(org.GetOrgId()), "a"), testTenant(t, id.Org(org.GetOrgId()), "b")
	b.SigningKeys = a.SigningKeys
	tenant, err := Compile(b, nil, org)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.Keys.Signer("ES256", secret.NewOpener(testRegion, testKeys().recipient)); !errors.Is(err, secret.ErrSealBroken) {
		t.Errorf("another tenant's key: %v", err)
	}
	if _, err := tenant.Keys.Signer("ES256", secret.NewOpener(testRegion)); !errors.Is(err, secret.ErrNoWrap) {
		t.Errorf("without a region key: %v", err)
	}
	other, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	a.SigningKeys[0].PublicJwk = other.Public(testKeys().keyID.String()).JWK()
	if tenant, err = Compile(a, nil, org); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.Keys.Signer("ES256", secret.NewOpener(testRegion, testKeys().recipient)); err == nil {
		t.Error("a key signs that is not the published one")
	}
}

// a document that no request could be served from is refused before it commits, with the field's name.
func TestPoisonIsRefused(t *testing.T) {
	type D = *snapshotv1.TenantSnapshot
	many := func(n int, f func(i int) string) (out []string) {
		for i := range n {
			out = append(out, f(i))
		}
		return out
	}
	uri := func(i int) string { return fmt.Sprintf("https://x.example/%d", i) }
	for _, c := range []struct {
		field  string
		poison func(D)
	}{
		{"tenant_id", func(d D) { d.TenantId = nil }},
		{"tenant_id", func(d D) { d.TenantId = make([]byte, 16) }},
		{"tenant_id", func(d D) { d.TenantId = append(d.TenantId, 1) }},
		{"org_id", func(d D) { d.OrgId = make([]byte, 16) }},
		{"org_id", func(d D) { o := id.NewOrg(); d.OrgId = o[:] }},
		{"user_pool_id", func(d D) { d.UserPoolId = []byte("x") }},
		{"blueprint_id", func(d D) { d.BlueprintId = []byte("x") }},
		{"ring", func(d D) { d.Ring = 256 }},
		{"config_version", func(d D) { d.ConfigVersion = 0 }},
		{"config_version", func(d D) { d.ConfigVersion = 1 << 53 }},
		{"state", func(d D) { d.State = 0 }},
		{"state", func(d D) { d.State = 77 }},
		{"type", func(d D) { d.Type = 0 }},
		{"type", func(d D) { d.Type = 9 }},
		{"region", func(d D) { d.Region = "" }},
		{"region", func(d D) { d.Region = "EU west" }},
		{"slug", func(d D) { d.Slug = "" }},
		{"slug", func(d D) { d.Slug = "a.b" }},
		{"slug", func(d D) { d.Slug = "-a" }},
		{"slug", func(d D) { d.Slug = strings.Repeat("a", 64) }},
		{"display_name", func(d D) { d.DisplayName = "" }},
		{"display_name", func(d D) { d.DisplayName = strings.Repeat("a", maxName+1) }},
		{"display_name", func(d D) { d.DisplayName = "a\x00b" }},
		{"max_config_age", func(d D) { d.MaxConfigAge = durationpb.New(time.Second) }},
		{"max_config_age", func(d D) { d.MaxConfigAge = &durationpb.Duration{Nanos: -1, Seconds: 1} }},
		{"hosts", func(d D) { d.Hosts = []string{"UPPER.example.com"} }},
		{"hosts", func(d D) { d.Hosts = []string{"hooli.example.com", "hooli.example.com"} }},
		{"hosts", func(d D) { d.Hosts = []string{"127.0.0.1"} }},
		{"hosts", func(d D) { d.Hosts = []string{"hooli.example.com", ""} }},
		{"hosts", func(d D) { d.Hosts = many(MaxHosts+1, func(i int) string { return fmt.Sprintf("h%d.example.com", i) }) }},
		{"issuer", func(d D) { d.Issuer = "" }},
		{"issuer", func(d D) { d.Issuer = "https://evil.example" }},
		{"issuer", func(d D) { d.Issuer = "http://hooli.example.com" }},
		{"issuer", func(d D) { d.Issuer = "https://hooli.example.com/" }},
		{"issuer", func(d D) { d.Issuer = "https://hooli.example.com?x" }},
		{"issuer", func(d D) { d.Issuer = "https://u@hooli.example.com" }},
		{"issuer", func(d D) { d.Issuer = "javascript:alert(1)" }},
		{"overrides.token.access_ttl", func(d D) { d.Overrides = tokenPolicy(-1) }},
		{"overrides.token.access_ttl", func(d D) {
			d.Overrides = &snapshotv1.Policy{Token: &snapshotv1.TokenPolicy{AccessTtl: &durationpb.Duration{Nanos: -5, Seconds: 9}}}
		}},
		{"theme", func(d D) { d.Theme = &snapshotv1.Theme{Brand: proto.String("blue")} }},
		{"theme", func(d D) {
			d.Theme = &snapshotv1.Theme{Logo: &snapshotv1.Logo{MediaType: "image/png", Data: make([]byte, maxLogo+1)}}
		}},
		{"roles[0].role_id", func(d D) { d.Roles[0].RoleId = nil }},
		{"roles[0].name", func(d D) { d.Roles[0].Name = "" }},
		{"roles[1]", func(d D) { d.Roles = append(d.Roles, d.Roles[0]) }},
		{"roles[0]", func(d D) { d.Roles = []*snapshotv1.Role{nil} }},
		{"entitlements[0]", func(d D) { d.Entitlements = []string{"a\nb"} }},
		{"entitlements", func(d D) { d.Entitlements = many(maxEntitlements+1, uri) }},
		{"signing_keys", func(d D) { d.SigningKeys = nil }},
		{"signing_keys[0]", func(d D) { d.SigningKeys = []*snapshotv1.SigningKey{nil} }},
		{"signing_keys", func(d D) { d.SigningKeys[0].State = snapshotv1.SigningKeyState_SIGNING_KEY_STATE_RETIRING }},
		{"signing_keys[0].state", func(d D) { d.SigningKeys[0].State = 0 }},
		{"signing_keys[0].public_jwk", func(d D) { d.SigningKeys[0].PublicJwk = []byte("-----BEGIN PUBLIC KEY-----") }},
		{"signing_keys[0].public_jwk", func(d D) { d.SigningKeys[0].PublicJwk = testKeys().private.Public("other").JWK() }},
		{"signing_keys[0].public_jwk", func(d D) { d.SigningKeys[0].Algorithm = "RS256" }},
		{"signing_keys[0]", func(d D) { d.SigningKeys[0].SealedPrivateKey = nil }},
		{"signing_keys[1]", func(d D) { d.SigningKeys = append(d.SigningKeys, d.SigningKeys[0]) }},
		{"clients[0]: client_id", func(d D) { d.Clients[0].ClientId = nil }},
		{"clients[0]", func(d D) { d.Clients[0] = nil }},
		{"clients[1]", func(d D) { d.Clients[1] = d.Clients[0] }},
		{"clients[0]: display_name", func(d D) { d.Clients[0].DisplayName = "" }},
		{"clients[0]: kind", func(d D) { d.Clients[0].Kind = 99 }},
		{"clients[0]", func(d D) { d.Clients[0].TokenEndpointAuthMethod = "tls_client_auth" }},
		{"clients[0]: token_endpoint_auth_method", func(d D) { d.Clients[0].TokenEndpointAuthMethod = "none" }},
		{"clients[0]: token_endpoint_auth_method", func(d D) { d.Clients[0].Public = true }},
		{"clients[0]: secrets", func(d D) { d.Clients[0].Secrets[0].Hash = []byte("short") }},
		{"clients[0]: secrets", func(d D) { d.Clients[0].Secrets = []*snapshotv1.ClientSecret{nil} }},
		{"clients[0]: grant_types", func(d D) { d.Clients[0].GrantTypes = []string{"password"} }},
		{"clients[0]: redirect_uri", func(d D) { d.Clients[0].RedirectUris = []string{"https://x.example/#f"} }},
		{"clients[0]: redirect_uri", func(d D) { d.Clients[0].RedirectUris = []string{"javascript:alert(1)"} }},
		{"clients[0]: redirect_uri", func(d D) { d.Clients[0].RedirectUris = []string{"http://hooli.localhost/cb"} }},
		{"clients[0]: redirect_uri", func(d D) { d.Clients[0].RedirectUris = many(maxURIs+1, uri) }},
		{"tenant", func(d D) { d.Clients[0].RedirectUris = many(100_000, uri) }},
		{"clients[0]: redirect_uri_templates", func(d D) { d.Clients[0].RedirectUriTemplates = []string{"https://{tenant.slug}.x.example/cb"} }},
		{"clients[0]: post_logout_redirect_uri", func(d D) { d.Clients[0].PostLogoutRedirectUris = []string{"x"} }},
		{"clients[0]: cors_origin", func(d D) { d.Clients[0].CorsOrigins = []string{"*"} }},
		{"clients[0]: scopes", func(d D) { d.Clients[0].Scopes = []string{"a b"} }},
		{"clients[0]: audiences", func(d D) { d.Clients[0].Audiences = []string{""} }},
		{"clients[0]: id_token_signed_response_alg", func(d D) { d.Clients[0].IdTokenSignedResponseAlg = "none" }},
		{"clients[0]: logo_uri", func(d D) { d.Clients[0].LogoUri = "data:image/png;base64,AAAA" }},
		{"clients[0]: tos_uri", func(d D) { d.Clients[0].TosUri = "javascript:alert(1)" }},
		{"clients[0]: overrides.token.access_ttl", func(d D) { d.Clients[0].Overrides = tokenPolicy(365 * day) }},
	} {
		org := testOrg()
		doc := testTenant(t, id.Org(org.GetOrgId()), "hooli")
		c.poison(doc)
		_, err := Compile(doc, nil, org)
		if !errors.Is(err, ErrCompile) || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: %v", c.field, err)
		}
	}
	org := testOrg()
	doc := testTenant(t, id.Org(org.GetOrgId()), "hooli")
	doc.MinReader = ReaderLevel + 1
	if _, err := Compile(doc, nil, org); !errors.Is(err, ErrReaderLevel) {
		t.Errorf("min_reader: %v", err)
	}
	for n, poison := range []func(*snapshotv1.OrgSnapshot){
		func(o *snapshotv1.OrgSnapshot) { o.OrgId = nil },
		func(o *snapshotv1.OrgSnapshot) { o.ConfigVersion = 0 },
		func(o *snapshotv1.OrgSnapshot) { o.DisplayName = "" },
		func(o *snapshotv1.OrgSnapshot) { o.DefaultAudience = "" },
		func(o *snapshotv1.OrgSnapshot) { o.MinReader = ReaderLevel + 1 },
		func(o *snapshotv1.OrgSnapshot) { o.Clients = append(o.Clients, o.Clients[0]) },
		func(o *snapshotv1.OrgSnapshot) {
			o.Clients[0].RedirectUriTemplates = []string{"https://x.{tenant.slug}.example/cb"}
		},
		func(o *snapshotv1.OrgSnapshot) {
			o.Clients[0].RedirectUriTemplates = []string{"https://{tenant.slug}/cb"}
		},
		func(o *snapshotv1.OrgSnapshot) {
			o.Clients[0].RedirectUriTemplates = []string{"https://evil-{tenant.slug}.example/cb"}
		},
		func(o *snapshotv1.OrgSnapshot) {
			o.Clients[0].CorsOriginTemplates = []string{"https://{tenant.slug}.x.example/path"}
		},
	} {
		o := testOrg()
		poison(o)
		if err := CompileOrg(o); err == nil {
			t.Errorf("poisoned org %d was accepted", n)
		}
	}
}
