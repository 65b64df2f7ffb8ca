// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Introspection asks the issuer about each token (RFC 7662), with this API's own client credentials (client_secret_basic). A JWT is verified here first, so
// that the issuer is asked about its own tokens only; an opaque token is asked about at once. The answer goes through the same rules as a JWT's
// claims.
type Introspection struct {
	// ClientID and ClientSecret are those of this API.
	ClientID, ClientSecret string
	// CredentialsFor, unless it is nil, has them for each issuer instead.
	CredentialsFor func(issuer string) (clientID, clientSecret string, ok bool)
	// Cache is how long an answer is kept, and so how long a revoked token still counts: 0 for not at all, at most 60 s.
	Cache time.Duration
}

func (i *Introspection) check() error {
	if (i.CredentialsFor == nil) == (i.ClientID == "" || i.ClientSecret == "") {
		return errors.New("set either ClientID and ClientSecret or CredentialsFor")
	}
	if i.Cache < 0 || i.Cache > time.Minute {
		return errors.New("the time in Cache must be between 0 and 60 s")
	}
	return nil
}

// maxAnswers bounds the answers that are kept; 32 MB when each is 8 KB.
const maxAnswers = 4096

// introspect is the issuer's answer about a token.
func (v *Verifier) introspect(ctx context.Context, name, token string) ([]byte, error) {
	key := sha256.Sum256([]byte(name + "\x00" + token))
	if payload, ok := v.answers.get(key); ok {
		return payload, nil
	}
	i, err := v.issuers.get(ctx, name)
	if err != nil {
		return nil, err
	}
	endpoint := i.state.Load().introspection
	if endpoint == "" {
		return nil, fmt.Errorf("%w: the issuer has no introspection endpoint", ErrUnavailable)
	}
	id, secret, ok := v.cfg.Introspection.ClientID, v.cfg.Introspection.ClientSecret, true
	if f := v.cfg.Introspection.CredentialsFor; f != nil {
		id, secret, ok = f(name)
	}
	if !ok {
		return nil, fmt.Errorf("%w: no credentials for introspection at this issuer", ErrUnavailable)
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) // RFC 6749 section 2.3.1
	res, err := v.cfg.HTTPClient.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var answer struct {
		Active *bool `json:"active"`
	}
	if res.StatusCode != http.StatusOK || json.Unmarshal(raw, &answer) != nil || answer.Active == nil {
		return nil, fmt.Errorf("%w: introspection answers status %d", ErrUnavailable, res.StatusCode)
	}
	if !*answer.Active {
		return nil, invalidToken("The token is not active", nil)
	}
	v.answers.put(key, raw)
	return raw, nil
}

// answers keeps introspection answers for a moment. Inactive ones are not kept: there is no end of tokens that never were.
type answers struct {
	life time.Duration
	now  func() time.Time

	mu   sync.Mutex
	kept map[[32]byte]answer
}

type answer struct {
	payload []byte
	until   time.Time
}

func newAnswers(life time.Duration, now func() time.Time) *answers {
	return &answers{life: life, now: now, kept: map[[32]byte]answer{}}
}

func (a *answers) get(key [32]byte) ([]byte, bool) {
	if a.life == 0 {
		return nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	kept, ok := a.kept[key]
	return kept.payload, ok && a.now().Before(kept.until)
}

func (a *answers) put(key [32]byte, payload []byte) {
	if a.life == 0 {
		return
	}
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.kept) >= maxAnswers {
		for k, kept := range a.kept {
			if !now.Before(kept.until) {
				delete(a.kept, k)
			}
		}
		if len(a.kept) >= maxAnswers {
			clear(a.kept)
		}
	}
	a.kept[key] = answer{payload: payload, until: now.Add(a.life)}
}
