// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
)

// Errors of Once.
var (
	// ErrReplayed: the same thing was presented before and may be presented once.
	ErrReplayed = errors.New("grant: presented before")
	// errForgotten is an ErrReplayed, too: nobody can tell whether the thing was presented before.
	errForgotten = fmt.Errorf("%w, or Redis has forgotten", ErrReplayed)
)

// The kinds of what may be presented once. Two kinds never share a mark.
const (
	OnceAssertion = "assertion" // client assertions: client, jti (RFC 7523 section 3)
	OnceProof     = "proof"     // DPoP proofs: key thumbprint, jti (RFC 9449 section 11.1)
	OnceRequest   = "request"   // request objects that ask for it: client, jti
	OnceGrant     = "grant"     // JWTs as authorization grants: issuer, jti (RFC 7523 section 2.1)
)

const (
	kindOnce = "on"
	// epochKey says since when Redis remembers, in Unix milliseconds. It vanishes when Redis is flushed.
	epochKey = kindOnce + ":epoch"
	// onceBytes of the hash are the mark's name: a collision would refuse one honest request in 2^64.
	onceBytes = 16
	// maxOnce bounds how long a mark is kept; nothing that may be presented once lives longer.
	maxOnce = 25 * time.Hour
)

// Single is something that may be presented once.
type Single struct {
	// Kind is one of the constants, Parts identify the thing among its kind.
	Kind  string
	Parts [2]string
	// Issued is when it was made, as it says itself. Until is when nobody would accept it any more even if it came for the first
	// time, with the skew that the caller allows.
	Issued, Until time.Time
}

// Once lets a thing through the first time that it comes, and answers ErrReplayed from then on. Call it last, after the signature
// was verified: a stranger must not be able to fill the memory or to use up somebody else's identifier. Nothing of the thing is
// stored, only 16 bytes of a hash.
//
// A Redis that was flushed does not know what was presented before, so things issued before the flush are refused as well, as
// ErrReplayed: their owners make new ones (PROMISES.md R-12). Any other error means that nobody can tell: the caller refuses (fail
// closed, R-16).
func (s *Store) Once(ctx context.Context, tenant id.Tenant, now time.Time, one Single) error {
	ttl := min(one.Until.Sub(now), maxOnce)
	if ttl < time.Second {
		ttl = time.Second // it is about to expire; two copies of it that arrive together are still told apart
	}
	if err := s.ready(); err != nil {
		return err
	}
	sum := onceSum(one.Kind, one.Parts)
	var first *redis.BoolCmd
	var epoch *redis.StringCmd
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		first = p.SetNX(ctx, key(kindOnce, tenant, sum[:onceBytes]), "1", ttl)
		epoch = p.Get(ctx, epochKey) // after the mark: a flush between the two is seen
		return nil
	})
	if err := s.done(err); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if !first.Val() {
		return ErrReplayed
	}
	since, err := strconv.ParseInt(epoch.Val(), 10, 64)
	if err != nil {
		if since, err = s.beginEpoch(ctx, now); err != nil {
			return err
		}
	}
	// What is issued in whole seconds may be of any moment in its second.
	if one.Issued.Unix() <= since/1000 {
		return errForgotten
	}
	return nil
}

// Remember makes Redis say since when it remembers what may be presented once, unless it does so already. A service calls it when it
// starts, so that with a new Redis the first who come are not taken for replays. It does not matter when it fails.
func (s *Store) Remember(ctx context.Context, now time.Time) error {
	if err := s.ready(); err != nil {
		return err
	}
	_, err := s.beginEpoch(ctx, now)
	return err
}

// beginEpoch writes the epoch unless somebody else has, and answers the one that counts.
func (s *Store) beginEpoch(ctx context.Context, now time.Time) (int64, error) {
	ms := now.UnixMilli()
	old, err := s.rdb.SetArgs(ctx, epochKey, strconv.FormatInt(ms, 10), redis.SetArgs{Mode: "NX", Get: true}).Result()
	if err := s.done(err); err != nil {
		if errors.Is(err, redis.Nil) { // there was none
			return ms, nil
		}
		return 0, err
	}
	since, err := strconv.ParseInt(old, 10, 64)
	if err != nil {
		return ms, nil //nolint:nilerr // not ours: nothing from before now counts
	}
	return since, nil
}

// onceSum hashes kind and parts so that no two lists of them look alike: each has its length in front.
func onceSum(kind string, parts [2]string) [sha256.Size]byte {
	var stack [512]byte
	b := appendPart(stack[:0], kind)
	for _, p := range parts {
		b = appendPart(b, p)
	}
	return sha256.Sum256(b)
}

func appendPart(b []byte, part string) []byte {
	n := len(part)
	b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)) //nolint:gosec // the length, byte by byte
	return append(b, part...)
}
