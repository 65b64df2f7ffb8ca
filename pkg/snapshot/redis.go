// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/tenantry/tenantry/pkg/id"
)

// Keys of the config Redis. Braces are hash tags of Redis Cluster.
const (
	metaKey  = "meta:{cfg}"
	fleetKey = "fleet:{cfg}"
	nackKey  = "nack"

	metaEpoch    = "epoch"
	metaComplete = "complete"
	metaLayout   = "layout"

	// layoutVersion is the version of the keys below, for tools.
	layoutVersion = 1

	// Lanes is the number of change streams.
	Lanes = 8
	// maxBatch is the most changes that one stream entry carries.
	maxBatch = 64
	// laneLength bounds a stream; a reader that falls behind further revalidates what it has.
	laneLength = 200_000

	fieldBatch     = "b" // of a stream entry: ChangeBatch
	fieldHeartbeat = "h" // of a stream entry: signed heartbeat record
)

func tenantKey(t id.Tenant) string { return "t:{" + t.String() + "}" }
func hostKey(host string) string   { return "h:{" + host + "}" }
func laneKey(lane int) string      { return "log:{" + strconv.Itoa(lane) + "}" }

func blobKey(tenant id.Tenant, digest [32]byte) string {
	if tenant.IsZero() {
		return "b:" + hex.EncodeToString(digest[:])
	}
	return "b:{" + tenant.String() + "}:" + hex.EncodeToString(digest[:])
}

// recordKey is where the record of a subject lies.
func recordKey(kind Kind, subject [16]byte) string {
	switch kind {
	case KindOrg:
		return "o:{" + id.Org(subject).String() + "}"
	case KindRingTable:
		// A blueprint's id or an org's: the prefix would be a guess, so only the base32 part.
		return "r:{" + string(id.AppendBase32(nil, subject)) + "}"
	default:
		return tenantKey(id.Tenant(subject))
	}
}

// Digest is the name of a blob: the SHA-256 of its bytes.
func Digest(data []byte) [32]byte { return sha256.Sum256(data) }

func stableHash(subject [16]byte) uint64 {
	h := fnv.New64a()
	h.Write(subject[:]) // never fails
	v := h.Sum64()
	// FNV's low bits mix the last byte too little; fold the high ones in.
	return v ^ v>>29
}

// laneOf is the change stream of a subject: the same in every process and release.
func laneOf(subject [16]byte) int { return int(stableHash(subject) % Lanes) }

// RingOf is the ring of a tenant in its blueprint's ring table, 1 to 255: stable, and even over many tenants. Ring 0 is for tenants
// that somebody chose as canaries.
func RingOf(t id.Tenant) uint32 { return 1 + uint32(stableHash(t)>>8%255) }

// HostFlags say what a host pointer means.
type HostFlags uint8

// The meanings of a pointer.
const (
	HostLive      HostFlags = 1 // the tenant is served here
	HostReleased  HostFlags = 2 // nobody has the name
	HostElsewhere HostFlags = 4 // the tenant lives in another region
)

// HostPointer is the hint from a hostname to its tenant. Readers believe the tenant's signed document, not the pointer.
type HostPointer struct {
	Host         string // normal form
	ClaimVersion uint64 // grows along the name's history
	Flags        HostFlags
	Tenant       id.Tenant // zero when released
}

const pointerBytes = 8 + 1 + 16

func (p HostPointer) encode() []byte {
	b := make([]byte, 0, pointerBytes)
	b = binary.BigEndian.AppendUint64(b, p.ClaimVersion)
	b = append(b, byte(p.Flags))
	return append(b, p.Tenant[:]...)
}

func decodePointer(host string, b []byte) (HostPointer, bool) {
	if len(b) != pointerBytes {
		return HostPointer{}, false
	}
	return HostPointer{
		Host: host, ClaimVersion: binary.BigEndian.Uint64(b), Flags: HostFlags(b[8]), Tenant: id.Tenant(b[9:]),
	}, true
}

// Timeouts of a reader. A cold request must fail soon enough for its caller to hear of it; hot ones never wait for Redis.
const (
	ioTimeout   = 150 * time.Millisecond
	loadTimeout = 300 * time.Millisecond
)

// Connect makes a client for readers: short timeouts, one retry. The address is redis://, rediss:// or unix:// as go-redis reads
// them, or cluster+redis(s):// with the further nodes as addr parameters. It does not dial: Redis may be down.
func Connect(address string) (redis.UniversalClient, error) {
	return connect(address, ioTimeout)
}

// ConnectWriter is Connect for publishers, which send large batches and would rather wait than fail: timeouts of 2 s.
func ConnectWriter(address string) (redis.UniversalClient, error) {
	return connect(address, 2*time.Second)
}

// silence stops go-redis from writing to standard error by itself: what fails is an error that somebody logs.
var silence = sync.OnceFunc(func() { redis.SetLogger(noLog{}) })

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

func connect(address string, timeout time.Duration) (redis.UniversalClient, error) {
	silence()
	const (
		poolSize   = 16
		bufferSize = 32 << 10
	)
	if rest, ok := strings.CutPrefix(address, "cluster+"); ok {
		o, err := redis.ParseClusterURL(rest)
		if err != nil {
			return nil, addressError(err)
		}
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
		o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = 1, 2*time.Millisecond, 8*time.Millisecond
		o.ContextTimeoutEnabled, o.DisableIdentity, o.Protocol, o.PoolSize = true, true, 2, poolSize
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, addressError(err)
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
	o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = 1, 2*time.Millisecond, 8*time.Millisecond
	o.DialerRetries = 1
	o.ContextTimeoutEnabled, o.DisableIdentity, o.Protocol, o.PoolSize = true, true, 2, poolSize
	o.PipelinePoolSize, o.PipelineReadBufferSize, o.PipelineWriteBufferSize = 4, bufferSize, bufferSize
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

// addressError leaves the address out: it may hold a password, which url.Parse quotes.
func addressError(err error) error {
	if strings.Contains(err.Error(), "parse") {
		return errors.New("snapshot: redis address is not a URL")
	}
	return fmt.Errorf("snapshot: redis address: %w", err)
}
