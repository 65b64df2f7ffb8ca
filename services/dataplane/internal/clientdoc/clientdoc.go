// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package clientdoc finds clients that are registered nowhere: their client_id is an https URL, and what is there says who they are (OAuth
// Client ID Metadata Document). Tenants decide by policy whether they take such clients; the snapshot cache asks this package for those of
// tenants that do.
//
// It owns fetching (through services/internal/outbound, the one guarded client), caching, and what a document may claim at all. The rules about
// metadata are pkg/oauth2's, and a client is built by the rules of registered ones. A document vouches for a host name and nothing more:
// its client is never first-party, people read the host name beside the name that it gives itself, it has no secret, and it may ask for
// scopes about its users alone.
//
// One request waits while its document is fetched, for as long as outbound allows; requests for other clients do not. What was fetched is
// kept as long as its host says, within bounds, and longer while the host is away; what is no document is remembered for a moment, and
// fetches have a budget (budget.go), so that a stranger who makes up addresses costs little and keeps nobody from a document that was valid before.
package clientdoc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// Bounds of what is kept.
const (
	maxDocuments = 2048
	// A document is fresh for as long as its host says, within these; without a word from it for the default.
	leastFresh, defaultFresh, mostFresh = time.Minute, 10 * time.Minute, time.Hour
	// While its host is away a document lives on for this long.
	staleLife = 24 * time.Hour
	// What is no document is not asked for again before this is over; a document that could not be refreshed likewise.
	negativeLife = 30 * time.Second
)

// Fetcher is what the cache needs to reach documents; *outbound.Client is the one that services use.
type Fetcher interface {
	Get(ctx context.Context, rawURL string, o outbound.GetOptions) (outbound.Response, error)
}

// Cache finds and keeps documents. It is safe for concurrent use; a service makes one.
type Cache struct {
	out Fetcher
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	entries map[string]*entry
	budgets *budgets
}

// entry is what is known of one URL.
type entry struct {
	doc     *oauth2.ClientMetadata // nil: it is no document
	fresh   time.Time              // until when nobody asks again
	stale   time.Time              // until when doc may be used
	waiting chan struct{}          // closed when the fetch that is under way has ended; nil while there is none
}

// New makes a Cache. A nil logger discards, a nil now is time.Now.
func New(out Fetcher, log *slog.Logger, now func() time.Time) *Cache {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return &Cache{out: out, log: log, now: now, entries: map[string]*entry{}, budgets: newBudgets()}
}

var _ snapshot.ClientDocuments = (*Cache)(nil)

// Client implements snapshot.ClientDocuments.
func (c *Cache) Client(t *snapshot.Tenant, clientID string) (*oauth2.Client, bool) {
	if !oauth2.ClientIDURL(clientID) {
		return nil, false
	}
	d := c.find(t.ID, clientID)
	if d == nil {
		return nil, false
	}
	client, err := build(t, clientID, d)
	if err != nil {
		c.log.Info("a client ID metadata document is not accepted", slog.String("tenant", t.ID.String()), slog.String("cause", err.Error()))
		return nil, false
	}
	return client, true
}

// find answers the document of a URL, fetching it when nothing fresh is known. Of several callers one fetches; the others wait for it, or go
// on with what was known before.
func (c *Cache) find(tenant id.Tenant, clientID string) *oauth2.ClientMetadata {
	for {
		now := c.now()
		c.mu.Lock()
		e := c.entries[clientID]
		switch {
		case e != nil && now.Before(e.fresh):
			c.mu.Unlock()
			return e.doc
		case e != nil && e.waiting != nil:
			known, wait := e.doc, e.waiting
			c.mu.Unlock()
			if known != nil && now.Before(e.stale) {
				return known
			}
			<-wait // as long as the fetch may take
			continue
		case !c.budgets.spend(tenant, clientID, e != nil && e.doc != nil, now):
			c.mu.Unlock()
			if e != nil && e.doc != nil && now.Before(e.stale) {
				return e.doc
			}
			return nil
		}
		next := &entry{waiting: make(chan struct{})}
		if e != nil {
			next.doc, next.stale = e.doc, e.stale
		}
		c.room(now)
		c.entries[clientID] = next
		c.mu.Unlock()
		return c.refresh(clientID, next)
	}
}

// refresh fetches the document of an entry that this caller has made, and replaces it.
func (c *Cache) refresh(clientID string, old *entry) *oauth2.ClientMetadata {
	done := &entry{}
	known, gone := false, false
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case known:
			c.budgets.remember(clientID, c.now())
		case gone:
			c.budgets.forget(clientID)
		}
		c.entries[clientID] = done
		close(old.waiting)
	}()
	// The caller's own context plays no part: others wait for this answer, and outbound bounds it.
	metadata, expires, err := c.fetch(context.Background(), clientID)
	now := c.now()
	known, gone = err == nil, err != nil && !errors.Is(err, errAway)
	switch {
	case err == nil:
		done.doc, done.fresh, done.stale = metadata, freshness(now, expires), now.Add(staleLife)
	case errors.Is(err, errAway) && old.doc != nil && now.Before(old.stale):
		done.doc, done.fresh, done.stale = old.doc, now.Add(negativeLife), old.stale
	default:
		done.fresh, done.stale = now.Add(negativeLife), now.Add(negativeLife)
	}
	if err != nil {
		c.log.Info("a client ID metadata document could not be had", slog.String("client_id", clientID), slog.String("cause", err.Error()))
	}
	return done.doc
}

func freshness(now, expires time.Time) time.Time {
	if expires.IsZero() {
		return now.Add(defaultFresh)
	}
	return now.Add(min(max(expires.Sub(now), leastFresh), mostFresh))
}

// errAway: the host did not answer, or not with a document for reasons of its own.
var errAway = errors.New("clientdoc: the host is away")

func (c *Cache) fetch(ctx context.Context, clientID string) (*oauth2.ClientMetadata, time.Time, error) {
	r, err := c.out.Get(ctx, clientID, outbound.GetOptions{Accept: "application/json", MaxBytes: oauth2.MaxClientDocumentBytes})
	switch {
	case errors.Is(err, outbound.ErrForbiddenAddress), errors.Is(err, outbound.ErrURL), errors.Is(err, outbound.ErrTooLarge),
		errors.Is(err, outbound.ErrRedirect), errors.Is(err, outbound.ErrEncoding):
		return nil, time.Time{}, err
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("%w: %w", errAway, err)
	case r.Status >= http.StatusInternalServerError || r.Status == http.StatusTooManyRequests:
		return nil, time.Time{}, fmt.Errorf("%w: status %d", errAway, r.Status)
	case r.Status != http.StatusOK:
		return nil, time.Time{}, fmt.Errorf("clientdoc: status %d", r.Status)
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return nil, time.Time{}, errors.New("clientdoc: the answer is not JSON")
	}
	m, err := oauth2.ParseClientMetadata(r.Body)
	if err == nil {
		err = m.CompleteDocument(clientID)
	}
	return m, r.Expires, err
}

// room makes place for one more entry: what is no document goes first, then whatever comes. The caller holds mu.
func (c *Cache) room(now time.Time) {
	if len(c.entries) < maxDocuments {
		return
	}
	for url, e := range c.entries {
		if e.waiting == nil && (e.doc == nil || now.After(e.stale)) {
			delete(c.entries, url)
		}
	}
	for url, e := range c.entries {
		if len(c.entries) < maxDocuments {
			return
		}
		if e.waiting == nil {
			delete(c.entries, url)
		}
	}
}

// scopes are all that such a client can ask for: what is about the person who is asked.
var scopes = []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeAddress, oidc.ScopePhone, oidc.ScopeOfflineAccess}

// uid is the id of a document's client at a tenant, by which grants and consents are kept: always the same one.
func uid(tenant id.Tenant, clientID string) id.Client {
	sum := sha256.Sum256(append(append([]byte("tenantry-client-document\x00"), tenant[:]...), clientID...))
	raw := [16]byte(sum[:16])
	raw[6], raw[8] = raw[6]&0x0f|0x80, raw[8]&0x3f|0x80 // UUIDv8 (RFC 9562 section 5.8): no registered client has such an id
	return id.Client(raw)
}

// maxName bounds what people read.
const maxName = 80

func build(t *snapshot.Tenant, clientID string, m *oauth2.ClientMetadata) (*oauth2.Client, error) {
	is := func(b *bool) bool { return b != nil && *b }
	own := uid(t.ID, clientID)
	doc := &snapshotv1.Client{
		ClientId: own[:], Enabled: true, Public: m.TokenEndpointAuthMethod == oauth2.AuthMethodNone, Kind: snapshotv1.ClientKind_CLIENT_KIND_NATIVE,
		TokenEndpointAuthMethod: m.TokenEndpointAuthMethod, GrantTypes: m.GrantTypes, RedirectUris: m.RedirectURIs, Scopes: scopes,
		LogoUri: m.LogoURI, PolicyUri: m.PolicyURI, TosUri: m.TOSURI, RequirePkce: true, DisplayName: name(clientID, m.ClientName),
		Protocol: &snapshotv1.ClientProtocol{
			Jwks: m.JWKS, JwksUri: m.JWKSURI, TokenEndpointAuthSigningAlg: m.AssertionAlg, DpopBoundAccessTokens: is(m.DPoPBoundTokens),
			RequirePushedAuthorizationRequests: is(m.RequirePAR), RequireSignedRequestObject: is(m.RequireSignedRequest),
			RequestObjectSigningAlg: m.RequestObjectAlg, ClientUri: m.ClientURI,
		},
	}
	if !doc.GetPublic() {
		doc.Kind = snapshotv1.ClientKind_CLIENT_KIND_WEB
	}
	client, err := t.BuildForeignClient(doc)
	if err != nil {
		return nil, err
	}
	client.ID, client.FirstParty = clientID, false
	return client, nil
}

// name is what people read: the name that the client gives itself counts for nothing without the host that vouches for it.
func name(clientID, own string) string {
	host := oauth2.ClientIDHost(clientID)
	own = strings.Join(strings.Fields(own), " ")
	if own == "" {
		return host
	}
	if r := []rune(own); len(r) > maxName {
		own = string(r[:maxName-1]) + "…"
	}
	return own + " (" + host + ")"
}
