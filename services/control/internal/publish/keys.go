// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/services/control/internal/store"
)

// Steps is what the key worker asks of the use cases.
type Steps interface {
	// AddMissingKeys gives a tenant a key for each algorithm of its policy that it has none for.
	AddMissingKeys(ctx context.Context, org id.Org, tenant id.Tenant, supply func(jose.Algorithm) (*jose.PrivateKey, error)) error
	// AdvanceSigningKey takes the scheduled step of a key that is due.
	AdvanceSigningKey(ctx context.Context, org id.Org, tenant id.Tenant, key id.SigningKey) error
	// RotateAgedKey begins the planned rotation of a key that has signed for long enough.
	RotateAgedKey(ctx context.Context, org id.Org, tenant id.Tenant, key id.SigningKey) error
}

// KeysConfig is what a Keys worker needs. Worker and Secret must be set.
type KeysConfig struct {
	Worker *store.Worker
	// Secret seals the keys of the pool: 32 bytes or more, the same in all replicas.
	Secret []byte
	// Target is how many RSA keys the pool holds; 0 means 4, below 0 none are made ahead.
	Target int
	// Share is the part of one processor that making keys may take while tenants wait for one, in percent; 0 means 50.
	Share int
	// Rotation is how long a key signs before its planned rotation begins; 0 leaves that to requests.
	Rotation time.Duration

	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

// Keys makes RSA keys ahead, gives tenants the keys that they lack, takes the scheduled steps of rotations, and forgets answers that were
// kept long enough. An RSA key takes a tenth of a second to make, so nobody waits for one in a provision: it is taken from a small stock
// of this process, which is refilled from a pool in the database, where keys lie sealed. The worker never takes more than its share of a
// processor.
type Keys struct {
	cfg   KeysConfig
	steps Steps
	aead  cipher.AEAD
	stock chan *jose.PrivateKey
	log   *slog.Logger
	now   func() time.Time
	woken chan struct{}
	aged  store.Place // where the walk over aged keys is; of advance alone

	life   sync.Mutex
	cancel context.CancelFunc
	done   sync.WaitGroup
}

const rsaAlgorithm = jose.RS256

// NewKeys makes the worker.
func NewKeys(cfg KeysConfig) (*Keys, error) {
	if cfg.Worker == nil || len(cfg.Secret) < 32 {
		return nil, errors.New("publish: the key worker needs a database and a secret of 32 bytes")
	}
	if cfg.Target == 0 {
		cfg.Target = 4
	}
	setDefault(&cfg.Share, 50)
	key, err := hkdf.Key(sha256.New, cfg.Secret, nil, "tenantry rsa key pool v1", 32)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	k := &Keys{cfg: cfg, aead: aead, stock: make(chan *jose.PrivateKey, max(1, cfg.Target/2)), log: cfg.Logger, now: cfg.Now, woken: make(chan struct{}, 1)}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if k.now == nil {
		k.now = time.Now
	}
	return k, nil
}

// Take hands out an RSA key that was made ahead, if there is one. It never waits.
func (k *Keys) Take() (*jose.PrivateKey, bool) {
	select {
	case key := <-k.stock:
		k.poke()
		return key, true
	default:
		k.poke()
		return nil, false
	}
}

// GiveBack returns a key that was not used.
func (k *Keys) GiveBack(key *jose.PrivateKey) {
	select {
	case k.stock <- key:
	default: // the stock is full again; one key too many is no loss
	}
}

func (k *Keys) poke() {
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

// Start begins the work with the use cases that it takes steps of; Stop ends it.
func (k *Keys) Start(ctx context.Context, steps Steps) {
	k.life.Lock()
	defer k.life.Unlock()
	if k.cancel != nil {
		return
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k.cancel, k.steps = cancel, steps
	for _, f := range []func(context.Context){k.fill, k.advance} {
		k.done.Go(func() { f(run) })
	}
}

// Stop ends it. It may be called twice.
func (k *Keys) Stop() {
	k.life.Lock()
	defer k.life.Unlock()
	if k.cancel != nil {
		k.cancel()
		k.done.Wait()
		k.cancel = nil
	}
}

// fill serves tenants that lack a key, then this process's stock, then the pool.
func (k *Keys) fill(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		busy, err := k.round(ctx)
		if err != nil && ctx.Err() == nil {
			k.log.Error("could not make or hand out signing keys", "error", err)
			busy = false
		}
		if busy {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-k.woken:
		case <-tick.C:
		}
	}
}

// round does one piece of work and reports whether there may be more.
func (k *Keys) round(ctx context.Context) (busy bool, err error) {
	if ctx.Err() != nil {
		return false, nil
	}
	wanting, err := k.cfg.Worker.Wanting(ctx, 16)
	if err != nil {
		return false, err
	}
	for _, p := range wanting {
		if err := k.steps.AddMissingKeys(ctx, p.Org, p.Tenant, func(a jose.Algorithm) (*jose.PrivateKey, error) { return k.supply(ctx, a) }); err != nil {
			return false, err
		}
	}
	if len(wanting) > 0 {
		return true, nil
	}
	if len(k.stock) < cap(k.stock) && k.cfg.Target > 0 {
		keys, err := k.cfg.Worker.TakePoolKeys(ctx, string(rsaAlgorithm), 1)
		if err != nil {
			return false, err
		}
		for _, pk := range keys {
			key, err := k.open(pk)
			if err != nil {
				k.log.Error("a key of the pool does not open; was the secret replaced?", "error", err)
				continue
			}
			k.GiveBack(key)
		}
		if len(keys) > 0 {
			return true, nil
		}
	}
	n, err := k.cfg.Worker.PoolSize(ctx, string(rsaAlgorithm))
	if err != nil || n >= k.cfg.Target {
		return false, err
	}
	key, err := k.make(ctx, rsaAlgorithm)
	if err != nil {
		return false, err
	}
	pool := store.PoolKey{ID: id.NewSigningKey()}
	der := key.PKCS8()
	defer clear(der)
	pool.Sealed = k.aead.Seal(nil, nil, der, pool.ID[:]) //nolint:gosec // the AEAD draws a random nonce itself, so it takes none
	return true, k.cfg.Worker.PutPoolKey(ctx, pool, string(rsaAlgorithm), k.now())
}

func (k *Keys) open(p store.PoolKey) (*jose.PrivateKey, error) {
	der, err := k.aead.Open(nil, nil, p.Sealed, p.ID[:])
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return jose.ParsePKCS8(rsaAlgorithm, der)
}

// supply finds a key for a tenant that waits: from the stock, from the pool, or a new one.
func (k *Keys) supply(ctx context.Context, a jose.Algorithm) (*jose.PrivateKey, error) {
	if a == rsaAlgorithm {
		select {
		case key := <-k.stock:
			return key, nil
		default:
		}
		if keys, err := k.cfg.Worker.TakePoolKeys(ctx, string(a), 1); err == nil && len(keys) == 1 {
			if key, err := k.open(keys[0]); err == nil {
				return key, nil
			}
		}
	}
	return k.make(ctx, a)
}

// make generates a key and rests, so that the worker keeps to its share of a processor.
func (k *Keys) make(ctx context.Context, a jose.Algorithm) (*jose.PrivateKey, error) {
	start := time.Now()
	key, err := jose.GenerateKey(a)
	if took := time.Since(start); took > 5*time.Millisecond {
		pause(ctx, min(took*time.Duration(100-k.cfg.Share)/time.Duration(k.cfg.Share), 2*time.Second))
	}
	return key, err
}

// What the rotation of aged keys may take: so many begin in a minute, and a walk over all keys in an hour.
const (
	agedBatch = 20
	agedPause = 60 // minutes between two walks
)

// advance takes the scheduled steps of rotations each second; each minute it forgets old answers and begins the rotation of some keys that
// have signed for long enough.
func (k *Keys) advance(ctx context.Context) {
	walk := 0 // the minute in which the walk over aged keys goes on
	for n := 0; ; n++ {
		if err := k.due(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("could not take scheduled steps of key rotations", "error", err)
		}
		if n%60 == 0 {
			if _, err := k.cfg.Worker.ForgetAnswers(ctx, k.now().Add(-store.RequestIDLife), 10_000); err != nil && ctx.Err() == nil {
				k.log.Warn("could not forget old answers", "error", err)
			}
			if minute := n / 60; minute >= walk {
				more, err := k.rotateAged(ctx)
				if err != nil && ctx.Err() == nil {
					k.log.Error("could not rotate keys that have signed for long enough", "error", err)
				}
				if walk = minute + 1; !more {
					walk = minute + agedPause
				}
			}
		}
		if !pause(ctx, time.Second) {
			return
		}
	}
}

// due takes the steps that are due. One that fails is left for the next second and does not keep the others from theirs.
func (k *Keys) due(ctx context.Context) error {
	due, err := k.cfg.Worker.DueKeys(ctx, k.now(), 100)
	for _, p := range due {
		if ctx.Err() != nil {
			break
		}
		if aerr := k.steps.AdvanceSigningKey(ctx, p.Org, p.Tenant, p.Key); aerr != nil {
			err = errors.Join(err, fmt.Errorf("key %s of %s: %w", p.Key, p.Tenant, aerr))
		}
	}
	return err
}

// rotateAged begins the rotation of a few keys and reports whether there may be more. One that fails is met again by the next walk.
func (k *Keys) rotateAged(ctx context.Context) (more bool, err error) {
	if k.cfg.Rotation <= 0 {
		return false, nil
	}
	keys, err := k.cfg.Worker.AgedKeys(ctx, k.now().Add(-k.cfg.Rotation), k.aged, agedBatch)
	for _, p := range keys {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		k.aged = p
		if rerr := k.steps.RotateAgedKey(ctx, p.Org, p.Tenant, p.Key); rerr != nil {
			err = errors.Join(err, fmt.Errorf("key %s of %s: %w", p.Key, p.Tenant, rerr))
		}
	}
	if len(keys) < agedBatch {
		k.aged = store.Place{}
	}
	return len(keys) == agedBatch, err
}
