// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
)

// What the token service makes is what is taken here, claim by claim.
func TestTakesWhatTheTokenServiceMakes(t *testing.T) {
	c := newCluster(t)
	org, tenant, session, grant := id.NewOrg(), id.NewTenant(), id.NewSession(), id.NewGrant()
	c.set(func() { c.tenants["hooli"].tenant = tenant.String() })
	now := c.clock.now().Truncate(time.Second)
	in := oidc.AccessTokenInput{
		Issuer: "http://hooli.localhost:" + c.port, Subject: "uid_1", Audience: api, ClientID: "cli_1", Org: org, Tenant: tenant, TokenUse: oidc.TokenUseUser, Development: true,
		Scopes: oauth2.Scopes{"openid", "chat:write"}, IssuedAt: now, ExpireTime: now.Add(10 * time.Minute), ID: [16]byte{1}, ConfigVersion: 9,
		Session: session, Grant: grant, AuthTime: now.Add(-time.Minute), ACR: "urn:tenantry:acr:pwd", AMR: []string{"pwd"},
		Roles: []string{"admin"}, Groups: []string{"eng"}, Entitlements: []string{"plan:x"},
		Actor: json.RawMessage(`{"sub":"uid_2"}`), AuthorizationDetails: json.RawMessage(`[{"type":"x"}]`),
	}
	user, err := oidc.BuildAccessToken(in)
	if err != nil {
		t.Fatal(err)
	}
	v := c.verifier(func(cfg *Config) { cfg.AllowDevelopment, cfg.TokenUse, cfg.Org = true, AnyTokens, org.String() })
	request := func(payload []byte) Request {
		return Request{Token: c.sign(signers()[0], oidc.TypeAccessToken, payload), Host: "hooli.chat.example", Tenant: tenant.String()}
	}
	got, err := v.Verify(t.Context(), request(user))
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != "uid_1" || got.SessionID != session.String() || got.GrantID != grant.String() || got.Env != "dev" || got.ConfigVersion != 9 || !got.AuthTime.Equal(in.AuthTime) || !got.ExpireTime.Equal(in.ExpireTime) ||
		!got.HasScope("chat:write") || !got.HasRole("admin") || got.Groups[0] != "eng" || got.Entitlements[0] != "plan:x" || string(got.Actor) != `{"sub":"uid_2"}` || string(got.AuthorizationDetails) != `[{"type":"x"}]` {
		t.Errorf("%+v", got)
	}

	machine := in
	machine.TokenUse, machine.Subject, machine.Session, machine.AuthTime, machine.ACR, machine.AMR = oidc.TokenUseClient, "cli_1", id.Session{}, time.Time{}, "", nil
	payload, err := oidc.BuildAccessToken(machine)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Verify(t.Context(), request(payload)); err != nil || got.TokenUse != ClientTokens {
		t.Errorf("client: %v", err)
	}

	key := proofKeys()[0]
	in.Binding = oauth2.Binding{JKT: key.thumbprint()}
	if payload, err = oidc.BuildAccessToken(in); err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), request(payload))
	wantCode(t, err, CodeInvalidToken)
	claims, err := parseClaims(payload)
	if err != nil || claims.KeyThumbprint != key.thumbprint() {
		t.Errorf("bound to a key: %+v, %v", claims, err)
	}
	in.Binding = oauth2.Binding{X5T: hashOf("der")}
	if payload, err = oidc.BuildAccessToken(in); err != nil {
		t.Fatal(err)
	}
	if claims, err := parseClaims(payload); err != nil || claims.CertificateThumbprint != hashOf("der") {
		t.Errorf("bound to a certificate: %+v, %v", claims, err)
	}
}
