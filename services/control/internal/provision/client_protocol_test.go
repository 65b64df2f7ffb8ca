// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// document is a tenant's record as the data plane gets it.
func (h *harness) document(tenant id.Tenant) *snapshotv1.TenantSnapshot {
	h.t.Helper()
	body, _, err := h.store.RecordBody(h.ctx, h.org.ID, tenant)
	if err != nil {
		h.t.Fatal(err)
	}
	doc := &snapshotv1.TenantSnapshot{}
	if err := proto.Unmarshal(body, doc); err != nil {
		h.t.Fatal(err)
	}
	return doc
}

func webClient(protocol *snapshotv1.ClientProtocol) tenancy.Client {
	c := tenancy.Client{ClientSettings: tenancy.ClientSettings{Kind: tenancy.KindWeb, RedirectURIs: []string{"https://app.example/cb"}}}
	if protocol != nil {
		c.Protocol = &tenancy.Protocol{ClientProtocol: protocol}
	}
	return c
}

func oauthPolicy(o *snapshotv1.OAuthPolicy) tenancy.Tenant {
	return tenancy.Tenant{Overrides: &tenancy.Policy{Policy: &snapshotv1.Policy{Oauth: o}}}
}

// Only of a client_secret_jwt client is the text of the secret kept, for the token service alone.
func TestTheTextOfASecretIsKeptSealedForHMACAlone(t *testing.T) {
	h := newHarness(t)
	hooli := h.provision("hooli")
	tenant := hooli.Tenant.ID
	c := webClient(nil)
	c.TokenEndpointAuthMethod = "client_secret_jwt"
	made, err := h.CreateClient(h.ctx, h.owner, h.org.ID, tenant, ClientInput{Client: c})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Warnings) != 1 || made.Warnings[0].Reason != tenancy.WarnSecretJWT {
		t.Errorf("warnings %v", made.Warnings)
	}
	cred, err := h.AddClientSecret(h.ctx, h.owner, h.org.ID, tenant, made.ID.String(), Call{RequestID: "0192f6a0-0000-7000-8000-0000000000c1"})
	if err != nil || cred.Secret == "" {
		t.Fatalf("%+v %v", cred, err)
	}
	served, ok := h.served(tenant).Client(made.ID.String())
	if !ok || len(served.Secrets) != 1 || served.Secrets[0].Sealed == nil {
		t.Fatalf("served: %+v", served)
	}
	opener := secret.NewOpener("local", h.region)
	text, err := opener.Open(snapshot.ClientSecretAAD(made.ID, served.Secrets[0].ID), *served.Secrets[0].Sealed)
	if err != nil || string(text) != cred.Secret {
		t.Errorf("opened %q %v, want %q", text, err, cred.Secret)
	}
	if _, err := opener.Open(snapshot.ClientSecretAAD(id.NewClient(), served.Secrets[0].ID), *served.Secrets[0].Sealed); err == nil {
		t.Error("the secret opens at the place of another client")
	}
	// A secret is shown once, also when the answer is repeated; and nothing that is kept of the call holds it.
	again, err := h.AddClientSecret(h.ctx, h.owner, h.org.ID, tenant, made.ID.String(), Call{RequestID: "0192f6a0-0000-7000-8000-0000000000c1"})
	if err != nil || again.Secret != "" || !again.AlreadyReturned {
		t.Errorf("replay: %+v %v", again, err)
	}
	if kept, _ := json.Marshal(cred); bytes.Contains(kept, []byte("ciphertext")) || bytes.Contains(kept, []byte(cred.Secret)) {
		t.Errorf("the kept answer has the secret: %s", kept)
	}
	// Away from the method, the text is gone; back, the old secret cannot be used.
	for _, method := range []string{"client_secret_basic", "client_secret_jwt"} {
		in := made
		in.TokenEndpointAuthMethod = method
		v, err := h.UpdateClient(h.ctx, h.owner, h.org.ID, tenant, made.ID.String(), ClientInput{Mask: []string{"token_endpoint_auth_method"}, Client: in})
		if err != nil {
			t.Fatal(err)
		}
		served, _ = h.served(tenant).Client(made.ID.String())
		if len(served.Secrets) != 1 || served.Secrets[0].Sealed != nil {
			t.Errorf("%s: %+v", method, served.Secrets)
		}
		unusable := slices.ContainsFunc(v.Warnings, func(w tenancy.Warning) bool { return w.Reason == tenancy.WarnSecretUnusable })
		if unusable != (method == "client_secret_jwt") {
			t.Errorf("%s: %v", method, v.Warnings)
		}
	}
	// A method without a secret takes none.
	in := webClient(&snapshotv1.ClientProtocol{JwksUri: "https://app.example/jwks"})
	in.TokenEndpointAuthMethod = "private_key_jwt"
	if _, err := h.UpdateClient(h.ctx, h.owner, h.org.ID, tenant, made.ID.String(), ClientInput{Mask: []string{"protocol", "token_endpoint_auth_method"}, Client: in}); err != nil {
		t.Fatal(err)
	}
	if served, _ = h.served(tenant).Client(made.ID.String()); len(served.Secrets) != 0 {
		t.Error("a private_key_jwt client kept its secrets")
	}
	if _, err := h.AddClientSecret(h.ctx, h.owner, h.org.ID, tenant, made.ID.String(), Call{}); !errors.Is(err, tenancy.ReasonInvalidArgument) {
		t.Errorf("a secret for private_key_jwt: %v", err)
	}
	// Shared by all tenants and made with a tenant: sealed, too.
	shared := webClient(nil)
	shared.TokenEndpointAuthMethod = "client_secret_jwt"
	made, err = h.CreateClient(h.ctx, h.owner, h.org.ID, id.Tenant{}, ClientInput{Client: shared})
	if err != nil {
		t.Fatal(err)
	}
	if cred, err = h.AddClientSecret(h.ctx, h.owner, h.org.ID, id.Tenant{}, made.ID.String(), Call{}); err != nil {
		t.Fatal(err)
	}
	x := cred.Client.Secrets[0]
	if text, err := opener.Open(snapshot.ClientSecretAAD(made.ID, x.ID), *x.Sealed); err != nil || string(text) != cred.Secret {
		t.Errorf("shared: %q %v", text, err)
	}
	res, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{
		TenantID: "raviga", Blueprint: "standard", WaitFor: DepthCommitted, Clients: []tenancy.ClientSpec{
			{ID: "hmac", ClientSettings: shared.ClientSettings}, {ID: "pki", ClientSettings: in.ClientSettings},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range res.Clients {
		served, _ := h.served(res.Tenant.ID).Client(c.Client.ID.String())
		switch c.Client.Slug {
		case "hmac":
			if c.Secret == "" || served.Secrets[0].Sealed == nil || len(c.Client.Warnings) != 1 {
				t.Errorf("hmac: %+v", c)
			}
		case "pki":
			if c.Secret != "" || len(served.Secrets) != 0 {
				t.Errorf("pki got a secret: %+v", c)
			}
		case "api":
			if c.Secret == "" || served.Secrets[0].Sealed != nil {
				t.Errorf("api: %+v", c)
			}
		}
	}
}

// The salt is drawn once and kept through every change; it is never in an answer.
func TestThePairwiseSaltIsKeptForever(t *testing.T) {
	h := newHarness(t)
	hooli, raviga := h.provision("hooli"), h.provision("raviga")
	salt := h.served(hooli.Tenant.ID).PairwiseSalt
	if len(salt) != 32 || bytes.Equal(salt, h.served(raviga.Tenant.ID).PairwiseSalt) {
		t.Fatalf("salt %x", salt)
	}
	if raw, _ := json.Marshal(hooli); bytes.Contains(raw, []byte("Salt")) {
		t.Error("the salt is in the answer")
	}
	if _, err := h.UpdateTenant(h.ctx, h.owner, h.org.ID, hooli.Tenant.ID, TenantInput{Mask: []string{"plan"}, Tenant: tenancy.Tenant{Plan: "gold"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.DeleteTenant(h.ctx, h.owner, h.org.ID, hooli.Tenant.ID, Call{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.UndeleteTenant(h.ctx, h.owner, h.org.ID, hooli.Tenant.ID, Call{}); err != nil {
		t.Fatal(err)
	}
	if got := h.served(hooli.Tenant.ID).PairwiseSalt; !bytes.Equal(got, salt) {
		t.Errorf("after changes the salt is %x, was %x", got, salt)
	}
	// A tenant of an older release gets its own at its next change, and keeps that.
	if n := h.count(`WITH u AS (UPDATE tenants SET pairwise_salt = '' WHERE slug = 'raviga' RETURNING 1) SELECT count(*) FROM u`); n != 1 {
		t.Fatalf("%d rows", n)
	}
	var seen [][]byte
	for _, plan := range []string{"a", "b"} {
		if _, err := h.UpdateTenant(h.ctx, h.owner, h.org.ID, raviga.Tenant.ID, TenantInput{Mask: []string{"plan"}, Tenant: tenancy.Tenant{Plan: plan}}); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, h.served(raviga.Tenant.ID).PairwiseSalt)
	}
	if len(seen[0]) != 32 || !bytes.Equal(seen[0], seen[1]) {
		t.Errorf("salts %x", seen)
	}
}

// A reader that would not understand what is restricted keeps its last document.
func TestDocumentsNeedTheReaderLevelOfWhatTheyUse(t *testing.T) {
	h := newHarness(t)
	tenant := h.provision("hooli").Tenant.ID
	if got := h.document(tenant).GetMinReader(); got != 1 {
		t.Errorf("without new fields: %d", got)
	}
	c, err := h.CreateClient(h.ctx, h.owner, h.org.ID, tenant, ClientInput{Client: webClient(&snapshotv1.ClientProtocol{DpopBoundAccessTokens: true})})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.document(tenant).GetMinReader(); got != 2 {
		t.Errorf("with protocol metadata: %d", got)
	}
	if _, err := h.UpdateClient(h.ctx, h.owner, h.org.ID, tenant, c.ID.String(), ClientInput{Mask: []string{"protocol"}}); err != nil {
		t.Fatal(err)
	}
	if got := h.document(tenant).GetMinReader(); got != 1 {
		t.Errorf("without it again: %d", got)
	}
	if _, err := h.UpdateTenant(h.ctx, h.owner, h.org.ID, tenant, TenantInput{
		Mask: []string{"overrides"}, Tenant: oauthPolicy(&snapshotv1.OAuthPolicy{SessionManagement: proto.Bool(true)}),
	}); err != nil {
		t.Fatal(err)
	}
	if got := h.document(tenant).GetMinReader(); got != 2 {
		t.Errorf("with an OAuth policy: %d", got)
	}
}

// A client may be stricter than its tenant, never looser; and the answer says what is in the way.
func TestAClientIsNeverLooserThanItsTenant(t *testing.T) {
	h := newHarness(t)
	tenant := h.provision("hooli").Tenant.ID
	set := func(o *snapshotv1.OAuthPolicy) tenancy.Tenant {
		t.Helper()
		v, err := h.UpdateTenant(h.ctx, h.owner, h.org.ID, tenant, TenantInput{Mask: []string{"overrides"}, Tenant: oauthPolicy(o)})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	create := func(c tenancy.Client) (tenancy.Client, error) {
		return h.CreateClient(h.ctx, h.owner, h.org.ID, tenant, ClientInput{Client: c})
	}
	fields := func(err error) (out []string) {
		var e *tenancy.Error
		if !errors.As(err, &e) || e.Reason != tenancy.ReasonClientPolicy {
			t.Fatalf("%v is no CLIENT_POLICY", err)
		}
		for _, v := range e.Violations {
			out = append(out, v.Field)
		}
		return out
	}
	hybrid := webClient(&snapshotv1.ClientProtocol{ResponseTypes: []string{"code", "code id_token"}})
	hybrid.GrantTypes = []string{"authorization_code", "implicit"}
	if _, err := create(hybrid); !slices.Equal(fields(err), []string{"client.protocol.response_types"}) {
		t.Errorf("hybrid without the policy: %v", err)
	}
	v := set(&snapshotv1.OAuthPolicy{ResponseTypes: &snapshotv1.StringList{Values: []string{"code id_token"}}})
	if len(v.Warnings) != 1 || v.Warnings[0].Reason != tenancy.WarnFrontChannelTokens || v.Warnings[0].Field != "overrides.oauth_policy.response_types" {
		t.Errorf("warnings of the policy: %v", v.Warnings)
	}
	made, err := create(hybrid)
	if err != nil || len(made.Warnings) != 1 || made.Warnings[0].Reason != tenancy.WarnFrontChannelTokens {
		t.Fatalf("%v %v", made.Warnings, err)
	}
	es384 := webClient(nil)
	es384.IDTokenSignedResponseAlg = "ES384"
	if _, err := create(es384); !slices.Equal(fields(err), []string{"client.id_token_alg"}) {
		t.Errorf("an algorithm without a key: %v", err)
	}
	if _, err := create(webClient(&snapshotv1.ClientProtocol{AuthorizationDetailsTypes: []string{"payment"}})); !slices.Equal(fields(err), []string{"client.protocol.authorization_details_types"}) {
		t.Errorf("an unknown type: %v", err)
	}
	// Stricter on its own, under a loose tenant, it must keep what it took on.
	if _, err := create(webClient(&snapshotv1.ClientProtocol{SecurityProfile: "FAPI_2_0"})); !slices.Equal(fields(err), []string{"client.token_endpoint_auth_method"}) {
		t.Errorf("a FAPI client with a secret: %v", err)
	}
	strict := webClient(&snapshotv1.ClientProtocol{SecurityProfile: "FAPI_2_0", JwksUri: "https://app.example/jwks", DpopBoundAccessTokens: true})
	strict.TokenEndpointAuthMethod = "private_key_jwt"
	if _, err := create(strict); err != nil {
		t.Errorf("a stricter client: %v", err)
	}
	// The tenant becomes strict: that succeeds, dry or not, and names whom it refuses.
	policy := oauthPolicy(&snapshotv1.OAuthPolicy{SecurityProfile: proto.String("FAPI_2_0")})
	for _, dry := range []bool{true, false} {
		v, err := h.UpdateTenant(h.ctx, h.owner, h.org.ID, tenant, TenantInput{Call: Call{ValidateOnly: dry}, Mask: []string{"overrides"}, Tenant: policy})
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]bool{}
		for _, w := range v.Warnings {
			if w.Reason != tenancy.WarnClientRefused || w.Text == "" {
				t.Errorf("%+v", w)
			}
			named[w.Resource[strings.LastIndex(w.Resource, "/")+1:]] = true
		}
		if len(named) != 3 || !named[made.ID.String()] { // the blueprint's spa and api, and the hybrid one
			t.Errorf("validate_only %v: refuses %v", dry, v.Warnings)
		}
	}
	if got := h.served(tenant).Policy.Profile.String(); got != "FAPI_2_0" {
		t.Errorf("the tenant is served under %s", got)
	}
	if _, err := create(webClient(nil)); !slices.Equal(fields(err), []string{"client.token_endpoint_auth_method"}) {
		t.Errorf("a client with a secret under FAPI: %v", err)
	}
	loose := proto.CloneOf(strict.Protocol.ClientProtocol)
	loose.SecurityProfile = "BASELINE"
	looser := strict
	looser.Protocol = &tenancy.Protocol{ClientProtocol: loose}
	if _, err := create(looser); !slices.Equal(fields(err), []string{"client.protocol.security_profile"}) {
		t.Errorf("a client that says it is looser: %v", err)
	}
	// One that does not fit any more can be disabled and mended in steps, but made no looser.
	off := made
	off.Disabled = true
	if v, err := h.UpdateClient(h.ctx, h.owner, h.org.ID, tenant, made.ID.String(), ClientInput{Mask: []string{"disabled"}, Client: off}); err != nil ||
		!slices.ContainsFunc(v.Warnings, func(w tenancy.Warning) bool { return w.Reason == tenancy.WarnClientRefused }) {
		t.Errorf("disabling: %v %v", v.Warnings, err)
	}
	off.PKCEOptional = true
	if _, err := h.UpdateClient(h.ctx, h.owner, h.org.ID, tenant, made.ID.String(), ClientInput{Mask: []string{"pkce_optional"}, Client: off}); !slices.Contains(fields(err), "client.pkce_optional") {
		t.Errorf("made looser: %v", err)
	}
	// A new tenant under the strict policy: the blueprint's clients are warned of, those of the request refused.
	in := ProvisionInput{TenantID: "raviga", Blueprint: "standard", WaitFor: DepthCommitted, Overrides: policy.Overrides}
	res, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, in)
	if err != nil || len(res.Tenant.Warnings) != 2 { // spa: public; api: its method
		t.Errorf("%v %v", res.Tenant.Warnings, err)
	}
	in.TenantID, in.Clients = "aviato", []tenancy.ClientSpec{{ID: "web", ClientSettings: webClient(nil).ClientSettings}}
	if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, in); !slices.Equal(fields(err), []string{"clients[0].token_endpoint_auth_method"}) {
		t.Errorf("%v", err)
	}
}

// The document at sector_identifier_uri lists each redirect URI, or the client does not get the sector's subjects.
func TestASectorIsVerifiedBeforeItIsBelieved(t *testing.T) {
	h := newHarness(t)
	tenant := h.provision("hooli").Tenant.ID
	documents, asked := map[string][]string{"https://sector.example/u": {"https://app.example/cb", "https://b.example/cb"}}, 0
	h.cfg.Sector = func(_ context.Context, uri string) ([]string, error) {
		asked++
		if list, ok := documents[uri]; ok {
			return list, nil
		}
		return nil, errors.New("status 404")
	}
	c := webClient(&snapshotv1.ClientProtocol{Pairwise: true, SectorIdentifierUri: "https://sector.example/u", Sector: "victim.example"})
	c.RedirectURIs = append(c.RedirectURIs, "https://b.example/cb")
	made, err := h.CreateClient(h.ctx, h.owner, h.org.ID, tenant, ClientInput{Client: c})
	if err != nil {
		t.Fatal(err)
	}
	if served, _ := h.served(tenant).Client(made.ID.String()); !served.Pairwise || served.Sector != "sector.example" || asked != 1 {
		t.Errorf("%+v after %d questions", served.Sector, asked)
	}
	update := func(mask string, edit func(*tenancy.Client)) error {
		in := made
		in.Protocol = &tenancy.Protocol{ClientProtocol: proto.CloneOf(made.Protocol.ClientProtocol)}
		edit(&in)
		_, err := h.UpdateClient(h.ctx, h.owner, h.org.ID, tenant, made.ID.String(), ClientInput{Mask: []string{mask}, Client: in})
		return err
	}
	field := func(err error) string {
		var e *tenancy.Error
		if !errors.As(err, &e) || e.Reason != tenancy.ReasonInvalidArgument {
			t.Fatalf("%v", err)
		}
		return e.Violations[0].Field
	}
	if err := update("display_name", func(c *tenancy.Client) { c.DisplayName = "Other" }); err != nil || asked != 1 {
		t.Errorf("another field: %v, %d questions", err, asked)
	}
	if err := update("redirect_uris", func(c *tenancy.Client) { c.RedirectURIs = c.RedirectURIs[:1] }); err != nil || asked != 1 {
		t.Errorf("fewer redirect URIs: %v, %d questions", err, asked)
	}
	if err := update("redirect_uris", func(c *tenancy.Client) {
		c.RedirectURIs = []string{"https://app.example/cb", "https://evil.example/cb"}
	}); field(err) != "client.redirect_uris[1]" {
		t.Errorf("a redirect URI that is not listed: %v", err)
	}
	if err := update("protocol", func(c *tenancy.Client) { c.Protocol.SectorIdentifierUri = "https://victim.example/u" }); field(err) != "client.protocol.sector_identifier_uri" {
		t.Errorf("another's sector: %v", err)
	}
	if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{
		TenantID: "raviga", Blueprint: "standard", WaitFor: DepthCommitted, Clients: []tenancy.ClientSpec{{ID: "web", ClientSettings: func() tenancy.ClientSettings {
			s := c.ClientSettings
			s.Protocol = &tenancy.Protocol{ClientProtocol: &snapshotv1.ClientProtocol{Pairwise: true, SectorIdentifierUri: "https://victim.example/u"}}
			return s
		}()}},
	}); field(err) != "clients[0].protocol.sector_identifier_uri" {
		t.Errorf("with a new tenant: %v", err)
	}
	// The answer came for another set of redirect URIs than the one that is written: nothing is.
	if err := (sector{uri: "https://sector.example/u", redirects: []string{"https://app.example/cb"}}).settle(&c.ClientSettings, nil); !errors.Is(err, tenancy.ReasonConcurrentChange) {
		t.Errorf("changed meanwhile: %v", err)
	}
}

// One field of the blueprint makes all its tenants strict. The answer names the blueprint's own clients that this refuses; those who do
// not understand the field are kept from serving less than it demands; another org's tenants do not notice.
func TestOneFieldOfABlueprintSwitchesItsTenants(t *testing.T) {
	h := newHarness(t)
	hooli := h.provision("hooli").Tenant.ID
	layer := func() *snapshotv1.Layer {
		t.Helper()
		b, err := h.GetBlueprint(h.ctx, h.owner, h.org.ID, "standard")
		if err != nil {
			t.Fatal(err)
		}
		_, digest, err := h.store.Revision(h.ctx, h.org.ID, b.ID, b.Revision, id.Revision{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := h.docs.layer(h.ctx, h.org.ID, digest)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if got := layer().GetMinReader(); got > 1 {
		t.Errorf("without the field: level %d", got)
	}
	draft := sampleSpec()
	draft.Config.Oauth = &snapshotv1.OAuthPolicy{SecurityProfile: proto.String("FAPI_2_0")}
	draft.Locked = append(draft.Locked, "oauth.security_profile")
	b, err := h.UpdateBlueprint(h.ctx, h.owner, h.org.ID, "standard", BlueprintInput{Mask: []string{"draft"}, Blueprint: blueprint.Blueprint{Draft: draft}})
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, w := range b.Warnings {
		if w.Reason == tenancy.WarnClientRefused {
			fields = append(fields, w.Field)
		}
	}
	if !slices.Equal(fields, []string{"draft.clients[0].client_type", "draft.clients[1].token_endpoint_auth_method"}) {
		t.Errorf("warnings %v", b.Warnings)
	}
	if h.served(hooli).Policy.Profile != 0 {
		t.Error("a draft is served")
	}
	made, err := h.CreateClient(h.ctx, h.owner, h.org.ID, hooli, ClientInput{Client: webClient(nil)})
	if err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		r, err := h.PublishBlueprint(h.ctx, h.owner, h.org.ID, "standard", "strict", Call{ValidateOnly: dry})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Warnings) != 3 || !slices.ContainsFunc(r.Warnings, func(w tenancy.Warning) bool {
			return w.Reason == tenancy.WarnClientRefused && strings.HasSuffix(w.Resource, made.ID.String())
		}) {
			t.Errorf("validate_only %v: %v", dry, r.Warnings)
		}
	}
	if got := h.served(hooli).Policy.Profile.String(); got != "FAPI_2_0" {
		t.Errorf("served under %s", got)
	}
	if got := layer().GetMinReader(); got != 2 {
		t.Errorf("with the field: level %d", got)
	}
	// It is locked: a tenant may be stricter, never looser.
	set := func(profile string) error {
		_, err := h.UpdateTenant(h.ctx, h.owner, h.org.ID, hooli, TenantInput{
			Mask: []string{"overrides.oauth.security_profile"}, Tenant: oauthPolicy(&snapshotv1.OAuthPolicy{SecurityProfile: proto.String(profile)}),
		})
		return err
	}
	if err := set("BASELINE"); !errors.Is(err, tenancy.ReasonPolicyLocked) {
		t.Errorf("looser than a lock: %v", err)
	}
	if err := set("FAPI_2_0_MESSAGE_SIGNING"); err != nil {
		t.Errorf("stricter than a lock: %v", err)
	}
}
