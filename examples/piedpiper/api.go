// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/verify"
)

// api is the chat for programs: the same rooms, with an access token in the
// place of the cookie. The middleware has checked it against the issuer of this
// host before a handler runs, so the pair (issuer, tnt) of its claims is a team
// as good as a session's.
func (c *chat) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/rooms", func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		answer(w, map[string]any{"tenant": claims.Tenant, "rooms": c.rooms.list(teamOf(claims))})
	})
	mux.HandleFunc("GET /api/rooms/{room}", func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		list, err := c.rooms.messages(teamOf(claims), r.PathValue("room"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		lines := make([]map[string]any, 0, len(list))
		for _, m := range list {
			lines = append(lines, map[string]any{"from": m.From, "text": m.Text, "time": m.Time})
		}
		answer(w, map[string]any{"messages": lines})
	})
	mux.HandleFunc("POST /api/rooms/{room}", func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		var in struct {
			Text string `json:"text"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 32<<10)).Decode(&in); err != nil {
			http.Error(w, "the body is not JSON", http.StatusBadRequest)
			return
		}
		err := c.rooms.post(teamOf(claims), r.PathValue("room"), message{From: claims.Subject, Subject: claims.Subject, Text: strings.TrimSpace(in.Text), Time: time.Now()})
		switch {
		case errors.Is(err, errNoRoom):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	return c.tokens.Middleware(mux)
}

// teamOf is whom a token's rooms belong to.
func teamOf(c *verify.Claims) team { return team{c.Issuer, c.Tenant} }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
