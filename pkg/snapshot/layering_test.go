// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// A new field of Policy without a row in the table would be dropped by every merge.
func TestEveryPolicyFieldHasARow(t *testing.T) {
	var want []string
	sections := (&snapshotv1.Policy{}).ProtoReflect().Descriptor().Fields()
	for i := range sections.Len() {
		leaves := sections.Get(i).Message().Fields()
		for n := range leaves.Len() {
			want = append(want, string(sections.Get(i).Name())+"."+string(leaves.Get(n).Name()))
			if !leaves.Get(n).HasPresence() {
				t.Errorf("%s has no presence: it could not inherit", want[len(want)-1])
			}
		}
	}
	if got := Fields(); !slices.Equal(got, want) {
		t.Errorf("rows %v, fields %v", got, want)
	}
}

func TestPlatformDefaultsAreCompleteAndWithinBounds(t *testing.T) {
	p := PlatformDefaults()
	for i := range policyFields {
		f := &policyFields[i]
		v, ok := f.get(p)
		if !ok {
			t.Errorf("%s is not set", f.path)
			continue
		}
		if err := f.bounds(v); err != nil && v.Interface() != "" {
			t.Errorf("%s: %v", f.path, err)
		}
	}
	if got := platformLayer().policy; got.AccessTTL != 10*time.Minute || got.CodeTTL != 30*time.Second || got.AccessAlg != "ES256" {
		t.Errorf("%+v", got)
	}
}

func tokenPolicy(access time.Duration) *snapshotv1.Policy {
	return &snapshotv1.Policy{Token: &snapshotv1.TokenPolicy{AccessTtl: durationpb.New(access)}}
}

func TestNearestLayerWinsAndListsReplace(t *testing.T) {
	platform := PlatformDefaults()
	org := tokenPolicy(5 * time.Minute)
	org.Cors = &snapshotv1.CorsPolicy{Origins: &snapshotv1.StringList{Values: []string{"https://a.example", "https://b.example"}}}
	revision := &snapshotv1.Policy{Token: &snapshotv1.TokenPolicy{AccessAlg: proto.String("EdDSA")}}
	layer := &snapshotv1.Layer{Policy: MergePolicies(org, nil, revision)}
	overrides := &snapshotv1.Policy{
		Cors:         &snapshotv1.CorsPolicy{Origins: &snapshotv1.StringList{}},
		Registration: &snapshotv1.RegistrationPolicy{Enabled: proto.Bool(false)},
	}
	got, origins, err := ResolveTenant(layer, overrides)
	if err != nil {
		t.Fatal(err)
	}
	view := policyView(got)
	if view.AccessTTL != 5*time.Minute || view.AccessAlg != "EdDSA" || len(view.CORSOrigins) != 0 || view.RegistrationEnabled || view.RefreshTTL != 30*day {
		t.Errorf("%+v", view)
	}
	source := map[string]Source{}
	for _, o := range origins {
		source[o.Path] = o.Source
	}
	for path, want := range map[string]Source{
		"token.access_ttl": FromLayer, "token.access_alg": FromLayer, "cors.origins": FromTenant, "registration.enabled": FromTenant,
		"session.idle_ttl": FromPlatform,
	} {
		if source[path] != want {
			t.Errorf("%s comes from %s, want %s", path, source[path], want)
		}
	}
	if !proto.Equal(platform, PlatformDefaults()) {
		t.Error("the defaults were changed")
	}
}

func TestLockedFieldMayOnlyBecomeStricter(t *testing.T) {
	str := func(s ...string) *snapshotv1.StringList { return &snapshotv1.StringList{Values: s} }
	type P = snapshotv1.Policy
	for _, c := range []struct {
		path                 string
		above, loose, strict *P
	}{
		{"token.access_ttl", tokenPolicy(5 * time.Minute), tokenPolicy(6 * time.Minute), tokenPolicy(4 * time.Minute)},
		{
			"password.min_length", &P{Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(12)}},
			&P{Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(11)}}, &P{Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(13)}},
		},
		{
			"password.common_check", &P{Password: &snapshotv1.PasswordPolicy{CommonCheck: proto.Bool(true)}},
			&P{Password: &snapshotv1.PasswordPolicy{CommonCheck: proto.Bool(false)}}, &P{Password: &snapshotv1.PasswordPolicy{CommonCheck: proto.Bool(true)}},
		},
		{
			"registration.enabled", &P{Registration: &snapshotv1.RegistrationPolicy{Enabled: proto.Bool(false)}},
			&P{Registration: &snapshotv1.RegistrationPolicy{Enabled: proto.Bool(true)}}, &P{Registration: &snapshotv1.RegistrationPolicy{Enabled: proto.Bool(false)}},
		},
		{
			"cors.origins", &P{Cors: &snapshotv1.CorsPolicy{Origins: str("https://a.example", "https://b.example")}},
			&P{Cors: &snapshotv1.CorsPolicy{Origins: str("https://a.example", "https://c.example")}}, &P{Cors: &snapshotv1.CorsPolicy{Origins: str("https://b.example")}},
		},
		{
			"token.access_alg", &P{Token: &snapshotv1.TokenPolicy{AccessAlg: proto.String("ES256")}},
			&P{Token: &snapshotv1.TokenPolicy{AccessAlg: proto.String("RS256")}}, &P{Token: &snapshotv1.TokenPolicy{AccessAlg: proto.String("ES256")}},
		},
	} {
		locked := []string{c.path}
		if v := CheckOverrides(locked, c.above, c.loose); len(v) != 1 || v[0].Path != c.path {
			t.Errorf("%s: a looser value: %v", c.path, v)
		}
		if v := CheckOverrides(nil, c.above, c.loose); len(v) != 0 {
			t.Errorf("%s: a looser value without a lock: %v", c.path, v)
		}
		if v := CheckOverrides(locked, c.above, c.strict); len(v) != 0 {
			t.Errorf("%s: a stricter value: %v", c.path, v)
		}
		// A lock that comes after the override does not break the tenant: the layer's value counts.
		layer := &snapshotv1.Layer{Policy: c.above, Locked: locked}
		for _, overrides := range []*P{c.loose, c.strict} {
			got, origins, err := ResolveTenant(layer, overrides)
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(policyFields, func(f policyField) bool { return f.path == c.path })
			want, wantSource := c.above, FromLock
			if overrides == c.strict {
				want, wantSource = c.strict, FromTenant
			}
			a, _ := policyFields[at].get(got)
			b, _ := policyFields[at].get(want)
			if !sameValue(a, b) || origins[at].Source != wantSource {
				t.Errorf("%s: %v from %s, want %v from %s", c.path, a, origins[at].Source, b, wantSource)
			}
		}
	}
	if v := CheckOverrides([]string{"token.nothing"}, nil, nil); len(v) != 1 {
		t.Errorf("a lock of no field: %v", v)
	}
}

func sameValue(a, b protoreflect.Value) bool { return a.Equal(b) }

func TestOverridesOutOfBoundsAreViolations(t *testing.T) {
	for path, p := range map[string]*snapshotv1.Policy{
		"token.access_ttl":    tokenPolicy(25 * time.Hour),
		"token.refresh_grace": {Token: &snapshotv1.TokenPolicy{RefreshGrace: durationpb.New(-time.Second)}},
		"token.refresh_ttl":   {Token: &snapshotv1.TokenPolicy{RefreshTtl: &durationpb.Duration{Seconds: 1 << 60}}},
		"token.access_alg":    {Token: &snapshotv1.TokenPolicy{AccessAlg: proto.String("none")}},
		"token.id_token_algs": {Token: &snapshotv1.TokenPolicy{IdTokenAlgs: &snapshotv1.StringList{Values: []string{"ES256", "HS256"}}}},
		"lifetimes.code":      {Lifetimes: &snapshotv1.ArtifactLifetimes{Code: durationpb.New(61 * time.Second)}},
		"password.min_length": {Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(3)}},
		"cors.origins":        {Cors: &snapshotv1.CorsPolicy{Origins: &snapshotv1.StringList{Values: []string{"https://a.example/"}}}},
		"email.from":          {Email: &snapshotv1.EmailConfig{From: proto.String("a@b.example\r\nBcc: c@d.example")}},
	} {
		if v := CheckOverrides(nil, nil, p); len(v) != 1 || v[0].Path != path {
			t.Errorf("%s: %v", path, v)
		}
		if _, _, err := ResolveTenant(nil, p); err == nil {
			t.Errorf("%s: resolved", path)
		}
	}
}

// Laws of merging: it is associative, what it gives is set where any layer sets it, and an effective policy always obeys the locks.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b, c := drawPolicy(r, "a"), drawPolicy(r, "b"), drawPolicy(r, "c")
		left, right := MergePolicies(MergePolicies(a, b), c), MergePolicies(a, MergePolicies(b, c))
		if !proto.Equal(left, right) {
			r.Fatalf("merging is not associative: %v, %v", left, right)
		}
		locked := rapid.SliceOfDistinct(rapid.SampledFrom(Fields()), func(s string) string { return s }).Draw(r, "locked")
		layer := &snapshotv1.Layer{Policy: MergePolicies(a, b), Locked: locked}
		got, origins, err := ResolveTenant(layer, c)
		if err != nil {
			r.Fatal(err)
		}
		above, _, err := ResolveTenant(layer, nil)
		if err != nil {
			r.Fatal(err)
		}
		violated := map[string]bool{}
		for _, v := range CheckOverrides(locked, above, c) {
			violated[v.Path] = true
		}
		for i := range policyFields {
			f := &policyFields[i]
			x, ok := f.get(got)
			up, _ := f.get(above)
			if !ok {
				r.Fatalf("%s is not resolved", f.path)
			}
			if slices.Contains(locked, f.path) && !f.stricterOrEqual(x, up) {
				r.Fatalf("%s is locked and looser", f.path)
			}
			if violated[f.path] != (origins[i].Source == FromLock) {
				r.Fatalf("%s: the check before the write and the resolution disagree", f.path)
			}
		}
	})
}

func drawPolicy(r *rapid.T, name string) *snapshotv1.Policy {
	p := &snapshotv1.Policy{}
	for i := range policyFields {
		f := &policyFields[i]
		if !rapid.Bool().Draw(r, name+f.path) {
			continue
		}
		switch {
		case f.isDuration():
			s := rapid.Int64Range(int64(f.min/time.Second), int64(f.max/time.Second)).Draw(r, name)
			f.set(p, protoreflect.ValueOfMessage((&durationpb.Duration{Seconds: s}).ProtoReflect()))
		case f.isList():
			from := []string{"https://a.example", "https://b.example", "https://c.example"}
			switch f.path {
			case "token.id_token_algs":
				from = []string{"ES256", "RS256", "EdDSA"}
			case "oauth.response_types":
				from = []string{"code id_token", "id_token", "code token"}
			case "oauth.authorization_details_types":
				from = []string{`{"type":"a"}`, `{"type":"b"}`, `{"type":"c"}`}
			}
			list := &snapshotv1.StringList{Values: rapid.SliceOfDistinct(rapid.SampledFrom(from), func(s string) string { return s }).Draw(r, name)}
			f.set(p, protoreflect.ValueOfMessage(list.ProtoReflect()))
		case f.leaf.Kind() == protoreflect.BoolKind:
			f.set(p, protoreflect.ValueOfBool(rapid.Bool().Draw(r, name)))
		case f.leaf.Kind() == protoreflect.Uint32Kind:
			f.set(p, protoreflect.ValueOfUint32(rapid.Uint32Range(f.least, f.most).Draw(r, name)))
		case f.order == ranked:
			f.set(p, protoreflect.ValueOfString(rapid.SampledFrom(f.ranks).Draw(r, name)))
		default:
			f.set(p, protoreflect.ValueOfString(rapid.SampledFrom([]string{"ES256", "RS256"}).Draw(r, name)))
		}
	}
	return p
}
