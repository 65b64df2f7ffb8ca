// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Argon2Params are the costs of argon2id (RFC 9106). The zero value of a field means its default.
type Argon2Params struct {
	MemoryKiB uint32 // m, in KiB; default 19*1024
	Time      uint32 // t, passes over the memory; default 2
	Threads   uint8  // p, lanes; default 1
}

// Bounds of what is computed at all. They hold for our own settings and for stored strings alike: a string is foreign bytes (it may
// have been imported), and its costs must not decide how much memory a process takes.
const (
	maxMemoryKiB = 64 * 1024
	maxTime      = 16
	maxThreads   = 16
	minSalt      = 8
	maxSalt      = 64
	minKey       = 16
	maxKey       = 64
	// maxPHC is longer than any string within the bounds above.
	maxPHC = 256
)

// What new hashes are made with (RFC 9106 section 4: 128-bit salt, 256-bit tag).
const (
	saltLen = 16
	keyLen  = 32
)

// ErrPHC is returned for a stored password hash that is not an argon2id PHC string of version 19 within the bounds of this
// package. It means broken or unsupported data, not a wrong password.
var ErrPHC = errors.New("secret: unusable password hash")

// Validate says which cost is outside of what a process may be asked to compute: at most 64 MiB, 16 passes, 16 lanes, and at least
// 8 KiB per lane (RFC 9106 section 3.1).
func (p Argon2Params) Validate() error {
	p = p.withDefaults()
	switch {
	case p.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("secret: argon2 memory %d KiB is above %d", p.MemoryKiB, maxMemoryKiB)
	case p.Time > maxTime:
		return fmt.Errorf("secret: argon2 time %d is above %d", p.Time, maxTime)
	case p.Threads > maxThreads:
		return fmt.Errorf("secret: argon2 threads %d is above %d", p.Threads, maxThreads)
	case p.MemoryKiB < 8*uint32(p.Threads):
		return fmt.Errorf("secret: argon2 memory %d KiB is below 8 KiB for each of %d threads", p.MemoryKiB, p.Threads)
	}
	return nil
}

func (p Argon2Params) withDefaults() Argon2Params {
	if p.MemoryKiB == 0 {
		p.MemoryKiB = 19 * 1024
	}
	if p.Time == 0 {
		p.Time = 2
	}
	if p.Threads == 0 {
		p.Threads = 1
	}
	return p
}

// phcString is a parsed "$argon2id$v=19$m=…,t=…,p=…$salt$key".
type phcString struct {
	params    Argon2Params
	salt, key []byte
}

// b64 is PHC's base64: no padding. Strict refuses trailing bits that a second encoder would not produce.
var b64 = base64.RawStdEncoding.Strict()

func (s phcString) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "$argon2id$v=19$m=%d,t=%d,p=%d$", s.params.MemoryKiB, s.params.Time, s.params.Threads)
	b.WriteString(b64.EncodeToString(s.salt))
	b.WriteByte('$')
	b.WriteString(b64.EncodeToString(s.key))
	return b.String()
}

// parsePHC reads exactly what String prints.
func parsePHC(text string) (s phcString, err error) {
	if len(text) > maxPHC {
		return s, ErrPHC
	}
	rest, ok := strings.CutPrefix(text, "$argon2id$v=19$")
	if !ok {
		return s, ErrPHC
	}
	costs, rest, ok1 := strings.Cut(rest, "$")
	salt, key, ok2 := strings.Cut(rest, "$")
	m, costs, ok3 := strings.Cut(costs, ",")
	t, p, ok4 := strings.Cut(costs, ",")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return s, ErrPHC
	}
	memory, ok1 := cost(m, "m=", maxMemoryKiB)
	passes, ok2 := cost(t, "t=", maxTime)
	lanes, ok3 := cost(p, "p=", maxThreads)
	if !ok1 || !ok2 || !ok3 || memory < 8*lanes {
		return s, ErrPHC
	}
	s.params = Argon2Params{MemoryKiB: memory, Time: passes, Threads: uint8(lanes)} //nolint:gosec // at most maxThreads
	if s.salt, ok = decodeB64(salt, minSalt, maxSalt); !ok {
		return phcString{}, ErrPHC
	}
	if s.key, ok = decodeB64(key, minKey, maxKey); !ok {
		return phcString{}, ErrPHC
	}
	return s, nil
}

// cost reads name and a decimal number without sign or leading zero, 1 to limit.
func cost(text, name string, limit uint32) (uint32, bool) {
	text, ok := strings.CutPrefix(text, name)
	if !ok || text == "" || text[0] < '1' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || uint32(n) > limit {
		return 0, false
	}
	return uint32(n), true
}

// decodeB64 refuses the line breaks that encoding/base64 would skip.
func decodeB64(text string, least, most int) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	b, err := b64.DecodeString(text)
	return b, err == nil && len(b) >= least && len(b) <= most
}
