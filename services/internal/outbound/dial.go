// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// maxAddresses is how many addresses of one name are looked at; a longer answer is refused, since each one is checked.
const maxAddresses = 32

// resolve is the host's addresses, all of them checked. direct reports whether all are in networks that the configuration names.
func (c *Client) resolve(ctx context.Context, host string) (addresses []netip.Addr, direct bool, err error) {
	host = strings.TrimSuffix(host, ".")
	if a, err := netip.ParseAddr(host); err == nil {
		addresses = []netip.Addr{a}
	} else if lower := strings.ToLower(host); lower == "localhost" || strings.HasSuffix(lower, ".localhost") {
		// Never a question for DNS (RFC 6761 section 6.3).
		addresses = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	} else if addresses, err = c.resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, false, err
	}
	if len(addresses) == 0 || len(addresses) > maxAddresses {
		return nil, false, fail(ErrUnreachable, fmt.Errorf("%d addresses", len(addresses)))
	}
	direct = true
	for i, a := range addresses {
		named := c.allowed(a)
		if !named && forbidden(a) {
			return nil, false, fail(ErrForbiddenAddress, fmt.Errorf("%s is %s", host, a))
		}
		direct = direct && named
		addresses[i] = a.Unmap()
	}
	return addresses, direct, nil
}

// dial returns the transport's way to connect: for https and, in named networks, for http. Nothing but an address that resolve has
// checked is ever dialled.
func (c *Client) dial(secure bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		host, portText, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fail(ErrURL, err)
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || port == 0 {
			return nil, fail(ErrURL, fmt.Errorf("port %q", portText))
		}
		// net/http may go on dialling when the call is over, for the sake of the next one; not for longer than a call may take.
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		addresses, direct, err := c.resolve(ctx, host)
		if err != nil {
			return nil, err
		}
		if !secure && !direct {
			return nil, fail(ErrURL, errors.New("http to a network that is not in allow_networks"))
		}
		var conn net.Conn
		for i, a := range addresses {
			target := netip.AddrPortFrom(a, uint16(port)).String()
			if conn, err = c.connect(ctx, target, direct, len(addresses)-i); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}
}

// connect dials one address, or asks the proxy to; it leaves a fair part of the time to the others.
func (c *Client) connect(ctx context.Context, target string, direct bool, left int) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	share := time.Until(deadline) / time.Duration(left)
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	var d net.Dialer
	if c.proxy == "" || direct {
		return d.DialContext(ctx, "tcp", target)
	}
	conn, err := d.DialContext(ctx, "tcp", c.proxy)
	if err != nil {
		return nil, err
	}
	if err := c.tunnel(ctx, conn, target); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// tunnel asks a proxy for a connection to the target (RFC 9110 section 9.3.6).
func (c *Client) tunnel(ctx context.Context, conn net.Conn, target string) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n\r\n", target, target, c.userAgent); err != nil {
		return err
	}
	// The other side of the tunnel speaks after us, so what is buffered beyond the answer is nothing.
	in := bufio.NewReaderSize(&limitedReader{conn, maxHeaderBytes}, 1)
	res, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy answers %d", res.StatusCode)
	}
	return conn.SetDeadline(time.Time{})
}

// errHandshake marks what went wrong between connecting and the first byte of HTTP.
var errHandshake = errors.New("TLS handshake")

// dialTLS is dial with the handshake, so that its errors can be told from others.
func (c *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := c.dial(true)(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cfg := c.tls.Clone()
	cfg.ServerName = strings.TrimSuffix(host, ".")
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() || ctx.Err() != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return nil, errors.Join(fmt.Errorf("%w: %w", errHandshake, err), raw.Close())
	}
	return conn, nil
}

// limitedReader is io.LimitReader that says what happened.
type limitedReader struct {
	from net.Conn
	left int
}

func (r *limitedReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, fail(ErrTooLarge, errors.New("the proxy's answer"))
	}
	n, err := r.from.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}
