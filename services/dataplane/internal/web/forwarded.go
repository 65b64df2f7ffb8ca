// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// proxies are the networks whose forwarded headers we believe.
type proxies []netip.Prefix

func (p proxies) contains(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// origin is where a request really came from.
type origin struct {
	host    string
	scheme  string
	addr    netip.Addr
	trusted bool // the direct peer is one of the proxies
}

// seen reads host, scheme and client address. Every forwarded list is read from its right end, the only part that the trusted
// peer itself wrote: the left end is whatever the caller sent (X-Forwarded-For spoofing).
func (p proxies) seen(r *http.Request) origin {
	o := origin{host: r.Host, scheme: "http", addr: peer(r.RemoteAddr)}
	if r.TLS != nil {
		o.scheme = "https"
	}
	if len(p) == 0 || !p.contains(o.addr) {
		return o
	}
	o.trusted = true
	if h := last(r.Header["X-Forwarded-Host"]); h != "" {
		o.host = h
	}
	switch s := last(r.Header["X-Forwarded-Proto"]); {
	case strings.EqualFold(s, "https"):
		o.scheme = "https"
	case strings.EqualFold(s, "http"):
		o.scheme = "http"
	}
	o.addr = p.client(o.addr, r.Header["X-Forwarded-For"])
	return o
}

// client walks the X-Forwarded-For entries from the right for as long as the address before is one of our proxies.
func (p proxies) client(direct netip.Addr, values []string) netip.Addr {
	addr := direct
	for i := len(values) - 1; i >= 0; i-- {
		rest := values[i]
		for rest != "" {
			var entry string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				rest, entry = "", rest
			}
			next := address(strings.TrimSpace(entry))
			if !next.IsValid() {
				return addr
			}
			addr = next
			if !p.contains(addr) {
				return addr
			}
		}
	}
	return addr
}

// last is the right-most element of a header that may be a list, in one field or several.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	v := values[len(values)-1]
	if comma := strings.LastIndexByte(v, ','); comma >= 0 {
		v = v[comma+1:]
	}
	return strings.TrimSpace(v)
}

// peer is the address of net/http's RemoteAddr; invalid for sockets without addresses.
func peer(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// address reads an entry of X-Forwarded-For: an address, with or without brackets and port.
func address(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}
