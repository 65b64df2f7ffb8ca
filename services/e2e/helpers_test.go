// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// e2eWait is how long a test waits for what happens in the background, on a machine that runs many tests.
const e2eWait = 30 * time.Second

func pause() { time.Sleep(150 * time.Millisecond) }

// request builds a request, for what a browser or a library would not send.
func request(t *testing.T, method, address, body string, header http.Header) *http.Request {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, r)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	return req
}

// form is the header of a form body.
func form(more http.Header) http.Header {
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for k, v := range more {
		h[k] = v
	}
	return h
}

// send sends what request has built.
func send(t *testing.T, method, address, body string, header http.Header) *e2etest.Answer {
	t.Helper()
	return e2etest.Send(t, request(t, method, address, body, header))
}

func basic(c e2etest.Client) string {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	return req.Header.Get("Authorization")
}
