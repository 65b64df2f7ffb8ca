// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
)

const fapiFile = `
apiVersion: tenantry.dev/v1
kind: Org
metadata: { name: bank }
---
apiVersion: tenantry.dev/v1
kind: Blueprint
metadata: { name: open-banking }
spec:
  config:
    oauthPolicy:
      securityProfile: FAPI_2_0
      responseTypes: [code]
      dynamicRegistration: INITIAL_TOKEN
      authorizationDetailsTypes:
        - { type: payment, title: Payment, fields: [ { name: amount, kind: number, label: Amount, required: true } ] }
    artifactLifetimes: { pushedRequest: 90s, deviceCode: 10m, backchannel_request: 2m }
    tokenPolicy: { idTokenAlgs: [ES256, ES384] }
  clients:
    - id: app
      kind: WEB
      redirectUris: ["https://{{host.label}}.example.com/cb"]
      tokenEndpointAuthMethod: private_key_jwt
      grantTypes: [authorization_code, "urn:openid:params:grant-type:ciba"]
      protocol:
        jwks: { keys: [ { kty: EC, crv: P-256, kid: a } ] }
        dpopBoundAccessTokens: true
        require_pushed_authorization_requests: true
        defaultMaxAge: 1h
        trustedIssuers: [ { issuer: "https://i.example", jwksUri: "https://i.example/jwks", algorithms: [ES256] } ]
  locked: [config.oauthPolicy.securityProfile]
`

// The file's spelling of protocol metadata and policy is that of the API, with durations for people.
func TestProtocolAndPolicyInABlueprintFile(t *testing.T) {
	docs, err := Parse("fapi.yaml", []byte(fapiFile))
	if err != nil {
		t.Fatal(err)
	}
	want := &controlv1.BlueprintSpec{}
	if err := protojson.Unmarshal([]byte(`{
		"config": {
			"oauthPolicy": {"securityProfile": "FAPI_2_0", "responseTypes": ["code"], "dynamicRegistration": "INITIAL_TOKEN",
				"authorizationDetailsTypes": [{"type": "payment", "title": "Payment", "fields": [{"name": "amount", "kind": "number", "label": "Amount", "required": true}]}]},
			"artifactLifetimes": {"pushedRequest": "90s", "deviceCode": "600s", "backchannelRequest": "120s"},
			"tokenPolicy": {"idTokenAlgs": ["ES256", "ES384"]}
		},
		"clients": [{"id": "app", "kind": "WEB", "redirectUris": ["https://{{host.label}}.example.com/cb"], "tokenEndpointAuthMethod": "private_key_jwt",
			"grantTypes": ["authorization_code", "urn:openid:params:grant-type:ciba"],
			"protocol": {"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "kid": "a"}]}, "dpopBoundAccessTokens": true,
				"requirePushedAuthorizationRequests": true, "defaultMaxAge": "3600s",
				"trustedIssuers": [{"issuer": "https://i.example", "jwksUri": "https://i.example/jwks", "algorithms": ["ES256"]}]}}],
		"locked": ["config.oauthPolicy.securityProfile"]
	}`), want); err != nil {
		t.Fatal(err)
	}
	b, ok := docs[1].want.(*controlv1.Blueprint)
	if !ok || !proto.Equal(b.GetDraft(), want) {
		t.Errorf("%v", protojson.Format(docs[1].want))
	}
}

func TestAMistypedProtocolFieldHasItsLine(t *testing.T) {
	var e *FileError
	_, err := Parse("fapi.yaml", []byte(strings.Replace(fapiFile, "dpopBoundAccessTokens", "dpopBoundAcessTokens", 1)))
	if !errors.As(err, &e) || len(e.Problems) != 1 || !strings.Contains(e.Problems[0], "fapi.yaml:27: spec.clients[0].protocol.dpopBoundAcessTokens: unknown field") {
		t.Errorf("%v", err)
	}
}
