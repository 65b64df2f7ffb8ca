// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
)

// Registration is what a client that registered itself (RFC 7591) has beyond other clients.
type Registration struct {
	// Client that registered.
	Client id.Client
	// TokenHash is the hash of its registration access token.
	TokenHash secret.Hash `json:"-"`
	// Key is the API key that it registered with; zero where everybody may.
	Key id.APIKey
	// Network is the one that it registered from, as SourceNetwork names it; empty for clients of before there were any.
	Network string
	// Extras is metadata that is given back as it came.
	Extras map[string]string
	// CreateTime is client_id_issued_at.
	CreateTime time.Time
}

// Registered is a client that has just registered or changed itself, with what is shown this once.
type Registered struct {
	Client       Client
	Registration Registration
	// Secret is the text of a secret that was made for it, empty for none.
	Secret string `json:"-"`
	// Token is the text of its registration access token, empty when it has it already.
	Token string `json:"-"`
}

// PermissionRegister is what an API key needs to register clients of a tenant by RFC 7591. No method of the API asks for it, so a key with
// this permission alone is an initial access token: it can do nothing else.
const PermissionRegister = "clients.register"

// MaxRegistered is how many of a tenant's clients may have registered themselves.
const MaxRegistered = 500

// LabelRegistrations is the label of an initial access token that says how many clients may register with it. Labels of a key never change.
const LabelRegistrations = "max_registrations"

// MayRegister says how many clients may register with a key that has this label and these rights: one, unless the label says more. A key
// that can create clients by the API as well has no limit here.
func MayRegister(rights PermissionSet, labels map[string]string) (n int, limited bool) {
	if rights.Allows("clients.create") {
		return 0, false
	}
	n, err := strconv.Atoi(labels[LabelRegistrations])
	if err != nil || n < 1 || n > MaxRegistered {
		return 1, true
	}
	return n, true
}

// SourceNetwork names the network of a caller's address: the /24 of IPv4 and the /48 of IPv6, which is about what one subscriber or one
// rented machine can send from. Whatever is no address is one network, so that nobody escapes a limit by hiding.
func SourceNetwork(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return "unknown"
	}
	a, bits := a.Unmap().WithZone(""), 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return "unknown"
	}
	return p.String()
}
