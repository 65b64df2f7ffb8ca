// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package signer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

// Tenants finds tenants by id; *snapshot.Cache is the one that services use.
type Tenants interface {
	Tenant(ctx context.Context, tenant id.Tenant) (*snapshot.Tenant, error)
}

// Handler answers a Client, on the token service's internal listener. It trusts whoever reaches it to have authenticated people, and
// nothing else: tenant and client are looked up here, and s judges what they may have.
type Handler struct {
	tenants Tenants
	signer  Signer
	clients func(ctx context.Context, t *snapshot.Tenant, clientID string) (*oauth2.Client, bool)
	log     *slog.Logger
	now     func() time.Time
}

// HandlerConfig is what a Handler is made from.
type HandlerConfig struct {
	// Tenants finds tenants, Signer signs. Required.
	Tenants Tenants
	Signer  Signer
	// Clients finds a client of a tenant; nil goes by the tenant's configuration alone.
	Clients func(ctx context.Context, t *snapshot.Tenant, clientID string) (*oauth2.Client, bool)
	// Logger takes what was refused. Required.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// NewHandler makes a Handler.
func NewHandler(c HandlerConfig) *Handler {
	h := &Handler{tenants: c.Tenants, signer: c.Signer, clients: c.Clients, log: c.Logger, now: c.Now}
	if h.clients == nil {
		h.clients = func(_ context.Context, t *snapshot.Tenant, clientID string) (*oauth2.Client, bool) {
			return t.Client(clientID)
		}
	}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST alone", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		h.fail(w, r, fmt.Errorf("%w: body: %w", ErrRefused, err))
		return
	}
	var out answer
	switch r.URL.Path {
	case pathAuthorizationResponse:
		err = serve(r.Context(), h, body, func(q responseRequest) time.Time { return q.Now },
			func(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, q responseRequest) (err error) {
				out.JWT, err = h.signer.AuthorizationResponse(ctx, t, c, q.Params, q.Now)
				return err
			})
	case pathFrontChannel:
		err = serve(r.Context(), h, body, func(q FrontChannelRequest) time.Time { return q.Now },
			func(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, q FrontChannelRequest) error {
				tokens, err := h.signer.FrontChannel(ctx, t, c, q)
				out.Tokens = &tokens
				return err
			})
	case pathLogoutToken:
		err = serve(r.Context(), h, body, func(q LogoutTokenRequest) time.Time { return q.Now },
			func(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, q LogoutTokenRequest) (err error) {
				out.JWT, err = h.signer.LogoutToken(ctx, t, c, q)
				return err
			})
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, out)
}

// serve reads a request, finds whom it is about and has it signed.
func serve[R any](ctx context.Context, h *Handler, body []byte, at func(R) time.Time, sign func(context.Context, *snapshot.Tenant, *oauth2.Client, R) error) error {
	var e envelope[R]
	if err := decode(body, &e); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if skew := at(e.Request).Sub(h.now()); skew > maxSkew || skew < -maxSkew {
		return fmt.Errorf("%w: the time of issue is %s from ours", ErrRefused, skew)
	}
	t, err := h.tenants.Tenant(ctx, e.Tenant)
	if errors.Is(err, snapshot.ErrUnknownTenant) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return err
	}
	c, ok := h.clients(ctx, t, e.Client)
	switch {
	case t.ConfigVersion < e.Version:
		return errors.New("signer: this process has an older configuration than the asker")
	case !ok || !c.Enabled:
		return fmt.Errorf("%w: unknown client", ErrRefused)
	}
	return sign(ctx, t, c, e.Request)
}

// fail answers with an error. The reason is for the asker's log and holds no secret.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the asker is gone
	}
	if !errors.Is(err, ErrRefused) {
		write(w, http.StatusServiceUnavailable, answer{Error: errorUnavailable, Reason: err.Error()})
		return
	}
	h.log.WarnContext(r.Context(), "signing refused", slog.String("path", r.URL.Path), slog.String("cause", err.Error()))
	write(w, http.StatusBadRequest, answer{Error: errorRefused, Reason: err.Error()})
}

func write(w http.ResponseWriter, status int, a answer) {
	b, err := json.Marshal(a) //nolint:gosec // G117: handing over the JWT is what the answer is for
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"unavailable"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b) //nolint:errcheck // the asker is gone; there is nobody to tell
}
