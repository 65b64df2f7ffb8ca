// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/signer"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

const (
	// logoutWorkers is how many clients are told at a time.
	logoutWorkers = 8
	// logoutTimeout bounds one attempt: the signature, and the client's answer as outbound bounds it.
	logoutTimeout = 35 * time.Second
	// logoutPatience is for how long a logout is worth telling when its tenant or its client's host is away.
	logoutPatience = 6 * time.Hour
	// hostPause is for how long a host that did not answer is left alone by this process, so that a dead one does not keep the workers
	// from the clients of others.
	hostPause    = 30 * time.Second
	maxQuietHost = 4096
)

// backchannel tells clients of logouts (OpenID Connect Back-Channel Logout 1.0). The job was enqueued with the end of the session, so
// every end is told, whoever ended it and whatever crashed in between.
type backchannel struct {
	river.WorkerDefaults[identity.BackchannelLogout]
	tenants  Tenants
	signer   signer.Signer
	outbound *outbound.Client
	log      *slog.Logger
	now      func() time.Time

	mu    sync.Mutex
	quiet map[string]time.Time // host → until when it is left alone
}

// errQuiet: the client's host did not answer a moment ago.
var errQuiet = errors.New("login: the host did not answer a moment ago")

// Work implements river.Worker.
func (b *backchannel) Work(ctx context.Context, job *river.Job[identity.BackchannelLogout]) error {
	return b.work(ctx, job.Args, job.CreatedAt)
}

func (b *backchannel) work(ctx context.Context, a identity.BackchannelLogout, created time.Time) error {
	err := b.tell(ctx, a)
	if errors.Is(err, snapshot.ErrUnknownTenant) || errors.Is(err, errQuiet) {
		// Waiting costs no attempt. A tenant that is not served may be on its way, or be suspended for a moment.
		if b.now().Sub(created) > logoutPatience {
			return river.JobCancel(err)
		}
		return river.JobSnooze(hostPause + rand.N(hostPause)) //nolint:gosec // spreads load
	}
	return err
}

// tell sends one logout token. An error that is not a cancellation means that it is tried again.
func (b *backchannel) tell(ctx context.Context, a identity.BackchannelLogout) error {
	t, err := b.tenants.Tenant(ctx, a.Tenant)
	if err != nil {
		return fmt.Errorf("login: back-channel logout: tenant: %w", err)
	}
	client, ok := t.Client(a.Client.String())
	if !ok || client.BackchannelLogoutURI == "" {
		return nil // it is gone, or does not want to hear of it any more
	}
	to, err := url.Parse(client.BackchannelLogoutURI)
	if err != nil {
		return river.JobCancel(fmt.Errorf("login: back-channel logout: %w", err))
	}
	if b.isQuiet(to.Host) {
		return errQuiet
	}
	token, err := b.signer.LogoutToken(ctx, t, client, signer.LogoutTokenRequest{
		Subject: subject.For(t, client, a.User), Session: a.Session, ID: [16]byte(a.Message), Now: b.now(),
	})
	switch {
	case errors.Is(err, signer.ErrRefused):
		return river.JobCancel(fmt.Errorf("login: back-channel logout: %w", err))
	case err != nil:
		return fmt.Errorf("login: back-channel logout: %w", err)
	}
	body := url.Values{"logout_token": {token}}.Encode()
	answer, err := b.outbound.Post(ctx, client.BackchannelLogoutURI, "application/x-www-form-urlencoded", []byte(body), nil)
	note := []any{slog.String("tenant", t.ID.String()), slog.String("client_id", client.ID), slog.String("sid", a.Session.String())}
	switch {
	case errors.Is(err, outbound.ErrForbiddenAddress), errors.Is(err, outbound.ErrURL), errors.Is(err, outbound.ErrRedirect):
		b.log.WarnContext(ctx, "client not told of a logout", append(note, slog.String("cause", outbound.Detail(err).Error()))...)
		return river.JobCancel(err)
	case err != nil:
		b.silence(to.Host)
		return fmt.Errorf("login: back-channel logout: %w", err)
	case answer.Status/100 == 2: // section 2.8 has 200, and wants other successes taken for it
		b.log.InfoContext(ctx, "client told of a logout", note...)
		return nil
	case answer.Status >= 500 || answer.Status == http.StatusTooManyRequests || answer.Status == http.StatusRequestTimeout:
		return fmt.Errorf("login: back-channel logout: the client answered %d", answer.Status)
	}
	// The client says that the token is not right, which the same token will not be later either.
	b.log.WarnContext(ctx, "client refused to be told of a logout", append(note, slog.Int("status", answer.Status))...)
	return river.JobCancel(fmt.Errorf("login: back-channel logout: the client answered %d", answer.Status))
}

func (b *backchannel) isQuiet(host string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now().Before(b.quiet[host])
}

// silence leaves a host alone for a while. When there are too many of them, the oldest are forgotten.
func (b *backchannel) silence(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if len(b.quiet) >= maxQuietHost {
		for h, until := range b.quiet {
			if !now.Before(until) {
				delete(b.quiet, h)
			}
		}
	}
	if b.quiet == nil || len(b.quiet) >= maxQuietHost {
		b.quiet = make(map[string]time.Time)
	}
	b.quiet[host] = now.Add(hostPause)
}
