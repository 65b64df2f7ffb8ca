// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/pkg/snapshot"
)

// Handler answers one endpoint for one tenant. The tenant has been found and the method checked; q is never nil and belongs to
// this request alone. A returned error is rendered by the wrapper, unless the handler had begun to write its answer: then it is
// only logged.
type Handler func(w http.ResponseWriter, r *http.Request, q *Request) error

// Request is what the wrapper knows of a request, and the event that is logged when it ends.
type Request struct {
	// Tenant is the tenant whose host was asked for; immutable.
	Tenant *snapshot.Tenant
	// ID names the request in logs and in the X-Request-Id header of the answer.
	ID string
	// ClientIP is the address of the caller as far as trusted proxies vouch for it; invalid for a peer without one (a unix socket).
	ClientIP netip.Addr
	// Scheme is "https" or "http", as seen by the outermost trusted proxy.
	Scheme string
	// Host is the host of the request, with its port, as seen by the outermost trusted proxy.
	Host string
	// ClientCertificate is the certificate that the caller has proven to have the key of, by TLS with us or with a trusted proxy; nil
	// for none. Nobody has checked who issued it. ClientChain is what came with it.
	ClientCertificate *x509.Certificate
	ClientChain       []*x509.Certificate
	// Start is when the request arrived; endpoints use it as their "now", so that one request sees one time.
	Start time.Time
	// Rest is what follows the mounted path of a prefix route, for example the token of /invite/….
	Rest string

	route  *route
	render ErrorWriter
	out    response
	id     [1]string // backing of the response header, so that it costs no allocation of its own
	notes  [maxNotes]slog.Attr
	noted  int
}

// maxNotes is how many facts an endpoint may add to its event; more are dropped.
const maxNotes = 10

// Note adds a fact to the request's event. Values must be safe to log: identifiers, counts, names from the standards; never a
// secret, a token, a code or a value of the request's form. A later fact with the same key replaces the earlier one.
func (q *Request) Note(attr slog.Attr) {
	for i := range q.notes[:q.noted] {
		if q.notes[i].Key == attr.Key {
			q.notes[i] = attr
			return
		}
	}
	if q.noted < maxNotes {
		q.notes[q.noted] = attr
		q.noted++
	}
}

// Secure reports whether the caller's connection was encrypted as far as we can know.
func (q *Request) Secure() bool { return q.Scheme == "https" }

// Written reports whether an answer has been begun.
func (q *Request) Written() bool { return q.out.status != 0 }

// response remembers what was sent. It is part of Request, so that wrapping the writer costs no allocation.
type response struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap gives http.ResponseController the server's own writer.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// requestIDs makes identifiers that are unique, not secret: 64 random bits drawn once per process and a counter.
var requestIDs = struct {
	prefix [16]byte
	next   atomic.Uint64
}{prefix: func() (p [16]byte) {
	var raw [8]byte
	rand.Read(raw[:]) // crypto/rand.Read never fails since Go 1.24: it ends the process instead
	hex.Encode(p[:], raw[:])
	return p
}()}

const requestIDDigits = "0123456789abcdef"

func newRequestID() string {
	var b [4 + 16 + 10]byte
	copy(b[:], "req_")
	copy(b[4:], requestIDs.prefix[:])
	n := requestIDs.next.Add(1)
	for i := len(b) - 1; i >= 20; i-- {
		b[i] = requestIDDigits[n&15]
		n >>= 4
	}
	return string(b[:])
}

// inboundRequestID accepts a trusted proxy's identifier when it is short and cannot disturb a log line.
func inboundRequestID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
