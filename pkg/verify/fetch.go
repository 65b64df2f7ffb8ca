// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

// maxDocument bounds discovery documents and key sets.
const maxDocument = 256 << 10

// load fetches the discovery document and the keys of an issuer. errNoIssuer is for an address where the issuer is not; everything else that goes
// wrong is ErrUnavailable.
func (s *issuers) load(ctx context.Context, name string) (*issuerState, error) {
	raw, _, err := s.document(ctx, strings.TrimSuffix(name, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Issuer        string `json:"issuer"`
		JWKS          string `json:"jwks_uri"`
		Introspection string `json:"introspection_endpoint"`
	}
	if json.Unmarshal(raw, &doc) != nil || doc.Issuer != name {
		// Byte for byte (OpenID Connect Discovery section 4.3): else one tenant could speak for another.
		return nil, fmt.Errorf("%w: the discovery document is of another issuer", errNoIssuer)
	}
	if err := sameSecurity(name, doc.JWKS); err != nil {
		return nil, fmt.Errorf("%w: jwks_uri: %w", ErrUnavailable, err)
	}
	if doc.Introspection != "" {
		if err := sameSecurity(name, doc.Introspection); err != nil {
			return nil, fmt.Errorf("%w: introspection_endpoint: %w", ErrUnavailable, err)
		}
	}
	raw, header, err := s.document(ctx, doc.JWKS)
	if err != nil {
		return nil, fmt.Errorf("%w: keys: %w", ErrUnavailable, err)
	}
	keys, err := jose.ParseSet(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: keys: %w", ErrUnavailable, err)
	}
	now := s.now()
	return &issuerState{
		set: jose.NewKeySet(keys...), introspection: doc.Introspection,
		fetched: now, fresh: now.Add(freshness(header)),
	}, nil
}

// sameSecurity: an issuer on https does not have its endpoints on http.
func sameSecurity(issuer, endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil {
		return fmt.Errorf("not a URL")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(issuer, "https:") || !isLocal(u.Hostname())) {
		return fmt.Errorf("not https")
	}
	return nil
}

// document fetches JSON.
func (s *issuers) document(ctx context.Context, address string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone:
		return nil, nil, fmt.Errorf("%w: status %d", errNoIssuer, res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("%w: status %d", ErrUnavailable, res.StatusCode)
	case err != nil:
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case len(raw) > maxDocument:
		return nil, nil, fmt.Errorf("%w: document above %d bytes", ErrUnavailable, maxDocument)
	}
	return raw, res.Header, nil
}

// freshness is how long keys are taken as they are: max-age within our bounds.
func freshness(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			seconds, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return minFresh
			}
			return min(max(time.Duration(seconds)*time.Second, minFresh), maxFresh)
		}
	}
	return defaultFresh
}
