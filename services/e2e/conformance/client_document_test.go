// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// TestClientThatIsRegisteredNowhere: a client whose client_id is the address of its metadata signs a person in, at a tenant that wants such
// clients, and at no other (OAuth Client ID Metadata Document).
func TestClientThatIsRegisteredNowhere(t *testing.T) {
	t.Parallel()
	suite := e2etest.NewSuite(t)
	redirect := suite.URL + "/callback"
	var address string
	address = suite.JSON("client.json", func() any {
		return map[string]any{"client_id": address, "client_name": "Inspector", "redirect_uris": []string{redirect}}
	})
	provide := func(wanted bool) *run {
		config := map[string]any{"oauthPolicy": map[string]any{"clientIdMetadataDocuments": wanted}}
		p := provision(t, "oidf", draft(config, web("one", "client_secret_basic", map[string]any{})), nil)
		p.client = e2etest.NewParty(t, p.tenant.Issuer, e2etest.Client{ID: address}, "none")
		p.client.Redirect, p.client.PKCE, p.client.Scope, p.client.IDTokenAlg = redirect, true, "openid email offline_access", "ES256"
		p.suite = suite
		return &run{T: t, provider: p, browser: e2etest.NewBrowser(t), c: p.client}
	}
	r := provide(true)
	if r.c.Doc["client_id_metadata_document_supported"] != true {
		t.Error("discovery does not say so")
	}
	consent := r.open(r.c, r.c.Start(url.Values{"prompt": {"consent"}}, nil)).SignIn(r.who)
	if host := strings.TrimPrefix(suite.URL, "https://"); !strings.Contains(consent.Text(), "Inspector ("+host+")") || !hasButton(consent, "answer", "allow") {
		t.Errorf("people are not shown whose client it is:\n%s", consent.Text())
	}
	g := r.login(url.Values{"prompt": {"consent"}})
	_, claims := e2etest.JWTClaims(t, g.IDToken)
	if claims["aud"] != address {
		t.Errorf("aud %v", claims["aud"])
	}
	if a := r.c.Refresh(g.RefreshToken, nil, nil); a.Status != 200 {
		t.Errorf("refresh: %d %s", a.Status, a.Body)
	}
	if a := r.c.UserInfo(g.AccessToken); a.Status != 200 {
		t.Errorf("userinfo: %d %s", a.Status, a.Body)
	}
	if g.RefreshToken == "" || len(suite.Calls(address)) > 4 { // login and token fetch it, each once
		t.Errorf("refresh token %q after %d fetches", g.RefreshToken, len(suite.Calls(address)))
	}
	closed := provide(false)
	if page := closed.open(closed.c, closed.c.Start(nil, nil)); page.Status != 400 || !strings.Contains(page.Text(), "does not work") {
		t.Errorf("a tenant that does not want such clients: %v\n%s", page, page.Text())
	}
}
