// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package secret owns everything that Tenantry keeps secret at rest, in four parts that share nothing but the care:
//
//   - Machine secrets (token.go): the text and the hash of API keys and client secrets. 256 random bits, so one SHA-256 is the
//     right hash and nothing slow sits on the machine path.
//   - Passwords (password.go, phc.go, fair.go): argon2id behind a bounded queue that is fair between tenants.
//   - Sealing (seal.go, recipient.go): private keys and connection secrets that travel in snapshots, encrypted once under a
//     random key which is wrapped for each allowed region with HPKE (RFC 9180).
//   - The runtime keyring (keyring.go, tenantkeys.go): symmetric keys that the data plane holds, and what is derived from them
//     for one tenant and one purpose: sealed cookies and login state, MACs of refresh tokens and stored runtime values.
//
// It leaves to others: where hashes and sealed values are stored, who may ask for them, password policy and normalisation (the
// Hasher takes bytes as they are), limits per user and address, and what a caller answers when the queue is full.
//
// Nothing here logs, and no error repeats a secret or the text it came in.
package secret
