// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oidc"
)

func record() CodeRecord {
	return CodeRecord{
		Grant: id.NewGrant(), Client: id.NewClient().String(), RedirectURI: "https://app.example/cb", CodeChallenge: strings.Repeat("c", 43),
		Scopes: []string{"openid", "email"}, Nonce: "n-0S6_WzA2Mj", Claims: `{"userinfo":{"name":null}}`,
		User: id.NewUser(), Session: id.NewSession(), AuthTime: time.Unix(1_700_000_000, 0).UTC(), ACR: "urn:tenantry:acr:pwd",
		AMR: []string{"pwd"}, Roles: []string{"admin"}, Groups: []string{"eng"}, UserClaims: &oidc.UserClaims{Name: "Gavin Belson"},
	}
}

func (r *rig) issue(t *testing.T, rec CodeRecord, ttl time.Duration) string {
	t.Helper()
	code, err := r.store.IssueCode(t.Context(), r.tenant, rec, time.Now(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestCodeCarriesItsRecord(t *testing.T) {
	r := newRig(t)
	want := record()
	code := r.issue(t, want, 30*time.Second)
	if len(code) != codeLen {
		t.Fatalf("code of %d characters", len(code))
	}
	taken, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got := taken.Record
	if left := time.Until(got.Expire); left > 30*time.Second || left < 25*time.Second {
		t.Errorf("expires in %v", left)
	}
	got.Expire = time.Time{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("record changed:\n got %+v\nwant %+v", got, want)
	}
}

func TestNothingAtRestNamesTheCodeOrTheUser(t *testing.T) {
	r := newRig(t)
	rec := record()
	code := r.issue(t, rec, 30*time.Second)
	for _, k := range r.raw.Keys(t.Context(), "*").Val() {
		dump := []byte(k + r.raw.HGet(t.Context(), k, "v").Val())
		for _, canary := range []string{code, rec.User.String(), rec.Nonce, "Gavin"} {
			if bytes.Contains(dump, []byte(canary)) {
				t.Errorf("%q is readable in Redis", canary)
			}
		}
		if !strings.HasPrefix(k, "cd:{"+r.tenant.String()+"}:") {
			t.Errorf("key %q does not begin with the tenant's hash tag", k)
		}
		if ttl := r.raw.PTTL(t.Context(), k).Val(); ttl <= 0 || ttl > 30*time.Second {
			t.Errorf("key lives %v", ttl)
		}
	}
}

func TestCodeIsUsedOnceAndTheSecondUseNamesTheGrant(t *testing.T) {
	r := newRig(t)
	rec := record()
	code := r.issue(t, rec, 30*time.Second)
	taken, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	if err := taken.Use(t.Context(), until); err != nil {
		t.Fatal(err)
	}
	_, err = r.open(t).TakeCode(t.Context(), r.tenant, code, time.Now())
	var used *CodeUsedError
	if !errors.As(err, &used) || used.Grant != rec.Grant || !used.Until.Equal(until) {
		t.Fatalf("second use: %v", err)
	}
	// The mark lives as long as the tokens, not as the code, and holds nothing of the record any more.
	k := r.raw.Keys(t.Context(), "cd:*").Val()
	if ttl := r.raw.PTTL(t.Context(), k[0]).Val(); ttl < 59*time.Minute {
		t.Errorf("used mark lives %v", ttl)
	}
	if r.raw.HExists(t.Context(), k[0], "v").Val() {
		t.Error("the sealed record outlives the exchange")
	}
	if _, err = r.store.TakeCode(t.Context(), r.tenant, code, time.Now()); !errors.As(err, &used) {
		t.Fatalf("third use: %v", err)
	}
}

// A call whose answer is lost is sent again, by the client library or by us; the second one must find its own work done.
func TestEveryStepMayRunTwice(t *testing.T) {
	r := newRig(t)
	code := r.issue(t, record(), 30*time.Second)
	taken, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h := hashOf(code)
	again, err := takeScript.Run(t.Context(), r.raw, []string{key(kindCode, r.tenant, h[:])}, taken.nonce, lease.Milliseconds()).StringSlice()
	if err != nil || again[0] != "taken" {
		t.Fatalf("take again: %v %v", again, err)
	}
	for range 2 {
		if err := taken.Use(t.Context(), time.Now().Add(time.Minute)); err != nil {
			t.Fatalf("use: %v", err)
		}
	}
	for range 2 {
		if err := taken.Release(t.Context()); err != nil {
			t.Fatalf("release: %v", err)
		}
	}
	// The answer to Use was lost, so nothing was delivered: the code is as fresh as it was, and no older.
	k := r.raw.Keys(t.Context(), "cd:*").Val()[0]
	if ttl := r.raw.PTTL(t.Context(), k).Val(); ttl > 30*time.Second {
		t.Errorf("a release made the code live %v", ttl)
	}
	if _, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now()); err != nil {
		t.Fatalf("after an undelivered use: %v", err)
	}
}

func TestReleasedCodeWorksAgain(t *testing.T) {
	r := newRig(t)
	code := r.issue(t, record(), 30*time.Second)
	for range 3 {
		taken, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := taken.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSixteenExchangesOneWinner(t *testing.T) {
	r := newRig(t)
	rec := record()
	code := r.issue(t, rec, 30*time.Second)
	var won, reused atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 16 {
		store := r.open(t)
		wg.Go(func() {
			<-start
			taken, err := store.TakeCode(t.Context(), r.tenant, code, time.Now())
			var used *CodeUsedError
			switch {
			case errors.As(err, &used) && used.Grant == rec.Grant:
				reused.Add(1)
			case err != nil:
				t.Errorf("loser was told %v", err)
			default:
				time.Sleep(20 * time.Millisecond) // the exchange; the others meet a taken code
				if err := taken.Use(t.Context(), time.Now().Add(time.Minute)); err != nil {
					t.Error(err)
				}
				won.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	if won.Load() != 1 || reused.Load() != 15 {
		t.Fatalf("%d winners, %d were told of the reuse", won.Load(), reused.Load())
	}
}

func TestWaiterTakesACodeThatWasReleased(t *testing.T) {
	r := newRig(t)
	code := r.issue(t, record(), 30*time.Second)
	first, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := first.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestOvertakenExchangeMayNotDeliverOrRelease(t *testing.T) {
	r := newRig(t)
	code := r.issue(t, record(), 30*time.Second)
	slow, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// The lease ends.
	k := r.raw.Keys(t.Context(), "cd:*").Val()[0]
	if err := r.raw.HSet(t.Context(), k, "u", "1").Err(); err != nil {
		t.Fatal(err)
	}
	quick, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.raw.HGet(t.Context(), k, "n").Val(); n != quick.nonce {
		t.Fatal("an overtaken exchange released another's code")
	}
	if err := slow.Use(t.Context(), time.Now().Add(time.Minute)); !errors.Is(err, ErrCodeLost) {
		t.Fatalf("overtaken exchange: %v", err)
	}
	if err := quick.Use(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func TestCodeThatExpiresDuringItsExchangeIsStillMarkedUsed(t *testing.T) {
	r := newRig(t)
	code := r.issue(t, record(), 60*time.Millisecond)
	taken, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "key expires", func() bool { return len(r.raw.Keys(t.Context(), "cd:*").Val()) == 0 })
	if err := taken.Use(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var used *CodeUsedError
	if _, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now()); !errors.As(err, &used) {
		t.Fatalf("reuse: %v", err)
	}
}

func TestCodeOfAnotherTenantIsUnknown(t *testing.T) {
	r := newRig(t)
	code := r.issue(t, record(), 30*time.Second)
	if _, err := r.store.TakeCode(t.Context(), id.NewTenant(), code, time.Now()); !errors.Is(err, ErrCodeUnknown) {
		t.Fatal(err)
	}
	if _, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now()); err != nil {
		t.Fatalf("the attempt harmed the code: %v", err)
	}
}

// Attacks of somebody who can write to Redis (PROMISES.md R-65).
func TestRedisWriterCannotForgeMoveOrExtendCodes(t *testing.T) {
	r := newRig(t)
	other := id.NewTenant()
	mine := r.issue(t, record(), 30*time.Second)
	mineKey := r.raw.Keys(t.Context(), "cd:*").Val()[0]
	sealed := r.raw.HGet(t.Context(), mineKey, "v").Val()
	second := r.issue(t, record(), 30*time.Second)

	put := func(tenant id.Tenant, code, value string) {
		h := hashOf(code)
		if err := r.raw.HSet(t.Context(), key(kindCode, tenant, h[:]), "v", value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	forged := strings.Repeat("A", codeLen)
	plain, _ := json.Marshal(record())
	put(r.tenant, forged, string(plain))
	put(other, mine, sealed)
	put(r.tenant, second, sealed)
	for name, try := range map[string]struct {
		tenant id.Tenant
		code   string
	}{
		"plain record":            {r.tenant, forged},
		"moved to another tenant": {other, mine},
		"moved to another code":   {r.tenant, second},
	} {
		if _, err := r.store.TakeCode(t.Context(), try.tenant, try.code, time.Now()); !errors.Is(err, ErrCodeUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.raw.Persist(t.Context(), mineKey).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.TakeCode(t.Context(), r.tenant, mine, time.Now().Add(31*time.Second)); !errors.Is(err, ErrCodeUnknown) {
		t.Errorf("code kept past its life: %v", err)
	}
	if err := r.raw.HSet(t.Context(), mineKey, "x", "junk").Err(); err != nil {
		t.Fatal(err)
	}
	var used *CodeUsedError
	if _, err := r.store.TakeCode(t.Context(), r.tenant, mine, time.Now()); !errors.Is(err, ErrCodeUnknown) || errors.As(err, &used) {
		t.Errorf("forged used mark: %v", err)
	}
}

func TestWhatCannotBeACodeNeverReachesRedis(t *testing.T) {
	r := newRig(t)
	r.link.set(true)
	for _, code := range []string{"", "x", strings.Repeat("a", 42), strings.Repeat("a", 44), strings.Repeat("a", 42) + "=", strings.Repeat("a", 42) + "}", strings.Repeat("\xff", 43)} {
		if _, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now()); !errors.Is(err, ErrCodeUnknown) {
			t.Errorf("%q: %v", code, err)
		}
	}
}

func TestCodesFailClosedWithoutRedis(t *testing.T) {
	r := newRig(t)
	code := r.issue(t, record(), 30*time.Second)
	r.link.set(true)
	if _, err := r.store.IssueCode(t.Context(), r.tenant, record(), time.Now(), time.Second); !errors.Is(err, ErrUnavailable) {
		t.Errorf("issue: %v", err)
	}
	if _, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("take: %v", err)
	}
	r.link.set(false)
	eventually(t, "code works again", func() bool {
		_, err := r.store.TakeCode(t.Context(), r.tenant, code, time.Now())
		return err == nil
	})
}
