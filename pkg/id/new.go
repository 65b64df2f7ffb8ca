// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package id

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// clock is the last timestamp handed out, in units of 1/4096 ms since 1970.
var clock atomic.Uint64

// New makes an identifier. It is the one place of the package that reads the clock. Identifiers of one process are strictly
// increasing in the order of the calls: the 12 bits after the milliseconds hold their fraction (RFC 9562 section 6.2, method 3),
// pushed forward by one unit where two calls meet, also when the system clock steps back.
func New[K Kind]() ID[K] {
	now := uint64(time.Now().UnixNano())
	ms, rest := now/1e6, now%1e6
	return compose[K](tick(ms<<12|rest*4096/1e6), random())
}

// tick returns want, or the smallest unit after the last one returned.
func tick(want uint64) uint64 {
	for {
		last := clock.Load()
		next := max(want, last+1)
		if clock.CompareAndSwap(last, next) {
			return next
		}
	}
}

func random() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: since Go 1.24 it ends the process instead
	return binary.LittleEndian.Uint64(b[:])
}

// compose lays out unix_ts_ms, version 7, the fraction, variant 10 and 62 random bits (RFC 9562 section 5.7).
func compose[K Kind](ticks, rnd uint64) ID[K] {
	var v ID[K]
	binary.BigEndian.PutUint64(v[:8], ticks>>12<<16|0x7000|ticks&0xfff)
	binary.BigEndian.PutUint64(v[8:], rnd>>2|1<<63)
	return v
}
