// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package clientdoc

import (
	"fmt"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// stranger asks for made-up clients, 100 a second, while time passes.
type stranger struct {
	*rig
	url   func(i int) string
	asked int
}

func (s *stranger) pass(d time.Duration) {
	const step = 10 * time.Millisecond
	for ; d > 0; d -= step {
		s.rig.pass(step)
		s.cache.Client(s.hooli, s.url(s.asked))
		s.asked++
	}
}

// fetched counts the stranger's addresses that were fetched.
func (s *stranger) fetched() int {
	n := 0
	for i := range s.asked {
		n += s.count(s.url(i))
	}
	return n
}

// publish puts a document at u.
func (r *rig) publish(u string) {
	r.set(func() {
		r.pages[u] = fmt.Sprintf(`{"client_id":%q,"redirect_uris":["https://%s/cb"]}`, u, oauth2.ClientIDHost(u))
	})
}

// evict takes u's entry away, as other documents do when there are many.
func (r *rig) evict(u string) {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	delete(r.cache.entries, u)
}

// A stranger who sends 100 URLs a second of one domain has a part of the tenant's budget: new documents of others are found, those that were
// known are asked for again.
func TestStrangerWithOneDomainKeepsNobodyAway(t *testing.T) {
	for name, made := range map[string]func(i int) string{
		"paths":         func(i int) string { return fmt.Sprintf("https://evil.example/%d", i) },
		"hosts":         func(i int) string { return fmt.Sprintf("https://h%d.a.evil.example/c", i) },
		"ports":         func(i int) string { return fmt.Sprintf("https://evil.example:%d/c", 1000+i) },
		"bare networks": func(i int) string { return fmt.Sprintf("https://[2001:db8::%x]/c", 1+i) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := &stranger{rig: r, url: made}
			r.publish(inspector)
			if _, ok := r.cache.Client(r.hooli, inspector); !ok {
				t.Fatal("no client")
			}
			s.pass(time.Minute) // the burst is long gone
			for i := range 10 {
				u := fmt.Sprintf("https://app.honest%d.example/c", i)
				r.publish(u)
				_, ok := r.cache.Client(r.hooli, u)
				for waited := time.Duration(0); !ok; waited += time.Second {
					if waited >= 3*time.Second {
						t.Fatalf("new document %d is not found after %v", i, waited)
					}
					s.pass(time.Second)
					_, ok = r.cache.Client(r.hooli, u)
				}
				s.pass(time.Second)
			}
			before := r.count(inspector)
			r.pass(defaultFresh - 5*time.Second)
			s.pass(10 * time.Second)
			if _, ok := r.cache.Client(r.hooli, inspector); !ok || r.count(inspector) != before+1 {
				t.Errorf("a known document: %v, asked again %d times", ok, r.count(inspector)-before)
			}
			// Two bursts, for there was a quiet time, and half a fetch a second.
			if n, most := s.fetched(), 2*10+s.asked/100/2+1; n == 0 || n > most {
				t.Errorf("%d of the stranger's %d addresses fetched, want at most %d", n, s.asked, most)
			}
		})
	}
}

// Domains cost a stranger nothing either, for they need not exist; nor does it to make up addresses at an honest host, which are its domain's.
// Documents that were valid before are found all the same, even when their copies are gone.
func TestStrangerWithManyDomainsKeepsNoKnownDocumentAway(t *testing.T) {
	for name, made := range map[string]func(i int) string{
		"many domains":      func(i int) string { return fmt.Sprintf("https://evil%d.example/c", i) },
		"the honest domain": func(i int) string { return fmt.Sprintf("https://inspector.example/%d", i) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := &stranger{rig: r, url: made}
			r.publish(inspector)
			if _, ok := r.cache.Client(r.hooli, inspector); !ok {
				t.Fatal("no client")
			}
			s.pass(time.Minute)
			for i := range 5 {
				r.evict(inspector)
				if _, ok := r.cache.Client(r.hooli, inspector); !ok {
					t.Fatalf("time %d: a document that was valid before is not found", i)
				}
				s.pass(10 * time.Second)
			}
			// The owner takes it away: the next time it is a stranger's address like any other.
			r.set(func() { delete(r.pages, inspector) })
			r.evict(inspector)
			r.cache.Client(r.hooli, inspector)
			r.publish(inspector)
			r.evict(inspector)
			if _, ok := r.cache.Client(r.hooli, inspector); ok {
				t.Error("a document that was taken away is still paid for as a known one")
			}
		})
	}
}
