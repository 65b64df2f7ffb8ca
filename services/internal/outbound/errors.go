// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// What a call may end with. The texts are for the developer who registered the address.
var (
	// ErrURL: not an absolute https URL that we may call: another scheme, credentials in it, no host, or too long.
	ErrURL = errors.New("the address must be an https URL without credentials")
	// ErrForbiddenAddress: the host is, or resolves to, an address that may not be called (see the package comment).
	ErrForbiddenAddress = errors.New("the host has an address that is not public")
	// ErrUnreachable: the name does not resolve, or nobody answers there, or not in HTTP.
	ErrUnreachable = errors.New("the host cannot be reached")
	// ErrTLS: no secure connection: the certificate is not trusted, expired or of another host, or the versions do not match.
	ErrTLS = errors.New("the host's TLS certificate or version is not accepted")
	// ErrTimeout: the call took too long.
	ErrTimeout = errors.New("the host did not answer in time")
	// ErrTooLarge: header or body of the answer are above their bounds.
	ErrTooLarge = errors.New("the answer is too large")
	// ErrRedirect: the answer is a redirect and the call allows none, or no more, or not to there.
	ErrRedirect = errors.New("the answer is a redirect, which is not followed")
	// ErrEncoding: the answer is compressed although we asked for none of it.
	ErrEncoding = errors.New("the answer has a content encoding")
	// ErrBusy: too many calls to this host, or in all, were under way for the whole timeout.
	ErrBusy = errors.New("too many calls to the host at the same time")
)

// callError is a sentinel with what happened in detail. Printing it gives the sentinel's text alone.
type callError struct {
	kind   error
	detail error
}

func (e *callError) Error() string { return e.kind.Error() }
func (e *callError) Unwrap() error { return e.kind }

func fail(kind, detail error) error { return &callError{kind: kind, detail: detail} }

// Detail is what an error of this package does not say: addresses, certificates, the system's words. It is for our own logs, not for answers.
// An error of another package comes back as it is.
func Detail(err error) error {
	var e *callError
	if errors.As(err, &e) && e.detail != nil {
		return e.detail
	}
	return err
}

// classify makes one of the errors above of what net/http returned. The caller's own cancellation stays what it is.
func classify(caller, ours context.Context, err error) error {
	var known *callError
	if errors.As(err, &known) {
		return known
	}
	if caller.Err() != nil {
		return caller.Err()
	}
	var timeout net.Error
	if ours.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		return fail(ErrTimeout, err)
	}
	var (
		cert      *tls.CertificateVerificationError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	if errors.As(err, &cert) || errors.As(err, &alert) || errors.As(err, &record) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) || errors.Is(err, errHandshake) {
		return fail(ErrTLS, err)
	}
	return fail(ErrUnreachable, err)
}
