// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"slices"
	"strings"
)

// MaxScopes is the largest number of scopes in a request.
const MaxScopes = 64

// maxScopeBytes bounds one scope.
const maxScopeBytes = 256

// Scopes is a list of scopes without duplicates, in the order in which they were asked.
type Scopes []string

// ParseScopes parses a `scope` parameter (RFC 6749 section 3.3). Duplicates are dropped; extra spaces, which many clients send,
// are tolerated. Too many scopes or a character outside the standard's set is invalid_scope. The empty text gives nil.
func ParseScopes(s string) (Scopes, error) {
	if s == "" {
		return nil, nil
	}
	var list Scopes
	for s != "" {
		var one string
		one, s, _ = strings.Cut(s, " ")
		if one == "" {
			continue
		}
		if !ValidScope(one) {
			return nil, InvalidScope("scope is malformed")
		}
		if slices.Contains(list, one) {
			continue
		}
		if len(list) == MaxScopes {
			return nil, InvalidScope("too many scopes")
		}
		list = append(list, one)
	}
	return list, nil
}

// ValidScope says whether s is one scope-token of RFC 6749 section 3.3, of at most 256 bytes.
func ValidScope(s string) bool {
	if s == "" || len(s) > maxScopeBytes {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Contains says whether scope is in the list.
func (s Scopes) Contains(scope string) bool { return slices.Contains(s, scope) }

// Subset says whether every scope of s is in of.
func (s Scopes) Subset(of Scopes) bool {
	for _, one := range s {
		if !of.Contains(one) {
			return false
		}
	}
	return true
}

// Intersect gives the scopes of s that are in o, in the order of s; s itself when that is all of them.
func (s Scopes) Intersect(o Scopes) Scopes {
	for i, one := range s {
		if !o.Contains(one) {
			kept := slices.Clone(s[:i])
			for _, one := range s[i+1:] {
				if o.Contains(one) {
					kept = append(kept, one)
				}
			}
			return kept
		}
	}
	return s
}

// Without gives the scopes of s except the named ones; s itself when it has none of them.
func (s Scopes) Without(drop ...string) Scopes {
	if !slices.ContainsFunc(s, func(one string) bool { return slices.Contains(drop, one) }) {
		return s
	}
	var kept Scopes
	for _, one := range s {
		if !slices.Contains(drop, one) {
			kept = append(kept, one)
		}
	}
	return kept
}

// String is the `scope` parameter: separated by single spaces.
func (s Scopes) String() string { return strings.Join(s, " ") }
