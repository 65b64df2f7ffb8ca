// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package clientdoc

import (
	"fmt"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

func TestSite(t *testing.T) {
	for u, want := range map[string]string{
		"https://evil.example/c":       "evil.example",
		"https://a.b.evil.example/c":   "evil.example",
		"https://a.evil.example.:81/c": "evil.example",
		"https://evil.example:8443/c":  "evil.example",
		"https://localhost/c":          "localhost",
		"https://192.0.2.1/c":          "",
		"https://192.0.2.1:8443/c":     "",
		"https://[2001:db8::1]:81/c":   "",
		"https://[fe80::1%25eth0]/c":   "",
		"https://%zz/":                 "",
	} {
		if got := site(u); got != want {
			t.Errorf("%s: %q, want %q", u, got, want)
		}
	}
}

func TestKnownDocumentsHaveTheLastPartOfTheBudget(t *testing.T) {
	b, now := newBudgets(), time.Unix(1e9, 0)
	tenant := id.Tenant{1}
	spent := func(known bool, url string) (n int) {
		for i := range 100 {
			if b.spend(tenant, fmt.Sprintf(url, i), known, now) {
				n++
			}
		}
		return n
	}
	if n := spent(false, "https://one.example/%d"); n != 8 {
		t.Errorf("new documents of one site: %d", n)
	}
	if n := spent(true, "https://one.example/%d"); n != 2 {
		t.Errorf("known documents of one site, after those: %d", n)
	}
	if n := spent(false, "https://one%d.example/c"); n != 20 {
		t.Errorf("new documents of many sites, after those: %d", n)
	}
	if n := spent(true, "https://two%d.example/c"); n != 10 {
		t.Errorf("known documents of many sites, after those: %d", n)
	}
	if b.spend(id.Tenant{2}, "https://one.example/1", false, now) != true {
		t.Error("a neighbour pays for it")
	}
}

// What is kept stays within its bounds, whatever is sent; a site with many documents pushes out its own.
func TestBudgetsAreBounded(t *testing.T) {
	b, now := newBudgets(), time.Unix(1e9, 0)
	const honest = "https://inspector.example/c"
	b.remember(honest, now)
	for i := range 20 * maxKnownOfSite {
		now = now.Add(time.Second)
		b.remember(fmt.Sprintf("https://evil.example/%d", i), now)
	}
	if s := b.known[b.site("https://evil.example/")]; len(s.documents) != maxKnownOfSite {
		t.Errorf("%d known documents of one site", len(s.documents))
	}
	if !b.knows(b.site(honest), honest) {
		t.Error("another site's document was pushed out")
	}
	last := fmt.Sprintf("https://evil.example/%d", 20*maxKnownOfSite-1)
	if !b.knows(b.site(last), last) {
		t.Error("the newest document was pushed out")
	}
	for i := range 2 * maxKnownSites {
		now = now.Add(time.Second)
		b.remember(honest, now) // in use
		b.remember(fmt.Sprintf("https://evil%d.example/c", i), now)
	}
	if len(b.known) != maxKnownSites || !b.knows(b.site(honest), honest) {
		t.Errorf("%d known sites; the one in use is among them: %v", len(b.known), b.knows(b.site(honest), honest))
	}
	b.forget(honest)
	if b.knows(b.site(honest), honest) || len(b.known) != maxKnownSites-1 {
		t.Error("a forgotten document is still known")
	}

	tenant := id.Tenant{1}
	for i := range 10_000 {
		now = now.Add(100 * time.Millisecond)
		b.spend(tenant, fmt.Sprintf("https://more%d.example/c", i), false, now)
		if n := len(b.tenants[tenant].sites); n > maxSitesOfTenant {
			t.Fatalf("%d sites", n)
		}
	}
	// Sites made up beside it give a site no second budget.
	evil, start := 0, now
	for i := range 4000 {
		now = now.Add(50 * time.Millisecond)
		if b.spend(tenant, "https://evil.example/c", true, now) {
			evil++
		}
		b.spend(tenant, fmt.Sprintf("https://yet%d.example/c", i), true, now)
	}
	if most := int(siteFetches.burst + now.Sub(start).Seconds()*siteFetches.rate); evil > most || evil < most/2 {
		t.Errorf("%d fetches of one site in %v, want at most %d", evil, now.Sub(start), most)
	}
	for i := range 2 * maxTenants {
		b.spend(id.Tenant{2, byte(i), byte(i >> 8)}, honest, false, now)
	}
	if n := len(b.tenants); n > maxTenants {
		t.Errorf("%d tenants", n)
	}
}
