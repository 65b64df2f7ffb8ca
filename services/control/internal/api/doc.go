// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package api owns the wire of the control plane: the gRPC services, the interceptors that every call passes, the one table from
// reasons to status codes, and REST, which is the real gRPC server behind a gateway, so that nothing is checked twice or not at all.
//
// Handlers convert, call one use case of provision (or the user store), and convert back; they decide nothing about rights or bounds.
// Generated types end here.
//
// A call passes, in this order, for gRPC and REST alike:
//
//	request id → deadline → recover → one log event and one metric → caller (API key) → permission, from the method's option
//	  → validation, all violations at once → idempotency key → handler → error table
//
// A method that has no entry in the policy, which is made from the method options when the server is built, is refused.
package api
