// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/internal/outbound"
)

func TestSectorDocuments(t *testing.T) {
	mux := http.NewServeMux()
	answer := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
	}
	answer("/good", `["https://a.example/cb","https://b.example/cb"]`)
	answer("/object", `{"redirect_uris":[]}`)
	answer("/mixed", `["https://a.example/cb",7]`)
	answer("/page", `<html>`)
	answer("/large", `["`+strings.Repeat("x", maxSectorBytes)+`"]`)
	mux.Handle("/moved", http.RedirectHandler("/good", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	out, err := outbound.New(outbound.Config{AllowNetworks: []string{"127.0.0.0/8"}, AllowHTTP: true}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	read := sectors(out, slog.New(slog.DiscardHandler))
	if list, err := read(t.Context(), server.URL+"/good"); err != nil || !slices.Equal(list, []string{"https://a.example/cb", "https://b.example/cb"}) {
		t.Errorf("%v %v", list, err)
	}
	for _, path := range []string{"/object", "/mixed", "/page", "/large", "/moved", "/nothing"} {
		if list, err := read(t.Context(), server.URL+path); err == nil {
			t.Errorf("%s: %v", path, list)
		}
	}
	// Whoever may register a client must not be able to look around here.
	guarded, err := outbound.New(outbound.Config{}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer guarded.Close()
	for _, uri := range []string{server.URL + "/good", "https://127.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/"} {
		_, err := sectors(guarded, slog.New(slog.DiscardHandler))(t.Context(), uri)
		if !errors.Is(err, outbound.ErrURL) && !errors.Is(err, outbound.ErrForbiddenAddress) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}
