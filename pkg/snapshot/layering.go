// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenantry/tenantry/pkg/oauth2"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// order says which of two values of a field is stricter.
type order uint8

const (
	fixed    order = iota // no order: a locked field must stay equal
	shorter               // a smaller duration is stricter
	larger                // a larger number is stricter
	yes                   // true is stricter
	no                    // false is stricter
	narrower              // a list is stricter when all its members are in the other
	ranked                // a word that stands later in the field's ranks is stricter
)

// policyField is one row of the table that decides everything about a field of Policy: how it is merged (nearest layer wins, lists
// as a whole), what stricter means, and its bounds. A test demands a row for each leaf of the message.
type policyField struct {
	path   string
	order  order
	min    time.Duration // bounds of a duration, both inclusive
	max    time.Duration
	least  uint32 // bounds of a number, both inclusive
	most   uint32
	check  func(string) error // of a string, or of each member of a list
	ranks  []string           // of a word, the loosest first
	client bool               // a client may override it

	section, leaf protoreflect.FieldDescriptor
}

const day = 24 * time.Hour

var policyFields = bindFields([]policyField{
	{path: "token.access_ttl", order: shorter, min: 30 * time.Second, max: day, client: true},
	{path: "token.id_token_ttl", order: shorter, min: 30 * time.Second, max: day, client: true},
	{path: "token.refresh_ttl", order: shorter, min: time.Minute, max: 400 * day, client: true},
	{path: "token.refresh_absolute_ttl", order: shorter, min: time.Minute, max: 3650 * day, client: true},
	{path: "token.refresh_grace", order: shorter, min: 0, max: 2 * time.Minute, client: true},
	{path: "token.access_alg", order: fixed, check: checkAlgorithm, client: true},
	{path: "token.id_token_algs", order: narrower, check: checkAlgorithm},
	{path: "session.idle_ttl", order: shorter, min: time.Minute, max: 400 * day},
	{path: "session.absolute_ttl", order: shorter, min: time.Minute, max: 400 * day},
	{path: "password.min_length", order: larger, least: 8, most: 128},
	{path: "password.common_check", order: yes},
	{path: "lifetimes.code", order: shorter, min: 5 * time.Second, max: time.Minute},
	{path: "lifetimes.invitation", order: shorter, min: 5 * time.Minute, max: 90 * day},
	{path: "lifetimes.authorization_request", order: shorter, min: time.Minute, max: day},
	{path: "lifetimes.pushed_request", order: shorter, min: 5 * time.Second, max: maxPushedTTL},
	{path: "lifetimes.device_code", order: shorter, min: time.Minute, max: maxDeviceTTL},
	{path: "lifetimes.backchannel_request", order: shorter, min: 30 * time.Second, max: maxBackchannelTTL},
	{path: "registration.enabled", order: no},
	{path: "email.from", order: fixed, check: checkMailText},
	{path: "email.from_name", order: fixed, check: checkMailText},
	{path: "cors.origins", order: narrower, check: checkOrigin},
	{path: "oauth.security_profile", order: ranked, ranks: oauth2.Profiles()},
	{path: "oauth.response_types", order: narrower, check: checkResponseType},
	{path: "oauth.dynamic_registration", order: ranked, ranks: []string{RegistrationOpen, RegistrationInitialToken, RegistrationOff}},
	{path: "oauth.client_id_metadata_documents", order: no},
	{path: "oauth.legacy_assertion_audience", order: no},
	{path: "oauth.authorization_details_types", order: narrower, check: checkDetailType},
	{path: "oauth.session_management", order: no},
})

// bindFields looks the paths up in the message, so that a renamed field stops the process at start, not a tenant at run time.
func bindFields(fields []policyField) []policyField {
	top := (&snapshotv1.Policy{}).ProtoReflect().Descriptor()
	for i := range fields {
		f := &fields[i]
		section, leaf, _ := strings.Cut(f.path, ".")
		f.section = top.Fields().ByName(protoreflect.Name(section))
		if f.section == nil || f.section.Message() == nil {
			panic("snapshot: no policy section " + section)
		}
		f.leaf = f.section.Message().Fields().ByName(protoreflect.Name(leaf))
		if f.leaf == nil {
			panic("snapshot: no policy field " + f.path)
		}
	}
	return fields
}

// Fields lists the paths of all policy fields, such as "token.access_ttl", in the order of the contract.
func Fields() []string {
	paths := make([]string, len(policyFields))
	for i := range policyFields {
		paths[i] = policyFields[i].path
	}
	return paths
}

// get returns the field's value; ok is false when the layer does not set it.
func (f *policyField) get(p *snapshotv1.Policy) (v protoreflect.Value, ok bool) {
	m := p.ProtoReflect()
	if !m.IsValid() || !m.Has(f.section) {
		return v, false
	}
	s := m.Get(f.section).Message()
	if !s.Has(f.leaf) {
		return v, false
	}
	return s.Get(f.leaf), true
}

func (f *policyField) set(p *snapshotv1.Policy, v protoreflect.Value) {
	p.ProtoReflect().Mutable(f.section).Message().Set(f.leaf, v)
}

func (f *policyField) isList() bool {
	return f.leaf.Message() != nil && f.leaf.Message().FullName() == "tenantry.snapshot.v1.StringList"
}

func (f *policyField) isDuration() bool {
	return f.leaf.Message() != nil && !f.isList()
}

func durationOf(v protoreflect.Value) (time.Duration, error) {
	d, ok := v.Message().Interface().(*durationpb.Duration)
	if !ok {
		return 0, errors.New("not a duration")
	}
	if err := d.CheckValid(); err != nil {
		return 0, err
	}
	return d.AsDuration(), nil
}

func listOf(v protoreflect.Value) []string {
	l, ok := v.Message().Interface().(*snapshotv1.StringList)
	if !ok {
		return nil
	}
	return l.GetValues()
}

// stricterOrEqual reports whether a is at least as strict as b.
func (f *policyField) stricterOrEqual(a, b protoreflect.Value) bool {
	switch f.order {
	case shorter:
		x, err := durationOf(a)
		y, err2 := durationOf(b)
		return err == nil && err2 == nil && x <= y
	case larger:
		return a.Uint() >= b.Uint()
	case yes:
		return a.Bool() || !b.Bool()
	case no:
		return !a.Bool() || b.Bool()
	case narrower:
		above := listOf(b)
		return !slices.ContainsFunc(listOf(a), func(s string) bool { return !slices.Contains(above, s) })
	case ranked:
		return slices.Index(f.ranks, a.String()) >= slices.Index(f.ranks, b.String())
	case fixed:
		return a.String() == b.String()
	}
	return false
}

// bounds checks a value on its own.
func (f *policyField) bounds(v protoreflect.Value) error {
	switch {
	case f.isDuration():
		d, err := durationOf(v)
		if err != nil {
			return err
		}
		if d < f.min || d > f.max {
			return fmt.Errorf("%s is outside %s to %s", d, f.min, f.max)
		}
	case f.isList():
		values := listOf(v)
		if len(values) > maxListValues {
			return fmt.Errorf("%d values, %d allowed", len(values), maxListValues)
		}
		for _, s := range values {
			if err := f.check(s); err != nil {
				return err
			}
		}
	case f.leaf.Kind() == protoreflect.Uint32Kind:
		if n := v.Uint(); n < uint64(f.least) || n > uint64(f.most) {
			return fmt.Errorf("%d is outside %d to %d", n, f.least, f.most)
		}
	case f.order == ranked:
		if !slices.Contains(f.ranks, v.String()) {
			return fmt.Errorf("%q is none of %s", v.String(), strings.Join(f.ranks, ", "))
		}
	case f.leaf.Kind() == protoreflect.StringKind:
		return f.check(v.String())
	}
	return nil
}

const maxListValues = 100

// Values of oauth.dynamic_registration.
const (
	RegistrationOff          = "OFF"           // nobody
	RegistrationInitialToken = "INITIAL_TOKEN" // who has an initial access token (RFC 7591 section 3)
	RegistrationOpen         = "OPEN"          // everybody
)

func checkResponseType(s string) error {
	if !slices.Contains(responseTypes, s) {
		return fmt.Errorf("%q is no response type", s)
	}
	return nil
}

func checkDetailType(s string) error {
	_, err := oauth2.ParseDetailType(s)
	return err
}

func checkAlgorithm(s string) error {
	switch s {
	case "ES256", "ES384", "RS256", "PS256", "EdDSA":
		return nil
	}
	return fmt.Errorf("%q is not an algorithm that can be used", s)
}

func checkMailText(s string) error {
	if len(s) > 320 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("longer than 320 bytes, or with control characters")
	}
	return nil
}

func checkOrigin(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || (scheme != "https" && scheme != "http") || rest == "" || len(s) > 300 || strings.ContainsAny(rest, "/?#@ \\*\"<>") {
		return fmt.Errorf("%q is not an origin (scheme://host[:port])", s)
	}
	return nil
}

// PlatformDefaults is the layer under all others: every field is set. The value is the caller's own.
func PlatformDefaults() *snapshotv1.Policy {
	return &snapshotv1.Policy{
		Token: &snapshotv1.TokenPolicy{
			AccessTtl: durationpb.New(10 * time.Minute), IdTokenTtl: durationpb.New(10 * time.Minute),
			RefreshTtl: durationpb.New(30 * day), RefreshAbsoluteTtl: durationpb.New(90 * day), RefreshGrace: durationpb.New(30 * time.Second),
			AccessAlg: proto.String("ES256"), IdTokenAlgs: &snapshotv1.StringList{Values: []string{"ES256", "RS256"}},
		},
		Session:  &snapshotv1.SessionPolicy{IdleTtl: durationpb.New(12 * time.Hour), AbsoluteTtl: durationpb.New(7 * day)},
		Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(10), CommonCheck: proto.Bool(true)},
		Lifetimes: &snapshotv1.ArtifactLifetimes{
			Code: durationpb.New(30 * time.Second), Invitation: durationpb.New(7 * day), AuthorizationRequest: durationpb.New(time.Hour),
			PushedRequest: durationpb.New(time.Minute), DeviceCode: durationpb.New(10 * time.Minute),
			BackchannelRequest: durationpb.New(5 * time.Minute),
		},
		Registration: &snapshotv1.RegistrationPolicy{Enabled: proto.Bool(true)},
		Email:        &snapshotv1.EmailConfig{From: proto.String(""), FromName: proto.String("")},
		Cors:         &snapshotv1.CorsPolicy{Origins: &snapshotv1.StringList{}},
		Oauth: &snapshotv1.OAuthPolicy{
			SecurityProfile: proto.String(oauth2.ProfileBaseline.String()), ResponseTypes: &snapshotv1.StringList{},
			DynamicRegistration: proto.String(RegistrationOff), ClientIdMetadataDocuments: proto.Bool(false),
			LegacyAssertionAudience: proto.Bool(true), AuthorizationDetailsTypes: &snapshotv1.StringList{}, SessionManagement: proto.Bool(false),
		},
	}
}

// MergePolicies merges layers, outermost first: for each field the nearest layer that sets it wins; lists replace. Nil layers are
// skipped, the arguments are not changed. Values may be shared with the arguments.
func MergePolicies(layers ...*snapshotv1.Policy) *snapshotv1.Policy {
	out := &snapshotv1.Policy{}
	for i := range policyFields {
		f := &policyFields[i]
		for _, layer := range slices.Backward(layers) {
			if v, ok := f.get(layer); ok {
				f.set(out, v)
				break
			}
		}
	}
	return out
}

// Violation is a field of overrides that may not be set so.
type Violation struct {
	Path   string // as in Fields
	Reason string // for people
}

// CheckOverrides says what is wrong with overrides that a tenant (or client) wants to set under above, the effective policy of the
// layers above it: values out of bounds, values looser than above in a locked field, and names in locked that are no field. It is
// what the control plane asks before a write.
func CheckOverrides(locked []string, above, overrides *snapshotv1.Policy) []Violation {
	var out []Violation
	for _, path := range locked {
		if !slices.ContainsFunc(policyFields, func(f policyField) bool { return f.path == path }) {
			out = append(out, Violation{Path: path, Reason: "locked, but there is no such field"})
		}
	}
	for i := range policyFields {
		f := &policyFields[i]
		v, ok := f.get(overrides)
		if !ok {
			continue
		}
		if err := f.bounds(v); err != nil {
			out = append(out, Violation{Path: f.path, Reason: err.Error()})
			continue
		}
		if up, ok := f.get(above); ok && slices.Contains(locked, f.path) && !f.stricterOrEqual(v, up) {
			out = append(out, Violation{Path: f.path, Reason: "locked by the layer above, and this value is not at least as strict"})
		}
	}
	return out
}

// Source says where the effective value of a field comes from.
type Source uint8

// The layers as a tenant sees them.
const (
	FromPlatform Source = iota // the platform's default
	FromLayer                  // platform, org and blueprint revision as merged into the layer
	FromTenant                 // the tenant's own override
	FromLock                   // the layer, because it locks the field and the tenant's override is looser
)

// String names the source.
func (s Source) String() string { return [...]string{"platform", "layer", "tenant", "lock"}[s&3] }

// Origin says where a field's effective value comes from.
type Origin struct {
	Path   string
	Source Source
}

// ResolveTenant is the one function that decides a tenant's effective policy, in both planes: platform defaults, then layer (nil
// for none), then overrides. An override that a lock of the layer forbids counts as the layer's value, it is not an error: a lock
// that arrives after the override must not break the tenant. The error names a field whose value is out of bounds.
func ResolveTenant(layer *snapshotv1.Layer, overrides *snapshotv1.Policy) (*snapshotv1.Policy, []Origin, error) {
	out := PlatformDefaults()
	origins := make([]Origin, len(policyFields))
	for i := range policyFields {
		f := &policyFields[i]
		origins[i].Path = f.path
		up, inLayer := f.get(layer.GetPolicy())
		if inLayer {
			origins[i].Source = FromLayer
			f.set(out, up)
		}
		if v, ok := f.get(overrides); ok {
			current, _ := f.get(out)
			if slices.Contains(layer.GetLocked(), f.path) && !f.stricterOrEqual(v, current) {
				origins[i].Source = FromLock
			} else {
				origins[i].Source = FromTenant
				f.set(out, v)
			}
		}
		effective, _ := f.get(out)
		if err := f.bounds(effective); err != nil {
			return nil, nil, fmt.Errorf("snapshot: policy field %s: %w", f.path, err)
		}
	}
	return out, origins, nil
}

// resolveClient applies a client's overrides (lifetimes and algorithm only) to the policy of its tenant.
func resolveClient(tenant *snapshotv1.Policy, locked []string, overrides *snapshotv1.Policy) (*snapshotv1.Policy, error) {
	if overrides == nil {
		return tenant, nil
	}
	out := MergePolicies(tenant)
	for i := range policyFields {
		f := &policyFields[i]
		v, ok := f.get(overrides)
		if !ok || !f.client {
			continue
		}
		if err := f.bounds(v); err != nil {
			return nil, fmt.Errorf("policy field %s: %w", f.path, err)
		}
		current, _ := f.get(tenant)
		if !slices.Contains(locked, f.path) || f.stricterOrEqual(v, current) {
			f.set(out, v)
		}
	}
	return out, nil
}
