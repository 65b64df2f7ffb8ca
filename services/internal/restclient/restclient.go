// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package restclient calls the control plane's REST API for our own programs: the command line, the bootstrap file and the
// development environment. It knows the transport and the form of errors, and nothing of any resource: bodies pass through as
// the bytes that were sent and received.
package restclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client calls one server with one key.
type Client struct {
	// Server is the base URL, such as http://localhost:9080.
	Server string
	// Key is the API key's text; empty sends none.
	Key string
	// UserAgent names the program.
	UserAgent string
	// HTTP makes the requests; nil uses one that finds *.localhost (see Transport) and waits 30 s.
	HTTP *http.Client
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

// Transport finds localhost and every name below it on the loopback interface, as RFC 6761 section 6.3 wants it and many
// resolvers do not.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && IsLocalhost(host) {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return dialer.DialContext(ctx, network, address)
	}
	return t
}

// IsLocalhost reports whether a hostname is localhost or below it.
func IsLocalhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

var defaultHTTP = &http.Client{Transport: Transport(), Timeout: 30 * time.Second}

// Error is a refusal of the API: a google.rpc.Status with the details that the control plane puts into each.
type Error struct {
	// Status is the HTTP status, Code the google.rpc.Code.
	Status, Code int
	Message      string
	// Reason is the stable word, such as HOSTNAME_UNAVAILABLE; empty when something else than the API answered.
	Reason string
	// Metadata of the reason.
	Metadata map[string]string
	// Fields are all violations of the request.
	Fields []Violation
	// RequestID is what support asks for.
	RequestID string
	// Help is the page about the reason.
	Help string
	// RetryAfter is how long to wait before the same request may succeed; 0 when it was not said.
	RetryAfter time.Duration
	// Body is the answer as it came.
	Body []byte
}

// Violation is a field that was wrong.
type Violation struct{ Field, Description string }

// Error implements error.
func (e *Error) Error() string {
	if e.Reason == "" {
		return e.Message
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Reason)
}

// NotFound reports whether an error says that there is no such resource.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound && e.Reason != ""
}

// ErrUnreachable is wrapped by errors of requests that got no answer.
var ErrUnreachable = errors.New("no answer")

// Do sends a request and answers the body of a success as it came. The body is sent as JSON; nil sends none. Other answers
// are an [*Error].
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body any) ([]byte, error) {
	base, err := url.Parse(strings.TrimSuffix(c.Server, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("the server's address %q is no URL such as https://api.example.com", c.Server)
	}
	target := base.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, in)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	if c.UserAgent != "" {
		req.Header.Set("User-Agent", c.UserAgent)
	}
	client := c.HTTP
	if client == nil {
		client = defaultHTTP
	}
	res, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the method and URL are said better by the caller
		}
		return nil, fmt.Errorf("%w from %s: %w", ErrUnreachable, base, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%w from %s: %w", ErrUnreachable, base, err)
	}
	if len(raw) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s is larger than %d MiB", base, maxAnswer>>20)
	}
	if res.StatusCode/100 != 2 {
		return nil, refusal(res, raw)
	}
	return raw, nil
}

// Call is Do with the answer decoded into out, which may be nil.
func (c *Client) Call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	raw, err := c.Do(ctx, method, path, query, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s %s answered something else than JSON: %w", method, path, err)
	}
	return nil
}

// refusal reads a google.rpc.Status.
func refusal(res *http.Response, raw []byte) *Error {
	e := &Error{Status: res.StatusCode, Message: res.Status, Body: raw}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	var body struct {
		Code    int
		Message string
		Details []struct {
			Type            string `json:"@type"`
			Reason          string
			Metadata        map[string]string
			FieldViolations []struct{ Field, Description string }
			RequestID       string `json:"requestId"`
			Links           []struct{ URL string }
		}
	}
	if json.Unmarshal(raw, &body) != nil || body.Message == "" {
		e.Message = fmt.Sprintf("%s answered %s, which is no answer of the Tenantry API", res.Request.URL.Host, res.Status)
		return e
	}
	e.Code, e.Message = body.Code, body.Message
	for _, d := range body.Details {
		switch d.Type[strings.LastIndexByte(d.Type, '.')+1:] {
		case "ErrorInfo":
			e.Reason, e.Metadata = d.Reason, d.Metadata
		case "BadRequest":
			for _, v := range d.FieldViolations {
				e.Fields = append(e.Fields, Violation(v))
			}
		case "RequestInfo":
			e.RequestID = d.RequestID
		case "Help":
			if len(d.Links) > 0 {
				e.Help = d.Links[0].URL
			}
		}
	}
	return e
}

// NewRequestID draws a UUID (RFC 9562 version 4) for a request that may be repeated.
func NewRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
