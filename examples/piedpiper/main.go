// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command piedpiper is Pied Piper's product as its customers meet it: a sign-up
// portal and a chat app, both in front of Tenantry.
//
// It is written as a customer of Tenantry would write it: the portal calls the
// public REST API with an API key, the chat app is an ordinary OpenID Connect
// relying party built with a stock library, and checks access tokens with
// pkg/verify. Neither keeps a table of tenants.
// The portal is served at the host piedpiper.<base domain>, the chat app of the
// tenant "hooli" at hooli.piedpiper.<base domain>; the host alone says who is
// asked for. README.md beside this file shows how to run it by hand.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "piedpiper:", err)
		os.Exit(1)
	}
}

func run() error {
	cfg, err := configFromEnv(os.Getenv)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	handler, err := newApp(cfg, outboundClient(), slog.Default())
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		// Requests end with the process, so that open event streams do not hold it up.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	slog.Info("piedpiper is ready", "portal", cfg.portalURL())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := server.Shutdown(drain); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// newApp returns both apps behind one handler that tells them apart by host.
func newApp(cfg config, client *http.Client, log *slog.Logger) (http.Handler, error) {
	pages, err := parsePages()
	if err != nil {
		return nil, err
	}
	portal := newPortal(cfg, client, pages, log).routes()
	chat, err := newChat(cfg, client, pages, log)
	if err != nil {
		return nil, err
	}
	chatRoutes := chat.routes()
	sameSite := http.NewCrossOriginProtection()
	return sameSite.Handler(secured(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r)
		if host == cfg.portalHost() {
			portal.ServeHTTP(w, r)
			return
		}
		label, below := strings.CutSuffix(host, "."+cfg.portalHost())
		if !below || !validLabel(label) {
			http.Redirect(w, r, cfg.portalURL(), http.StatusFound)
			return
		}
		chatRoutes.ServeHTTP(w, r.WithContext(withTenantLabel(r.Context(), label)))
	}))), nil
}

// hostOf returns the request's host without port, in lower case.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// validLabel reports whether s is one DNS label in lower case (RFC 1123 section 2.1).
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// outboundClient reaches *.localhost on the loopback address, as browsers do
// (RFC 6761 section 6.3) and as Go's resolver does not everywhere.
func outboundClient() *http.Client {
	dialer := &net.Dialer{Timeout: 2 * time.Second}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConnsPerHost = 16
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(addr); err == nil && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
			addr = net.JoinHostPort("127.0.0.1", port)
		}
		return dialer.DialContext(ctx, network, addr)
	}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}
