// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Codes of registration errors beyond invalid_redirect_uri and invalid_client_metadata (RFC 7591 section 3.2.2).
const (
	CodeInvalidSoftwareStatement    = "invalid_software_statement"
	CodeUnapprovedSoftwareStatement = "unapproved_software_statement"
)

// Bounds of client metadata.
const (
	// MaxClientMetadataBytes bounds a registration request and a client ID metadata document.
	MaxClientMetadataBytes = 64 << 10
	maxMetadataMembers     = 128
	maxMetadataString      = 2048
	maxMetadataList        = 100
	maxStatementBytes      = 16 << 10
)

// ClientMetadata is client metadata by its registered names (RFC 7591 section 2; OpenID Connect Registration section 2; and the standards
// that add members of their own). The zero value of a member means that it is not there.
type ClientMetadata struct {
	RedirectURIs             []string
	TokenEndpointAuthMethod  string
	GrantTypes               []string
	ResponseTypes            []string
	ClientName               string
	ClientURI                string
	LogoURI                  string
	Scope                    string
	Contacts                 []string
	TOSURI                   string
	PolicyURI                string
	JWKSURI                  string
	JWKS                     json.RawMessage
	SoftwareID               string
	SoftwareVersion          string
	SoftwareStatement        string // RFC 7591 section 2.3
	ApplicationType          string // OpenID Connect Registration section 2
	SectorIdentifierURI      string
	SubjectType              string
	IDTokenAlg               string
	IDTokenEncryptionAlg     string
	IDTokenEncryptionEnc     string
	UserInfoAlg              string
	UserInfoEncryptionAlg    string
	UserInfoEncryptionEnc    string
	RequestObjectAlg         string
	AssertionAlg             string
	DefaultMaxAge            *int64 // seconds
	RequireAuthTime          *bool
	DefaultACRValues         []string
	InitiateLoginURI         string
	RequestURIs              []string
	PostLogoutRedirectURIs   []string // OpenID Connect RP-Initiated Logout section 3.1
	BackchannelLogoutURI     string   // OpenID Connect Back-Channel Logout section 2.2
	BackchannelLogoutSession *bool
	FrontchannelLogoutURI    string // OpenID Connect Front-Channel Logout section 2
	FrontchannelSession      *bool
	TLSSubjectDN             string // RFC 8705 section 2.1.2
	TLSSANDNS                string
	TLSSANURI                string
	TLSSANIP                 string
	TLSSANEmail              string
	TLSBoundTokens           *bool // RFC 8705 section 3.4
	DPoPBoundTokens          *bool // RFC 9449 section 5.2
	RequirePAR               *bool // RFC 9126 section 6
	RequireSignedRequest     *bool // RFC 9101 section 10.5
	AuthorizationAlg         string
	DetailsTypes             []string // RFC 9396 section 10
	IntrospectionAlg         string   // RFC 9701 section 6
	DeliveryMode             string   // CIBA Core section 4
	NotificationEndpoint     string
	BackchannelRequestAlg    string

	// ClientID and ClientSecret are no metadata, but stand in an update (RFC 7592 section 2.2) and in a client ID metadata document.
	ClientID, ClientSecret string

	// Unsupported are members that the metadata has, that mean something, and that this server cannot do.
	Unsupported []string
}

// metadataMember is one member with where it is kept: *string, *[]string, **bool, **int64 or *json.RawMessage.
type metadataMember struct {
	name string
	to   any
}

func (m *ClientMetadata) members() []metadataMember {
	return []metadataMember{
		{"redirect_uris", &m.RedirectURIs},
		{"token_endpoint_auth_method", &m.TokenEndpointAuthMethod},
		{"token_endpoint_auth_signing_alg", &m.AssertionAlg},
		{"grant_types", &m.GrantTypes},
		{"response_types", &m.ResponseTypes},
		{"client_name", &m.ClientName},
		{"client_uri", &m.ClientURI},
		{"logo_uri", &m.LogoURI},
		{"scope", &m.Scope},
		{"contacts", &m.Contacts},
		{"tos_uri", &m.TOSURI},
		{"policy_uri", &m.PolicyURI},
		{"jwks_uri", &m.JWKSURI},
		{"jwks", &m.JWKS},
		{"software_id", &m.SoftwareID},
		{"software_version", &m.SoftwareVersion},
		{"software_statement", &m.SoftwareStatement},
		{"application_type", &m.ApplicationType},
		{"sector_identifier_uri", &m.SectorIdentifierURI},
		{"subject_type", &m.SubjectType},
		{"id_token_signed_response_alg", &m.IDTokenAlg},
		{"id_token_encrypted_response_alg", &m.IDTokenEncryptionAlg},
		{"id_token_encrypted_response_enc", &m.IDTokenEncryptionEnc},
		{"userinfo_signed_response_alg", &m.UserInfoAlg},
		{"userinfo_encrypted_response_alg", &m.UserInfoEncryptionAlg},
		{"userinfo_encrypted_response_enc", &m.UserInfoEncryptionEnc},
		{"request_object_signing_alg", &m.RequestObjectAlg},
		{"default_max_age", &m.DefaultMaxAge},
		{"require_auth_time", &m.RequireAuthTime},
		{"default_acr_values", &m.DefaultACRValues},
		{"initiate_login_uri", &m.InitiateLoginURI},
		{"request_uris", &m.RequestURIs},
		{"post_logout_redirect_uris", &m.PostLogoutRedirectURIs},
		{"backchannel_logout_uri", &m.BackchannelLogoutURI},
		{"backchannel_logout_session_required", &m.BackchannelLogoutSession},
		{"frontchannel_logout_uri", &m.FrontchannelLogoutURI},
		{"frontchannel_logout_session_required", &m.FrontchannelSession},
		{"tls_client_auth_subject_dn", &m.TLSSubjectDN},
		{"tls_client_auth_san_dns", &m.TLSSANDNS},
		{"tls_client_auth_san_uri", &m.TLSSANURI},
		{"tls_client_auth_san_ip", &m.TLSSANIP},
		{"tls_client_auth_san_email", &m.TLSSANEmail},
		{"tls_client_certificate_bound_access_tokens", &m.TLSBoundTokens},
		{"dpop_bound_access_tokens", &m.DPoPBoundTokens},
		{"require_pushed_authorization_requests", &m.RequirePAR},
		{"require_signed_request_object", &m.RequireSignedRequest},
		{"authorization_signed_response_alg", &m.AuthorizationAlg},
		{"authorization_details_types", &m.DetailsTypes},
		{"introspection_signed_response_alg", &m.IntrospectionAlg},
		{"backchannel_token_delivery_mode", &m.DeliveryMode},
		{"backchannel_client_notification_endpoint", &m.NotificationEndpoint},
		{"backchannel_authentication_request_signing_alg", &m.BackchannelRequestAlg},
		{"client_id", &m.ClientID},
		{"client_secret", &m.ClientSecret},
	}
}

// unsupportedMembers change what a client would get from us or send to us, so that leaving one out in silence would break the client later.
var unsupportedMembers = map[string]bool{
	"request_object_encryption_alg": true, "request_object_encryption_enc": true,
	"authorization_encrypted_response_alg": true, "authorization_encrypted_response_enc": true,
	"introspection_encrypted_response_alg": true, "introspection_encrypted_response_enc": true,
}

// ParseClientMetadata reads a JSON object of client metadata strictly: each member at most once and of its type, all of it bounded. Members
// that we do not know are passed over, as RFC 7591 section 2 wants; one that is null counts as left out (section 2.2 of RFC 7592). The
// error is an *Error, invalid_client_metadata or invalid_redirect_uri.
func ParseClientMetadata(data []byte) (*ClientMetadata, error) {
	if len(data) > MaxClientMetadataBytes {
		return nil, InvalidClientMetadata("the document is too large")
	}
	if !utf8.Valid(data) {
		return nil, InvalidClientMetadata("the document is not UTF-8")
	}
	m := &ClientMetadata{}
	known := make(map[string]any, 64)
	for _, f := range m.members() {
		known[f.name] = f.to
	}
	err := eachJSONMember(data, func(name string, value json.RawMessage) error {
		if string(value) == "null" {
			return nil
		}
		to, ok := known[name]
		if !ok {
			if unsupportedMembers[name] {
				m.Unsupported = append(m.Unsupported, name)
			}
			return nil
		}
		if err := setMember(to, value, name); err != nil {
			return metadataError(name, err.Error())
		}
		return nil
	})
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			return nil, e
		}
		return nil, InvalidClientMetadata(err.Error())
	}
	return m, nil
}

func metadataError(name, rule string) *Error {
	if name == "redirect_uris" {
		return NewError(CodeInvalidRedirectURI, http.StatusBadRequest, name+": "+rule)
	}
	return InvalidClientMetadata(name + ": " + rule)
}

// InvalidClientMetadata is invalid_client_metadata (RFC 7591 section 3.2.2).
func InvalidClientMetadata(description string) *Error {
	return NewError(CodeInvalidClientMetadata, http.StatusBadRequest, description)
}

var (
	errNotObject = errors.New("the document is not one JSON object")
	errTwice     = errors.New("a member stands twice")
	errMembers   = errors.New("too many members")
)

// eachJSONMember gives the members of one object in their order. A member that stands twice is an error: two readers of the document could
// each take another one.
func eachJSONMember(data []byte, f func(name string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errNotObject
	}
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errNotObject
		}
		if seen[name] {
			return errTwice
		}
		if seen[name] = true; len(seen) > maxMetadataMembers {
			return errMembers
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return errNotObject
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return errNotObject
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errNotObject
	}
	return nil
}

func setMember(to any, value json.RawMessage, name string) error {
	limit := maxMetadataString
	if name == "software_statement" {
		limit = maxStatementBytes
	}
	switch p := to.(type) {
	case *string:
		var s string
		if json.Unmarshal(value, &s) != nil || value[0] != '"' {
			return errors.New("must be a string")
		}
		if err := checkText(s, limit); err != nil {
			return err
		}
		*p = s
	case *[]string:
		var list []*string
		if json.Unmarshal(value, &list) != nil || len(list) > maxMetadataList || slices.Contains(list, nil) {
			return fmt.Errorf("must be a list of at most %d strings", maxMetadataList)
		}
		*p = make([]string, len(list))
		for i, s := range list {
			if err := checkText(*s, limit); err != nil {
				return err
			}
			(*p)[i] = *s
		}
	case **bool:
		var b bool
		if json.Unmarshal(value, &b) != nil {
			return errors.New("must be true or false")
		}
		*p = &b
	case **int64:
		var n int64
		if json.Unmarshal(value, &n) != nil || n < 0 || n > 10*365*24*3600 {
			return errors.New("must be a whole number of seconds")
		}
		*p = &n
	case *json.RawMessage:
		if value[0] != '{' {
			return errors.New("must be an object")
		}
		var compact bytes.Buffer
		if json.Compact(&compact, value) != nil {
			return errors.New("must be an object")
		}
		*p = compact.Bytes()
	}
	return nil
}

func checkText(s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("is longer than %d bytes", limit)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
		return errors.New("has a control character")
	}
	return nil
}

// AppendJSON appends the metadata that is there as members of an object, without its braces and with a comma in front of each but, when first
// is true, the first one. Secrets are left out.
func (m *ClientMetadata) AppendJSON(dst []byte, first bool) []byte {
	for _, f := range m.members() {
		if f.name == "client_id" || f.name == "client_secret" {
			continue
		}
		var value any
		switch p := f.to.(type) {
		case *string:
			if *p == "" {
				continue
			}
			value = *p
		case *[]string:
			if *p == nil {
				continue
			}
			value = *p
		case **bool:
			if *p == nil {
				continue
			}
			value = **p
		case **int64:
			if *p == nil {
				continue
			}
			value = **p
		case *json.RawMessage:
			if *p == nil {
				continue
			}
			value = *p
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		text, err := json.Marshal(value)
		if err != nil {
			text = []byte("null") // every value was parsed or is a string, so this does not come
		}
		dst = append(append(append(dst, '"'), f.name...), '"', ':')
		dst = append(dst, text...)
	}
	return dst
}

// Overlay replaces members by those that a software statement has (RFC 7591 section 2.3: its claims take precedence).
func (m *ClientMetadata) Overlay(statement *ClientMetadata) {
	from := statement.members()
	for i, f := range m.members() {
		switch p := f.to.(type) {
		case *string:
			if v := *from[i].to.(*string); v != "" { //nolint:forcetypeassert // both are members of one type
				*p = v
			}
		case *[]string:
			if v := *from[i].to.(*[]string); v != nil { //nolint:forcetypeassert // as above
				*p = v
			}
		case **bool:
			if v := *from[i].to.(**bool); v != nil { //nolint:forcetypeassert // as above
				*p = v
			}
		case **int64:
			if v := *from[i].to.(**int64); v != nil { //nolint:forcetypeassert // as above
				*p = v
			}
		case *json.RawMessage:
			if v := *from[i].to.(*json.RawMessage); v != nil { //nolint:forcetypeassert // as above
				*p = v
			}
		}
	}
	m.Unsupported = append(m.Unsupported, statement.Unsupported...)
}

// Application types.
const (
	ApplicationWeb    = "web"
	ApplicationNative = "native"
)

// Complete fills in the defaults of the standards and checks what needs no tenant: redirect URIs and their form are left to who registers
// the client. idTokenAlg is the default of id_token_signed_response_alg: RS256, where the tenant has a key for it. The error is an *Error.
func (m *ClientMetadata) Complete(idTokenAlg string) error {
	set := func(to *string, value string) {
		if *to == "" {
			*to = value
		}
	}
	set(&m.TokenEndpointAuthMethod, AuthMethodBasic) // RFC 7591 section 2
	set(&m.ApplicationType, ApplicationWeb)          // OpenID Connect Registration section 2
	set(&m.SubjectType, "public")
	set(&m.IDTokenAlg, idTokenAlg)
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{GrantTypeAuthorizationCode}
		// A client that asks for tokens at the authorization endpoint means the grant that goes with them.
		if slices.ContainsFunc(m.ResponseTypes, func(r string) bool { return strings.Contains(r, "token") }) {
			m.GrantTypes = append(m.GrantTypes, GrantTypeImplicit)
			if !slices.ContainsFunc(m.ResponseTypes, func(r string) bool { return slices.Contains(strings.Fields(r), ResponseTypeCode) }) {
				m.GrantTypes = []string{GrantTypeImplicit}
			}
		}
	}
	codeFlow := slices.Contains(m.GrantTypes, GrantTypeAuthorizationCode)
	if len(m.ResponseTypes) == 0 && codeFlow {
		m.ResponseTypes = []string{ResponseTypeCode}
	}
	if m.IDTokenEncryptionAlg != "" {
		set(&m.IDTokenEncryptionEnc, "A128CBC-HS256")
	}
	if m.UserInfoEncryptionAlg != "" {
		set(&m.UserInfoEncryptionEnc, "A128CBC-HS256")
	}
	// A response type is a set (RFC 6749 section 3.1.1): the standards' spelling is kept.
	for i, r := range m.ResponseTypes {
		m.ResponseTypes[i] = canonicalResponseType(r)
	}
	return m.check()
}

// responseTypeOrder is the order of the words in the standards' spelling.
var responseTypeOrder = []string{ResponseTypeCode, "id_token", "token"}

func canonicalResponseType(r string) string {
	words := strings.Fields(r)
	for _, w := range words {
		if !slices.Contains(responseTypeOrder, w) {
			return r
		}
	}
	slices.SortFunc(words, func(a, b string) int { return slices.Index(responseTypeOrder, a) - slices.Index(responseTypeOrder, b) })
	return strings.Join(words, " ")
}

func (m *ClientMetadata) check() error {
	if len(m.Unsupported) > 0 {
		return metadataError(m.Unsupported[0], "is not supported")
	}
	if m.ApplicationType != ApplicationWeb && m.ApplicationType != ApplicationNative {
		return metadataError("application_type", "must be web or native")
	}
	if m.SubjectType != "public" && m.SubjectType != "pairwise" {
		return metadataError("subject_type", "must be public or pairwise")
	}
	if m.JWKS != nil && m.JWKSURI != "" {
		return metadataError("jwks_uri", "a client has jwks or jwks_uri, not both")
	}
	if m.IDTokenAlg == "none" || m.UserInfoAlg == "none" || m.AssertionAlg == "none" || m.RequestObjectAlg == "none" || m.AuthorizationAlg == "none" {
		return InvalidClientMetadata("nothing is left unsigned here: none is no algorithm")
	}
	for name, value := range map[string]string{
		"client_uri": m.ClientURI, "logo_uri": m.LogoURI, "tos_uri": m.TOSURI, "policy_uri": m.PolicyURI, "jwks_uri": m.JWKSURI,
		"sector_identifier_uri": m.SectorIdentifierURI, "initiate_login_uri": m.InitiateLoginURI, "backchannel_logout_uri": m.BackchannelLogoutURI,
		"frontchannel_logout_uri": m.FrontchannelLogoutURI, "backchannel_client_notification_endpoint": m.NotificationEndpoint,
	} {
		if value != "" && !httpsURL(value) {
			return metadataError(name, "must be an https URL without credentials and fragment")
		}
	}
	if needsRedirect(m.GrantTypes) && len(m.RedirectURIs) == 0 {
		return metadataError("redirect_uris", "a client that uses the authorization endpoint needs one")
	}
	return nil
}

func needsRedirect(grants []string) bool {
	return slices.Contains(grants, GrantTypeAuthorizationCode) || slices.Contains(grants, GrantTypeImplicit)
}

func httpsURL(value string) bool {
	u, err := url.Parse(value)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && u.Fragment == "" && !strings.Contains(value, "#")
}
