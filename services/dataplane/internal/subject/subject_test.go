// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package subject

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

func TestSubjects(t *testing.T) {
	hooli := &snapshot.Tenant{PairwiseSalt: bytes.Repeat([]byte{1}, 32)}
	raviga := &snapshot.Tenant{PairwiseSalt: bytes.Repeat([]byte{2}, 32)}
	public := &oauth2.Client{ID: "public"}
	a := &oauth2.Client{ID: "a", Protocol: oauth2.Protocol{Pairwise: true, Sector: "a.example"}}
	b := &oauth2.Client{ID: "b", Protocol: oauth2.Protocol{Pairwise: true, Sector: "b.example"}}
	user := id.NewUser()
	if sub := For(hooli, public, user); sub != user.String() {
		t.Errorf("public: %q", sub)
	}
	for _, c := range []*oauth2.Client{public, a, b} {
		if back, err := User(hooli, c, For(hooli, c, user)); err != nil || back != user {
			t.Errorf("%s: %v, %v", c.ID, back, err)
		}
	}
	for name, got := range map[string]struct {
		t   *snapshot.Tenant
		c   *oauth2.Client
		sub string
	}{
		"another sector's":            {hooli, b, For(hooli, a, user)},
		"another tenant's":            {raviga, a, For(hooli, a, user)},
		"a plain id of a pairwise":    {hooli, a, user.String()},
		"a pairwise one of a public":  {hooli, public, For(hooli, a, user)},
		"nothing":                     {hooli, a, ""},
		"a pairwise one without salt": {&snapshot.Tenant{}, a, For(hooli, a, user)},
	} {
		if back, err := User(got.t, got.c, got.sub); err == nil && back == user {
			t.Errorf("%s subject: opened as the user", name)
		} else if err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s subject: %v", name, err)
		}
	}
	if sub := For(&snapshot.Tenant{}, a, user); sub != "" {
		t.Errorf("a pairwise subject without salt: %q", sub)
	}
}
