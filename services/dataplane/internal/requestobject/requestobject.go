// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package requestobject finds out what an authorization request really asks: its own parameters, those of a signed request object
// that it carries or points to (RFC 9101), or those that its client pushed before (RFC 9126). The pushed request endpoint and the
// authorization endpoint use the same Resolver, so that both believe the same.
//
//	request_uri=urn:… ──> pushed before ──> its parameters
//	request_uri=https:… ─> registered? ───> read through the guarded client ─┐
//	request=… ────────────────────────────────────────────────────────────────┴> signature ─> claims ─> its parameters
//	neither ──────────────────────────────────────────────────────────────────> the request's own
//
// In the first three cases nothing that stands outside counts but client_id, which must be the same. What the parameters ask is
// judged by package oidc afterwards, like any request's.
package requestobject

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientkeys"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// Resolver resolves authorization requests.
type Resolver struct {
	// Keys verifies what clients signed.
	Keys *clientkeys.Cache
	// Outbound reads request objects by reference; nil reads none.
	Outbound *outbound.Client
	// Grants has the pushed requests.
	Grants *grant.Store
}

// Resolved is an authorization request with nothing left to look up.
type Resolved struct {
	// Params are the parameters that count. They hold neither request nor request_uri.
	Params oauth2.Params
	// Signed is true when they came in a signed request object.
	Signed bool
	// PAR is the request_uri of the pushed request, to be ended when it is answered; empty for none.
	PAR string
	// DPoPJKT is the key that the code will be bound to (RFC 9449 section 10); empty for none.
	DPoPJKT string
}

// maxObjectBytes bounds a request object that is read from an address.
const maxObjectBytes = 16 << 10

// Pushed resolves a request at the pushed authorization request endpoint for the client that authenticated there. A request_uri is
// refused (RFC 9126 section 2.1). Errors are *oauth2.Error, or those of a dependency that is away.
func (r *Resolver) Pushed(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, p oauth2.Params, now time.Time) (Resolved, error) {
	if p.Has(oauth2.ParamRequestURI) {
		return Resolved{}, oauth2.InvalidRequest("request_uri cannot be pushed")
	}
	return r.object(ctx, t, c, p, p.Get(oauth2.ParamRequest), now)
}

// Resolve resolves a request at the authorization endpoint. The error is invalid_request when the client must push its requests or
// sign them and this one is not. A request whose client is not known comes back as it is, for package oidc to refuse. Errors are
// *oauth2.Error, or those of a dependency that is away. None of them may be sent to the redirect_uri of the request, which is not
// proven yet.
func (r *Resolver) Resolve(ctx context.Context, t *snapshot.Tenant, p oauth2.Params, now time.Time) (Resolved, error) {
	c, ok := t.Client(p.Get(oauth2.ParamClientID))
	if !ok || !c.Enabled {
		return Resolved{Params: p}, nil
	}
	return r.ResolveFor(ctx, t, c, p, now)
}

// ResolveFor is Resolve for a client that was found already, for example one that is its own metadata document.
func (r *Resolver) ResolveFor(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, p oauth2.Params, now time.Time) (Resolved, error) {
	uri, object := p.Get(oauth2.ParamRequestURI), p.Get(oauth2.ParamRequest)
	switch {
	case uri != "" && object != "":
		return Resolved{}, oauth2.InvalidRequest("request and request_uri may not stand together")
	case strings.HasPrefix(uri, "urn:"):
		return r.pushed(ctx, t, c, uri, now)
	case c.NeedsPAR():
		return Resolved{}, oauth2.InvalidRequest("this client must push its authorization requests")
	case uri != "":
		var err error
		if object, err = r.fetch(ctx, c, uri); err != nil {
			return Resolved{}, err
		}
	}
	return r.object(ctx, t, c, p, object, now)
}

// pushed reads a request that was pushed before. One of another client is refused like an unknown one.
func (r *Resolver) pushed(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, uri string, now time.Time) (Resolved, error) {
	req, err := r.Grants.Request(ctx, t.ID, uri, now)
	switch {
	case errors.Is(err, grant.ErrRequestUnknown) || err == nil && req.Client != c.ID:
		return Resolved{}, oauth2.InvalidRequestURI("the request_uri is unknown, has expired or was used").WithCause(err)
	case errors.Is(err, context.Canceled):
		return Resolved{}, err
	case err != nil:
		return Resolved{}, web.Unavailable(err)
	}
	if c.NeedsSignedRequest() && !req.Signed {
		return Resolved{}, errUnsigned // the client's rules have become stricter since
	}
	return Resolved{Params: req.Params, Signed: req.Signed, PAR: uri, DPoPJKT: req.DPoPJKT}, nil
}

var errUnsigned = oauth2.InvalidRequest("this client must send its authorization requests as signed request objects")

// object takes the parameters out of a request object, or the request's own when there is none.
func (r *Resolver) object(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, p oauth2.Params, object string, now time.Time) (out Resolved, err error) {
	out.Params = p
	switch {
	case object != "":
		if out.Params, err = r.verify(ctx, t, c, object, now); err != nil {
			return Resolved{}, err
		}
		out.Signed = true
	case c.NeedsSignedRequest():
		return Resolved{}, errUnsigned
	}
	out.DPoPJKT = out.Params.Get(oauth2.ParamDPoPKeyThumbprint)
	if out.DPoPJKT != "" && !oauth2.ValidThumbprint(out.DPoPJKT) {
		return Resolved{}, oauth2.InvalidRequest("dpop_jkt is not a SHA-256 thumbprint")
	}
	return out, nil
}

// verify checks a request object (RFC 9101 section 6).
func (r *Resolver) verify(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, object string, now time.Time) (oauth2.Params, error) {
	if oauth2.UnsignedRequestObject(object) && !c.NeedsSignedRequest() {
		return oauth2.Params{}, oauth2.NewError(oauth2.CodeRequestNotSupported, http.StatusBadRequest, "request objects without a signature are not supported")
	}
	algs := Algorithms(c, c.RequestObjectAlg)
	payload, _, err := r.Keys.Verify(ctx, c, object, jose.VerifyOptions{Typ: oauth2.RequestObjectTypes, Algorithms: algs, MaxBytes: maxObjectBytes})
	switch {
	case errors.Is(err, clientkeys.ErrUnavailable):
		return oauth2.Params{}, web.Unavailable(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return oauth2.Params{}, err
	case err != nil:
		return oauth2.Params{}, oauth2.InvalidRequestObject("the request object is not signed by this client as it should be").WithCause(err)
	}
	return oauth2.ParseRequestObject(payload, oauth2.RequestObjectRules{ClientID: c.ID, Issuer: t.Issuer, Life: c.Profile.RequestObjectLife(), Now: now})
}

// Algorithms are those that a client may sign with: the one that it registered, or all, of what its profile allows and we can verify.
func Algorithms(c *oauth2.Client, registered string) []jose.Algorithm {
	var algs []jose.Algorithm
	for _, a := range [...]jose.Algorithm{jose.ES256, jose.PS256, jose.EdDSA, jose.ES384, jose.RS256} {
		if c.Profile.AllowsAlg(string(a)) && (registered == "" || registered == string(a)) {
			algs = append(algs, a)
		}
	}
	return algs
}

// fetch reads a request object from an address that the client registered: an unregistered one would make us an instrument for
// calling whatever a stranger wants called (RFC 9101 section 10.4.1).
func (r *Resolver) fetch(ctx context.Context, c *oauth2.Client, uri string) (string, error) {
	if r.Outbound == nil || !c.RequestURIRegistered(uri) {
		return "", oauth2.InvalidRequestURI("the request_uri is not registered for this client")
	}
	plain, _, _ := strings.Cut(uri, "#")
	answer, err := r.Outbound.Get(ctx, plain, outbound.GetOptions{Accept: "application/oauth-authz-req+jwt, application/jwt", MaxBytes: maxObjectBytes})
	switch {
	case errors.Is(err, context.Canceled):
		return "", err
	case err != nil:
		return "", oauth2.InvalidRequestURI("the request object cannot be read: " + err.Error()).WithCause(outbound.Detail(err))
	case answer.Status != http.StatusOK:
		return "", oauth2.InvalidRequestURI("the request object cannot be read: its host did not answer with 200")
	}
	object := strings.TrimSpace(string(answer.Body))
	if object == "" {
		return "", oauth2.InvalidRequestURI("there is no request object at the request_uri")
	}
	return object, nil
}
