// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

func sealer(t testing.TB) (*Service, *snapshot.Tenant) {
	t.Helper()
	ring, err := secret.NewKeyring(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &Service{keyring: ring}, &snapshot.Tenant{ID: id.NewTenant()}
}

// TestSealedRequestKeepsWhatCounts: the time to the microsecond, the parameters in their order, nothing that means nothing, and no
// text of the request is readable in the URL.
func TestSealedRequestKeepsWhatCounts(t *testing.T) {
	s, tenant := sealer(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	params, err := oauth2.ParseParams("client_id=c&state=secret-state&utm_source=spam&resource=a&resource=b&login_hint=gavin%40hooli.example&id_token_hint=x")
	if err != nil {
		t.Fatal(err)
	}
	p := arrived(&web.Request{Start: now}, params)
	p.params, p.hint = p.params.With("id_token_hint", ""), id.NewUser()
	handle := s.seal(tenant, p)
	for _, text := range []string{"secret", "gavin", "uid"} {
		if strings.Contains(handle, text) {
			t.Errorf("%q is readable", text)
		}
	}
	got, err := s.unseal(tenant, handle)
	if err != nil || !got.created.Equal(now) || got.hint != p.hint ||
		got.params.Encode() != "client_id=c&state=secret-state&resource=a&resource=b&login_hint=gavin%40hooli.example" {
		t.Errorf("%+v %v", got, err)
	}
}

// FuzzUnseal: a handle that was not sealed here never opens, whatever it is, and never breaks anything.
func FuzzUnseal(f *testing.F) {
	s, tenant := sealer(f)
	good := s.seal(tenant, pending{created: time.Unix(1, 0)})
	for _, seed := range []string{"", "A", good, good[:len(good)-4], strings.Repeat("A", 100), good + "="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, handle string) {
		if _, err := s.unseal(tenant, handle); err == nil && handle != good {
			t.Errorf("%q opens", handle)
		}
	})
}

func TestAMailWaitsForATenantThatIsAway(t *testing.T) {
	cause := errors.New("unknown tenant")
	for _, c := range []struct {
		age  time.Duration
		want time.Duration // 0 means given up
	}{
		{time.Second, 10 * time.Second},
		{time.Hour, 10 * time.Minute},
		{30 * 24 * time.Hour, 10 * time.Minute},
		{32 * 24 * time.Hour, 0},
	} {
		err := postponed(c.age, cause)
		snooze, waits := errors.AsType[*river.JobSnoozeError](err)
		switch {
		case c.want == 0 && !errors.Is(err, cause):
			t.Errorf("after %v: %v, want it given up with its cause", c.age, err)
		case c.want != 0 && (!waits || snooze.Duration != c.want):
			t.Errorf("after %v: %v, want a pause of %v", c.age, err, c.want)
		}
	}
}
