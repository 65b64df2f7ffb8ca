// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// How many device codes may be open at a time. They are made before anybody has logged in, so these numbers are what bounds the
// memory (DISTRIBUTION.md section 11): about 3 KiB each.
const (
	maxDevicesOfTenant = 10_000
	maxDevicesOfClient = 5_000
	// of public clients: many devices of one house or office share an address. Behind a proxy that trusted_proxies does not name all
	// of them do.
	maxDevicesOfAddress = 50
)

const (
	kindUserCode    = "du"
	purposeUserCode = "user-code"
	// userCodeTries is how often a code that is in use is drawn again. With all 10,000 in use one in 2.5 million is.
	userCodeTries = 4
)

// Device is a request of a device as a person on the page sees it.
type Device struct {
	// Handle names it in forms.
	Handle Handle
	// UserCode is what the person typed.
	UserCode string
	Waiting

	alias string // the key that the user code was found under
}

// IssueDeviceCode stores a device's request (RFC 8628 section 3.1) for ttl and answers what the device polls with and what the
// person types. source is the address that counts against the bound of addresses; empty for a client that proved who it is. Errors:
// ErrWaitingFull, ErrWaitingSize, ErrUnavailable.
func (s *Store) IssueDeviceCode(ctx context.Context, tenant id.Tenant, w Waiting, source string, now time.Time, ttl time.Duration) (deviceCode, userCode string, err error) {
	if ttl <= 0 || ttl > MaxWaiting {
		ttl = MaxWaiting
	}
	w.Create, w.Expire, w.User = now, now.Add(ttl), id.User{}
	deviceCode = newSecret()
	h := Handle(hashOf(deviceCode))
	keys := s.keyring.Tenant(tenant)
	bounds := deviceBounds(&w, source)
	for range userCodeTries {
		if userCode, err = oauth2.NewUserCode(rand.Reader); err != nil {
			return "", "", err
		}
		name := keys.MAC(purposeUserCode, []byte(userCode))
		sealed := keys.Seal(purposeUserCode, h[:], aad(kindUserCode, tenant, name))
		taken, err := s.put(ctx, waitDevice, tenant, h, &w, now, bounds, key(kindUserCode, tenant, name[:]), sealed)
		if err != nil {
			return "", "", err
		}
		if !taken {
			return deviceCode, userCode, nil
		}
	}
	return "", "", ErrWaitingFull
}

func deviceBounds(w *Waiting, source string) []bound {
	b := []bound{{nil, maxDevicesOfTenant}, {[]byte("client " + w.Client), maxDevicesOfClient}}
	if source != "" {
		b = append(b, bound{[]byte("from " + source), maxDevicesOfAddress})
	}
	return b
}

// Device finds the request that a user code stands for, while it waits. Errors: ErrCodeUnknown (also when it has been answered or
// has expired: a page must not tell which codes were real), ErrUnavailable.
func (s *Store) Device(ctx context.Context, tenant id.Tenant, userCode string, now time.Time) (Device, error) {
	keys := s.keyring.Tenant(tenant)
	for _, k := range s.keyring.Keys() { // a code that was made before the keyring rotated still works
		name, err := keys.MACWith(k.ID, purposeUserCode, []byte(userCode))
		if err != nil {
			continue
		}
		if err := s.ready(); err != nil {
			return Device{}, err
		}
		sealed, err := s.rdb.Get(ctx, key(kindUserCode, tenant, name[:])).Bytes()
		if err := s.done(err); err != nil {
			if errors.Is(err, redis.Nil) {
				continue
			}
			return Device{}, err
		}
		raw, err := keys.Open(purposeUserCode, sealed, aad(kindUserCode, tenant, name))
		if err != nil || len(raw) != len(Handle{}) {
			s.log.Warn("user code does not open", "tenant", tenant.String())
			return Device{}, ErrCodeUnknown
		}
		h := Handle(raw)
		w, err := s.lookWaiting(ctx, waitDevice, tenant, h, now)
		if errors.Is(err, ErrDecided) {
			err = ErrCodeUnknown
		}
		return Device{Handle: h, UserCode: userCode, Waiting: w, alias: key(kindUserCode, tenant, name[:])}, err
	}
	return Device{}, ErrCodeUnknown
}

// DecideDevice stores the person's answer to a request that Device found: yes is what the device's tokens will say, nil is no. The
// user code stops working. ErrDecided when somebody was faster or the time is over.
func (s *Store) DecideDevice(ctx context.Context, tenant id.Tenant, d Device, yes *CodeRecord, now time.Time) error {
	if !now.Before(d.Expire) {
		return ErrDecided
	}
	// The address's own slot frees itself when the request would have expired.
	return s.decide(ctx, waitDevice, tenant, d.Handle, &d.Waiting, yes, deviceBounds(&d.Waiting, ""), d.alias)
}

// PollDevice is the device's question (RFC 8628 section 3.4). Errors are those of requests that wait: ErrCodeUnknown, ErrPending,
// *SlowDownError, ErrDenied, ErrExpired, ErrCodeBusy, ErrUnavailable.
func (s *Store) PollDevice(ctx context.Context, tenant id.Tenant, deviceCode, client string, now time.Time) (*Answered, error) {
	return s.poll(ctx, waitDevice, tenant, deviceCode, client, now)
}

// Guesser is somebody whose guesses are counted.
type Guesser struct {
	// Name identifies them among all guessers of their tenant; it is hashed.
	Name string
	// Max is how many wrong guesses they have in GuessWindow.
	Max int
}

// GuessWindow is how long a wrong guess counts.
const GuessWindow = 10 * time.Minute

const kindGuess = "dg"

// ErrGuesses: too many wrong user codes were tried.
var ErrGuesses = errors.New("grant: too many wrong user codes")

// Guess counts an attempt to enter a user code before the code is looked at (RFC 8628 section 5.1): ErrGuesses when one of the
// guessers has none left. right takes the attempt back, since it was no guess.
func (s *Store) Guess(ctx context.Context, tenant id.Tenant, who ...Guesser) (right func(context.Context), err error) {
	keys := make([]string, len(who))
	args := make([]any, 1, 1+len(who))
	args[0] = GuessWindow.Milliseconds()
	for i, g := range who {
		sum := hashOf(g.Name)
		keys[i] = key(kindGuess, tenant, sum[:onceBytes])
		args = append(args, g.Max)
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	ok, err := guessScript.Run(ctx, s.rdb, keys, args...).Bool()
	if err := s.done(err); err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrGuesses
	}
	return func(ctx context.Context) {
		if s.ready() == nil {
			s.done(unguessScript.Run(ctx, s.rdb, keys).Err()) //nolint:errcheck // one guess less for ten minutes
		}
	}, nil
}

var (
	// A guess that is refused is not counted, or who keeps trying would never be let in again.
	guessScript = redis.NewScript(`
for i = 1, #KEYS do
  if tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[1 + i]) then return 0 end
end
for i = 1, #KEYS do
  if redis.call('INCR', KEYS[i]) == 1 then redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
end
return 1`)

	unguessScript = redis.NewScript(`
for i = 1, #KEYS do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
return 1`)
)
