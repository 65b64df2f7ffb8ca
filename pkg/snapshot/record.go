// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Kind says what a record is about. It is not in the record's bytes, but under its signature: a reader states what it expects.
type Kind uint8

// The kinds of records, as numbered in change streams and under signatures.
const (
	KindTenant    Kind = 1 // subject: tenant id; body: TenantSnapshot
	KindTombstone Kind = 2 // subject: tenant id; body: empty, which is how a reader tells it from KindTenant
	KindRingTable Kind = 3 // subject: blueprint id (or org id); body: RingTable
	KindHeartbeat Kind = 4 // subject: the lane in the last byte; body: Heartbeat
	KindOrg       Kind = 5 // subject: org id; body: OrgSnapshot
)

// String is the kind's name, for logs and NACK reports.
func (k Kind) String() string {
	switch k {
	case KindTenant:
		return "tenant"
	case KindTombstone:
		return "tombstone"
	case KindRingTable:
		return "ring table"
	case KindHeartbeat:
		return "heartbeat"
	case KindOrg:
		return "org"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Limits, enforced when a record is signed and when it is read.
const (
	// HeaderBytes is the fixed length in front of a record's body.
	HeaderBytes = 80
	// MaxBody is the most bytes that the body of a record may have.
	MaxBody = 64 << 10
	// MaxBlob is the most bytes that a blob may have.
	MaxBlob = 512 << 10
	// MaxHosts is the most hostnames that a tenant may have.
	MaxHosts = 100
	// MaxVersion is the largest config_version: Redis scripts compare versions as doubles, exact below 2^53.
	MaxVersion = 1<<53 - 1
	// ReaderLevel is the newest document level that this code understands (min_reader in the documents).
	ReaderLevel = 2
	// MaxRecordAge is how old a signature may be while the publisher is known to be alive: it re-signs long before.
	MaxRecordAge = 30 * 24 * time.Hour
)

const (
	formatVersion = 1
	codecRaw      = 0
	signedPrefix  = 16 // header bytes under the signature, before the signature itself
	recordDomain  = "tenantry-snapshot-v1"
)

// Why a record is refused. All are wrapped with the subject by the callers that know it.
var (
	ErrTruncated = errors.New("snapshot: record shorter than its header")
	ErrTooLarge  = errors.New("snapshot: record larger than its kind may be")
	ErrFormat    = errors.New("snapshot: record format not understood")
	ErrCodec     = errors.New("snapshot: record codec not understood")
	ErrSigner    = errors.New("snapshot: record signed by a key that is not pinned")
	ErrSignature = errors.New("snapshot: record signature does not verify for this region, kind and subject")
	ErrKind      = errors.New("snapshot: record kind and body do not fit")
	ErrVersion   = errors.New("snapshot: config_version out of range")
)

// Record is a verified record. Body aliases the bytes it was read from.
type Record struct {
	Kind     Kind
	Subject  [16]byte
	Version  uint64    // config_version; for a heartbeat the publisher's clock in milliseconds
	SignedAt time.Time // whole seconds
	Signer   uint8
	Body     []byte
}

// header is the fixed front of a record, before anything is verified.
type header struct {
	version  uint64
	signedAt uint32
	format   uint8
	codec    uint8
	signer   uint8
	dict     uint8
}

func parseHeader(raw []byte) (header, error) {
	if len(raw) < HeaderBytes {
		return header{}, ErrTruncated
	}
	return header{
		version:  binary.BigEndian.Uint64(raw),
		signedAt: binary.BigEndian.Uint32(raw[8:]),
		format:   raw[12], codec: raw[13], signer: raw[14], dict: raw[15],
	}, nil
}

// signedBytes is what the signature covers: domain, region, kind, subject, the header without the signature, and the body. The
// region cannot hold a zero byte (checkRegion), so no two lists of parts give the same bytes.
func signedBytes(region string, kind Kind, subject [16]byte, head, body []byte) []byte {
	b := make([]byte, 0, len(recordDomain)+1+len(region)+2+len(subject)+len(head)+len(body))
	b = append(b, recordDomain...)
	b = append(b, 0)
	b = append(b, region...)
	b = append(b, 0, byte(kind))
	b = append(b, subject[:]...)
	b = append(b, head...)
	return append(b, body...)
}

func checkBody(kind Kind, body []byte) error {
	switch kind {
	case KindTombstone:
		if len(body) != 0 {
			return fmt.Errorf("%w: a tombstone has no body", ErrKind)
		}
	case KindTenant, KindRingTable, KindHeartbeat, KindOrg:
		if len(body) == 0 {
			return fmt.Errorf("%w: a %s has a body", ErrKind, kind)
		}
	default:
		return fmt.Errorf("%w: %s", ErrKind, kind)
	}
	if len(body) > MaxBody {
		return fmt.Errorf("%w: %d bytes, %d allowed", ErrTooLarge, len(body), MaxBody)
	}
	return nil
}

// Sign makes the record that Redis stores: the header, and body exactly as committed. The errors are ErrKind, ErrTooLarge and
// ErrVersion, all of which the control plane prevents before it commits.
func (k SigningKey) Sign(kind Kind, subject [16]byte, version uint64, signedAt time.Time, body []byte) ([]byte, error) {
	if err := checkBody(kind, body); err != nil {
		return nil, err
	}
	if version == 0 || version > MaxVersion {
		return nil, fmt.Errorf("%w: %d", ErrVersion, version)
	}
	seconds := signedAt.Unix()
	if seconds < 0 || seconds > 1<<32-1 {
		return nil, fmt.Errorf("%w: signing time %s", ErrFormat, signedAt)
	}
	raw := make([]byte, HeaderBytes, HeaderBytes+len(body))
	binary.BigEndian.PutUint64(raw, version)
	binary.BigEndian.PutUint32(raw[8:], uint32(seconds))
	raw[12], raw[13], raw[14], raw[15] = formatVersion, codecRaw, k.signer, 0
	copy(raw[signedPrefix:], ed25519.Sign(k.private, signedBytes(k.region, kind, subject, raw[:signedPrefix], body)))
	return append(raw, body...), nil
}

// Verify checks that raw is a record of this kind about this subject, signed for this region by a pinned key. Sizes are checked
// before the signature, the signature before anything in the body is looked at.
func (v *Verifier) Verify(kind Kind, subject [16]byte, raw []byte) (Record, error) {
	h, err := parseHeader(raw)
	if err != nil {
		return Record{}, err
	}
	body := raw[HeaderBytes:]
	if err := checkBody(kind, body); err != nil {
		return Record{}, err
	}
	if h.format != formatVersion {
		return Record{}, fmt.Errorf("%w: %d", ErrFormat, h.format)
	}
	if h.codec != codecRaw || h.dict != 0 {
		return Record{}, fmt.Errorf("%w: codec %d dictionary %d", ErrCodec, h.codec, h.dict)
	}
	if h.version == 0 || h.version > MaxVersion {
		return Record{}, fmt.Errorf("%w: %d", ErrVersion, h.version)
	}
	key, pinned := v.keys[h.signer]
	if !pinned {
		return Record{}, fmt.Errorf("%w: signer %d", ErrSigner, h.signer)
	}
	if !ed25519.Verify(key, signedBytes(v.region, kind, subject, raw[:signedPrefix], body), raw[signedPrefix:HeaderBytes]) {
		return Record{}, ErrSignature
	}
	return Record{
		Kind: kind, Subject: subject, Version: h.version, SignedAt: time.Unix(int64(h.signedAt), 0).UTC(), Signer: h.signer, Body: body,
	}, nil
}

// verifyTenant verifies what lies under a tenant's key: a snapshot or, with an empty body, a tombstone.
func (v *Verifier) verifyTenant(subject [16]byte, raw []byte) (Record, error) {
	if len(raw) == HeaderBytes {
		return v.Verify(KindTombstone, subject, raw)
	}
	return v.Verify(KindTenant, subject, raw)
}
