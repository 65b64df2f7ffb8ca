// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/snapshot"
)

// HoldTime is how long a released hostname may be claimed by nobody, its last owner too. It is longer than the 30 days for which an
// old signed record could still be shown to a replica (DISTRIBUTION.md section 8).
const HoldTime = 90 * 24 * time.Hour

// PurgeAfter is how long a deleted tenant can be undeleted.
const PurgeAfter = 30 * 24 * time.Hour

// SystemLabels are the labels that no tenant may have under any base domain: words that people take for the operator's own pages,
// that mail and certificate authorities trust, or that browsers and protocols treat specially.
var SystemLabels = map[string]bool{}

func init() {
	for _, l := range strings.Fields(`
		www www2 mail email smtp imap pop pop3 mx ns ns1 ns2 ns3 ns4 dns ftp sftp ssh vpn proxy gateway
		admin administrator root system sysadmin hostmaster postmaster webmaster abuse security noc support help helpdesk info contact
		login signin sign-in logout signout signup sign-up register auth oauth oauth2 oidc sso idp saml account accounts id identity
		api apis app apps console dashboard portal control manage management internal private status health metrics monitor monitoring
		static assets cdn media files download downloads docs doc documentation developer developers dev-console
		billing payment payments pay checkout invoice invoices legal privacy terms about blog news
		autoconfig autodiscover wpad isatap localhost localdomain local broadcasthost invalid example test
		tenantry platform official verify verification trust`) {
		SystemLabels[l] = true
	}
}

// NormalizeLabel brings a label to the one spelling under which it is claimed: an A-label in lower case. It must be a single DNS
// label; xn-- labels that do not round-trip are refused with the rest.
func NormalizeLabel(label string) (string, bool) {
	if label == "" || len(label) > 253 || strings.ContainsAny(label, ".:。．｡") {
		return "", false
	}
	// A label is checked as the left-most one of a hostname, by the function that the data plane normalises Host with.
	host, err := snapshot.NormalizeHost(label + ".tenantry.invalid")
	if err != nil {
		return "", false
	}
	got, ok := strings.CutSuffix(host, ".tenantry.invalid")
	if !ok || got == "" || strings.Contains(got, ".") || !dnsLabel(got) {
		return "", false
	}
	return got, true
}

// NormalizeDomain brings a hostname to the one spelling under which it is claimed.
func NormalizeDomain(domain string) (string, bool) {
	if domain == "" || len(domain) > 512 || strings.Contains(domain, ":") {
		return "", false
	}
	host, err := snapshot.NormalizeHost(domain)
	if err != nil {
		return "", false
	}
	for _, l := range strings.Split(host, ".") {
		if !dnsLabel(l) {
			return "", false
		}
	}
	return host, true
}

// ValidSlug reports whether s may be the chosen id of an org, tenant or blueprint: a DNS label in lower case, which no server-made
// id is, since those have an underscore.
func ValidSlug(s string) bool { return dnsLabel(s) }

func dnsLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// ValidItemID reports whether s may be the id of something inside a document: a client, role or key of a blueprint.
func ValidItemID(s string) bool {
	if s == "" || len(s) > 63 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// CheckBaseDomain decides whether a domain may be an org's base domain at all; whether it is free is for the store. A single label is
// a public suffix or a machine name, except localhost where development is allowed.
func CheckBaseDomain(domain string, development bool) (string, error) {
	host, ok := NormalizeDomain(domain)
	if !ok {
		return "", RefuseField(ReasonInvalidArgument, "org.base_domain", "write a domain name such as ppvc.example")
	}
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if local && !development {
		return "", RefuseField(ReasonInvalidArgument, "org.base_domain", "localhost is for development installations")
	}
	if !local && !strings.Contains(host, ".") {
		return "", RefuseField(ReasonInvalidArgument, "org.base_domain", "write a domain with at least two labels, such as ppvc.example")
	}
	return host, nil
}

// Parents lists the domains above host, nearest first: a.b.c gives b.c and c.
func Parents(host string) []string {
	var up []string
	for {
		_, rest, ok := strings.Cut(host, ".")
		if !ok {
			return up
		}
		up = append(up, rest)
		host = rest
	}
}
