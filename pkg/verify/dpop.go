// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

// proofClaims are those of RFC 9449 section 4.2.
type proofClaims struct {
	ID        string `json:"jti"`
	Method    string `json:"htm"`
	URL       string `json:"htu"`
	IssuedAt  *int64 `json:"iat"`
	TokenHash string `json:"ath"`
	Nonce     string `json:"nonce"`
}

// checkProof applies RFC 9449 sections 4.3 and 7.1 to the proof beside a token that is bound to a key.
func (v *Verifier) checkProof(ctx context.Context, c *Claims, r *Request) error {
	switch len(r.Proofs) {
	case 1:
	case 0:
		return invalidProof("The DPoP header is missing", nil)
	default:
		return invalidProof("There is more than one DPoP header", nil)
	}
	payload, thumbprint, _, err := jose.VerifyEmbedded(r.Proofs[0], v.proofs)
	if err != nil {
		return invalidProof("The DPoP proof is malformed, or its signature is wrong", err)
	}
	var p proofClaims
	if err := json.Unmarshal(payload, &p); err != nil || p.ID == "" || len(p.ID) > 256 || p.Method == "" || p.URL == "" || p.IssuedAt == nil {
		return invalidProof("The DPoP proof lacks jti, htm, htu or iat", err)
	}
	sum := sha256.Sum256([]byte(r.Token))
	now := v.cfg.Now()
	issued := time.Unix(*p.IssuedAt, 0)
	switch {
	case !sameText(thumbprint, c.KeyThumbprint):
		return &Error{Code: CodeInvalidToken, Description: "Invalid DPoP key binding", dpop: true}
	case !sameText(p.TokenHash, base64.RawURLEncoding.EncodeToString(sum[:])):
		return invalidProof("ath is not the hash of the access token", nil)
	case p.Method != r.Method:
		return invalidProof("htm is not the method of the request", nil)
	case !sameURL(p.URL, r.URL):
		return invalidProof("htu is not the URL of the request", nil)
	}
	// The nonce before the clock: with a nonce of ours the client's clock does not matter, and with an old one it shall fetch the new.
	if v.cfg.Nonces != nil {
		if p.Nonce == "" || !v.cfg.Nonces.Valid(p.Nonce) {
			return &Error{Code: CodeUseDPoPNonce, Description: "Resource server requires nonce in DPoP proof", Nonce: v.cfg.Nonces.Nonce(), dpop: true}
		}
	}
	if issued.Before(now.Add(-v.cfg.ProofWindow-v.cfg.Leeway)) || issued.After(now.Add(v.cfg.Leeway)) {
		return invalidProof("The DPoP proof is too old, or from the future", nil)
	}
	if v.cfg.Replays == nil {
		return nil
	}
	fresh, err := v.cfg.Replays.Once(ctx, thumbprint+"."+p.ID, issued.Add(v.cfg.ProofWindow+2*v.cfg.Leeway))
	switch {
	case err != nil: // closed: what cannot be remembered could come again
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !fresh:
		return invalidProof("The DPoP proof was used before", nil)
	}
	return nil
}

// sameURL compares htu with the request's URL: without query and fragment, and after the normalisation of RFC 3986 sections 6.2.2 and 6.2.3 (case of
// scheme and host, default port, empty path, percent-encoding), as RFC 9449 section 4.3 asks.
func sameURL(claimed string, actual *url.URL) bool {
	if actual == nil || len(claimed) > 4096 {
		return false
	}
	u, err := url.Parse(claimed)
	if err != nil || u.User != nil || u.Opaque != "" || u.Host == "" {
		return false
	}
	return strings.EqualFold(u.Scheme, actual.Scheme) && normalHost(u) == normalHost(actual) && normalPath(u) == normalPath(actual)
}

func normalHost(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	switch scheme := strings.ToLower(u.Scheme); {
	case scheme == "https" && port == "443", scheme == "http" && port == "80":
		port = ""
	}
	return host + ":" + port
}

// normalPath decodes what needs no encoding and writes the rest in upper case.
func normalPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		c := unhex(path[i+1])<<4 | unhex(path[i+2])
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return b.String()
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0 // url.Parse has seen that it is a digit
}

// ReplayCache remembers DPoP proofs. With several processes it has to be one for all of them, such as a Redis.
type ReplayCache interface {
	// Once reports whether the key was not seen before, and remembers it until the given time. An error refuses the request with 503.
	Once(ctx context.Context, key string, until time.Time) (fresh bool, err error)
}

// memoryReplays forgets by generations: what is written goes to the present one, and both are looked at. A generation is as long as the
// longest time that anything must be remembered, so the one before the last holds nothing of use.
type memoryReplays struct {
	now func() time.Time
	max int

	mu            sync.Mutex
	present, past map[[16]byte]struct{}
	turn          time.Time // when the present one becomes the past
}

// replayGeneration is longer than the longest life of a proof: the widest window and leeway on both sides.
const replayGeneration = maxProofWindow + 3*maxLeeway

var errReplaysFull = errors.New("verify: the replay cache is full")

// NewMemoryReplays remembers proofs in this process. It holds up to max of them (0 means 1,000,000, some 50 MB when full) in each eight
// minutes; beyond that it refuses.
func NewMemoryReplays(max int) ReplayCache {
	if max <= 0 {
		max = 1_000_000
	}
	return &memoryReplays{now: time.Now, max: max, present: map[[16]byte]struct{}{}}
}

func (m *memoryReplays) Once(_ context.Context, key string, until time.Time) (bool, error) {
	now := m.now()
	if until.Sub(now) > replayGeneration {
		return false, errors.New("verify: a proof of too long a life")
	}
	sum := sha256.Sum256([]byte(key))
	k := [16]byte(sum[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	if !now.Before(m.turn) {
		m.past = m.present
		if now.After(m.turn.Add(replayGeneration)) {
			m.past = nil
		}
		m.present, m.turn = map[[16]byte]struct{}{}, now.Add(replayGeneration)
	}
	if _, seen := m.present[k]; seen {
		return false, nil
	}
	if _, seen := m.past[k]; seen {
		return false, nil
	}
	if len(m.present) >= m.max {
		return false, errReplaysFull
	}
	m.present[k] = struct{}{}
	return true, nil
}

// NonceSource makes and knows the nonces of RFC 9449 section 9.
type NonceSource interface {
	// Nonce is one to be used from now on.
	Nonce() string
	// Valid reports whether a nonce is one of ours and not too old.
	Valid(nonce string) bool
}

type nonces struct {
	key  [32]byte
	life time.Duration
	now  func() time.Time
}

// NewNonces makes nonces that need no memory: a time and its MAC. They count for life (1 minute to 1 hour). Processes that serve one API share the
// key, of at least 32 random bytes.
func NewNonces(key []byte, life time.Duration) (NonceSource, error) {
	if len(key) < 32 || life < time.Minute || life > time.Hour {
		return nil, errors.New("verify: nonces need a key of 32 bytes and a life of 1 minute to 1 hour")
	}
	return &nonces{key: sha256.Sum256(key), life: life, now: time.Now}, nil
}

func (n *nonces) Nonce() string {
	b := binary.BigEndian.AppendUint64(nil, uint64(n.now().Unix())) //nolint:gosec // after 1970
	return base64.RawURLEncoding.EncodeToString(n.mac(b))
}

// mac appends 16 bytes of HMAC-SHA-256.
func (n *nonces) mac(b []byte) []byte {
	m := hmac.New(sha256.New, n.key[:])
	m.Write([]byte("dpop-nonce"))
	m.Write(b)
	return append(b, m.Sum(nil)[:16]...)
}

func (n *nonces) Valid(nonce string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != 24 || !hmac.Equal(n.mac(b[:8:8]), b) {
		return false
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(b)), 0) //nolint:gosec // we wrote it
	now := n.now()
	return now.Before(made.Add(n.life)) && !made.After(now.Add(maxLeeway))
}
