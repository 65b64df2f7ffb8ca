// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net/netip"
	"slices"
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

var (
	// forbidden4 is the IANA special-purpose registry (RFC 6890) for IPv4 where it is not globally reachable, multicast, and the one cloud
	// service that lives on a public address.
	forbidden4 = prefixes(
		"0.0.0.0/8",        // this host
		"10.0.0.0/8",       // private
		"100.64.0.0/10",    // shared, CGNAT; in it 100.100.100.200, metadata of Alibaba Cloud
		"127.0.0.0/8",      // loopback
		"168.63.129.16/32", // host services of Azure
		"169.254.0.0/16",   // link-local; in it 169.254.169.254, metadata of AWS, Azure, Google Cloud and others
		"172.16.0.0/12",    // private
		"192.0.0.0/24",     // protocol assignments; in it 192.0.0.192, metadata of Oracle Cloud
		"192.0.2.0/24",     // documentation
		"192.88.99.0/24",   // 6to4 relays, deprecated
		"192.168.0.0/16",   // private
		"198.18.0.0/15",    // benchmarks
		"198.51.100.0/24",  // documentation
		"203.0.113.0/24",   // documentation
		"224.0.0.0/4",      // multicast
		"240.0.0.0/4",      // reserved, broadcast
	)
	// public6 is what IANA gives out as global unicast; all else of IPv6 (loopback, unspecified, link-local, unique local, multicast, IPv4-compatible,
	// the future) is refused by not being in it.
	public6 = netip.MustParsePrefix("2000::/3")
	// forbidden6 are the parts of public6 that do not lead to a public host.
	forbidden6 = prefixes(
		"2001::/23",     // protocol assignments; in it Teredo, 2001::/32
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4, deprecated: any IPv4 address in disguise
		"3fff::/20",     // documentation
	)
	// nat64 carries an IPv4 address in its last 32 bits (RFC 6052 section 2.1). A resolver with DNS64 answers so for every public host, so it
	// is judged by what it carries. Local-use NAT64, 64:ff9b:1::/48, is not: what it leads to depends on the network.
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

// forbidden reports whether a stranger must not make us connect to the address.
func forbidden(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return true
	}
	a = a.Unmap()
	if a.Is6() && nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	if a.Is4() {
		return slices.ContainsFunc(forbidden4, in)
	}
	return !public6.Contains(a) || slices.ContainsFunc(forbidden6, in)
}

// allowed reports whether the configuration names the address's network.
func (c *Client) allowed(a netip.Addr) bool {
	a = a.Unmap()
	return a.Zone() == "" && slices.ContainsFunc(c.networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
