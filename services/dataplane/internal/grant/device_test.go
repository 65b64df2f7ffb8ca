// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

const aClient = "cli_app"

// asked issues a device code that waits ten minutes.
func asked(t *testing.T, s *Store, tenant id.Tenant, now time.Time) (deviceCode, userCode string) {
	t.Helper()
	deviceCode, userCode, err := s.IssueDeviceCode(t.Context(), tenant, Waiting{Client: aClient, Scopes: []string{"openid"}, From: "203.0.113.9"}, "203.0.113.9", now, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return deviceCode, userCode
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func TestDeviceCodeLife(t *testing.T) {
	s := newRig(t).store
	tenant, other, now := id.NewTenant(), id.NewTenant(), time.Now()
	deviceCode, userCode := asked(t, s, tenant, now)
	poll := func(tenant id.Tenant, client string, at time.Duration) (*Answered, error) {
		return s.PollDevice(t.Context(), tenant, deviceCode, client, now.Add(at))
	}
	_, err := poll(tenant, aClient, 0)
	wantErr(t, "first poll", err, ErrPending)
	_, err = poll(tenant, "cli_thief", time.Second)
	wantErr(t, "another client", err, ErrCodeUnknown)
	_, err = poll(other, aClient, time.Second)
	wantErr(t, "another tenant", err, ErrCodeUnknown)
	_, err = poll(tenant, aClient, 5*time.Second)
	wantErr(t, "poll in time, whatever others did", err, ErrPending)
	_, err = poll(tenant, aClient, 6*time.Second)
	slow, ok := errors.AsType[*SlowDownError](err)
	if !ok || slow.Interval != 10*time.Second {
		t.Fatalf("poll too soon: %v", err)
	}
	_, err = poll(tenant, aClient, 12*time.Second)
	if slow, ok = errors.AsType[*SlowDownError](err); !ok || slow.Interval != 15*time.Second {
		t.Fatalf("poll too soon again: %v", err)
	}

	_, err = s.Device(t.Context(), other, userCode, now)
	wantErr(t, "the user code at another tenant", err, ErrCodeUnknown)
	d, err := s.Device(t.Context(), tenant, userCode, now)
	if err != nil || d.Client != aClient || d.From != "203.0.113.9" {
		t.Fatalf("user code: %+v, %v", d, err)
	}
	user := id.NewUser()
	if err := s.DecideDevice(t.Context(), tenant, d, &CodeRecord{User: user, Client: aClient}, now); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "a second answer", s.DecideDevice(t.Context(), tenant, d, nil, now), ErrDecided)
	_, err = s.Device(t.Context(), tenant, userCode, now)
	wantErr(t, "the user code after the answer", err, ErrCodeUnknown)

	_, err = poll(tenant, "cli_thief", time.Minute)
	wantErr(t, "another client after the yes", err, ErrCodeUnknown)
	a, err := poll(tenant, aClient, time.Minute)
	if err != nil || a.Record.User != user {
		t.Fatalf("after the yes: %+v, %v", a, err)
	}
	_, err = poll(tenant, aClient, time.Minute)
	wantErr(t, "while it is held", err, ErrCodeBusy)
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, err = poll(tenant, aClient, time.Minute); err != nil {
		t.Fatalf("after a failed exchange: %v", err)
	}
	if err := a.Use(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	// The answer to Use was lost: nothing was delivered, so it must be there again.
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, err = poll(tenant, aClient, time.Minute); err != nil || a.Record.User != user {
		t.Fatalf("after a use that was lost: %v", err)
	}
	if err := a.Use(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	_, err = poll(tenant, aClient, time.Minute)
	wantErr(t, "a second use", err, ErrCodeUnknown)
}

func TestDeviceCodeDeniedAndExpired(t *testing.T) {
	s := newRig(t).store
	tenant, now := id.NewTenant(), time.Now()
	deviceCode, userCode := asked(t, s, tenant, now)
	d, err := s.Device(t.Context(), tenant, userCode, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DecideDevice(t.Context(), tenant, d, nil, now); err != nil {
		t.Fatal(err)
	}
	_, err = s.PollDevice(t.Context(), tenant, deviceCode, aClient, now)
	wantErr(t, "after a no", err, ErrDenied)

	deviceCode, userCode = asked(t, s, tenant, now)
	late := now.Add(10 * time.Minute)
	_, err = s.PollDevice(t.Context(), tenant, deviceCode, aClient, late)
	wantErr(t, "at the end", err, ErrExpired)
	_, err = s.Device(t.Context(), tenant, userCode, late)
	wantErr(t, "the user code at the end", err, ErrCodeUnknown)
	if d, err = s.Device(t.Context(), tenant, userCode, now); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "a yes at the end", s.DecideDevice(t.Context(), tenant, d, &CodeRecord{}, late), ErrDecided)

	// A yes in the last moment can still be collected, not for long.
	if err := s.DecideDevice(t.Context(), tenant, d, &CodeRecord{User: id.NewUser()}, late.Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	a, err := s.PollDevice(t.Context(), tenant, deviceCode, aClient, late.Add(4*time.Second))
	if err != nil {
		t.Fatalf("collected after the end: %v", err)
	}
	a.Release(t.Context())
	_, err = s.PollDevice(t.Context(), tenant, deviceCode, aClient, late.Add(time.Minute))
	wantErr(t, "collected long after the end", err, ErrExpired)
}

// One of many polls gets the yes, and one of many answers counts.
func TestDeviceCodeRace(t *testing.T) {
	s := newRig(t).store
	tenant, now := id.NewTenant(), time.Now()
	deviceCode, userCode := asked(t, s, tenant, now)
	d, err := s.Device(t.Context(), tenant, userCode, now)
	if err != nil {
		t.Fatal(err)
	}
	race := func(do func() bool) (winners int32) {
		var wg sync.WaitGroup
		var won atomic.Int32
		for range 32 {
			wg.Go(func() {
				if do() {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		return won.Load()
	}
	if n := race(func() bool { return s.DecideDevice(context.Background(), tenant, d, &CodeRecord{}, now) == nil }); n != 1 {
		t.Fatalf("%d answers counted", n)
	}
	if n := race(func() bool {
		a, err := s.PollDevice(context.Background(), tenant, deviceCode, aClient, now)
		return err == nil && a.Use(context.Background(), now) == nil
	}); n != 1 {
		t.Fatalf("%d polls were given the tokens", n)
	}
}

// A stranger's flood of device codes ends at the bound of its address, and leaves the others' alone.
func TestAttackDeviceCodeFlood(t *testing.T) {
	s := newRig(t).store
	tenant, now := id.NewTenant(), time.Now()
	issue := func(source string, now time.Time) error {
		_, _, err := s.IssueDeviceCode(t.Context(), tenant, Waiting{Client: aClient}, source, now, time.Minute)
		return err
	}
	for i := range maxDevicesOfAddress {
		if err := issue("192.0.2.1", now); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	wantErr(t, "one more", issue("192.0.2.1", now), ErrWaitingFull)
	if err := issue("192.0.2.2", now); err != nil {
		t.Fatalf("another address: %v", err)
	}
	if err := issue("192.0.2.1", now.Add(61*time.Second)); err != nil {
		t.Fatalf("after they have expired: %v", err)
	}
	_, _, err := s.IssueDeviceCode(t.Context(), tenant, Waiting{Client: aClient, AuthorizationDetails: strings.Repeat("x", MaxWaitingBytes)}, "", now, time.Minute)
	wantErr(t, "a large one", err, ErrWaitingSize)
}

func TestAttackUserCodeGuessing(t *testing.T) {
	s := newRig(t).store
	tenant := id.NewTenant()
	guess := func(name string) (func(context.Context), error) {
		return s.Guess(t.Context(), tenant, Guesser{"tenant", 8}, Guesser{name, 3})
	}
	for range 3 {
		if _, err := guess("a"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := guess("a")
	wantErr(t, "a fourth guess", err, ErrGuesses)
	right, err := guess("b")
	if err != nil {
		t.Fatalf("somebody else: %v", err)
	}
	right(t.Context())
	for i := range 5 {
		if _, err := guess(string(rune('c' + i))); err != nil {
			t.Fatalf("guesser %d of the tenant: %v", i, err)
		}
	}
	_, err = guess("z")
	wantErr(t, "the tenant's ninth", err, ErrGuesses)
	if _, err := s.Guess(t.Context(), id.NewTenant(), Guesser{"tenant", 8}, Guesser{"a", 3}); err != nil {
		t.Fatalf("another tenant: %v", err)
	}
}

func TestBackchannelRequests(t *testing.T) {
	s := newRig(t).store
	tenant, now := id.NewTenant(), time.Now()
	user, other := id.NewUser(), id.NewUser()
	issue := func(user id.User, at time.Duration) (string, Handle, error) {
		return s.IssueBackchannel(t.Context(), tenant, Waiting{Client: aClient, User: user, BindingMessage: "W4SCT", NotificationToken: "nt"}, now.Add(at), time.Minute)
	}
	reqID, h, err := issue(user, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxBackchannelOfUser - 1 {
		if _, _, err := issue(user, time.Duration(i+1)*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = issue(user, 9*time.Second)
	wantErr(t, "a person who is asked too much", err, ErrWaitingFull)
	if _, _, err := issue(other, 0); err != nil {
		t.Fatal(err)
	}
	list, err := s.Backchannels(t.Context(), tenant, user, now)
	if err != nil || len(list) != MaxBackchannelOfUser || list[0].Handle != h || list[0].RequestID != reqID {
		t.Fatalf("%d requests, %v", len(list), err)
	}
	_, err = s.Backchannel(t.Context(), tenant, h, other, now)
	wantErr(t, "another person's request", err, ErrCodeUnknown)
	_, err = s.Backchannel(t.Context(), id.NewTenant(), h, user, now)
	wantErr(t, "another tenant's request", err, ErrCodeUnknown)

	if err := s.DecideBackchannel(t.Context(), tenant, list[0], &CodeRecord{User: user}, now); err != nil {
		t.Fatal(err)
	}
	if list, err = s.Backchannels(t.Context(), tenant, user, now); err != nil || len(list) != MaxBackchannelOfUser-1 {
		t.Fatalf("after one answer %d, %v", len(list), err)
	}
	if _, _, err := issue(user, 10*time.Second); err != nil {
		t.Fatalf("an answer makes room: %v", err)
	}
	_, err = s.PollBackchannel(t.Context(), tenant, h.String(), aClient, now)
	wantErr(t, "polling with what the page knows", err, ErrCodeUnknown)
	_, err = s.PollDevice(t.Context(), tenant, reqID, aClient, now)
	wantErr(t, "as a device code", err, ErrCodeUnknown)
	if a, err := s.PollBackchannel(t.Context(), tenant, reqID, aClient, now); err != nil || a.Record.User != user {
		t.Fatalf("poll: %v", err)
	}
}

// What a person reads in Redis is neither a secret nor can be moved.
func TestAttackMovedWaitingRequest(t *testing.T) {
	r := newRig(t)
	s, rdb := r.store, r.raw
	tenant, now := id.NewTenant(), time.Now()
	first, userCode := asked(t, s, tenant, now)
	second, _ := asked(t, s, tenant, now)
	d, err := s.Device(t.Context(), tenant, userCode, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DecideDevice(t.Context(), tenant, d, &CodeRecord{User: id.NewUser()}, now); err != nil {
		t.Fatal(err)
	}
	hash := func(code string) string { h := hashOf(code); return key("dv", tenant, h[:]) }
	yes, err := rdb.HGet(t.Context(), hash(first), "g").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.HSet(t.Context(), hash(second), "s", "a", "g", yes).Err(); err != nil {
		t.Fatal(err)
	}
	_, err = s.PollDevice(t.Context(), tenant, second, aClient, now)
	wantErr(t, "another request's yes", err, ErrCodeUnknown)
	all, err := rdb.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if strings.Contains(k, first) || strings.Contains(k, userCode) {
			t.Errorf("key %q shows a code", k)
		}
	}
}
