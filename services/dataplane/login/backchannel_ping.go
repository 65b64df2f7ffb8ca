// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// ping tells a client that its request was answered, yes or no (CIBA Core section 10.2). It is a convenience: a client that misses it
// polls.
type ping struct {
	client           *oauth2.Client
	tenant           id.Tenant
	token, requestID string
	trace            string
}

const (
	// maxPings is how many may be under way; more are dropped and their clients poll.
	maxPings = 64
	// pingTries, with pingPause before each further one, is how often a client that cannot be reached is tried.
	pingTries = 3
	pingPause = 2 * time.Second
)

// pings sends pings in the background.
type pings struct {
	out *outbound.Client // nil sends none
	log *slog.Logger

	slots chan struct{}
	ctx   context.Context
	end   context.CancelFunc
	wg    sync.WaitGroup
	mu    sync.Mutex
}

func newPings(out *outbound.Client, log *slog.Logger) *pings {
	p := &pings{out: out, log: log, slots: make(chan struct{}, maxPings)}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p
}

// send sends one ping, if the client wants any.
func (p *pings) send(one ping) {
	if p.out == nil || one.client.DeliveryMode != oauth2.DeliveryPing || one.client.NotificationEndpoint == "" || one.token == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	select {
	case p.slots <- struct{}{}:
	default:
		p.log.Warn("backchannel ping dropped", slog.String("tenant", one.tenant.String()), slog.String("client_id", one.client.ID))
		return
	}
	p.wg.Go(func() {
		defer func() { <-p.slots }()
		p.deliver(one)
	})
}

// deliver posts until the client has answered something. Whatever it answers is final: its body is not read, a redirect is not followed,
// and a refusal is not asked again, since the client that gave us the token is the one that refuses it (CIBA Core section 10.2).
func (p *pings) deliver(one ping) {
	body, err := json.Marshal(map[string]string{oauth2.ParamAuthReqID: one.requestID})
	if err != nil {
		return // a map of strings always marshals
	}
	for try := 1; ; try++ {
		resp, err := p.out.Post(p.ctx, one.client.NotificationEndpoint, "application/json", body, http.Header{"Authorization": {"Bearer " + one.token}})
		log := p.log.With(slog.String("tenant", one.tenant.String()), slog.String("client_id", one.client.ID), slog.String("request_id", one.trace), slog.Int("try", try))
		switch {
		case err == nil && resp.Status >= 200 && resp.Status < 300:
			log.Info("backchannel ping sent")
			return
		case err == nil && resp.Status < 500:
			log.Warn("backchannel ping refused", slog.Int("status", resp.Status))
			return
		case err == nil:
			log.Warn("backchannel ping failed", slog.Int("status", resp.Status))
		case errors.Is(err, outbound.ErrUnreachable), errors.Is(err, outbound.ErrTimeout), errors.Is(err, outbound.ErrBusy):
			log.Warn("backchannel ping failed", slog.String("cause", outbound.Detail(err).Error()))
		default: // a redirect, or an address that may not be called: trying again changes nothing
			log.Warn("backchannel ping refused", slog.String("cause", outbound.Detail(err).Error()))
			return
		}
		if try == pingTries {
			return
		}
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(pingPause):
		}
	}
}

// stop ends pings under way.
func (p *pings) stop() {
	p.mu.Lock()
	p.end()
	p.mu.Unlock()
	p.wg.Wait()
}
