// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/pkg/id"
)

func TestPairwiseSubject(t *testing.T) {
	salt, other := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{8}, 32)
	user := id.NewUser()
	sub := PairwiseSubject(salt, "app.example", user)
	if len(sub) != len("pwu_")+26 || !strings.HasPrefix(sub, "pwu_") {
		t.Fatalf("subject %q", sub)
	}
	if again := PairwiseSubject(salt, "app.example", user); again != sub {
		t.Errorf("%q, then %q", sub, again)
	}
	back, err := OpenPairwise(salt, "app.example", sub)
	if err != nil || back != user {
		t.Errorf("opened as %s, %v; want %s", back, err, user)
	}
	seen := map[string]string{sub: "itself"}
	for name, s := range map[string]string{
		"another sector": PairwiseSubject(salt, "b.example", user),
		"another salt":   PairwiseSubject(other, "app.example", user),
		"another user":   PairwiseSubject(salt, "app.example", id.NewUser()),
		"the user's id":  user.String(),
	} {
		if was, twice := seen[s]; twice {
			t.Errorf("%s has the subject of %s", name, was)
		}
		seen[s] = name
	}
}

// TestPairwiseSubjectOfAnotherSector: clients of two sectors that compare what they know must not find the user by asking us.
func TestPairwiseSubjectOfAnotherSector(t *testing.T) {
	salt := bytes.Repeat([]byte{7}, 32)
	user := id.NewUser()
	sub := PairwiseSubject(salt, "a.example", user)
	if back, err := OpenPairwise(salt, "b.example", sub); err == nil && back == user {
		t.Error("a foreign sector's subject opens as the user")
	}
	for name, text := range map[string]string{
		"a user's id": user.String(), "empty": "", "short": sub[:len(sub)-1], "long": sub + "0", "upper case": strings.ToUpper(sub),
		"bits that do not fit": "pwu_z" + sub[5:], "no prefix": strings.TrimPrefix(sub, "pwu_"),
	} {
		if _, err := OpenPairwise(salt, "a.example", text); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestPairwiseNeedsASalt(t *testing.T) {
	user := id.NewUser()
	for _, salt := range [][]byte{nil, make([]byte, 16)} {
		if sub := PairwiseSubject(salt, "a.example", user); sub != "" {
			t.Errorf("salt of %d bytes: %q", len(salt), sub)
		}
	}
	if PairwiseSubject(make([]byte, 32), "", user) != "" || PairwiseSubject(make([]byte, 32), "a.example", id.User{}) != "" {
		t.Error("a subject without sector or user")
	}
}

func BenchmarkPairwiseSubject(b *testing.B) {
	salt, user := bytes.Repeat([]byte{7}, 32), id.NewUser()
	b.ReportAllocs()
	for b.Loop() {
		if PairwiseSubject(salt, "app.example", user) == "" {
			b.Fatal("no subject")
		}
	}
}
