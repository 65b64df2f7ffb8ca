// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Config is what a Service needs. Store, Recipients, PublicURL, APIDomain and PageKey must be set.
type Config struct {
	Store *store.Store
	// Recipients are the public halves that tenants' private keys are sealed for: the signing key of each region, and recovery keys.
	Recipients []secret.PublicKey
	// Regions of the installation, the home region first; empty means "local".
	Regions []string
	// PublicURL makes an issuer of a hostname: it holds {host}, for example https://{host} or http://{host}:8080.
	PublicURL string
	// APIDomain makes the default audience of an org: https://<slug>.<APIDomain>.
	APIDomain string
	// Development allows base domains under localhost.
	Development bool
	// ReservedLabels may be taken by no tenant, beside the built-in system words.
	ReservedLabels []string
	// PageKey authenticates page tokens: 32 bytes or more, the same in all replicas.
	PageKey []byte

	// RSA hands out RSA keys that were made ahead; nil, or one that has none, lets the worker add the key a moment later.
	RSA interface {
		Take() (*jose.PrivateKey, bool)
		GiveBack(*jose.PrivateKey)
	}
	// Published is called after each commit: it wakes the publisher.
	Published func()
	// Seeded is called after a commit that left a seed: it wakes the seed worker of this process.
	Seeded func()
	// Waiter waits for what follows a commit; nil answers PENDING.
	Waiter Waiter
	// Sector reads the redirect URIs in the document at a sector_identifier_uri; nil refuses clients that have one.
	Sector func(ctx context.Context, uri string) ([]string, error)
	// Token makes the signed consistency token of a version; nil makes none.
	Token func(tenant id.Tenant, version int64) string
	// Registrations is how many clients an address may register a second; what a network may register in a day follows from it. Below 1
	// it is as with 1.
	Registrations float64
	// WaitLimit bounds how long a call waits for propagation; 0 means 2 s.
	WaitLimit time.Duration

	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

// Waiter waits for what follows a commit. Each method returns nil when it has come, and the context's error otherwise.
type Waiter interface {
	// Published waits until the tenant's record of the version is in the home region's Redis.
	Published(ctx context.Context, tenant id.Tenant, version int64) error
	// Everywhere waits until every live replica has applied it.
	Everywhere(ctx context.Context, tenant id.Tenant, version int64) error
	// Seeded waits until the tenant's seed is in the identity database.
	Seeded(ctx context.Context, org id.Org, tenant id.Tenant) error
}

// Service is the use cases. It is safe for concurrent use.
type Service struct {
	cfg      Config
	store    *store.Store
	pages    *tenancy.PageTokens
	reserved map[string]bool
	docs     *documents
	sealer   *secret.Sealer
	now      func() time.Time
	log      *slog.Logger
	used     *usage
	chains   *together[id.APIKey, keyChain]
}

var _ API = (*Service)(nil)

// New checks the configuration and makes a Service.
func New(cfg Config) (*Service, error) {
	var problems []string
	need := func(ok bool, text string) {
		if !ok {
			problems = append(problems, text)
		}
	}
	if len(cfg.Regions) == 0 {
		cfg.Regions = []string{"local"}
	}
	need(cfg.Store != nil, "store is missing")
	need(strings.Count(cfg.PublicURL, "{host}") == 1, "public_url must hold {host} once, as in https://{host}")
	need(cfg.APIDomain != "", "api_domain is missing")
	need(len(cfg.PageKey) >= 32, "the secret of page tokens has less than 32 bytes")
	for _, r := range cfg.Regions {
		need(slices.ContainsFunc(cfg.Recipients, func(k secret.PublicKey) bool { return k.Region == r && k.Purpose == secret.PurposeSigning }),
			fmt.Sprintf("there is no signing recipient key for region %s", r))
	}
	if problems != nil {
		return nil, errors.New("provision: " + strings.Join(problems, "; "))
	}
	s := &Service{
		cfg: cfg, store: cfg.Store, pages: tenancy.NewPageTokens(cfg.PageKey), reserved: map[string]bool{}, docs: newDocuments(cfg.Store),
		sealer: secret.NewSealer(), now: cfg.Now, log: cfg.Logger, used: newUsage(),
	}
	s.chains = newTogether(func(ctx context.Context, key id.APIKey) (c keyChain, err error) {
		c.keys, c.orgSlug, c.orgState, err = s.store.KeyChain(ctx, key)
		return c, err
	})
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.WaitLimit <= 0 {
		s.cfg.WaitLimit = 2 * time.Second
	}
	for _, l := range cfg.ReservedLabels {
		if n, ok := tenancy.NormalizeLabel(l); ok {
			s.reserved[n] = true
		}
	}
	return s, nil
}

// time is the present at the precision of the database, so that what is answered is what will be read.
func (s *Service) time() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

func (s *Service) published() {
	if s.cfg.Published != nil {
		s.cfg.Published()
	}
}

// errDry rolls back what a call with validate_only has tried; errDryAnswer what a call has tried that found nothing to change. Both
// answer what f returned.
var (
	errDry       = errors.New("provision: validated only")
	errDryAnswer = errors.New("provision: nothing to change")
)

// change runs one changing call: it answers a repeated request from what was kept, runs f in one transaction, keeps f's answer with it
// when the call has a request id, and wakes the publisher. With ValidateOnly everything is tried and nothing kept.
func change[T any](ctx context.Context, s *Service, caller tenancy.Principal, org id.Org, method string, call Call, f func(*store.Tx, time.Time) (T, error)) (v T, replayed bool, err error) {
	return changeAs(ctx, s, caller, org, org, method, call, f)
}

// changeAs is change for a call whose parent is not the org that it writes for: a repeated request is looked up under the parent.
func changeAs[T any](ctx context.Context, s *Service, caller tenancy.Principal, parent, org id.Org, method string, call Call, f func(*store.Tx, time.Time) (T, error)) (v T, replayed bool, err error) {
	if call.RequestID != "" && !call.ValidateOnly {
		if v, replayed, err = replay[T](ctx, s, caller, parent, method, call); replayed || err != nil {
			return v, replayed, err
		}
	}
	now := s.time()
	err = s.store.Write(ctx, org, func(tx *store.Tx) error {
		var err error
		if v, err = f(tx, now); err != nil {
			return err
		}
		if call.ValidateOnly {
			return errDry
		}
		if call.RequestID == "" {
			return nil
		}
		answer, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return tx.PutAnswer(store.Answer{
			Operation: tenancy.Operation{ID: id.NewOperation(), Org: org, Caller: caller.Key, Method: method, Answer: answer, CreateTime: now},
			RequestID: call.RequestID, BodyHash: call.BodyHash,
		})
	})
	switch {
	case errors.Is(err, errDry), errors.Is(err, errDryAnswer):
		return v, false, nil
	case err != nil && call.RequestID != "" && !call.ValidateOnly && repeatable(err):
		// The other one of two calls with this id may have won while this one was on its way.
		if w, replayed, rerr := replay[T](ctx, s, caller, parent, method, call); replayed || rerr != nil {
			return w, replayed, rerr
		}
	case err == nil:
		s.published()
	}
	if err != nil {
		var zero T
		return zero, false, err
	}
	return v, false, nil
}

// repeatable reports whether err may come from the same request being executed at the same time.
func repeatable(err error) bool {
	if errors.Is(err, store.ErrRepeated) {
		return true
	}
	switch tenancy.ReasonOf(err).Info().Class {
	case tenancy.ClassExists, tenancy.ClassConflict, tenancy.ClassPrecondition, tenancy.ClassNotFound, tenancy.ClassExhausted:
		return true
	default:
		return false
	}
}

// replay finds the kept answer of a call. A zero parent takes an answer of any org: the call made the org.
func replay[T any](ctx context.Context, s *Service, caller tenancy.Principal, parent id.Org, method string, call Call) (v T, found bool, err error) {
	a, err := s.store.Replay(ctx, parent, caller.Key, method, call.RequestID)
	if errors.Is(err, tenancy.ReasonNotFound) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	if a.BodyHash != call.BodyHash || !parent.IsZero() && a.Org != parent {
		return v, false, tenancy.RefuseField(tenancy.ReasonRequestIDReused, "request_id", "")
	}
	if err := json.Unmarshal(a.Operation.Answer, &v); err != nil {
		return v, false, tenancy.Refuse(tenancy.ReasonInternal).Because(fmt.Errorf("kept answer of %s: %w", a.ID, err))
	}
	return v, true, nil
}

// event starts an audit event of the caller.
func event(caller tenancy.Principal, now time.Time, action, resource string) tenancy.AuditEvent {
	return tenancy.AuditEvent{
		ID: id.NewEvent(), Time: now, Actor: caller.Actor(), Action: action, Resource: resource,
		RequestID: caller.RequestID, Source: caller.Source, UserAgent: clip(caller.UserAgent, 512),
	}
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}

func orgName(org id.Org) string { return "orgs/" + org.String() }

func tenantName(org id.Org, tenant id.Tenant) string {
	if tenant.IsZero() {
		return orgName(org)
	}
	return "orgs/" + org.String() + "/tenants/" + tenant.String()
}

// query turns a page request into a store query. binding names the list and its parent; the caller, filter and order are added to it.
func (s *Service) query(caller tenancy.Principal, page tenancy.Page, fields []tenancy.FilterField, orders []string, binding ...string) (store.Query, []string, error) {
	var q store.Query
	var err error
	if q.Limit, err = page.Limit(); err != nil {
		return q, nil, err
	}
	if q.Filter, err = tenancy.ParseFilter(page.Filter, fields); err != nil {
		return q, nil, err
	}
	if q.Order, q.Desc, err = tenancy.ParseOrder(page.OrderBy, orders...); err != nil {
		return q, nil, err
	}
	binding = append(binding, caller.Key.String(), q.Filter.Canonical(), q.Order, fmt.Sprint(q.Desc))
	if q.After, err = s.pages.Read(page.Token, binding...); err != nil {
		return q, nil, err
	}
	q.Limit++ // one more tells whether there is a next page
	return q, binding, nil
}

// paged cuts the items to the page and makes the token of the next one.
func paged[T any](s *Service, items []T, q store.Query, binding []string, cursor func(T) []byte) List[T] {
	if len(items) < q.Limit {
		return List[T]{Items: items}
	}
	items = items[:q.Limit-1]
	return List[T]{Items: items, NextPageToken: s.pages.Make(cursor(items[len(items)-1]), binding...)}
}

// cursorOf is the cursor of an item in the order of the query: its slug or its id.
func cursorOf(q store.Query, raw [16]byte, slug string) []byte {
	if q.Order == "slug" {
		return []byte(slug)
	}
	return raw[:]
}

// Fields that several lists are filtered by.
func choices(words ...string) func(string) bool {
	return func(v string) bool { return slices.Contains(words, v) }
}

var byIDOrSlug = []string{"create_time", "slug"}
