// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package clientdoc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// web is what the cache fetches from.
type web struct {
	mu      sync.Mutex
	pages   map[string]string
	status  int
	media   string
	err     error
	expires time.Time
	asked   map[string]int
	hold    chan struct{} // when not nil, answers wait for it
}

func (w *web) Get(_ context.Context, rawURL string, o outbound.GetOptions) (outbound.Response, error) {
	w.mu.Lock()
	hold := w.hold
	w.asked[rawURL]++
	w.mu.Unlock()
	if hold != nil {
		<-hold
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.MaxBytes != oauth2.MaxClientDocumentBytes || o.Redirects != 0 {
		return outbound.Response{}, errors.New("unbounded")
	}
	if w.err != nil {
		return outbound.Response{}, w.err
	}
	page, ok := w.pages[rawURL]
	if !ok {
		return outbound.Response{Status: http.StatusNotFound}, nil
	}
	return outbound.Response{Status: w.status, Header: http.Header{"Content-Type": {w.media}}, Body: []byte(page), Expires: w.expires}, nil
}

func (w *web) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *web) count(u string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[u]
}

type rig struct {
	*web
	cache *Cache
	hooli *snapshot.Tenant
	two   *snapshot.Tenant
	mu    sync.Mutex
	now   time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{web: &web{pages: map[string]string{}, status: 200, media: "application/json", asked: map[string]int{}}, now: time.Now()}
	r.cache = New(r.web, nil, func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	})
	w := dptest.New(t)
	org := w.Org("piedpiper")
	on := func(core *snapshotv1.TenantSnapshot) {
		core.Overrides = &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{ClientIdMetadataDocuments: proto.Bool(true)}}
	}
	r.hooli, r.two = w.Tenant(t, org, "hooli", on), w.Tenant(t, org, "raviga", on)
	return r
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

const inspector = "https://inspector.example/oauth/client.json"

func document(id string, more ...string) string {
	return fmt.Sprintf(`{"client_id":%q,"client_name":"Inspector","redirect_uris":["https://inspector.example/cb","http://127.0.0.1/cb"]%s}`, id, strings.Join(more, ""))
}

func TestDocumentBecomesAClient(t *testing.T) {
	r := newRig(t)
	r.pages[inspector] = document(inspector, `,"scope":"openid admin","grant_types":["authorization_code","client_credentials"],"first_party":true`)
	c, ok := r.cache.Client(r.hooli, inspector)
	if !ok {
		t.Fatal("no client")
	}
	if c.ID != inspector || c.Name != "Inspector (inspector.example)" || !c.Public || c.FirstParty || !c.Enabled || !c.NeedsPKCE() {
		t.Errorf("%+v", c)
	}
	if c.GrantTypes.Has(oauth2.GrantClientCredentials) || !c.GrantTypes.Has(oauth2.GrantAuthorizationCode) || strings.Contains(fmt.Sprint(c.Scopes), "admin") {
		t.Errorf("grants %v, scopes %v", c.GrantTypes.Strings(), c.Scopes)
	}
	if _, ok := c.RedirectURI("https://inspector.example/cb"); !ok {
		t.Error("its redirect URI is not accepted")
	}
	if _, ok := c.RedirectURI("http://127.0.0.1:49152/cb"); !ok {
		t.Error("a loopback redirect URI with a port is not accepted")
	}
	again, _ := r.cache.Client(r.hooli, inspector)
	other, _ := r.cache.Client(r.two, inspector)
	if again.UID != c.UID || other.UID == c.UID || r.count(inspector) != 1 {
		t.Errorf("ids %v %v %v after %d fetches", c.UID, again.UID, other.UID, r.count(inspector))
	}
}

func TestDocumentsThatAreNoClients(t *testing.T) {
	for name, c := range map[string]struct{ url, doc string }{
		"another client's document":        {inspector, document("https://other.example/client.json")},
		"a trailing slash":                 {inspector, document(inspector + "/")},
		"no client_id":                     {inspector, `{"redirect_uris":["https://inspector.example/cb"]}`},
		"a secret":                         {inspector, document(inspector, `,"client_secret":"x"`)},
		"a method with a secret":           {inspector, document(inspector, `,"token_endpoint_auth_method":"client_secret_basic"`)},
		"private_key_jwt without keys":     {inspector, document(inspector, `,"token_endpoint_auth_method":"private_key_jwt"`)},
		"a redirect URI of somebody else":  {inspector, `{"client_id":"` + inspector + `","redirect_uris":["https://victim.example/cb"]}`},
		"another port":                     {inspector, `{"client_id":"` + inspector + `","redirect_uris":["https://inspector.example:8443/cb"]}`},
		"an app's scheme":                  {inspector, `{"client_id":"` + inspector + `","redirect_uris":["com.example.app:/cb"]}`},
		"http that is not loopback":        {inspector, `{"client_id":"` + inspector + `","redirect_uris":["http://inspector.example/cb"]}`},
		"a loopback address in a name":     {inspector, `{"client_id":"` + inspector + `","redirect_uris":["http://127.0.0.1.evil.example/cb"]}`},
		"no redirect URI":                  {inspector, `{"client_id":"` + inspector + `"}`},
		"no JSON":                          {inspector, "<!doctype html>"},
		"http":                             {"http://inspector.example/c", document("http://inspector.example/c")},
		"no path":                          {"https://inspector.example", document("https://inspector.example")},
		"dot segments":                     {"https://inspector.example/a/../c", document("https://inspector.example/a/../c")},
		"credentials":                      {"https://u:p@inspector.example/c", document("https://u:p@inspector.example/c")},
		"a fragment":                       {"https://inspector.example/c#x", document("https://inspector.example/c#x")},
		"another spelling of the host":     {"https://Inspector.example/c", document("https://Inspector.example/c")},
		"the default port":                 {"https://inspector.example:443/c", document("https://inspector.example:443/c")},
		"an address that nothing lives at": {"https://nobody.example/c", ""},
	} {
		r := newRig(t)
		if c.doc != "" {
			r.pages[c.url] = c.doc
		}
		if got, ok := r.cache.Client(r.hooli, c.url); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
	r := newRig(t)
	r.pages[inspector] = document(inspector)
	r.media = "text/html"
	if _, ok := r.cache.Client(r.hooli, inspector); ok {
		t.Error("a page is taken for a document")
	}
}

func TestFreshness(t *testing.T) {
	r := newRig(t)
	known := func() bool { _, ok := r.cache.Client(r.hooli, inspector); return ok }
	if first, second := known(), known(); first || second || r.count(inspector) != 1 {
		t.Fatalf("what is no document is asked for %d times", r.count(inspector))
	}
	r.set(func() { r.pages[inspector] = document(inspector) })
	r.pass(negativeLife)
	if !known() || r.count(inspector) != 2 {
		t.Fatal("a new document is not found")
	}
	r.pass(defaultFresh)
	r.set(func() { r.err = outbound.ErrTimeout })
	if first, second := known(), known(); !first || !second || r.count(inspector) != 3 {
		t.Errorf("a host that is away: asked %d times", r.count(inspector))
	}
	r.pass(staleLife)
	if known() {
		t.Error("a host that is away for a day still has a client")
	}
	r.set(func() { r.err, r.expires = nil, r.now.Add(staleLife*100) })
	r.pass(negativeLife)
	if !known() {
		t.Fatal("the host is back")
	}
	// The owner takes the document away: it is over when the copy is no longer fresh, however long its host had promised.
	r.set(func() { delete(r.pages, inspector) })
	r.pass(mostFresh)
	if known() {
		t.Error("a document that is gone still counts")
	}
}

// A host that answers slowly holds up requests for its own clients alone.
func TestSlowHostHoldsUpNobodyElse(t *testing.T) {
	r := newRig(t)
	const quick = "https://quick.example/c"
	r.pages[inspector], r.pages[quick] = document(inspector), `{"client_id":"`+quick+`","redirect_uris":["https://quick.example/cb"]}`
	if _, ok := r.cache.Client(r.hooli, quick); !ok {
		t.Fatal("no client")
	}
	hold := make(chan struct{})
	r.set(func() { r.hold = hold })
	found := make(chan bool, 8)
	for range 8 {
		go func() { _, ok := r.cache.Client(r.hooli, inspector); found <- ok }()
	}
	if _, ok := r.cache.Client(r.hooli, quick); !ok {
		t.Error("no client")
	}
	close(hold)
	for range 8 {
		if !<-found {
			t.Error("a caller that waited got no client")
		}
	}
	if n := r.count(inspector); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestFloodOfAddresses(t *testing.T) {
	r := newRig(t)
	fetched := 0
	want := int(tenantFetches.burst - tenantFetches.kept)
	for i := range 3 * want {
		u := fmt.Sprintf("https://host%d.example/c", i)
		r.cache.Client(r.hooli, u)
		fetched += r.count(u)
	}
	if fetched != want {
		t.Errorf("%d fetches for one tenant, want %d", fetched, want)
	}
	r.pages[inspector] = document(inspector)
	if _, ok := r.cache.Client(r.two, inspector); !ok {
		t.Error("a neighbour pays for it")
	}
	for i := range 3 * maxDocuments {
		r.pass(time.Second)
		r.cache.Client(r.two, fmt.Sprintf("https://more%d.example/c", i))
	}
	if n := len(r.cache.entries); n > maxDocuments {
		t.Errorf("%d entries", n)
	}
}

// TestServerSideRequestForgery: the real client behind it reaches nothing private.
func TestServerSideRequestForgery(t *testing.T) {
	r := newRig(t)
	out, err := outbound.New(outbound.Config{}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	cache := New(out, nil, nil)
	for _, u := range []string{"https://127.0.0.1/c", "https://169.254.169.254/latest/meta-data", "https://[::1]/c", "https://10.0.0.1/c", "https://localhost/c"} {
		if _, ok := cache.Client(r.hooli, u); ok {
			t.Errorf("%s is a client", u)
		}
		if _, _, err := cache.fetch(t.Context(), u); !errors.Is(err, outbound.ErrForbiddenAddress) && !errors.Is(err, errAway) {
			t.Errorf("%s: %v", u, err)
		}
	}
}
