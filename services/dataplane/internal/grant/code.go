// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oidc"
)

// Errors of TakeCode and Taken.Use.
var (
	// ErrCodeUnknown: no such code at this tenant: never issued, expired, or made by somebody else.
	ErrCodeUnknown = errors.New("grant: unknown authorization code")
	// ErrCodeBusy: another exchange holds the code and did not end in time. Trying again decides.
	ErrCodeBusy = errors.New("grant: authorization code is being redeemed")
	// ErrCodeLost: the lease ended before the exchange did and the code is no longer the holder's; nothing may be delivered.
	ErrCodeLost = errors.New("grant: authorization code was lost to another exchange")
)

// CodeUsedError is returned for a code that has been redeemed. Its grant is what the first use gave: the caller revokes it,
// because one of the two uses was by a thief (RFC 6749 section 4.1.2, RFC 9700 section 2.1.1).
type CodeUsedError struct {
	// Grant is what the first use gave.
	Grant id.Grant
	// Until is when the last token of that grant expires at the latest.
	Until time.Time
}

// Error implements error.
func (e *CodeUsedError) Error() string { return "grant: authorization code was used before" }

// CodeRecord is what an authorization code stands for: everything that its exchange needs, so that an exchange without a refresh
// token asks no database.
type CodeRecord struct {
	// Grant is the grant that the tokens will belong to; drawn when the code is issued, so that a repeated exchange repeats it.
	Grant id.Grant `json:"g"`
	// Client, RedirectURI and CodeChallenge are what the exchange must match (RFC 6749 section 4.1.3, RFC 7636 section 4.6).
	Client        string `json:"c"`
	RedirectURI   string `json:"r"`
	CodeChallenge string `json:"p,omitempty"`
	// Scopes are those granted.
	Scopes []string `json:"s,omitempty"`
	// Audience is the `aud` of the access token; empty means the tenant's default (RFC 8707).
	Audience string `json:"a,omitempty"`
	// Nonce goes into the ID token.
	Nonce string `json:"n,omitempty"`
	// DPoPJKT is the key that the exchange must prove (RFC 9449 section 10); empty for none.
	DPoPJKT string `json:"dj,omitempty"`
	// AuthorizationDetails are those granted (RFC 9396), a JSON array; nil for none.
	AuthorizationDetails json.RawMessage `json:"ad,omitempty"`
	// Claims is the `claims` parameter as sent, already parsed once (OpenID Connect Core section 5.5).
	Claims string `json:"cl,omitempty"`

	// User is who logged in, with what the tokens say of the login.
	User     id.User    `json:"u"`
	Session  id.Session `json:"sid,omitzero"`
	AuthTime time.Time  `json:"at"`
	ACR      string     `json:"acr,omitempty"`
	AMR      []string   `json:"amr,omitempty"`
	Roles    []string   `json:"ro,omitempty"`
	Groups   []string   `json:"gr,omitempty"`
	// UserClaims are the user's claims as of the login, if the ID token was asked to carry any; nil otherwise.
	UserClaims *oidc.UserClaims `json:"uc,omitempty"`

	// RequestURI is the pushed request that the code answers; empty for none. IssueCode ends it in the same step, so that a request is
	// answered once and a failure leaves it as it was. It is not stored.
	RequestURI string `json:"-"`

	// Expire is when the code ends; set by IssueCode and checked again at the exchange, whatever Redis says.
	Expire time.Time `json:"e"`
}

// MaxCodeLifetime is the longest life of an authorization code (RFC 9700 section 2.1.1 asks for short ones).
const MaxCodeLifetime = time.Minute

const (
	kindCode     = "cd"
	kindCodeUsed = "cu"
	purposeCode  = "authorization-code"
	codeBytes    = 32
	codeLen      = 43
	// lease is how long an exchange may hold a code.
	lease = 5 * time.Second
	// busyWait bounds how long TakeCode waits for another exchange to end, busyStep how often it looks.
	busyWait = time.Second
	busyStep = 15 * time.Millisecond
)

// IssueCode stores rec under a new code of 256 random bits, for at most ttl (bounded by MaxCodeLifetime). The user has logged in
// by then: nobody else can make us store anything. ErrRequestUnknown: the pushed request has been answered, or has expired.
func (s *Store) IssueCode(ctx context.Context, tenant id.Tenant, rec CodeRecord, now time.Time, ttl time.Duration) (string, error) {
	if ttl <= 0 || ttl > MaxCodeLifetime {
		ttl = MaxCodeLifetime
	}
	rec.Expire = now.Add(ttl)
	plain, err := json.Marshal(&rec)
	if err != nil {
		return "", fmt.Errorf("grant: encode code: %w", err)
	}
	var raw [codeBytes]byte
	rand.Read(raw[:]) // crypto/rand.Read never fails since Go 1.24: it ends the process instead
	code := base64.RawURLEncoding.EncodeToString(raw[:])
	hash := hashOf(code)
	sealed := s.keyring.Tenant(tenant).Seal(purposeCode, plain, aad(kindCode, tenant, hash))
	if err := s.ready(); err != nil {
		return "", err
	}
	keys := append(make([]string, 0, 3), key(kindCode, tenant, hash[:]))
	if rec.RequestURI != "" {
		keys = append(keys, requestKeys(tenant, rec.RequestURI)...)
	}
	issued, err := issueScript.Run(ctx, s.rdb, keys, sealed, ttl.Milliseconds()).Bool()
	if err := s.done(err); err != nil {
		return "", err
	}
	if !issued {
		return "", ErrRequestUnknown
	}
	return code, nil
}

// Taken is a code that this exchange alone holds, until Use, Release or the end of the lease.
type Taken struct {
	// Record is what the code stands for.
	Record CodeRecord

	s      *Store
	tenant id.Tenant
	hash   [32]byte
	nonce  string
	sealed string // the stored record, to put it back
}

// TakeCode takes a code for an exchange. When another exchange holds it, TakeCode waits for that one to end, up to a second: a
// used code must be recognised also by the one who lost the race by a millisecond, since that may be the rightful owner racing a
// thief. Errors: ErrCodeUnknown, *CodeUsedError, ErrCodeBusy, ErrUnavailable.
func (s *Store) TakeCode(ctx context.Context, tenant id.Tenant, code string, now time.Time) (*Taken, error) {
	if !wellFormed(code) {
		return nil, ErrCodeUnknown
	}
	t := &Taken{s: s, tenant: tenant, hash: hashOf(code)}
	var raw [12]byte
	rand.Read(raw[:])
	t.nonce = base64.RawURLEncoding.EncodeToString(raw[:])
	k := []string{key(kindCode, tenant, t.hash[:])}

	deadline := time.Now().Add(busyWait)
	for {
		if err := s.ready(); err != nil {
			return nil, err
		}
		reply, err := takeScript.Run(ctx, s.rdb, k, t.nonce, lease.Milliseconds()).StringSlice()
		if err := s.done(err); err != nil {
			return nil, err
		}
		if len(reply) != 2 {
			return nil, fmt.Errorf("%w: script answered %d values", ErrUnavailable, len(reply))
		}
		switch reply[0] {
		case "taken":
			t.sealed = reply[1]
			return t, t.open(now)
		case "used":
			return nil, s.used(tenant, t.hash, reply[1])
		case "busy":
			if time.Now().After(deadline) {
				return nil, ErrCodeBusy
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(busyStep):
			}
		default:
			return nil, ErrCodeUnknown
		}
	}
}

// open unseals the record of a code just taken. A value that does not open, or that Redis kept for too long, is no code of ours.
func (t *Taken) open(now time.Time) error {
	plain, err := t.s.keyring.Tenant(t.tenant).Open(purposeCode, []byte(t.sealed), aad(kindCode, t.tenant, t.hash))
	if err != nil {
		t.s.log.Warn("authorization code does not open", "tenant", t.tenant.String())
		return ErrCodeUnknown
	}
	if err := json.Unmarshal(plain, &t.Record); err != nil {
		return fmt.Errorf("grant: decode code: %w", err)
	}
	if !now.Before(t.Record.Expire) {
		return ErrCodeUnknown
	}
	return nil
}

type usedRecord struct {
	Grant id.Grant  `json:"g"`
	Until time.Time `json:"u"`
}

func (s *Store) used(tenant id.Tenant, hash [32]byte, sealed string) error {
	plain, err := s.keyring.Tenant(tenant).Open(purposeCode, []byte(sealed), aad(kindCodeUsed, tenant, hash))
	if err != nil {
		s.log.Warn("used mark does not open", "tenant", tenant.String())
		return ErrCodeUnknown // refused all the same; there is just nothing that could be revoked
	}
	var u usedRecord
	if err := json.Unmarshal(plain, &u); err != nil {
		return fmt.Errorf("grant: decode used mark: %w", err)
	}
	return &CodeUsedError{Grant: u.Grant, Until: u.Until}
}

// Use makes the code used. It is the last step before the tokens are delivered: until is when the last of them expires, and for
// that long a second use is recognised. After an error nothing may be delivered; ErrCodeLost means that somebody else may have, and
// ErrCodeUnknown that the session or the grant was revoked since the code was issued. That is looked at in the same step, so it costs
// nothing; marks that Redis has lost are gone together with the code.
func (t *Taken) Use(ctx context.Context, until time.Time) error {
	plain, err := json.Marshal(usedRecord{Grant: t.Record.Grant, Until: until})
	if err != nil {
		return fmt.Errorf("grant: encode used mark: %w", err)
	}
	sealed := t.s.keyring.Tenant(t.tenant).Seal(purposeCode, plain, aad(kindCodeUsed, t.tenant, t.hash))
	ttl := max(time.Until(until), MaxCodeLifetime)
	if err := t.s.ready(); err != nil {
		return err
	}
	keys := append(t.keys(), markKey(t.tenant, t.Record.Grant.String()))
	if !t.Record.Session.IsZero() {
		keys = append(keys, markKey(t.tenant, t.Record.Session.String()))
	}
	done, err := useScript.Run(ctx, t.s.rdb, keys, t.nonce, sealed, ttl.Milliseconds()).Int()
	if err := t.s.done(err); err != nil {
		return err
	}
	switch done {
	case 1:
		return nil
	case 2:
		return ErrCodeUnknown
	}
	return ErrCodeLost
}

// Release gives the code back, so that the same exchange can be tried again, also after a Use whose answer was lost: nothing was
// delivered then, so the code is not used, whatever Redis did. It works after the request's context has ended, since that is one of
// the reasons for a release; when it fails the lease ends by itself.
func (t *Taken) Release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 300*time.Millisecond)
	defer cancel()
	if err := t.s.ready(); err != nil {
		return err
	}
	left := time.Until(t.Record.Expire)
	if left <= 0 {
		return nil
	}
	return t.s.done(releaseScript.Run(ctx, t.s.rdb, t.keys(), t.nonce, t.sealed, left.Milliseconds()).Err())
}

func (t *Taken) keys() []string { return []string{key(kindCode, t.tenant, t.hash[:])} }

// wellFormed keeps what cannot be a code away from Redis.
func wellFormed(code string) bool {
	if len(code) != codeLen {
		return false
	}
	for _, c := range []byte(code) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// The scripts use Redis's clock for the lease, so that replicas need not agree on the time. Fields: v sealed record, n nonce of the
// holder, u end of its lease in milliseconds, x sealed used mark. Each may run twice: a client that got no answer sends it again.
var (
	issueScript = redis.NewScript(`
if KEYS[2] and redis.call('DEL', KEYS[2], KEYS[3]) == 0 and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`)

	takeScript = redis.NewScript(`
local f = redis.call('HMGET', KEYS[1], 'v', 'n', 'u', 'x')
if f[4] then return {'used', f[4]} end
if not f[1] then return {'unknown', ''} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if f[2] and f[2] ~= ARGV[1] and tonumber(f[3]) > now then return {'busy', ''} end
redis.call('HSET', KEYS[1], 'n', ARGV[1], 'u', string.format('%.0f', now + ARGV[2]))
return {'taken', f[1]}`)

	// A code that expired while it was taken is gone, and so is everybody who could compete for it: the mark is written all the same.
	useScript = redis.NewScript(`
local f = redis.call('HMGET', KEYS[1], 'n', 'x')
if f[1] and f[1] ~= ARGV[1] then return 0 end
if not f[1] and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 2 end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'n', ARGV[1], 'x', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`)

	releaseScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'v', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`)
)
