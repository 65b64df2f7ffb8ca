// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package localserver runs private PostgreSQL and Redis processes on this machine, for development and for tests.
//
// It owns finding the binaries, making the data directories, dropping root where PostgreSQL insists on it, readiness,
// orderly stops, and that no server outlives the program which started it. It leaves installing packages to the Makefile,
// and everything said over the wire (databases, roles, migrations) to its callers: it has no database driver.
//
//	StartPostgres ──► ready ──► Stop ──► Wait returns nil
//	                    │
//	                    ├─ Kill, or a crash ──► Wait returns why (data survives; Restart serves it again)
//	                    └─ this program dies ──► the guard stops the server (see guard.go)
//
// A directory belongs to one program at a time ([ErrInUse]). A server that an earlier program left behind in it is
// stopped first, so that starting again repairs a half-dead run.
//
// These servers trust every connection that reaches their socket, which only this user may enter. They are not for
// production.
package localserver

import (
	"errors"
)

// Errors that callers can act on. They arrive wrapped with what was looked for and where.
var (
	// ErrMissing: a server is not installed, or too old. The message says what to install.
	ErrMissing = errors.New("server not installed")
	// ErrInUse: another program runs a server in the same directory.
	ErrInUse = errors.New("directory in use by another program")
)
