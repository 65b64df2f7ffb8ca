// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// The bounds of a call.
const (
	// DefaultMaxBytes bounds an answer's body when the call does not say.
	DefaultMaxBytes = 64 << 10
	// MaxRedirects is the most that a call may allow.
	MaxRedirects = 5

	maxHeaderBytes = 16 << 10
	maxURL         = 2048
	maxPostBytes   = 64 << 10
)

// Resolver finds the addresses of a name; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are what a client needs beside its configuration. The zero value is right.
type Options struct {
	// UserAgent names us to the other side. Default "Tenantry".
	UserAgent string
	// Resolver finds addresses. Default: the system's.
	Resolver Resolver
	// PerHost bounds the calls to one host at a time (default 8), Total those to all (default 256).
	PerHost, Total int
	// Now is the clock for Response.Expires. Default time.Now.
	Now func() time.Time
}

// Client makes calls under the outbound policy. It is safe for concurrent use. A service makes one and closes it at its end.
type Client struct {
	networks  []netip.Prefix
	allowHTTP bool
	timeout   time.Duration
	proxy     string
	userAgent string
	resolver  Resolver
	tls       *tls.Config
	now       func() time.Time
	turns     *turns
	transport *http.Transport
}

// New makes a Client. The error is that of a configuration which Validate would refuse, or of a CAFile that cannot be read.
func New(cfg Config, o Options) (*Client, error) {
	c := &Client{
		allowHTTP: cfg.AllowHTTP, timeout: time.Duration(cfg.Timeout),
		userAgent: o.UserAgent, resolver: o.Resolver, now: o.Now,
		tls: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
	}
	for _, text := range cfg.AllowNetworks {
		p, err := parseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("outbound: allow_networks: %w", err)
		}
		c.networks = append(c.networks, p)
	}
	var err error
	if c.proxy, err = parseProxy(cfg.Proxy); err != nil {
		return nil, fmt.Errorf("outbound: proxy: %w", err)
	}
	if cfg.CAFile != "" {
		if c.tls.RootCAs, err = pool(string(cfg.CAFile)); err != nil {
			return nil, fmt.Errorf("outbound: ca_file: %w", err)
		}
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.userAgent == "" {
		c.userAgent = "Tenantry"
	}
	if c.resolver == nil {
		c.resolver = net.DefaultResolver
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.turns = newTurns(o.PerHost, o.Total)
	c.transport = &http.Transport{
		Proxy:                  nil, // not the environment's
		DialContext:            c.dial(false),
		DialTLSContext:         c.dialTLS,
		DisableCompression:     true, // nothing is decompressed on the way
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		ResponseHeaderTimeout:  c.timeout,
		ForceAttemptHTTP2:      false,
	}
	return c, nil
}

// pool is the system's authorities and those of a file.
func pool(file string) (*x509.CertPool, error) {
	p, err := x509.SystemCertPool()
	if err != nil {
		p = x509.NewCertPool()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !p.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return p, nil
}

// Close ends idle connections. Calls under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Response is an answer of any status. The caller looks at it.
type Response struct {
	Status int
	// Header is without Set-Cookie.
	Header http.Header
	Body   []byte
	// Expires is until when the answer says that it is fresh, by Cache-Control (with Age) or Expires (RFC 9111 section 4.2), at most a day; the
	// time of the answer when it must not be kept. Zero: it says nothing.
	Expires time.Time
}

// GetOptions are what a Get may want.
type GetOptions struct {
	// Accept is the media type asked for; empty asks for any.
	Accept string
	// MaxBytes bounds the body, ErrTooLarge above it. Default DefaultMaxBytes.
	MaxBytes int
	// Redirects is how many may be followed, at most MaxRedirects. Default none.
	Redirects int
}

// Get fetches a URL. The answer's status may be any but a redirect's. Errors are those of this package, or the context's own.
func (c *Client) Get(ctx context.Context, rawURL string, o GetOptions) (Response, error) {
	limit := o.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	h := http.Header{}
	if o.Accept != "" {
		h.Set("Accept", o.Accept)
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for left := min(o.Redirects, MaxRedirects); ; left-- {
		u, err := c.parse(rawURL)
		if err != nil {
			return Response{}, err
		}
		res, err := c.call(caller, ctx, http.MethodGet, u, nil, h, limit, false)
		if err != nil {
			return Response{}, err
		}
		if !isRedirect(res.Status) {
			return res, nil
		}
		next, err := u.Parse(res.Header.Get("Location"))
		switch {
		case left <= 0:
			return Response{}, fail(ErrRedirect, fmt.Errorf("status %d", res.Status))
		case err != nil || res.Header.Get("Location") == "":
			return Response{}, fail(ErrRedirect, errors.New("no Location that is a URL"))
		case u.Scheme == "https" && next.Scheme != "https":
			return Response{}, fail(ErrRedirect, errors.New("from https to another scheme"))
		}
		rawURL = next.String()
	}
}

// Post sends a body of at most 64 KiB. Of the answer's body, no more than DefaultMaxBytes are read, and what is beyond is dropped: what was asked
// has happened by then. Header may hold what the protocol wants, such as Authorization; what belongs to the connection is ours. A redirect
// is ErrRedirect.
func (c *Client) Post(ctx context.Context, rawURL, contentType string, body []byte, header http.Header) (Response, error) {
	if len(body) > maxPostBytes {
		return Response{}, fail(ErrTooLarge, errors.New("the request's own body"))
	}
	u, err := c.parse(rawURL)
	if err != nil {
		return Response{}, err
	}
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	for _, name := range []string{"Host", "Cookie", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Proxy-Authorization", "Accept-Encoding", "User-Agent"} {
		h.Del(name)
	}
	h.Set("Content-Type", contentType)
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := c.call(caller, ctx, http.MethodPost, u, body, h, DefaultMaxBytes, true)
	if err == nil && isRedirect(res.Status) {
		return Response{}, fail(ErrRedirect, fmt.Errorf("status %d", res.Status))
	}
	return res, err
}

// CheckURL says whether a URL may be called at all, without calling it or asking DNS: ErrURL, or ErrForbiddenAddress for a literal address.
// It is for the moment when the URL is registered.
func (c *Client) CheckURL(rawURL string) error {
	_, err := c.parse(rawURL)
	return err
}

func (c *Client) parse(rawURL string) (*url.URL, error) {
	if len(rawURL) > maxURL {
		return nil, fail(ErrURL, fmt.Errorf("above %d bytes", maxURL))
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fail(ErrURL, err)
	}
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !c.allowHTTP):
		return nil, fail(ErrURL, fmt.Errorf("scheme %q", u.Scheme))
	case u.User != nil || u.Opaque != "" || u.Hostname() == "":
		return nil, fail(ErrURL, errors.New("credentials in it, or no host"))
	case strings.Contains(u.Hostname(), "%"): // an IPv6 zone: of this machine, not of the Internet
		return nil, fail(ErrForbiddenAddress, errors.New("a zone"))
	}
	if a, err := netip.ParseAddr(strings.TrimSuffix(u.Hostname(), ".")); err == nil && forbidden(a) && !c.allowed(a) {
		return nil, fail(ErrForbiddenAddress, fmt.Errorf("literal %s", a))
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

func isRedirect(status int) bool {
	return slices.Contains([]int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect}, status)
}

// call is one request and its answer. A body above the limit is ErrTooLarge, or cut there.
func (c *Client) call(caller, ctx context.Context, method string, u *url.URL, body []byte, h http.Header, limit int, cut bool) (Response, error) {
	done, err := c.turns.take(ctx, strings.ToLower(u.Host))
	if err != nil {
		if caller.Err() != nil {
			return Response{}, caller.Err()
		}
		return Response{}, err
	}
	defer done()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return Response{}, fail(ErrURL, err)
	}
	if len(body) == 0 {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Header = h.Clone()
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return Response{}, classify(caller, ctx, tooLargeHeader(err))
	}
	defer res.Body.Close()
	if e := res.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return Response{}, fail(ErrEncoding, fmt.Errorf("%q", e))
	}
	out := Response{Status: res.StatusCode, Header: res.Header, Expires: expires(res.Header, c.now())}
	out.Header.Del("Set-Cookie")
	if isRedirect(res.StatusCode) {
		return out, nil // its body is of no use
	}
	if !cut && res.ContentLength > int64(limit) {
		return Response{}, fail(ErrTooLarge, fmt.Errorf("%d bytes announced", res.ContentLength))
	}
	out.Body, err = io.ReadAll(io.LimitReader(res.Body, int64(limit)+1))
	if err == nil {
		// Closing a TLS connection takes two steps, and between them the other side may still end its answer in good form.
		err = ctx.Err()
	}
	if err != nil {
		return Response{}, classify(caller, ctx, err)
	}
	if len(out.Body) > limit {
		if !cut {
			return Response{}, fail(ErrTooLarge, fmt.Errorf("above %d bytes", limit))
		}
		out.Body = out.Body[:limit]
	}
	return out, nil
}

// tooLargeHeader finds net/http's refusal of a long header, which has no type.
func tooLargeHeader(err error) error {
	if strings.Contains(err.Error(), "server response headers exceeded") {
		return fail(ErrTooLarge, err)
	}
	return err
}
