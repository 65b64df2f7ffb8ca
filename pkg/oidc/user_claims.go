// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// Address is the address claim (OpenID Connect Core section 5.1.1).
type Address struct {
	Formatted, StreetAddress, Locality, Region, PostalCode, Country string
}

// UserClaims are a user's standard claims (OpenID Connect Core section 5.1) and what the active tenant adds. Empty members are
// not sent: no value is no claim.
type UserClaims struct {
	Name, GivenName, FamilyName, MiddleName, Nickname, PreferredUsername string
	Profile, Picture, Website                                            string
	Email                                                                string
	EmailVerified                                                        bool
	Gender, Birthdate, Zoneinfo, Locale                                  string
	PhoneNumber                                                          string
	PhoneNumberVerified                                                  bool
	Address                                                              Address
	UpdatedAt                                                            time.Time
	// Roles and Groups are those of the active tenant.
	Roles, Groups []string
}

// userClaim writes one claim if the user has it.
type userClaim struct {
	name  string
	scope string
	write func(dst []byte, name string, u *UserClaims) []byte
}

func text(get func(u *UserClaims) string) func([]byte, string, *UserClaims) []byte {
	return func(dst []byte, name string, u *UserClaims) []byte { return jsonw.OptionalMember(dst, name, get(u)) }
}

// userClaims are the claims in the order of OpenID Connect Core section 5.1, with the scope that asks for each (section 5.4).
var userClaims = []userClaim{
	{"name", ScopeProfile, text(func(u *UserClaims) string { return u.Name })},
	{"given_name", ScopeProfile, text(func(u *UserClaims) string { return u.GivenName })},
	{"family_name", ScopeProfile, text(func(u *UserClaims) string { return u.FamilyName })},
	{"middle_name", ScopeProfile, text(func(u *UserClaims) string { return u.MiddleName })},
	{"nickname", ScopeProfile, text(func(u *UserClaims) string { return u.Nickname })},
	{"preferred_username", ScopeProfile, text(func(u *UserClaims) string { return u.PreferredUsername })},
	{"profile", ScopeProfile, text(func(u *UserClaims) string { return u.Profile })},
	{"picture", ScopeProfile, text(func(u *UserClaims) string { return u.Picture })},
	{"website", ScopeProfile, text(func(u *UserClaims) string { return u.Website })},
	{"email", ScopeEmail, text(func(u *UserClaims) string { return u.Email })},
	{"email_verified", ScopeEmail, func(dst []byte, name string, u *UserClaims) []byte {
		if u.Email == "" {
			return dst
		}
		return jsonw.Bool(dst, name, u.EmailVerified)
	}},
	{"gender", ScopeProfile, text(func(u *UserClaims) string { return u.Gender })},
	{"birthdate", ScopeProfile, text(func(u *UserClaims) string { return u.Birthdate })},
	{"zoneinfo", ScopeProfile, text(func(u *UserClaims) string { return u.Zoneinfo })},
	{"locale", ScopeProfile, text(func(u *UserClaims) string { return u.Locale })},
	{"phone_number", ScopePhone, text(func(u *UserClaims) string { return u.PhoneNumber })},
	{"phone_number_verified", ScopePhone, func(dst []byte, name string, u *UserClaims) []byte {
		if u.PhoneNumber == "" {
			return dst
		}
		return jsonw.Bool(dst, name, u.PhoneNumberVerified)
	}},
	{"address", ScopeAddress, writeAddress},
	{"updated_at", ScopeProfile, func(dst []byte, name string, u *UserClaims) []byte {
		if u.UpdatedAt.IsZero() {
			return dst
		}
		return jsonw.Int(dst, name, u.UpdatedAt.Unix())
	}},
	{"roles", ScopeRoles, func(dst []byte, name string, u *UserClaims) []byte { return list(dst, name, u.Roles) }},
	{"groups", ScopeRoles, func(dst []byte, name string, u *UserClaims) []byte { return list(dst, name, u.Groups) }},
}

func list(dst []byte, name string, values []string) []byte {
	if len(values) == 0 {
		return dst
	}
	return jsonw.Strings(dst, name, values)
}

func writeAddress(dst []byte, name string, u *UserClaims) []byte {
	a := &u.Address
	if *a == (Address{}) {
		return dst
	}
	dst = append(jsonw.Name(dst, name), '{')
	dst = jsonw.OptionalMember(dst, "formatted", a.Formatted)
	dst = jsonw.OptionalMember(dst, "street_address", a.StreetAddress)
	dst = jsonw.OptionalMember(dst, "locality", a.Locality)
	dst = jsonw.OptionalMember(dst, "region", a.Region)
	dst = jsonw.OptionalMember(dst, "postal_code", a.PostalCode)
	dst = jsonw.OptionalMember(dst, "country", a.Country)
	return append(dst, '}')
}

// ScopeClaims names the claims that a scope asks for (OpenID Connect Core section 5.4); nil for any other scope.
func ScopeClaims(scope string) []string {
	if scope == ScopeOpenID {
		return []string{"sub"}
	}
	var names []string
	for _, c := range userClaims {
		if c.scope == scope {
			names = append(names, c.name)
		}
	}
	return names
}

// appendTo appends the claims that the scopes or the names ask for, as members of an object that is open.
func (u *UserClaims) appendTo(dst []byte, scopes oauth2.Scopes, names []string) []byte {
	for _, c := range userClaims {
		if scopes.Contains(c.scope) || slices.Contains(names, c.name) {
			dst = c.write(dst, c.name, u)
		}
	}
	return dst
}

// UserInfoInput is what a UserInfo answer is made from.
type UserInfoInput struct {
	// Subject is `sub`, the same as in the ID token (OpenID Connect Core section 5.3.2).
	Subject string
	// Issuer and ClientID become iss and aud of a signed answer; empty in one that is plain JSON (section 5.3.2).
	Issuer, ClientID string
	// Scopes are those of the access token.
	Scopes oauth2.Scopes
	// Claims are the names asked for by the claims parameter (ClaimsRequest.UserInfoClaims).
	Claims []string
	// User are the user's claims.
	User UserClaims
}

// BuildUserInfo writes a UserInfo answer: `sub` and what was asked for, by scope or by name.
func BuildUserInfo(in UserInfoInput) []byte {
	b := make([]byte, 0, 512)
	b = jsonw.Member(append(b, '{'), "sub", in.Subject)
	b = jsonw.OptionalMember(b, "iss", in.Issuer)
	b = jsonw.OptionalMember(b, "aud", in.ClientID)
	b = in.User.appendTo(b, in.Scopes, in.Claims)
	return append(b, '}')
}
