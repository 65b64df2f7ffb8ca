// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

func pushed(t *testing.T, query string) PushedRequest {
	t.Helper()
	p, err := oauth2.ParseParams(query)
	if err != nil {
		t.Fatal(err)
	}
	return PushedRequest{Client: id.NewClient().String(), Params: p, DPoPJKT: strings.Repeat("k", 43), Signed: true}
}

func (r *rig) push(t *testing.T, req PushedRequest) string {
	t.Helper()
	uri, err := r.store.PutRequest(t.Context(), r.tenant, req, time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return uri
}

func TestPushedRequestIsReadAsItWas(t *testing.T) {
	r := newRig(t)
	want := pushed(t, "client_id=c&scope=openid+email&claims=%7B%0A%22a%22%3Anull%7D&state=%C3%A9%26%3D&resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb")
	uri := r.push(t, want)
	if len(uri) != len(RequestURIPrefix)+43 || !strings.HasPrefix(uri, RequestURIPrefix) {
		t.Errorf("request_uri %q", uri)
	}
	for range 2 { // reading does not end it
		got, err := r.open(t).Request(t.Context(), r.tenant, uri, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got.Client != want.Client || got.Params.Encode() != want.Params.Encode() || got.DPoPJKT != want.DPoPJKT || !got.Signed ||
			time.Until(got.Expire) > time.Minute {
			t.Errorf("got %+v", got)
		}
	}
}

func TestPushedRequestIsUnknown(t *testing.T) {
	r := newRig(t)
	uri := r.push(t, pushed(t, "a=b"))
	for name, try := range map[string]struct {
		tenant id.Tenant
		uri    string
		now    time.Time
	}{
		"at another tenant (R-40)":           {id.NewTenant(), uri, time.Now()},
		"after its end, whatever Redis says": {r.tenant, uri, time.Now().Add(time.Minute)},
		"never made":                         {r.tenant, RequestURIPrefix + strings.Repeat("A", 43), time.Now()},
		"without its prefix":                 {r.tenant, uri[len(RequestURIPrefix):], time.Now()},
		"too long":                           {r.tenant, uri + "A", time.Now()},
		"empty":                              {r.tenant, "", time.Now()},
	} {
		if _, err := r.store.Request(t.Context(), try.tenant, try.uri, try.now); !errors.Is(err, ErrRequestUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// PROMISES.md R-65: who can write to Redis can delete a request, but make none and move none.
func TestPushedRequestCannotBeForged(t *testing.T) {
	r := newRig(t)
	uri := r.push(t, pushed(t, "redirect_uri=https%3A%2F%2Fapp.example"))
	k := requestKeys(r.tenant, uri)[0]
	sealed, err := r.raw.Get(t.Context(), k).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("app.example")) || strings.Contains(k, uri[len(RequestURIPrefix):]) {
		t.Error("the request lies open in Redis")
	}
	other := id.NewTenant()
	for name, forge := range map[string]func() (id.Tenant, string){
		"changed": func() (id.Tenant, string) {
			bad := bytes.Clone(sealed)
			bad[len(bad)-1] ^= 1
			r.raw.Set(t.Context(), k, bad, time.Minute)
			return r.tenant, uri
		},
		"moved to another address": func() (id.Tenant, string) {
			u := RequestURIPrefix + strings.Repeat("B", 43)
			r.raw.Set(t.Context(), requestKeys(r.tenant, u)[0], sealed, time.Minute)
			return r.tenant, u
		},
		"moved to another tenant": func() (id.Tenant, string) {
			r.raw.Set(t.Context(), requestKeys(other, uri)[0], sealed, time.Minute)
			return other, uri
		},
	} {
		tenant, u := forge()
		if _, err := r.store.Request(t.Context(), tenant, u, time.Now()); !errors.Is(err, ErrRequestUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPushedRequestEndsOnce(t *testing.T) {
	r := newRig(t)
	uri := r.push(t, pushed(t, "a=b"))
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ok, err := r.store.EndRequest(t.Context(), r.tenant, uri)
			if err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d may answer it", won.Load())
	}
	if _, err := r.store.Request(t.Context(), r.tenant, uri, time.Now()); !errors.Is(err, ErrRequestUnknown) {
		t.Errorf("after its end: %v", err)
	}
}

// Two browsers complete one pushed request at the same moment: one code.
func TestPushedRequestGivesOneCode(t *testing.T) {
	r := newRig(t)
	rec := record()
	rec.RequestURI = r.push(t, pushed(t, "a=b"))
	var codes atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch _, err := r.store.IssueCode(t.Context(), r.tenant, rec, time.Now(), time.Minute); {
			case err == nil:
				codes.Add(1)
			case !errors.Is(err, ErrRequestUnknown):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if codes.Load() != 1 {
		t.Errorf("%d codes for one request", codes.Load())
	}
}

// Anybody can push large requests for a public client and open each of them, which keeps it for the length of a login: all that stays is
// the word that nobody has answered it.
func TestHeldRequestTakesLittleMemory(t *testing.T) {
	r, ctx := newRig(t), context.Background()
	rec := record()
	rec.RequestURI = r.push(t, pushed(t, "a="+strings.Repeat("x", 8000)))
	if err := r.store.HoldRequest(ctx, r.tenant, rec.RequestURI, time.Hour); err != nil {
		t.Fatal(err)
	}
	keys := requestKeys(r.tenant, rec.RequestURI)
	if life := r.raw.TTL(ctx, keys[0]).Val(); life > 10*time.Minute {
		t.Errorf("8 KB of a stranger's are kept for %s", life)
	}
	if life := r.raw.TTL(ctx, keys[1]).Val(); life < 50*time.Minute || r.raw.StrLen(ctx, keys[1]).Val() > 64 {
		t.Errorf("%d bytes for %s", r.raw.StrLen(ctx, keys[1]).Val(), life)
	}
	r.raw.Del(ctx, keys[0]) // its own time is over, and the person logs in now
	if _, err := r.store.Request(ctx, r.tenant, rec.RequestURI, time.Now()); !errors.Is(err, ErrRequestUnknown) {
		t.Errorf("opened after its end: %v", err)
	}
	if _, err := r.store.IssueCode(ctx, r.tenant, rec, time.Now(), time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := r.store.IssueCode(ctx, r.tenant, rec, time.Now(), time.Minute); !errors.Is(err, ErrRequestUnknown) {
		t.Errorf("answered twice: %v", err)
	}
	if err := r.store.HoldRequest(ctx, r.tenant, rec.RequestURI, time.Hour); err != nil || r.raw.Exists(ctx, keys...).Val() != 0 {
		t.Errorf("what is gone came back: %v", err)
	}
}

func TestPushedRequestsAreBounded(t *testing.T) {
	r := newRig(t)
	if _, err := r.store.PutRequest(t.Context(), r.tenant, pushed(t, "a="+strings.Repeat("x", 8000)+"&b="+strings.Repeat("x", 8000)+"&c="+strings.Repeat("x", 1000)),
		time.Now(), time.Minute); !errors.Is(err, ErrRequestTooLarge) {
		t.Errorf("large: %v", err)
	}
	r.store.requestQuota = 16 << 10
	flood := func(req PushedRequest) (n int) {
		for ; n < 1000; n++ {
			if _, err := r.store.PutRequest(t.Context(), r.tenant, req, time.Now(), time.Minute); errors.Is(err, ErrRequestQuota) {
				return n
			} else if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	public := pushed(t, "a="+strings.Repeat("x", 300))
	public.Public, public.Source = true, "192.0.2.1"
	few := flood(public)
	public.Client = id.NewClient().String()
	if n := flood(public); n != 0 {
		t.Errorf("%d more from the same address by another client_id", n)
	}
	public.Source = "192.0.2.2"
	if n := flood(public); n != few {
		t.Errorf("%d from another address, want %d", n, few)
	}
	if n := flood(pushed(t, "a="+strings.Repeat("x", 300))); n <= few || n == 1000 {
		t.Errorf("a client that has proven itself may make %d, one that has not %d", n, few)
	}
	if flood(pushed(t, "a=b")); flood(pushed(t, "a=b")) != 0 {
		t.Error("the tenant's bound does not hold")
	}
	r.tenant = id.NewTenant()
	if flood(pushed(t, "a=b")) == 0 {
		t.Error("one tenant's flood stops another")
	}
}
