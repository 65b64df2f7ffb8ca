// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestClientMetadataDefaults(t *testing.T) {
	for doc, want := range map[string]string{
		`{"redirect_uris":["https://a.example/cb"]}`: `"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"client_secret_basic","grant_types":["authorization_code"],` +
			`"response_types":["code"],"application_type":"web","subject_type":"public","id_token_signed_response_alg":"RS256"`,
		`{"redirect_uris":["https://a.example/cb"],"response_types":["id_token code"],"token_endpoint_auth_method":"none","id_token_signed_response_alg":"ES256","jwks_uri":null}`: `"redirect_uris":["https://a.example/cb"],` +
			`"token_endpoint_auth_method":"none","grant_types":["authorization_code","implicit"],"response_types":["code id_token"],"application_type":"web","subject_type":"public","id_token_signed_response_alg":"ES256"`,
		`{"redirect_uris":["https://a.example/cb"],"response_types":["token id_token"]}`: `"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"client_secret_basic",` +
			`"grant_types":["implicit"],"response_types":["id_token token"],"application_type":"web","subject_type":"public","id_token_signed_response_alg":"RS256"`,
		`{"grant_types":["client_credentials"],"default_max_age":0,"jwks":{"keys":[ ]},"require_auth_time":false}`: `"token_endpoint_auth_method":"client_secret_basic","grant_types":["client_credentials"],` +
			`"jwks":{"keys":[]},"application_type":"web","subject_type":"public","id_token_signed_response_alg":"RS256","default_max_age":0,"require_auth_time":false`,
	} {
		m, err := ParseClientMetadata([]byte(doc))
		if err == nil {
			err = m.Complete("RS256")
		}
		if err != nil {
			t.Errorf("%s: %v", doc, err)
			continue
		}
		if got := string(m.AppendJSON(nil, true)); got != want {
			t.Errorf("%s\n got %s\nwant %s", doc, got, want)
		}
	}
}

func TestClientMetadataThatIsRefused(t *testing.T) {
	for doc, code := range map[string]string{
		``: CodeInvalidClientMetadata, `[]`: CodeInvalidClientMetadata, `{} {}`: CodeInvalidClientMetadata, `{"a":1,"a":2}`: CodeInvalidClientMetadata,
		"{\"client_name\":\"\xff\"}": CodeInvalidClientMetadata, `{"client_name":1}`: CodeInvalidClientMetadata, `{"client_name":"a\u0000"}`: CodeInvalidClientMetadata,
		`{"redirect_uris":[1]}`: CodeInvalidRedirectURI, `{"redirect_uris":[null]}`: CodeInvalidRedirectURI, `{"jwks":[]}`: CodeInvalidClientMetadata,
		`{"default_max_age":-1}`: CodeInvalidClientMetadata, `{"default_max_age":1.5}`: CodeInvalidClientMetadata, `{"require_auth_time":"true"}`: CodeInvalidClientMetadata,
		`{"client_name":"` + strings.Repeat("x", 2049) + `"}`: CodeInvalidClientMetadata, `{"response_types":["code"]}`: CodeInvalidRedirectURI,

		`{"redirect_uris":["https://a.example/"],"request_object_encryption_alg":"A"}`:     CodeInvalidClientMetadata,
		`{"redirect_uris":["https://a.example/"],"initiate_login_uri":"http://a.example"}`: CodeInvalidClientMetadata,
		`{"redirect_uris":["https://a.example/"],"logo_uri":"https://u:p@a.example/"}`:     CodeInvalidClientMetadata,
		`{"redirect_uris":["https://a.example/"],"policy_uri":"https://a.example/#x"}`:     CodeInvalidClientMetadata,
		`{"redirect_uris":["https://a.example/"],"subject_type":"secret"}`:                 CodeInvalidClientMetadata,
		`{"redirect_uris":["https://a.example/"],"application_type":"desktop"}`:            CodeInvalidClientMetadata,
		`{"redirect_uris":["https://a.example/"],"id_token_signed_response_alg":"none"}`:   CodeInvalidClientMetadata,

		`{"redirect_uris":["https://a.example/"],"jwks":{"keys":[]},"jwks_uri":"https://a.example"}`: CodeInvalidClientMetadata,
	} {
		m, err := ParseClientMetadata([]byte(doc))
		if err == nil {
			err = m.Complete("RS256")
		}
		if err == nil || CodeOf(err) != code {
			t.Errorf("%.80s: %v, want %s", doc, err, code)
		}
	}
}

func TestStatementOverlaysMetadata(t *testing.T) {
	m, err := ParseClientMetadata([]byte(`{"redirect_uris":["https://evil.example/"],"client_name":"Evil","logo_uri":"https://evil.example/l","require_auth_time":true}`))
	if err != nil {
		t.Fatal(err)
	}
	said, err := ParseClientMetadata([]byte(`{"iss":"x","redirect_uris":["https://good.example/"],"client_name":"Good","require_auth_time":false,"jwks":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	m.Overlay(said)
	if got := string(m.AppendJSON(nil, true)); got != `"redirect_uris":["https://good.example/"],"client_name":"Good","logo_uri":"https://evil.example/l","jwks":{},"require_auth_time":false` {
		t.Error(got)
	}
}

// FuzzClientMetadata: what is accepted, printed and read again is the same metadata.
func FuzzClientMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"redirect_uris":["https://a.example/cb"],"client_name":"A \u00e9 \"q\"","jwks":{"keys":[{"kty":"EC"}]},"default_max_age":60,"contacts":[]}`,
		`{"grant_types":["client_credentials"],"response_types":["token id_token"],"require_auth_time":false}`, `{"a":{"b":[1,2,{"c":null}]}}`, `{}`, `[`, `{"scope":"a b"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseClientMetadata(data)
		if err != nil {
			if code := CodeOf(err); code != CodeInvalidClientMetadata && code != CodeInvalidRedirectURI {
				t.Fatalf("error %v", err)
			}
			return
		}
		printed := append(m.AppendJSON([]byte{'{'}, true), '}')
		if !json.Valid(printed) {
			t.Fatalf("%s", printed)
		}
		again, err := ParseClientMetadata(printed)
		if err != nil {
			if len(printed) > MaxClientMetadataBytes {
				return // escapes may be longer than what they stand for
			}
			t.Fatalf("%v: %s", err, printed)
		}
		if second := append(again.AppendJSON([]byte{'{'}, true), '}'); !bytes.Equal(printed, second) {
			t.Fatalf("%s\n%s", printed, second)
		}
		_ = m.Complete("RS256") // it must not panic
	})
}
