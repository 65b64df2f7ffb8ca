// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkLoginPage is the page that everybody sees first; it does no I/O.
func BenchmarkLoginPage(b *testing.B) {
	r := newRig(b)
	r.service.log = slog.New(slog.NewJSONHandler(io.Discard, nil))
	br := r.browser()
	p := br.get(r.hooli.authorizeURL(r.hooli.chat))
	req := httptest.NewRequest("GET", p.url.String(), nil)
	req.Header.Set("Cookie", "__Host-tnt_form="+br.cookie(r.hooli, "__Host-tnt_form").Value)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(w, req)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

// BenchmarkPasswordLogin is a whole login, authorize to code, with a password hash that costs next to nothing: what remains is ours
// and the databases'.
func BenchmarkPasswordLogin(b *testing.B) {
	r := newRig(b)
	form := url.Values{"email": {"gavin@hooli.example"}, "password": {password}}
	for b.Loop() {
		br := r.browser()
		p := br.get(r.hooli.authorizeURL(r.hooli.chat))
		at := strings.Index(p.body, `name="t" value="`) + len(`name="t" value="`)
		form.Set("t", p.body[at:at+43])
		br.do("POST", p.url.String(), form)
		if br.ended == nil {
			b.Fatal("no code")
		}
	}
}
