// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Suite is the other side's own server, to which the system reaches back over https: key sets, request objects, sector identifiers,
// logout and notification endpoints. Its certificate is of the authority that the rig's services are told to trust, and it listens on a
// loopback address, which they are told to allow.
type Suite struct {
	// URL is its address.
	URL string

	mu    sync.Mutex
	pages map[string]http.HandlerFunc
	calls map[string][]Received
	news  chan struct{} // closed and made anew when something is received
}

// Received is a request that came to a Suite.
type Received struct {
	Method string
	Header http.Header
	Query  url.Values
	Body   []byte
}

// Form is the body as a form.
func (r Received) Form() url.Values {
	v, err := url.ParseQuery(string(r.Body))
	if err != nil {
		return nil
	}
	return v
}

// NewSuite starts a server that ends after the test.
func NewSuite(t testing.TB) *Suite {
	t.Helper()
	s := &Suite{pages: map[string]http.HandlerFunc{}, calls: map[string][]Received{}, news: make(chan struct{})}
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.URL = "https://" + l.Addr().String()
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		secured := tls.NewListener(l, &tls.Config{GetCertificate: certificates().certificate, MinVersion: tls.VersionTLS12})
		if err := server.Serve(secured); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("suite: %v", err)
		}
	}()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// At is the server's address under another name below localhost, which browsers resolve.
func (s *Suite) At(host string) string {
	return "https://" + host + s.URL[strings.LastIndexByte(s.URL, ':'):]
}

// ServeHTTP remembers a request and answers it.
func (s *Suite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	page := s.pages[r.URL.Path]
	s.calls[r.URL.Path] = append(s.calls[r.URL.Path], Received{Method: r.Method, Header: r.Header.Clone(), Query: r.URL.Query(), Body: body})
	close(s.news)
	s.news = make(chan struct{})
	s.mu.Unlock()
	if page == nil {
		http.NotFound(w, r)
		return
	}
	page(w, r)
}

// Handle answers at a path of its own that ends in name, and returns the address.
func (s *Suite) Handle(name string, h http.HandlerFunc) string {
	path := Unique("/") + "/" + name
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = h
	return s.URL + path
}

// Fixed answers at a path of the caller's choice.
func (s *Suite) Fixed(path, mediaType string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(body)
	}
}

// Text answers with a text of a media type.
func (s *Suite) Text(name, mediaType, text string) string {
	return s.Handle(name, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = io.WriteString(w, text)
	})
}

// JSON answers with what a function gives each time.
func (s *Suite) JSON(name string, value func() any) string {
	return s.Handle(name, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value())
	})
}

// Calls are the requests that came to an address so far.
func (s *Suite) Calls(address string) []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls[s.path(address)])
}

func (s *Suite) path(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Path
}

// Wait waits until n requests have come to an address and returns them.
func (s *Suite) Wait(t testing.TB, address string, n int, within time.Duration) []Received {
	t.Helper()
	late := time.After(within)
	for {
		s.mu.Lock()
		calls, news := slices.Clone(s.calls[s.path(address)]), s.news
		s.mu.Unlock()
		if len(calls) >= n {
			return calls
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("%d requests to %s within %v, want %d", len(calls), address, within, n)
		}
	}
}
