// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package jose owns keys, signing and verifying in the JOSE formats: JWS compact serialisation (RFC 7515), JWK and JWK Set
// (RFC 7517), the algorithms of RFC 7518 and RFC 8037 that Tenantry allows, and thumbprints (RFC 7638). It is the only importer of
// jwx, and no type of jwx is in its exported surface.
//
// It leaves to others: what a payload means (claims, expiry, audience: pkg/oidc and pkg/verify), where keys come from and when
// they rotate (control plane), and how private keys are sealed (pkg/secret).
package jose
