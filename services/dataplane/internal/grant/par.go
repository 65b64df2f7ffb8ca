// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// Errors of pushed requests.
var (
	// ErrRequestUnknown: no such request_uri at this tenant: never made, expired, or completed.
	ErrRequestUnknown = errors.New("grant: unknown request_uri")
	// ErrRequestTooLarge: the request has more than MaxRequestBytes.
	ErrRequestTooLarge = errors.New("grant: pushed request is too large")
	// ErrRequestQuota: the client, the tenant or the address has too many requests that nobody completed.
	ErrRequestQuota = errors.New("grant: too many pushed requests")
)

// RequestURIPrefix is what every request_uri of a pushed request begins with (RFC 9126 section 2.2).
const RequestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// PushedRequest is an authorization request that was pushed (RFC 9126).
type PushedRequest struct {
	// Client is the client_id of who pushed it; nobody else may use it.
	Client string
	// Params are the request's parameters; for a signed one those of the request object.
	Params oauth2.Params
	// DPoPJKT is the key that the code will be bound to (RFC 9449 section 10); empty for none.
	DPoPJKT string
	// Signed is true when the parameters came in a signed request object.
	Signed bool
	// Expire is when it ends; set by PutRequest.
	Expire time.Time

	// Public and Source are for the quota alone and not stored: whether the client proved nothing, and the address it came from.
	Public bool
	Source string
}

// MaxRequestBytes bounds what is stored of one request.
const MaxRequestBytes = 16 << 10

// requestOverhead is what Redis needs for a request beside its text; small ones count by it.
const requestOverhead = 256

// MaxRequestLifetime bounds the life of a pushed request (FAPI 2.0 Security Profile section 5.3.2.2: less than 600 seconds).
const MaxRequestLifetime = 599 * time.Second

// DefaultRequestQuota is how many bytes of pushed requests one tenant may have pending. A client has half of it, a client without a
// secret and an address an eighth: nobody has logged in yet, so this is what keeps strangers from filling the memory.
const DefaultRequestQuota = 64 << 20

// A request is two keys: what it asks, which ends when it can no longer be opened, and a few bytes that say that nobody has completed it yet,
// which HoldRequest keeps for longer. What strangers can make us keep for the length of a login is so small.
const (
	kindRequest      = "pr"
	kindRequestOpen  = "po"
	kindRequestQuota = "pq"
	purposeRequest   = "pushed-request"
)

type requestRecord struct {
	Client  string    `json:"c"`
	Params  string    `json:"p"`
	DPoPJKT string    `json:"dj,omitempty"`
	Signed  bool      `json:"s,omitempty"`
	Expire  time.Time `json:"e"`
}

// PutRequest stores a pushed request for ttl and answers its request_uri, which has 256 random bits. Errors: ErrRequestTooLarge,
// ErrRequestQuota, ErrUnavailable.
func (s *Store) PutRequest(ctx context.Context, tenant id.Tenant, r PushedRequest, now time.Time, ttl time.Duration) (requestURI string, err error) {
	if ttl <= 0 || ttl > MaxRequestLifetime {
		ttl = MaxRequestLifetime
	}
	plain, err := json.Marshal(requestRecord{Client: r.Client, Params: r.Params.Encode(), DPoPJKT: r.DPoPJKT, Signed: r.Signed, Expire: now.Add(ttl)})
	if err != nil {
		return "", fmt.Errorf("grant: encode pushed request: %w", err)
	}
	if len(plain) > MaxRequestBytes {
		return "", ErrRequestTooLarge
	}
	var raw [codeBytes]byte
	rand.Read(raw[:]) // crypto/rand.Read never fails since Go 1.24: it ends the process instead
	requestURI = RequestURIPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	hash := hashOf(requestURI)
	sealed := s.keyring.Tenant(tenant).Seal(purposeRequest, plain, aad(kindRequest, tenant, hash))

	keys := []string{key(kindRequest, tenant, hash[:]), key(kindRequestOpen, tenant, hash[:]), key(kindRequestQuota, tenant, nil), key(kindRequestQuota, tenant, []byte(r.Client))}
	quota := s.requestQuota
	args := []any{sealed, ttl.Milliseconds(), len(sealed) + requestOverhead, quota, quota / 2}
	if r.Public {
		args[4] = quota / 8
		if r.Source != "" {
			keys, args = append(keys, key(kindRequestQuota, tenant, []byte("from "+r.Source))), append(args, quota/8)
		}
	}
	if err := s.ready(); err != nil {
		return "", err
	}
	stored, err := putRequestScript.Run(ctx, s.rdb, keys, args...).Bool()
	if err := s.done(err); err != nil {
		return "", err
	}
	if !stored {
		return "", ErrRequestQuota
	}
	return requestURI, nil
}

// Request reads a pushed request without ending it: a browser may open its address more than once before the login is complete.
// Errors: ErrRequestUnknown, ErrUnavailable.
func (s *Store) Request(ctx context.Context, tenant id.Tenant, requestURI string, now time.Time) (PushedRequest, error) {
	if !isRequestURI(requestURI) {
		return PushedRequest{}, ErrRequestUnknown
	}
	if err := s.ready(); err != nil {
		return PushedRequest{}, err
	}
	hash := hashOf(requestURI)
	sealed, err := s.rdb.Get(ctx, key(kindRequest, tenant, hash[:])).Bytes()
	if err := s.done(err); err != nil {
		if errors.Is(err, redis.Nil) {
			return PushedRequest{}, ErrRequestUnknown
		}
		return PushedRequest{}, err
	}
	plain, err := s.keyring.Tenant(tenant).Open(purposeRequest, sealed, aad(kindRequest, tenant, hash))
	if err != nil {
		s.log.Warn("pushed request does not open", "tenant", tenant.String())
		return PushedRequest{}, ErrRequestUnknown
	}
	var rec requestRecord
	if err := json.Unmarshal(plain, &rec); err != nil {
		return PushedRequest{}, fmt.Errorf("grant: decode pushed request: %w", err)
	}
	if !now.Before(rec.Expire) {
		return PushedRequest{}, ErrRequestUnknown // whatever Redis says
	}
	params, err := oauth2.ParseParams(rec.Params)
	if err != nil {
		return PushedRequest{}, fmt.Errorf("grant: decode pushed request: %w", err)
	}
	return PushedRequest{Client: rec.Client, Params: params, DPoPJKT: rec.DPoPJKT, Signed: rec.Signed, Expire: rec.Expire}, nil
}

// EndRequest ends a pushed request. Of many who call it one is told true, and that one may answer the request (RFC 9126 section 4: a
// request_uri counts once). An answer with a code need not call it: see CodeRecord.RequestURI.
func (s *Store) EndRequest(ctx context.Context, tenant id.Tenant, requestURI string) (bool, error) {
	if !isRequestURI(requestURI) {
		return false, nil
	}
	if err := s.ready(); err != nil {
		return false, err
	}
	n, err := s.rdb.Del(ctx, requestKeys(tenant, requestURI)...).Result()
	return n > 0, s.done(err)
}

// requestKeys are the keys of a request, the one that says that it is open last.
func requestKeys(tenant id.Tenant, requestURI string) []string {
	hash := hashOf(requestURI)
	return []string{key(kindRequest, tenant, hash[:]), key(kindRequestOpen, tenant, hash[:])}
}

// isRequestURI keeps what cannot be a request_uri of ours away from Redis.
func isRequestURI(text string) bool {
	code, ok := strings.CutPrefix(text, RequestURIPrefix)
	return ok && wellFormed(code)
}

// putRequestScript counts the bytes first, so that what is refused takes no room. A counter ends with the window that its first
// request began, so at most twice the quota is ever pending. A script that runs twice, since its answer was lost, counts twice.
var putRequestScript = redis.NewScript(`
for i = 3, #KEYS do
  local n = redis.call('INCRBY', KEYS[i], ARGV[3])
  if n == tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
  if n > tonumber(ARGV[i + 1]) then
    for j = 3, i do redis.call('DECRBY', KEYS[j], ARGV[3]) end
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
return 1`)
