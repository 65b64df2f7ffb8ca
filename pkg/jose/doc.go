// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package jose owns keys, signing and verifying in the JOSE formats: JWS compact serialisation (RFC 7515), JWK and JWK Set
// (RFC 7517), the algorithms of RFC 7518 and RFC 8037 that Tenantry allows, thumbprints (RFC 7638), and JWE for clients that want their
// tokens encrypted (RFC 7516). It is the only importer of jwx, and no type of jwx is in its exported surface.
//
// There is one way of verifying for each place that a key may come from, and none for "whatever the token says": KeySet has an issuer's
// keys, by kid alone; ForeignSet has a client's keys, as a stranger wrote them; VerifyEmbedded takes the header's own key, which proves possession
// and no more; VerifyHMAC takes a shared secret. All four read the token with the same code (compact.go).
//
// It leaves to others: what a payload means (claims, expiry, audience: pkg/oidc and pkg/verify), where keys come from and when
// they rotate (control plane), and how private keys are sealed (pkg/secret).
//
// # What is jwx and what is ours
//
// jwx reads JWKs and checks signatures (its jws.Verifier, which costs what the bare primitive costs). The compact form is taken apart
// and put together here:
//
//   - Signing: a prepared header and one buffer make Sign cost 0.97 to 1.07 of bare ecdsa.SignASN1 with base64 around it;
//     jws.Sign costs 1.18 to 1.31.
//   - Verifying: Verify costs 1.02 of bare ecdsa.Verify with base64 around it, jws.Verify 1.09 to 1.12. That alone would not be worth it;
//     what decides is that jws.Verify takes padded and standard base64, duplicate header members and a key from the header, and a
//     strict reading in front of a lenient one would be two parsers that may disagree about one token.
//
// VerifyEmbedded, which reads a JWK each time, costs 1.1 of bare ecdsa.VerifyASN1 (BenchmarkVerifyEmbedded). It and ForeignSet have a reader of
// JWKs of their own: jwx's takes several spellings of one key, which would have several thumbprints. Encrypting is jwx's.
//
// The ratios are ES256 with an access token's payload on one core, quiet and busy, from BenchmarkSign and BenchmarkVerify; nearly all of the
// allocations that they report are the primitive's own.
package jose
