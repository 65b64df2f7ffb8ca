// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package clientkeys owns the public keys of clients and of issuers that clients trust: given by value in the snapshot, or read from
// the jwks_uri. It is where a signature of a client is verified and where the key to encrypt to a client is found.
//
// Sets that are read from an address are kept for as long as the answer says, from a minute to an hour, and five minutes when it says
// nothing. A token by a key that is not in the set makes us read again, at most once in ten seconds for an address, so that a client
// can rotate its keys and a stranger cannot have us send requests by inventing key ids. When the host is away the set that we have
// stays good for a day. Everything is bounded: the addresses that are kept, the time and size of a read, and the reads of one address
// at a time, which is one. A host that is slow delays the requests of its own client and nobody else's.
package clientkeys

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// Errors of this package, beside those of jose.ForeignSet.Verify.
var (
	// ErrKeys: the client has no keys, its set is not one, or its address does not have it.
	ErrKeys = errors.New("clientkeys: no usable keys")
	// ErrUnavailable: the address of the keys does not answer, and there are none from before.
	ErrUnavailable = errors.New("clientkeys: the address of the keys does not answer")
)

// Times and bounds of sets that are read from addresses.
const (
	freshDefault = 5 * time.Minute
	freshMin     = time.Minute
	freshMax     = time.Hour
	// again is how long after a read an unknown key may cause another, and how long a failure is remembered.
	again = 10 * time.Second
	// staleMax is how long a set is used when its host has gone.
	staleMax = 24 * time.Hour
	// maxEntries bounds the sets of each kind that are kept.
	maxEntries = 4096
)

// Cache finds keys. It is safe for concurrent use. A process makes one.
type Cache struct {
	out *outbound.Client
	log *slog.Logger
	now func() time.Time

	mu     sync.RWMutex
	values map[string]*value
	urls   map[string]*remote
	reads  singleflight.Group
}

// value is a set from the snapshot, parsed once.
type value struct {
	text []byte
	set  *jose.ForeignSet
	err  error
}

// remote is a set from an address, or the failure to read it. It is replaced, never changed.
type remote struct {
	set    *jose.ForeignSet // nil when it was never read
	read   time.Time        // when set was read
	fresh  time.Time        // until when set needs no reading
	tried  time.Time        // when the last read ended
	failed error            // of the last read
}

// New makes a Cache that reads addresses through out; a nil out reads none.
func New(out *outbound.Client, log *slog.Logger) *Cache {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Cache{out: out, log: log, now: time.Now, values: map[string]*value{}, urls: map[string]*remote{}}
}

// source is where keys come from.
type source struct {
	name string // of by-value sets
	text []byte
	url  string
}

func ofClient(c *oauth2.Client) source {
	return source{name: string(c.UID[:]), text: c.JWKS, url: c.JWKSURI}
}

// Verify checks a compact JWS with the client's keys. Errors are those of jose.ForeignSet.Verify, ErrKeys and ErrUnavailable.
func (c *Cache) Verify(ctx context.Context, client *oauth2.Client, token string, o jose.VerifyOptions) (payload []byte, h jose.Header, err error) {
	return c.verify(ctx, ofClient(client), token, o)
}

// VerifyIssuer checks a compact JWS with the keys of an issuer that a client trusts. Errors are those of Verify.
func (c *Cache) VerifyIssuer(ctx context.Context, ti oauth2.TrustedIssuer, token string, o jose.VerifyOptions) (payload []byte, h jose.Header, err error) {
	return c.verify(ctx, source{name: "issuer " + ti.Issuer, text: ti.JWKS, url: ti.JWKSURI}, token, o)
}

func (c *Cache) verify(ctx context.Context, from source, token string, o jose.VerifyOptions) (payload []byte, h jose.Header, err error) {
	err = c.with(ctx, from, func(set *jose.ForeignSet) (bool, error) {
		payload, h, err = set.Verify(token, o)
		// Without a kid a wrong signature may be one by a key that the set does not have yet.
		retry := errors.Is(err, jose.ErrUnknownKey) || errors.Is(err, jose.ErrSignature) && h.Alg != "" && h.KeyID == ""
		return retry, err
	})
	if err != nil {
		return nil, jose.Header{}, err
	}
	return payload, h, nil
}

// Encryption finds the client's key for a JWE algorithm. Errors are ErrKeys and ErrUnavailable.
func (c *Cache) Encryption(ctx context.Context, client *oauth2.Client, alg string) (key jose.EncryptionKey, err error) {
	err = c.with(ctx, ofClient(client), func(set *jose.ForeignSet) (bool, error) {
		var ok bool
		if key, ok = set.Encryption(alg); !ok {
			return true, fmt.Errorf("%w: none for %s", ErrKeys, alg)
		}
		return false, nil
	})
	return key, err
}

// Certificate says whether a certificate is one of the client's own (self_signed_tls_client_auth, RFC 8705 section 2.2): nil, or
// ErrKeys or ErrUnavailable.
func (c *Cache) Certificate(ctx context.Context, client *oauth2.Client, cert *x509.Certificate) error {
	return c.with(ctx, ofClient(client), func(set *jose.ForeignSet) (bool, error) {
		if !set.MatchesCertificate(cert) {
			return true, fmt.Errorf("%w: none is the certificate's", ErrKeys)
		}
		return false, nil
	})
}

// with calls use with the set and, when that asks for it and there may be a newer one, once more with the newer one.
func (c *Cache) with(ctx context.Context, from source, use func(*jose.ForeignSet) (retry bool, err error)) error {
	if from.url == "" {
		set, err := c.byValue(from)
		if err != nil {
			return err
		}
		_, err = use(set)
		return err
	}
	r, err := c.byURL(ctx, from.url, time.Time{})
	if err != nil {
		return err
	}
	retry, err := use(r.set)
	if err == nil || !retry || c.now().Sub(r.tried) < again {
		return err
	}
	newer, readErr := c.byURL(ctx, from.url, r.tried)
	if readErr != nil || newer.set == r.set {
		return err
	}
	_, err = use(newer.set)
	return err
}

func (c *Cache) byValue(from source) (*jose.ForeignSet, error) {
	if len(from.text) == 0 {
		return nil, fmt.Errorf("%w: none registered", ErrKeys)
	}
	c.mu.RLock()
	v := c.values[from.name]
	c.mu.RUnlock()
	if v == nil || !bytes.Equal(v.text, from.text) {
		set, err := jose.ParseForeignSet(from.text)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrKeys, err)
		}
		v = &value{text: from.text, set: set, err: err}
		c.mu.Lock()
		makeRoom(c.values)
		c.values[from.name] = v
		c.mu.Unlock()
	}
	return v.set, v.err
}

// makeRoom drops an arbitrary entry of a full map: which one hardly matters, since it is found again when it is needed.
func makeRoom[V any](m map[string]V) {
	if len(m) < maxEntries {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}

// byURL gives a set that is fresh, and for newer than a time one that was read since. With a host that is away it is the one from
// before, if that is not too old.
func (c *Cache) byURL(ctx context.Context, url string, since time.Time) (*remote, error) {
	now := c.now()
	c.mu.RLock()
	r := c.urls[url]
	c.mu.RUnlock()
	if r != nil {
		wanted := r.set == nil || !now.Before(r.fresh) || !since.IsZero() && !r.tried.After(since)
		if !wanted || now.Sub(r.tried) < again {
			return r.usable(now)
		}
	}
	done := c.reads.DoChan(url, func() (any, error) {
		// Until the read ends, not until one of those who wait for it goes away; outbound bounds it.
		return c.read(context.WithoutCancel(ctx), url), nil
	})
	select {
	case result := <-done:
		return result.Val.(*remote).usable(now)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *remote) usable(now time.Time) (*remote, error) {
	if r.set == nil || r.failed != nil && now.Sub(r.read) > staleMax {
		return nil, r.failed
	}
	return r, nil
}

// read reads an address and keeps what came of it.
func (c *Cache) read(ctx context.Context, url string) *remote {
	set, expires, err := c.fetch(ctx, url)
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &remote{set: set, read: now, tried: now, failed: err}
	old := c.urls[url]
	if err != nil {
		c.log.Warn("keys of a client cannot be read", slog.String("jwks_uri", url), slog.String("cause", err.Error()))
		if old != nil {
			r.set, r.read, r.fresh = old.set, old.read, now.Add(again)
		}
	} else {
		r.fresh = now.Add(freshDefault)
		if !expires.IsZero() {
			r.fresh = now.Add(min(max(expires.Sub(now), freshMin), freshMax))
		}
	}
	if old == nil {
		makeRoom(c.urls)
	}
	c.urls[url] = r
	return r
}

func (c *Cache) fetch(ctx context.Context, url string) (*jose.ForeignSet, time.Time, error) {
	if c.out == nil {
		return nil, time.Time{}, fmt.Errorf("%w: nothing is read from addresses here", ErrKeys)
	}
	answer, err := c.out.Get(ctx, url, outbound.GetOptions{Accept: "application/jwk-set+json, application/json"})
	switch {
	case errors.Is(err, outbound.ErrForbiddenAddress), errors.Is(err, outbound.ErrURL), errors.Is(err, outbound.ErrTooLarge), errors.Is(err, outbound.ErrRedirect):
		return nil, time.Time{}, fmt.Errorf("%w: %w", ErrKeys, err)
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case answer.Status >= http.StatusInternalServerError || answer.Status == http.StatusTooManyRequests:
		return nil, time.Time{}, fmt.Errorf("%w: status %d", ErrUnavailable, answer.Status)
	case answer.Status != http.StatusOK:
		return nil, time.Time{}, fmt.Errorf("%w: status %d", ErrKeys, answer.Status)
	}
	set, err := jose.ParseForeignSet(answer.Body)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	return set, answer.Expires, nil
}
