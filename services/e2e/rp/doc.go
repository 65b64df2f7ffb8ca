// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package rp logs in with the stock relying parties of the JavaScript world: openid-client in Node and oidc-client-ts in Chromium,
// unchanged and in the versions of node/package-lock.json. What a Go application uses, coreos/go-oidc with golang.org/x/oauth2, is what
// all other end-to-end tests log in with (e2etest.RP).
//
// The libraries come from the npm registry, which a machine that runs `make test` need not reach. So the tests have a build tag, and a
// target of their own: `make rp`.
package rp
