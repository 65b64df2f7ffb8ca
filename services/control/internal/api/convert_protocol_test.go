// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenantry/tenantry/pkg/oauth2"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Both messages have the same fields: what one lacked would be lost without a word.
func TestProtocolMessagesHaveTheSameFields(t *testing.T) {
	for _, pair := range [][2]proto.Message{
		{&controlv1.ClientProtocol{}, &snapshotv1.ClientProtocol{}}, {&controlv1.TrustedIssuer{}, &snapshotv1.TrustedIssuer{}},
	} {
		kinds := func(m proto.Message) map[string]string {
			all, fields := map[string]string{}, m.ProtoReflect().Descriptor().Fields()
			for i := range fields.Len() {
				f := fields.Get(i)
				kind := fmt.Sprint(f.Kind(), f.IsList())
				if f.Kind() == protoreflect.BytesKind || f.Message() != nil && f.Message().FullName() == "google.protobuf.Struct" {
					kind = "JSON"
				}
				all[string(f.Name())] = kind
			}
			return all
		}
		if a, b := kinds(pair[0]), kinds(pair[1]); !reflect.DeepEqual(a, b) {
			t.Errorf("%v\n%v", a, b)
		}
	}
}

const someKeys = `{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"a"}]}`

// protocolFields has a row for each field: the JSON of it, what else must be set with it, and where the data plane finds it.
var protocolFields = map[string]struct {
	json, with string
	get        func(c *oauth2.Client) any
	want       any
}{
	"response_types":                                 {`["code","code id_token"]`, `"grantTypes":["authorization_code","implicit"]`, func(c *oauth2.Client) any { return c.ResponseTypes }, []string{"code", "code id_token"}},
	"jwks_uri":                                       {`"https://a.example/jwks"`, "", func(c *oauth2.Client) any { return c.JWKSURI }, "https://a.example/jwks"},
	"token_endpoint_auth_signing_alg":                {`"ES384"`, "", func(c *oauth2.Client) any { return c.AssertionAlg }, "ES384"},
	"tls_client_auth_subject_dn":                     {`"CN=a,O=b"`, "", func(c *oauth2.Client) any { return c.TLSSubjectDN }, "CN=a,O=b"},
	"tls_client_auth_san_dns":                        {`"a.example"`, "", func(c *oauth2.Client) any { return c.TLSSANDNS }, "a.example"},
	"tls_client_auth_san_uri":                        {`"spiffe://a/b"`, "", func(c *oauth2.Client) any { return c.TLSSANURI }, "spiffe://a/b"},
	"tls_client_auth_san_ip":                         {`"192.0.2.7"`, "", func(c *oauth2.Client) any { return c.TLSSANIP }, "192.0.2.7"},
	"tls_client_auth_san_email":                      {`"a@b.example"`, "", func(c *oauth2.Client) any { return c.TLSSANEmail }, "a@b.example"},
	"tls_client_certificate_bound_access_tokens":     {`true`, "", func(c *oauth2.Client) any { return c.TLSBoundTokens }, true},
	"dpop_bound_access_tokens":                       {`true`, "", func(c *oauth2.Client) any { return c.DPoPBoundTokens }, true},
	"require_pushed_authorization_requests":          {`true`, "", func(c *oauth2.Client) any { return c.RequirePAR }, true},
	"require_signed_request_object":                  {`true`, "", func(c *oauth2.Client) any { return c.RequireSignedRequest }, true},
	"request_object_signing_alg":                     {`"ES384"`, "", func(c *oauth2.Client) any { return c.RequestObjectAlg }, "ES384"},
	"request_uris":                                   {`["https://a.example/r"]`, "", func(c *oauth2.Client) any { return c.RequestURIs }, []string{"https://a.example/r"}},
	"pairwise":                                       {`true`, "", func(c *oauth2.Client) any { return fmt.Sprint(c.Pairwise, " ", c.Sector) }, "true app.example"},
	"sector_identifier_uri":                          {`"https://sector.example/u"`, `"protocol.pairwise":true`, func(c *oauth2.Client) any { return c.SectorIdentifierURI + " " + c.Sector }, "https://sector.example/u sector.example"},
	"userinfo_signed_response_alg":                   {`"EdDSA"`, "", func(c *oauth2.Client) any { return c.UserInfoAlg }, "EdDSA"},
	"userinfo_encrypted_response_alg":                {`"ECDH-ES"`, "", func(c *oauth2.Client) any { return c.UserInfoEncryptionAlg + " " + c.UserInfoEncryptionEnc }, "ECDH-ES A128CBC-HS256"},
	"userinfo_encrypted_response_enc":                {`"A256GCM"`, `"protocol.userinfoEncryptedResponseAlg":"RSA-OAEP-256"`, func(c *oauth2.Client) any { return c.UserInfoEncryptionEnc }, "A256GCM"},
	"id_token_encrypted_response_alg":                {`"RSA-OAEP"`, "", func(c *oauth2.Client) any { return c.IDTokenEncryptionAlg }, "RSA-OAEP"},
	"id_token_encrypted_response_enc":                {`"A128GCM"`, `"protocol.idTokenEncryptedResponseAlg":"ECDH-ES+A128KW"`, func(c *oauth2.Client) any { return c.IDTokenEncryptionEnc }, "A128GCM"},
	"authorization_signed_response_alg":              {`"PS256"`, "", func(c *oauth2.Client) any { return c.AuthorizationAlg }, "PS256"},
	"introspection_signed_response_alg":              {`"ES384"`, "", func(c *oauth2.Client) any { return c.IntrospectionAlg }, "ES384"},
	"backchannel_logout_uri":                         {`"https://a.example/bc"`, "", func(c *oauth2.Client) any { return c.BackchannelLogoutURI }, "https://a.example/bc"},
	"backchannel_logout_session_required":            {`true`, "", func(c *oauth2.Client) any { return c.BackchannelLogoutSession }, true},
	"frontchannel_logout_uri":                        {`"https://a.example/fc"`, "", func(c *oauth2.Client) any { return c.FrontchannelLogoutURI }, "https://a.example/fc"},
	"frontchannel_logout_session_required":           {`true`, "", func(c *oauth2.Client) any { return c.FrontchannelLogoutSession }, true},
	"default_max_age":                                {`"3600s"`, "", func(c *oauth2.Client) any { return *c.DefaultMaxAge }, time.Hour},
	"require_auth_time":                              {`true`, "", func(c *oauth2.Client) any { return c.RequireAuthTime }, true},
	"default_acr_values":                             {`["urn:a"]`, "", func(c *oauth2.Client) any { return c.DefaultACRValues }, []string{"urn:a"}},
	"authorization_details_types":                    {`["payment"]`, "", func(c *oauth2.Client) any { return c.AuthorizationDetailsTypes }, []string{"payment"}},
	"security_profile":                               {`"FAPI_2_0"`, "", func(c *oauth2.Client) any { return c.Profile }, oauth2.ProfileFAPI2},
	"backchannel_token_delivery_mode":                {`"poll"`, "", func(c *oauth2.Client) any { return c.DeliveryMode }, "poll"},
	"backchannel_client_notification_endpoint":       {`"https://a.example/n"`, `"protocol.backchannelTokenDeliveryMode":"ping"`, func(c *oauth2.Client) any { return c.NotificationEndpoint }, "https://a.example/n"},
	"backchannel_authentication_request_signing_alg": {`"ES256"`, "", func(c *oauth2.Client) any { return c.BackchannelRequestAlg }, "ES256"},
	"client_uri":                                     {`"https://a.example/"`, "", func(c *oauth2.Client) any { return c.ClientURI }, "https://a.example/"},
	"opaque_access_tokens":                           {`true`, "", func(c *oauth2.Client) any { return c.OpaqueAccessTokens }, true},
	"impersonation":                                  {`true`, "", func(c *oauth2.Client) any { return c.Impersonation }, true},
	"jwks":                                           {someKeys, `"tokenEndpointAuthMethod":"private_key_jwt"`, func(c *oauth2.Client) any { return sorted(c.JWKS) }, sorted([]byte(someKeys))},
	"trusted_issuers": {
		`[{"issuer":"https://i.example","jwks":` + someKeys + `,"algorithms":["PS256"]}]`, "",
		func(c *oauth2.Client) any {
			x := c.TrustedIssuers[0]
			return fmt.Sprint(x.Issuer, sorted(x.JWKS), x.Algorithms)
		},
		fmt.Sprint("https://i.example", sorted([]byte(someKeys)), []string{"PS256"}),
	},
}

// sorted is JSON in one spelling.
func sorted(raw []byte) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return "no JSON"
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func clientOf(t *testing.T, extra ...string) *controlv1.Client {
	t.Helper()
	m := map[string]json.RawMessage{"kind": json.RawMessage(`"WEB"`), "redirectUris": json.RawMessage(`["https://app.example/cb"]`)}
	protocol := map[string]json.RawMessage{}
	for _, x := range extra {
		if x == "" {
			continue
		}
		var one map[string]json.RawMessage
		if err := json.Unmarshal([]byte("{"+x+"}"), &one); err != nil {
			t.Fatal(err)
		}
		for k, v := range one {
			if name, ok := strings.CutPrefix(k, "protocol."); ok {
				protocol[name] = v
			} else {
				m[k] = v
			}
		}
	}
	m["protocol"], _ = json.Marshal(protocol)
	raw, _ := json.Marshal(m)
	c := &controlv1.Client{}
	if err := protojson.Unmarshal(raw, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// Each field goes through the API and the stored form to what the data plane uses, and back as it came.
func TestEveryProtocolFieldReachesTheDataPlaneAndComesBack(t *testing.T) {
	rules, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	fields := (&controlv1.ClientProtocol{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		name := string(fields.Get(i).Name())
		row, ok := protocolFields[name]
		if !ok && name != "sector" { // the server's own
			t.Errorf("%s has no row", name)
		}
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			m := clientOf(t, row.with, `"protocol.`+fields.Get(i).JSONName()+`":`+row.json)
			if err := rules.Validate(m); err != nil {
				t.Fatal(err)
			}
			c := clientIn(m)
			stored, err := json.Marshal(c.ClientSettings)
			if err != nil {
				t.Fatal(err)
			}
			var back tenancy.Client
			if err := json.Unmarshal(stored, &back.ClientSettings); err != nil {
				t.Fatal(err)
			}
			if vs := back.Normalize(tenancy.ClientPlace{}); len(vs) > 0 {
				t.Fatal(vs)
			}
			built, err := back.Build(false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := row.get(built); !reflect.DeepEqual(got, row.want) {
				t.Errorf("the data plane has %v, want %v", got, row.want)
			}
			out := clientOut(&back).GetProtocol()
			out.Sector = ""
			if !proto.Equal(out, m.GetProtocol()) {
				t.Errorf("came back as %v, was %v", out, m.GetProtocol())
			}
			if back.Message().GetProtocol() == nil {
				t.Error("nothing in the document")
			}
		})
	}
}

// What cannot work is refused with its field and its rule.
func TestImpossibleProtocolMetadataNamesItsField(t *testing.T) {
	for name, row := range map[string]struct{ json, field string }{
		"keys twice":                    {`"protocol.jwks":` + someKeys + `,"protocol.jwksUri":"https://a.example/j"`, "client.protocol.jwks"},
		"a private key":                 {`"protocol.jwks":` + strings.Replace(someKeys, `"kid"`, `"d":"AAAA","kid"`, 1), "client.protocol.jwks"},
		"a shared key":                  {`"protocol.trustedIssuers":[{"issuer":"https://i.example","jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}}]`, "client.protocol.trusted_issuers[0].jwks"},
		"keys of no use":                {`"protocol.jwks":{"keys":[{"kty":"XX"}]}`, "client.protocol.jwks"},
		"no key set":                    {`"protocol.jwks":{"kty":"EC"}`, "client.protocol.jwks"},
		"keys without TLS":              {`"protocol.jwksUri":"http://a.example/j"`, "client.protocol.jwks_uri"},
		"private_key_jwt without keys":  {`"tokenEndpointAuthMethod":"private_key_jwt"`, "client.token_endpoint_auth_method"},
		"tls_client_auth without name":  {`"tokenEndpointAuthMethod":"tls_client_auth"`, "client.protocol.tls_client_auth_subject_dn"},
		"tls_client_auth with two":      {`"tokenEndpointAuthMethod":"tls_client_auth","protocol.tlsClientAuthSanDns":"a","protocol.tlsClientAuthSanIp":"::1"`, "client.protocol.tls_client_auth_subject_dn"},
		"HMAC of another":               {`"tokenEndpointAuthMethod":"client_secret_jwt","protocol.tokenEndpointAuthSigningAlg":"ES256"`, "client.protocol.token_endpoint_auth_signing_alg"},
		"enc without alg":               {`"protocol.userinfoEncryptedResponseEnc":"A128GCM"`, "client.protocol.userinfo_encrypted_response_enc"},
		"ping to nowhere":               {`"protocol.backchannelTokenDeliveryMode":"ping"`, "client.protocol.backchannel_client_notification_endpoint"},
		"two hosts and no sector":       {`"redirectUris":["https://a.example/","https://b.example/"],"protocol.pairwise":true`, "client.protocol.pairwise"},
		"tokens without implicit":       {`"protocol.responseTypes":["id_token token"]`, "client.protocol.response_types"},
		"code without its grant":        {`"kind":"SERVICE","protocol.responseTypes":["code"]`, "client.protocol.response_types"},
		"public and mTLS":               {`"clientType":"PUBLIC","tokenEndpointAuthMethod":"tls_client_auth"`, "client.token_endpoint_auth_method"},
		"public and CIBA":               {`"clientType":"PUBLIC","grantTypes":["urn:openid:params:grant-type:ciba"]`, "client.grant_types"},
		"refresh without user":          {`"kind":"SERVICE","grantTypes":["client_credentials","refresh_token"]`, "client.grant_types"},
		"logo without TLS":              {`"logoUri":"http://a.example/l.png"`, "client.logo_uri"},
		"trusted issuer without keys":   {`"protocol.trustedIssuers":[{"issuer":"https://i.example"}]`, "client.protocol.trusted_issuers"},
		"logout to a script":            {`"protocol.backchannelLogoutUri":"javascript:alert(1)"`, "client.protocol.backchannel_logout_uri"},
		"request object from somewhere": {`"protocol.requestUris":["ftp://a.example/r"]`, "client.protocol.request_uris"},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientIn(clientOf(t, row.json))
			vs := c.Normalize(tenancy.ClientPlace{Field: "client."})
			if len(vs) == 0 || vs[0].Field != row.field || vs[0].Text == "" {
				t.Errorf("%v, want %s", vs, row.field)
			}
		})
	}
}

// What a blueprint says of clients and policy is the same after it was stored.
func TestABlueprintKeepsProtocolAndPolicy(t *testing.T) {
	const spec = `{
	  "config": {
	    "oauthPolicy": {
	      "securityProfile": "FAPI_2_0", "responseTypes": ["code"], "dynamicRegistration": "INITIAL_TOKEN", "clientIdMetadataDocuments": true,
	      "legacyAssertionAudience": false, "sessionManagement": false,
	      "authorizationDetailsTypes": [{"type": "payment", "title": "Payment", "fields": [
	        {"name": "amount", "kind": "object", "label": "Amount", "required": true, "fields": [{"name": "currency", "kind": "string", "label": "Currency", "enum": ["EUR", "USD"]}]}
	      ]}]
	    },
	    "artifactLifetimes": {"pushedRequest": "90s", "deviceCode": "600s", "backchannelRequest": "120s"},
	    "tokenPolicy": {"idTokenAlgs": ["ES256", "ES384"]}
	  },
	  "clients": [{
	    "id": "bank", "kind": "WEB", "redirectUris": ["https://{{host.label}}.example.com/cb"], "tokenEndpointAuthMethod": "private_key_jwt",
	    "grantTypes": ["authorization_code", "urn:openid:params:grant-type:ciba"], "logoUri": "https://a.example/l.png",
	    "protocol": {"jwksUri": "https://{{host.label}}.example.com/jwks", "dpopBoundAccessTokens": true, "authorizationDetailsTypes": ["payment"]}
	  }],
	  "locked": ["config.oauthPolicy.securityProfile"]
	}`
	m := &controlv1.BlueprintSpec{}
	if err := protojson.Unmarshal([]byte(spec), m); err != nil {
		t.Fatal(err)
	}
	in := specIn(m)
	if err := in.Validate("draft."); err != nil {
		t.Fatal(err)
	}
	raw, _, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := blueprint.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	out := specOut(&back)
	want := proto.CloneOf(m)
	want.Locked = []string{"config.oauth_policy.security_profile"}
	if !proto.Equal(out, want) {
		t.Errorf("came back as %v\nwas %v", protojson.Format(out), protojson.Format(want))
	}
	if ws := back.Warnings("draft."); len(ws) != 0 {
		t.Errorf("a good blueprint has warnings: %v", ws)
	}
	r, err := back.Render(blueprint.Facts{TenantSlug: "hooli", HostLabel: "hooli"})
	if err != nil || r.Clients[0].Protocol.GetJwksUri() != "https://hooli.example.com/jwks" {
		t.Errorf("rendered: %v %v", r.Clients, err)
	}
	if back.Clients[0].Protocol.GetJwksUri() != "https://{{host.label}}.example.com/jwks" {
		t.Error("rendering one tenant changed the blueprint of all")
	}
}
