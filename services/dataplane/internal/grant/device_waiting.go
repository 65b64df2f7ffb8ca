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
)

// Device codes (RFC 8628) and backchannel requests (CIBA) are the same thing here: a client waits, and polls, while a person says
// yes or no on another device.
//
//	PENDING ──Decide(yes)──> ALLOWED ──poll──> TAKEN(nonce, 5 s) ──Answered.Use──> USED
//	   │                        ^                   └──Release, or the lease ends──┘ (ALLOWED again)
//	   └─────Decide(no)──> DENIED
//
// The client's id lies beside the sealed record, so that somebody else who polls is told nothing and slows nobody down. A used one
// is remembered until it would have expired. Unlike a code's, its second use revokes nothing: clients that poll ask twice by nature,
// when an answer was lost or two of their threads woke up, and what they send never goes through a browser.

// Errors about requests that wait. ErrCodeUnknown, ErrCodeBusy and ErrCodeLost are as for codes; a used one is unknown.
var (
	// ErrPending: nobody has answered yet.
	ErrPending = errors.New("grant: nobody has answered yet")
	// ErrDenied: the person said no.
	ErrDenied = errors.New("grant: the person said no")
	// ErrExpired: nobody answered in time.
	ErrExpired = errors.New("grant: nobody answered in time")
	// ErrDecided: somebody has answered, or the time is over; the first answer counts.
	ErrDecided = errors.New("grant: the request is not waiting any more")
	// ErrWaitingFull: the tenant, the client, the address or the person has as many open requests as may wait.
	ErrWaitingFull = errors.New("grant: too many requests are waiting")
	// ErrWaitingSize: the request has more than MaxWaitingBytes.
	ErrWaitingSize = errors.New("grant: the request is too large")
)

// SlowDownError: the client polls before its interval is over (RFC 8628 section 3.5).
type SlowDownError struct {
	// Interval is what it has to wait from now on.
	Interval time.Duration
}

// Error implements error.
func (e *SlowDownError) Error() string { return "grant: polled too soon" }

// Bounds of requests that wait.
const (
	// PollInterval is how long a client waits between two polls to begin with.
	PollInterval = 5 * time.Second
	// MaxWaiting is the longest time that a request may wait.
	MaxWaiting = time.Hour
	// MaxWaitingBytes bounds what is stored of one.
	MaxWaitingBytes = 4 << 10

	pollStep   = 5 * time.Second // added for each poll that comes too soon (RFC 8628 section 3.5)
	maxPoll    = time.Minute
	pollLeeway = 500 * time.Millisecond // a network is not a clock
	// rememberWaiting is for how long a client is told "expired" rather than "unknown", collectWaiting for how long after the end a
	// yes that came in time can still be collected.
	rememberWaiting = 10 * time.Minute
	collectWaiting  = 30 * time.Second
)

// Waiting is a request that waits for a person.
type Waiting struct {
	// Client asks, for Scopes at Audience (empty: the tenant's default), with AuthorizationDetails as JSON text.
	Client               string   `json:"c"`
	Scopes               []string `json:"s,omitempty"`
	Audience             string   `json:"a,omitempty"`
	AuthorizationDetails string   `json:"ad,omitempty"`
	// From is the address that a device asked from, shown to the person.
	From string `json:"f,omitempty"`
	// User is who is asked by a backchannel request, with BindingMessage; a device's request names nobody.
	User           id.User  `json:"u,omitzero"`
	BindingMessage string   `json:"b,omitempty"`
	ACRValues      []string `json:"acr,omitempty"`
	// NotificationToken authenticates the ping (CIBA Core section 10.2).
	NotificationToken string `json:"nt,omitempty"`
	// RequestID is the auth_req_id, for the ping.
	RequestID string `json:"r,omitempty"`
	// Create and Expire are when it was asked and when the waiting ends.
	Create time.Time `json:"t"`
	Expire time.Time `json:"e"`
}

// Handle names a waiting request on pages. It is a hash of what the client polls with, so whoever sees it cannot poll.
type Handle [32]byte

// String is the text form.
func (h Handle) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// ParseHandle reads the text form.
func ParseHandle(s string) (h Handle, ok bool) {
	if len(s) != codeLen {
		return Handle{}, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(h[:], []byte(s))
	return h, err == nil && n == len(h)
}

// waitKind is one of the two kinds of requests that wait.
type waitKind struct{ kind, quota, purpose string }

var (
	waitDevice      = waitKind{"dv", "dq", "device-code"}
	waitBackchannel = waitKind{"bc", "bq", "backchannel-request"}
)

// bound is one quota that a request counts against.
type bound struct {
	name []byte
	max  int
}

// newSecret draws what a client polls with: 256 random bits.
func newSecret() string {
	var raw [codeBytes]byte
	rand.Read(raw[:]) // crypto/rand.Read never fails since Go 1.24: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// put stores a request under the hash of its secret. alias is a second key that leads to it, empty for none; taken is true when
// that is in use.
func (s *Store) put(ctx context.Context, k waitKind, tenant id.Tenant, h Handle, w *Waiting, now time.Time, bounds []bound, alias string, aliasValue []byte) (taken bool, err error) {
	plain, err := json.Marshal(w)
	if err != nil {
		return false, fmt.Errorf("grant: encode request: %w", err)
	}
	if len(plain) > MaxWaitingBytes {
		return false, ErrWaitingSize
	}
	sealed := s.keyring.Tenant(tenant).Seal(k.purpose, plain, aad(k.kind, tenant, h))
	keys := []string{key(k.kind, tenant, h[:])}
	ttl := w.Expire.Sub(now)
	args := []any{
		now.UnixMilli(), w.Expire.UnixMilli(), ttl.Milliseconds(), (ttl + rememberWaiting).Milliseconds(), sealed, w.Client,
		PollInterval.Milliseconds(), h.String(), (MaxWaiting + time.Minute).Milliseconds(), len(bounds), aliasValue,
	}
	for _, b := range bounds {
		keys, args = append(keys, key(k.quota, tenant, b.name)), append(args, b.max)
	}
	if alias != "" {
		keys = append(keys, alias)
	}
	if err := s.ready(); err != nil {
		return false, err
	}
	word, err := putWaitingScript.Run(ctx, s.rdb, keys, args...).Text()
	if err := s.done(err); err != nil {
		return false, err
	}
	switch word {
	case "ok":
		return false, nil
	case "taken":
		return true, nil
	}
	return false, ErrWaitingFull
}

// look reads a request that still waits. ErrDecided for one that does not, ErrCodeUnknown for none.
func (s *Store) lookWaiting(ctx context.Context, k waitKind, tenant id.Tenant, h Handle, now time.Time) (Waiting, error) {
	if err := s.ready(); err != nil {
		return Waiting{}, err
	}
	values, err := s.rdb.HMGet(ctx, key(k.kind, tenant, h[:]), "s", "v").Result()
	if err := s.done(err); err != nil {
		return Waiting{}, err
	}
	state, _ := values[0].(string)
	sealed, _ := values[1].(string)
	if sealed == "" {
		return Waiting{}, ErrCodeUnknown
	}
	w, err := s.openWaiting(k, tenant, h, sealed)
	if err != nil {
		return Waiting{}, err
	}
	if state != "p" || !now.Before(w.Expire) {
		return w, ErrDecided
	}
	return w, nil
}

func (s *Store) openWaiting(k waitKind, tenant id.Tenant, h Handle, sealed string) (Waiting, error) {
	var w Waiting
	if err := s.openSealed(k, tenant, h, sealed, &w); err != nil {
		return Waiting{}, err
	}
	return w, nil
}

// openSealed opens a value that lies in a request. One that does not open is no request of ours.
func (s *Store) openSealed(k waitKind, tenant id.Tenant, h Handle, sealed string, into any) error {
	plain, err := s.keyring.Tenant(tenant).Open(k.purpose, []byte(sealed), aad(k.kind, tenant, h))
	if err != nil {
		s.log.Warn("a waiting request does not open", "tenant", tenant.String())
		return ErrCodeUnknown
	}
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("grant: decode request: %w", err)
	}
	return nil
}

// answer is a stored yes. Its sealed form differs from that of a request by the member, so that neither opens as the other.
type answer struct {
	Yes *CodeRecord `json:"yes"`
}

// decide stores the person's answer, nil for no. One of many who decide at once wins; the others get ErrDecided.
func (s *Store) decide(ctx context.Context, k waitKind, tenant id.Tenant, h Handle, w *Waiting, yes *CodeRecord, bounds []bound, alias string) error {
	state, sealed := "d", []byte{}
	if yes != nil {
		rec := *yes
		rec.Expire = w.Expire.Add(collectWaiting)
		plain, err := json.Marshal(answer{Yes: &rec})
		if err != nil {
			return fmt.Errorf("grant: encode answer: %w", err)
		}
		state, sealed = "a", s.keyring.Tenant(tenant).Seal(k.purpose, plain, aad(k.kind, tenant, h))
	}
	keys := []string{key(k.kind, tenant, h[:])}
	for _, b := range bounds {
		keys = append(keys, key(k.quota, tenant, b.name))
	}
	args := []any{state, sealed, h.String(), len(bounds)}
	if alias != "" {
		keys = append(keys, alias)
	}
	if err := s.ready(); err != nil {
		return err
	}
	won, err := decideScript.Run(ctx, s.rdb, keys, args...).Bool()
	if err := s.done(err); err != nil {
		return err
	}
	if !won {
		return ErrDecided
	}
	return nil
}

// Answered is a yes that this exchange alone holds, until Use, Release or the end of the lease.
type Answered struct {
	// Record is what the person allowed.
	Record CodeRecord

	s      *Store
	key    string
	nonce  string
	sealed string
}

// poll is a client's question whether the person has answered. Errors: ErrCodeUnknown (also for another client's request and for a
// used one), ErrPending, *SlowDownError, ErrDenied, ErrExpired, ErrCodeBusy, ErrUnavailable.
func (s *Store) poll(ctx context.Context, k waitKind, tenant id.Tenant, secret, client string, now time.Time) (*Answered, error) {
	if !wellFormed(secret) {
		return nil, ErrCodeUnknown
	}
	h := Handle(hashOf(secret))
	var raw [12]byte
	rand.Read(raw[:])
	a := &Answered{s: s, key: key(k.kind, tenant, h[:]), nonce: base64.RawURLEncoding.EncodeToString(raw[:])}
	if err := s.ready(); err != nil {
		return nil, err
	}
	reply, err := pollScript.Run(ctx, s.rdb, []string{a.key}, client, a.nonce, lease.Milliseconds(), now.UnixMilli(),
		pollStep.Milliseconds(), maxPoll.Milliseconds(), pollLeeway.Milliseconds()).StringSlice()
	if err := s.done(err); err != nil {
		return nil, err
	}
	if len(reply) != 4 {
		return nil, fmt.Errorf("%w: script answered %d values", ErrUnavailable, len(reply))
	}
	if reply[0] == "unknown" {
		return nil, ErrCodeUnknown
	}
	w, err := s.openWaiting(k, tenant, h, reply[1])
	if err != nil || w.Client != client {
		return nil, errors.Join(ErrCodeUnknown, err)
	}
	switch reply[0] {
	case "denied":
		return nil, ErrDenied
	case "busy":
		return nil, ErrCodeBusy
	case "taken":
		a.sealed = reply[3]
		return a, a.open(k, tenant, h, now)
	}
	if !now.Before(w.Expire) {
		return nil, ErrExpired
	}
	if reply[0] == "slow" {
		var ms int64
		fmt.Sscan(reply[2], &ms) //nolint:errcheck // a number that the script printed; anything else counts as none
		return nil, &SlowDownError{Interval: max(time.Duration(ms)*time.Millisecond, PollInterval)}
	}
	return nil, ErrPending
}

func (a *Answered) open(k waitKind, tenant id.Tenant, h Handle, now time.Time) error {
	var v answer
	if err := a.s.openSealed(k, tenant, h, a.sealed, &v); err != nil {
		return err
	}
	if v.Yes == nil {
		return ErrCodeUnknown
	}
	if a.Record = *v.Yes; !now.Before(a.Record.Expire) {
		return ErrExpired
	}
	return nil
}

// Use makes the yes used: the last step before the tokens are delivered. After an error nothing may be delivered. until is not
// needed: a second use reveals no thief.
func (a *Answered) Use(ctx context.Context, _ time.Time) error {
	if err := a.s.ready(); err != nil {
		return err
	}
	ok, err := useWaitingScript.Run(ctx, a.s.rdb, []string{a.key}, a.nonce).Bool()
	if err := a.s.done(err); err != nil {
		return err
	}
	if !ok {
		return ErrCodeLost
	}
	return nil
}

// Release gives the yes back, so that the client's next poll gets it, also after a Use whose answer was lost.
func (a *Answered) Release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 300*time.Millisecond)
	defer cancel()
	if err := a.s.ready(); err != nil {
		return err
	}
	return a.s.done(releaseWaitingScript.Run(ctx, a.s.rdb, []string{a.key}, a.nonce, a.sealed).Err())
}

// Fields of a request: c client, s state (p, a, d), v sealed request, g sealed answer, w poll interval and l last poll in
// milliseconds, n nonce of the holder, u end of its lease, x used. Leases go by Redis's clock as codes do.
var (
	putWaitingScript = redis.NewScript(`
local n = tonumber(ARGV[10])
for i = 1, n do
  redis.call('ZREMRANGEBYSCORE', KEYS[1 + i], '-inf', ARGV[1])
  if redis.call('ZCARD', KEYS[1 + i]) >= tonumber(ARGV[11 + i]) then return 'full' end
end
if KEYS[2 + n] and not redis.call('SET', KEYS[2 + n], ARGV[11], 'NX', 'PX', ARGV[3]) then return 'taken' end
redis.call('HSET', KEYS[1], 'c', ARGV[6], 's', 'p', 'v', ARGV[5], 'w', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
for i = 1, n do
  redis.call('ZADD', KEYS[1 + i], ARGV[2], ARGV[8])
  redis.call('PEXPIRE', KEYS[1 + i], ARGV[9])
end
return 'ok'`)

	decideScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 's') ~= 'p' then return 0 end
redis.call('HSET', KEYS[1], 's', ARGV[1])
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'g', ARGV[2]) end
local n = tonumber(ARGV[4])
for i = 1, n do redis.call('ZREM', KEYS[1 + i], ARGV[3]) end
if KEYS[2 + n] then redis.call('DEL', KEYS[2 + n]) end
return 1`)

	pollScript = redis.NewScript(`
local f = redis.call('HMGET', KEYS[1], 'c', 's', 'v', 'g', 'n', 'u', 'x', 'w', 'l')
if f[1] ~= ARGV[1] or not f[3] or f[7] then return {'unknown', '', '', ''} end
if f[2] == 'd' then return {'denied', f[3], '', ''} end
local now = tonumber(ARGV[4])
if f[2] ~= 'a' or not f[4] then
  local wait = tonumber(f[8])
  if f[9] and now < tonumber(f[9]) + wait - tonumber(ARGV[7]) then
    wait = math.min(wait + tonumber(ARGV[5]), tonumber(ARGV[6]))
    redis.call('HSET', KEYS[1], 'w', string.format('%.0f', wait), 'l', ARGV[4])
    return {'slow', f[3], string.format('%.0f', wait), ''}
  end
  redis.call('HSET', KEYS[1], 'l', ARGV[4])
  return {'pending', f[3], '', ''}
end
local t = redis.call('TIME')
local clock = t[1] * 1000 + math.floor(t[2] / 1000)
if f[5] and f[5] ~= ARGV[2] and f[6] and tonumber(f[6]) > clock then return {'busy', f[3], '', ''} end
redis.call('HSET', KEYS[1], 'n', ARGV[2], 'u', string.format('%.0f', clock + ARGV[3]))
return {'taken', f[3], '', f[4]}`)

	useWaitingScript = redis.NewScript(`
local f = redis.call('HMGET', KEYS[1], 'n', 'x')
if f[1] ~= ARGV[1] then return 0 end
if not f[2] then
  redis.call('HSET', KEYS[1], 'x', '1')
  redis.call('HDEL', KEYS[1], 'g', 'u')
end
return 1`)

	releaseWaitingScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2])
redis.call('HDEL', KEYS[1], 'x', 'n', 'u')
return 1`)
)
