// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// PromptSet is a set of prompt values.
type PromptSet uint8

// The prompt values.
const (
	PromptNone          PromptSet = 1 << iota // OpenID Connect Core section 3.1.2.1: no page at all
	PromptLogin                               // OpenID Connect Core section 3.1.2.1: log in again
	PromptConsent                             // OpenID Connect Core section 3.1.2.1: ask for consent again
	PromptSelectAccount                       // OpenID Connect Core section 3.1.2.1: choose an account, or come in as another user
	PromptCreate                              // Initiating User Registration section 4.1: register
)

var promptNames = []struct {
	name string
	bit  PromptSet
}{
	{"none", PromptNone},
	{"login", PromptLogin},
	{"consent", PromptConsent},
	{"select_account", PromptSelectAccount},
	{"create", PromptCreate},
}

// ParsePrompt parses a prompt parameter. An unknown value, or none with another one, is invalid_request (OpenID Connect Core
// section 3.1.2.1): to ignore it could skip a page that the client relies on.
func ParsePrompt(s string) (PromptSet, error) {
	var set PromptSet
	for word := range strings.FieldsSeq(s) {
		bit := PromptSet(0)
		for _, p := range promptNames {
			if p.name == word {
				bit = p.bit
			}
		}
		if bit == 0 {
			return 0, oauth2.InvalidRequest("a prompt value is not supported")
		}
		set |= bit
	}
	if set.Has(PromptNone) && set != PromptNone {
		return 0, oauth2.InvalidRequest("prompt none must stand alone")
	}
	return set, nil
}

// Has says whether any of the values in p is in the set.
func (s PromptSet) Has(p PromptSet) bool { return s&p != 0 }

// String is the parameter's text.
func (s PromptSet) String() string {
	var words []string
	for _, p := range promptNames {
		if s.Has(p.bit) {
			words = append(words, p.name)
		}
	}
	return strings.Join(words, " ")
}
