// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
)

// TestACodeExchangeAsksRedisTwiceAndTheDatabaseOnce counts what goes over the wires: a code is taken and made used, and its refresh
// family is one batch. Whatever else an exchange has to know must come along with these.
func TestACodeExchangeAsksRedisTwiceAndTheDatabaseOnce(t *testing.T) {
	r := newRig(t)
	offline := func(rec *grant.CodeRecord) { rec.Scopes = []string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess} }
	r.issue(r.hooli, r.hooli.web, offline) // connections and scripts are there from now on
	code := r.code(r.hooli, r.hooli.web, offline)

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", strings.TrimPrefix(r.redisURL, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	if ok, err := lines.ReadString('\n'); err != nil || ok != "+OK\r\n" {
		t.Fatalf("MONITOR: %q, %v", ok, err)
	}
	var calls atomic.Int32
	count := func() { calls.Add(1) }
	r.identity.mu.Lock()
	r.identity.hooks = map[string]func(){
		"CreateFamily": count, "Rotate": count, "Family": count, "RevokeGrant": count, "Revoke": count, "GetUser": count, "Revocations": count,
	}
	r.identity.mu.Unlock()
	if got := r.exchange(r.hooli, r.hooli.web, code); got.StatusCode != http.StatusOK || got.str("refresh_token") == "" {
		t.Fatalf("exchange: %d %s", got.StatusCode, got.raw)
	}
	if err := r.redis.Set(t.Context(), "the-end", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	var asked []string
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "the-end") {
			break
		}
		// A script's own commands travel nowhere, and a connection says hello once.
		if _, command, ok := strings.Cut(line, "] "); ok && !strings.Contains(line, " lua]") && !strings.HasPrefix(strings.ToLower(command), `"hello"`) {
			asked = append(asked, strings.TrimSpace(command))
		}
	}
	if len(asked) == 0 || len(asked) > 2 {
		t.Errorf("%d round trips to Redis, 1 or 2 wanted:\n%s", len(asked), strings.Join(asked, "\n"))
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls of the identity database, 1 wanted", n)
	}
}
