// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
)

// How many backchannel requests may be open at a time. Clients that make them have proven who they are; the bound of a person keeps
// them from being asked until they say yes to have peace.
const (
	maxBackchannelOfTenant = 10_000
	maxBackchannelOfClient = 5_000
	// MaxBackchannelOfUser is how many one person may be asked at a time.
	MaxBackchannelOfUser = 5
)

// Backchannel is a backchannel request as the person on the page sees it.
type Backchannel struct {
	// Handle names it in forms and mails.
	Handle Handle
	Waiting
}

func backchannelBounds(w *Waiting) []bound {
	return []bound{
		{nil, maxBackchannelOfTenant}, {[]byte("client " + w.Client), maxBackchannelOfClient}, {ofUser(w.User), MaxBackchannelOfUser},
	}
}

// ofUser names the set of requests that wait for a person; it is a bound and the list for their page at once.
func ofUser(user id.User) []byte { return append([]byte("user "), user[:]...) }

// IssueBackchannel stores a request (CIBA Core section 7) to w.User for ttl and answers its auth_req_id and its name on pages.
// Errors: ErrWaitingFull, ErrWaitingSize, ErrUnavailable.
func (s *Store) IssueBackchannel(ctx context.Context, tenant id.Tenant, w Waiting, now time.Time, ttl time.Duration) (authReqID string, h Handle, err error) {
	if w.User.IsZero() {
		return "", Handle{}, errors.New("grant: a backchannel request names nobody")
	}
	if ttl <= 0 || ttl > MaxWaiting {
		ttl = MaxWaiting
	}
	authReqID = newSecret()
	h = hashOf(authReqID)
	w.Create, w.Expire = now, now.Add(ttl)
	if w.NotificationToken != "" {
		w.RequestID = authReqID // the ping says it; without a ping nobody but the client needs it
	}
	_, err = s.put(ctx, waitBackchannel, tenant, h, &w, now, backchannelBounds(&w), "", nil)
	return authReqID, h, err
}

// Backchannels lists the requests that wait for a person, the oldest first.
func (s *Store) Backchannels(ctx context.Context, tenant id.Tenant, user id.User, now time.Time) ([]Backchannel, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	names, err := s.rdb.ZRange(ctx, key(waitBackchannel.quota, tenant, ofUser(user)), 0, 2*MaxBackchannelOfUser).Result()
	if err := s.done(err); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	var list []Backchannel
	for _, name := range names {
		h, ok := ParseHandle(name)
		if !ok {
			continue
		}
		b, err := s.Backchannel(ctx, tenant, h, user, now)
		switch {
		case errors.Is(err, ErrCodeUnknown), errors.Is(err, ErrDecided):
		case err != nil:
			return nil, err
		default:
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b Backchannel) int { return a.Create.Compare(b.Create) })
	return list, nil
}

// Backchannel finds one request to a person. ErrCodeUnknown when there is none, also when it is somebody else's; ErrDecided when it
// does not wait any more.
func (s *Store) Backchannel(ctx context.Context, tenant id.Tenant, h Handle, user id.User, now time.Time) (Backchannel, error) {
	w, err := s.lookWaiting(ctx, waitBackchannel, tenant, h, now)
	if err == nil && w.User != user {
		err = ErrCodeUnknown
	}
	if err != nil {
		return Backchannel{}, err
	}
	return Backchannel{Handle: h, Waiting: w}, nil
}

// DecideBackchannel stores the person's answer: yes is what the tokens will say, nil is no. ErrDecided when it was answered before
// or the time is over.
func (s *Store) DecideBackchannel(ctx context.Context, tenant id.Tenant, b Backchannel, yes *CodeRecord, now time.Time) error {
	if !now.Before(b.Expire) {
		return ErrDecided
	}
	return s.decide(ctx, waitBackchannel, tenant, b.Handle, &b.Waiting, yes, backchannelBounds(&b.Waiting), "")
}

// PollBackchannel is the client's question (CIBA Core section 10.1), with the errors of PollDevice.
func (s *Store) PollBackchannel(ctx context.Context, tenant id.Tenant, authReqID, client string, now time.Time) (*Answered, error) {
	return s.poll(ctx, waitBackchannel, tenant, authReqID, client, now)
}
