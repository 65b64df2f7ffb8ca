// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

// ErrorWriter answers a request with an error of the table below. q.Tenant is never nil. Only the exported fields of e may be sent.
type ErrorWriter func(w http.ResponseWriter, r *http.Request, q *Request, e *oauth2.Error)

// Errors of the wrapper itself.
var (
	errNotFound = oauth2.NewError("not_found", http.StatusNotFound, "there is nothing at this path")
	errMethod   = oauth2.NewError(oauth2.CodeInvalidRequest, http.StatusMethodNotAllowed, "this path does not answer this method")
	errAborted  = errors.New("web: the handler gave the connection up")
)

// retryAfter is what callers are asked to wait when a dependency is away: long enough for a breaker to try again.
const retryAfter = time.Second

// Unavailable says that a dependency did not answer. It becomes 503 with Retry-After: the same request may succeed soon, and
// nothing that the caller holds was used up (PROMISES.md R-06).
func Unavailable(cause error) error { return oauth2.TemporarilyUnavailable(retryAfter, cause) }

// wireError is the one table from domain errors to what is sent. Whatever it does not know is a plain server_error outside and the
// whole chain in the log.
func wireError(err error) *oauth2.Error {
	if e, ok := errors.AsType[*oauth2.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, snapshot.ErrUnavailable), errors.Is(err, secret.ErrBusy), errors.Is(err, context.DeadlineExceeded):
		return oauth2.TemporarilyUnavailable(retryAfter, err)
	case errors.Is(err, context.Canceled):
		// The caller hung up. 499 is seen by nobody but our own log and metrics.
		return oauth2.NewError(oauth2.CodeServerError, statusClientClosed, "").WithCause(err)
	}
	return oauth2.ServerError(err)
}

// statusClientClosed counts requests whose caller went away.
const statusClientClosed = 499

// WriteError answers with the body of RFC 6749 section 5.2.
func WriteError(w http.ResponseWriter, _ *http.Request, _ *Request, e *oauth2.Error) {
	var buf [256]byte
	SetErrorHeaders(w.Header(), e)
	WriteJSON(w, e.Status, e.AppendJSON(buf[:0]))
}

// SetErrorHeaders sets the headers that an error carries whatever its body is: WWW-Authenticate and Retry-After.
func SetErrorHeaders(h http.Header, e *oauth2.Error) {
	if e.Challenge != "" {
		h["Www-Authenticate"] = []string{e.Challenge}
	}
	if e.RetryAfter > 0 {
		h["Retry-After"] = []string{seconds(e.RetryAfter)}
	}
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// errNoTenant is a failure before the tenant is known.
type errNoTenant struct{ error }

func (e errNoTenant) Unwrap() error { return e.error }

// unknownHostPage is the one answer for hosts that are unknown, suspended or deleted: whatever path and method, the same bytes.
const unknownHostPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>No sign-in page here</title></head>
<body><h1>No sign-in page lives at this address.</h1><p>Check it, or ask who sent you.</p></body></html>
`

const unavailablePage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Try again in a moment</title></head>
<body><h1>This address cannot answer right now.</h1><p>Try again in a moment.</p></body></html>
`

// writeUnknownHost sets no header that varies: no request id, no method list, no encryption policy.
func writeUnknownHost(w http.ResponseWriter) {
	writeFixed(w, http.StatusNotFound, unknownHostPage)
}

// writeNoTenant answers while nobody can say whose host it is: never the 404 of an unknown host, which callers may remember.
func writeNoTenant(w http.ResponseWriter, err error) {
	if e := wireError(err); e.Status != http.StatusServiceUnavailable {
		writeFixed(w, http.StatusInternalServerError, unavailablePage)
		return
	}
	w.Header()["Retry-After"] = oneSecond
	writeFixed(w, http.StatusServiceUnavailable, unavailablePage)
}

func writeFixed(w http.ResponseWriter, status int, page string) {
	h := w.Header()
	h["Content-Type"] = typeHTML
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = lockedDown
	h["Referrer-Policy"] = noReferrer
	w.WriteHeader(status)
	w.Write([]byte(page)) //nolint:errcheck // the caller is gone; there is nobody to tell
}

// panicked is a panic of a handler as an error: the process lives, the request answers 500, the log has value and stack.
type panicked struct {
	value any
	stack string
}

func (p *panicked) Error() string { return fmt.Sprintf("web: handler panicked: %v", p.value) }

func stack() string { return string(debug.Stack()) }
