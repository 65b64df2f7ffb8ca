// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

const publicKeys = `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`

// refusedFields are the fields that an answer names.
func refusedFields(r reply) (fields []string) {
	st := r.status()
	if st == nil {
		return nil
	}
	for _, d := range st.Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range b.GetFieldViolations() {
				fields = append(fields, v.GetField()+": "+v.GetDescription())
			}
		}
	}
	return fields
}

type protocolAnswer struct {
	Name      string
	Protocol  map[string]any
	LogoURI   string `json:"logoUri"`
	Overrides struct {
		OauthPolicy struct {
			SecurityProfile           string
			ResponseTypes             []string
			SessionManagement         *bool
			AuthorizationDetailsTypes []map[string]any
		}
		ArtifactLifetimes map[string]string
	}
	Warnings []struct{ Reason, Field, Text, Resource string }
}

// One tenant through REST, as an operator would do it: protocol metadata by mask, warnings in answers, refusals with field and rule.
func TestProtocolMetadataThroughREST(t *testing.T) {
	w := newWorld(t)
	tenant := w.newTenant()
	do := func(method, path, body string, want int) (a protocolAnswer, r reply) {
		t.Helper()
		r = w.http(w.owner, method, "/v1/"+path, []byte(body))
		if r.code != want {
			t.Fatalf("%s %s: %d %s", method, path, r.code, r.body)
		}
		if err := json.Unmarshal(r.body, &a); err != nil {
			t.Fatal(err)
		}
		return a, r
	}
	made, _ := do("POST", tenant+"/clients?clientId=bank", `{"kind":"WEB","redirectUris":["https://app.example/cb"],"logoUri":"https://app.example/l.png",
		"tokenEndpointAuthMethod":"private_key_jwt","grantTypes":["authorization_code","urn:ietf:params:oauth:grant-type:token-exchange"],
		"protocol":{"jwks":`+publicKeys+`,"dpopBoundAccessTokens":true,"defaultMaxAge":"600s"}}`, http.StatusOK)
	if keys, _ := made.Protocol["jwks"].(map[string]any)["keys"].([]any); len(keys) != 1 || made.LogoURI == "" || len(made.Warnings) != 0 {
		t.Fatalf("%+v", made)
	}
	// A mask changes one member and leaves the others.
	got, _ := do("PATCH", made.Name+"?updateMask=protocol.jwks_uri,protocol.jwks", `{"protocol":{"jwksUri":"https://app.example/jwks"}}`, http.StatusOK)
	if got.Protocol["jwksUri"] != "https://app.example/jwks" || got.Protocol["jwks"] != nil || got.Protocol["dpopBoundAccessTokens"] != true || got.Protocol["defaultMaxAge"] != "600s" {
		t.Errorf("%+v", got.Protocol)
	}
	// What breaks a rule of the snapshot is named here.
	_, r := do("PATCH", made.Name+"?updateMask=protocol.jwksUri", `{"protocol":{"jwksUri":"http://app.example/jwks"}}`, http.StatusBadRequest)
	if f := refusedFields(r); len(f) != 1 || !strings.HasPrefix(f[0], "client.protocol.jwks_uri: ") {
		t.Errorf("%v", f)
	}
	_, r = do("PATCH", made.Name+"?updateMask=protocol.backchannelTokenDeliveryMode", `{"protocol":{"backchannelTokenDeliveryMode":"push"}}`, http.StatusBadRequest)
	if f := refusedFields(r); len(f) != 1 || !strings.HasPrefix(f[0], "client.protocol.backchannel_token_delivery_mode: ") {
		t.Errorf("%v", f)
	}
	if r := w.http(w.owner, "PATCH", "/v1/"+made.Name+"?updateMask=protocol.nothing", []byte(`{}`)); r.code != http.StatusBadRequest {
		t.Errorf("an unknown member: %d", r.code)
	}

	policy := func(mask, body string, want int) (protocolAnswer, reply) {
		t.Helper()
		return do("PATCH", tenant+"?updateMask="+mask, `{"overrides":`+body+`}`, want)
	}
	p, _ := policy("overrides.oauth_policy.response_types,overrides.artifactLifetimes.pushedRequest",
		`{"oauthPolicy":{"responseTypes":["code id_token"]},"artifactLifetimes":{"pushedRequest":"90s"}}`, http.StatusOK)
	if len(p.Warnings) != 1 || p.Warnings[0].Reason != "TOKENS_IN_FRONT_CHANNEL" || p.Overrides.ArtifactLifetimes["pushedRequest"] != "90s" {
		t.Errorf("%+v", p)
	}
	p, _ = policy("overrides.oauthPolicy.authorizationDetailsTypes", `{"oauthPolicy":{"authorizationDetailsTypes":[{"type":"payment","fields":[{"name":"sum","kind":"number","required":true}]}]}}`, http.StatusOK)
	if len(p.Warnings) == 0 || p.Warnings[len(p.Warnings)-1].Reason != "AUTHORIZATION_DETAIL_NOT_SHOWN" {
		t.Errorf("a sum that nobody sees: %+v", p.Warnings)
	}
	p, _ = policy("overrides.oauthPolicy.authorizationDetailsTypes", `{"oauthPolicy":{"authorizationDetailsTypes":[{"type":"payment","fields":[{"name":"sum","kind":"number","label":"Sum"}]}]}}`, http.StatusOK)
	if len(p.Overrides.OauthPolicy.AuthorizationDetailsTypes) != 1 || len(p.Overrides.OauthPolicy.ResponseTypes) != 1 {
		t.Errorf("%+v", p.Overrides)
	}
	_, r = policy("overrides.oauthPolicy.authorizationDetailsTypes", `{"oauthPolicy":{"authorizationDetailsTypes":[{"type":"a","fields":[{"name":"type","kind":"number"}]}]}}`, http.StatusBadRequest)
	if f := refusedFields(r); len(f) != 1 || !strings.HasPrefix(f[0], "tenant.overrides.oauth_policy.authorization_details_types: ") {
		t.Errorf("%v", f)
	}
	_, r = policy("overrides.oauthPolicy.responseTypes", `{"oauthPolicy":{"responseTypes":["code","code token"]}}`, http.StatusBadRequest)
	if f := refusedFields(r); len(f) != 1 || !strings.Contains(f[0], "response_types") {
		t.Errorf("%v", f)
	}
	p, _ = policy("overrides.oauthPolicy.responseTypes", `{"oauthPolicy":{"responseTypes":["code"]}}`, http.StatusOK)
	if rt := p.Overrides.OauthPolicy.ResponseTypes; len(rt) != 1 || rt[0] != "code" || len(p.Warnings) != 0 {
		t.Errorf("%+v", p)
	}

	// A stricter profile: looked at first, then done. The client with a secret is named both times, and another cannot be made.
	plain := w.newClient(tenant)
	for _, dry := range []string{"&validateOnly=true", ""} {
		p, _ = policy("overrides.oauthPolicy.securityProfile"+dry, `{"oauthPolicy":{"securityProfile":"FAPI_2_0"}}`, http.StatusOK)
		if len(p.Warnings) != 1 || p.Warnings[0].Reason != "CLIENT_REFUSED" || p.Warnings[0].Resource != plain.GetName() || p.Warnings[0].Field != "token_endpoint_auth_method" {
			t.Errorf("%s: %+v", dry, p.Warnings)
		}
	}
	_, r = do("POST", tenant+"/clients", `{"kind":"SERVICE"}`, http.StatusBadRequest)
	if f := refusedFields(r); reason(r.status()) != "CLIENT_POLICY" || len(f) != 1 || !strings.HasPrefix(f[0], "client.token_endpoint_auth_method: ") || !strings.Contains(string(r.body), `"profile":"FAPI_2_0"`) {
		t.Errorf("%v %s", f, r.body)
	}
	_, r = policy("overrides.oauthPolicy.securityProfile", `{"oauthPolicy":{"securityProfile":"fapi"}}`, http.StatusBadRequest)
	if f := refusedFields(r); len(f) != 1 || !strings.HasPrefix(f[0], "tenant.overrides.oauth_policy.security_profile: ") {
		t.Errorf("%v", f)
	}
	// What is read has no warnings of an earlier change.
	if r := w.http(w.owner, "GET", "/v1/"+tenant, nil); strings.Contains(string(r.body), "warnings") {
		t.Errorf("%s", r.body)
	}
}
