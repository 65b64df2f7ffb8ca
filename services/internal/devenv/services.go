// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/dataplane/login"
	"github.com/tenantry/tenantry/services/dataplane/token"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/edge"
	"github.com/tenantry/tenantry/services/internal/mailsink"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// services is control, login and token with the inbox, in this process.
type services struct {
	cancel context.CancelFunc
	// ended gives how the process's components ended, once.
	ended chan error

	smtp      string // address that takes mails
	databases Databases
}

// startServices makes the three services, each as in its own program, and lets them share what a process has one of: the
// snapshot cache, the user store, the keyring, and the listener for tenants' hosts.
func (e *environment) startServices(ctx context.Context, at *stage) error {
	at.set("the services to listen")
	loopback := func(port int) daemon.HTTPConfig {
		return daemon.HTTPConfig{ListenConfig: daemon.ListenConfig{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}}
	}
	process, err := daemon.NewProcess(ctx, "tenantry-dev", e.Version, daemon.Config{
		Admin: loopback(e.ports.Admin), Drain: daemon.DrainConfig{Timeout: daemon.Duration(drainTimeout)},
	}, e.logFile)
	if err != nil {
		return err
	}
	s := &services{ended: make(chan error, 1), databases: Databases{
		Control:  e.postgres.URL(controlDatabase, "tenantry_control"),
		Identity: e.postgres.URL(identityDatabase, identity.Role),
	}}

	table, err := os.ReadFile(filepath.Join(e.Root, "deploy", "routes.yaml"))
	if err != nil {
		return err
	}
	routes, err := edge.Parse(table)
	if err != nil {
		return err
	}
	sink, err := mailsink.New(e.path("mail"), process.Log)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	smtp, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.smtp = smtp.Addr().String()
	smtpPort := smtp.Addr().(*net.TCPAddr).Port

	// What login and token share.
	verifier, err := snapshot.LoadVerifier(e.keys().SnapshotPins())
	if err != nil {
		return err
	}
	rdb, err := snapshot.Connect(e.config.URL())
	if err != nil {
		return err
	}
	cache, err := snapshot.Open(snapshot.Config{Redis: rdb, Verifier: verifier, Logger: process.Log, Build: e.Version})
	if err != nil {
		return err
	}
	keyring, err := secret.LoadKeyring(e.keys().Keyring())
	if err != nil {
		return err
	}
	const queue = 256
	users, err := identity.Open(ctx, identity.Config{DatabaseURL: s.databases.Identity}, secret.NewHasher(secret.Argon2Params{}, 0, queue))
	if err != nil {
		return err
	}

	tokenConfig := token.Config{
		ConfigRedis: daemon.SecretOf(e.config.URL()), RuntimeRedis: daemon.SecretOf(e.state.URL()), IdentityDatabase: daemon.SecretOf(s.databases.Identity),
		SnapshotPins: daemon.Path(e.keys().SnapshotPins()), SigningKeys: []daemon.Path{daemon.Path(e.keys().RegionSigning())}, Keyring: daemon.Path(e.keys().Keyring()),
	}
	// Apps in development are on this machine, and so are their keys and request objects.
	tokenConfig.Outbound = outbound.Config{AllowNetworks: []string{"127.0.0.0/8", "::1/128"}, AllowHTTP: true}
	loginConfig := login.Config{
		Outbound:    tokenConfig.Outbound,
		ConfigRedis: tokenConfig.ConfigRedis, RuntimeRedis: tokenConfig.RuntimeRedis, IdentityDatabase: tokenConfig.IdentityDatabase,
		SnapshotPins: tokenConfig.SnapshotPins, Keyring: tokenConfig.Keyring,
		Mail: login.MailConfig{Host: "127.0.0.1", Port: smtpPort, TLS: login.TLSNone, From: "no-reply@" + baseDomain + ".example"},
	}
	text, err := os.ReadFile(e.keys().PageTokens())
	if err != nil {
		return err
	}
	e.pageTokenKey = strings.TrimSpace(string(text))
	controlConfig := e.controlConfig(s)
	if err := errors.Join(named("token", daemon.Validate(&tokenConfig)), named("login", daemon.Validate(&loginConfig)), named("control", daemon.Validate(&controlConfig))); err != nil {
		return err
	}
	tokens, err := token.New(ctx, tokenConfig, token.Deps{Logger: process.Log, Tenants: cache, Identity: users, Keyring: keyring, Build: e.Version})
	if err != nil {
		return err
	}
	pages, err := login.New(ctx, loginConfig, login.Deps{Logger: process.Log, Tenants: cache, Identity: users, Keyring: keyring, Signer: tokens.Minter(), Build: e.Version})
	if err != nil {
		return err
	}
	controlComponents, registrations, err := newControl(ctx, controlConfig, control.Deps{Process: process, Identity: users, Build: e.Version})
	if err != nil {
		return err
	}
	process.Telemetry.AddMetrics(tokens.Metrics())
	process.Telemetry.AddMetrics(pages.Metrics())

	started := make(chan struct{})
	components := append([]daemon.Component{
		mailComponent(sink, smtp),
		process.NewHTTPServer("mail inbox", loopback(e.ports.Mail), sink.Handler()).Component(),
		{
			Name:  "snapshots and users",
			Start: func(context.Context) error { cache.Start(context.Background()); return nil },
			Stop: func(context.Context) error {
				cache.Stop()
				users.Close()
				return rdb.Close()
			},
		},
		{
			Name:  "token service",
			Start: func(context.Context) error { tokens.Start(); return nil },
			Stop:  func(context.Context) error { tokens.Stop(); return nil },
		},
		{
			Name:  "login service",
			Start: func(context.Context) error { pages.Start(); return nil },
			Stop:  func(ctx context.Context) error { pages.Stop(ctx); return nil },
		},
	}, controlComponents...)
	components = append(components,
		process.NewHTTPServer("data plane", loopback(e.ports.DataPlane), routes.Handler(pages.Handler(), tokens.Handler(), registrations)).Component(),
		daemon.Component{Name: "environment", Start: func(context.Context) error { close(started); return nil }},
	)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go func() {
		err := process.Run(running, components...)
		cancel()
		s.ended <- err
	}()
	select {
	case <-started:
		e.services = s
		return nil
	case err := <-s.ended:
		if err == nil {
			err = ErrInterrupted
		}
		return err
	}
}

// stop ends the components in order.
func (s *services) stop() error {
	s.cancel()
	return <-s.ended
}

// named says which service a configuration error is about.
func named(service string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", service, err)
}

// mailComponent takes mails until it is stopped.
func mailComponent(sink *mailsink.Sink, l net.Listener) daemon.Component {
	ctx, cancel := context.WithCancel(context.Background())
	failed, done := make(chan error, 1), make(chan struct{})
	return daemon.Component{
		Name: "mail",
		Start: func(context.Context) error {
			go func() {
				defer close(done)
				if err := sink.Serve(ctx, l); err != nil {
					failed <- err
				}
			}()
			return nil
		},
		Stop: func(context.Context) error {
			cancel()
			<-done
			return nil
		},
		Failed: failed,
	}
}
