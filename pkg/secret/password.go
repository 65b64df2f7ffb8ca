// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"runtime"

	"golang.org/x/crypto/argon2"

	"github.com/tenantry/tenantry/pkg/id"
)

// Hasher hashes and verifies passwords with argon2id. At most `workers` computations run at a time, which bounds CPU and memory
// (MemoryKiB each, 64 MiB for a stored string that asks for more); `queue` more may wait, in turn between tenants. Make one per
// process and share it.
//
// The library allocates its memory anew for each computation, so beside the running ones lies garbage of others that waits to be
// collected. Peak memory of a bare process with 2 workers of 19 MiB through 200 computations: 80 to 119 MiB with Go's default GOGC,
// 80 MiB with GOGC=25, 62 to 72 MiB with GOMEMLIMIT=64MiB, all at the same CPU time within the noise. So a process with a memory
// target sets a memory limit.
type Hasher struct {
	params  Argon2Params
	workers int
	slots   *fairSlots
}

// NewHasher makes a Hasher. workers < 1 means GOMAXPROCS; queue < 0 means 0: whoever finds no free worker gets ErrBusy. It panics
// when p does not Validate, which configuration code checks first.
func NewHasher(p Argon2Params, workers, queue int) *Hasher {
	if err := p.Validate(); err != nil {
		panic(err)
	}
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &Hasher{params: p.withDefaults(), workers: workers, slots: newFairSlots(workers, max(queue, 0))}
}

// Hash returns the PHC string of a password under a new random salt. Errors are ErrBusy and the context's. The context counts while
// waiting; a computation that has begun is finished.
func (h *Hasher) Hash(ctx context.Context, tenant id.Tenant, password string) (phc string, err error) {
	s := phcString{params: h.params, salt: make([]byte, saltLen)}
	rand.Read(s.salt) // never fails: since Go 1.24 it ends the process instead
	if s.key, err = h.derive(ctx, tenant, password, s.params, s.salt, keyLen); err != nil {
		return "", err
	}
	return s.String(), nil
}

// Verify compares a password with a stored PHC string. rehash is true when the password is right but the string was made with
// other costs or sizes than the Hasher's: the caller then stores a new Hash. Errors are ErrPHC, ErrBusy and the context's; ok and
// rehash are false with any error.
func (h *Hasher) Verify(ctx context.Context, tenant id.Tenant, phc, password string) (ok, rehash bool, err error) {
	s, err := parsePHC(phc)
	if err != nil {
		return false, false, err
	}
	key, err := h.derive(ctx, tenant, password, s.params, s.salt, len(s.key))
	if err != nil {
		return false, false, err
	}
	if subtle.ConstantTimeCompare(key, s.key) != 1 {
		return false, false, nil
	}
	return true, s.params != h.params || len(s.salt) < saltLen || len(s.key) < keyLen, nil
}

// VerifyAbsent does the work of one Verify, in the same queue, for a user that does not exist, so that an answer's time does not
// tell who has an account. Its error is what Verify's would be: ErrBusy or the context's.
func (h *Hasher) VerifyAbsent(ctx context.Context, tenant id.Tenant, password string) error {
	var salt [saltLen]byte
	_, err := h.derive(ctx, tenant, password, h.params, salt[:], keyLen)
	return err
}

// Waiting is how many computations wait for a worker now, for metrics and for a Retry-After.
func (h *Hasher) Waiting() int { return h.slots.waiting() }

// Workers is how many computations run at a time.
func (h *Hasher) Workers() int { return h.workers }

func (h *Hasher) derive(ctx context.Context, tenant id.Tenant, password string, p Argon2Params, salt []byte, size int) ([]byte, error) {
	if err := h.slots.acquire(ctx, tenant); err != nil {
		return nil, err
	}
	defer h.slots.release()
	return argon2.IDKey([]byte(password), salt, p.Time, p.MemoryKiB, p.Threads, uint32(size)), nil //nolint:gosec // at most maxKey
}
