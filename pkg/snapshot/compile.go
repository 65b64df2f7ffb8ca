// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Why a document cannot be compiled. The text after ErrCompile names the field.
var (
	ErrCompile     = errors.New("snapshot: document cannot be compiled")
	ErrReaderLevel = errors.New("snapshot: document needs a newer reader")
)

// Bounds of single fields. They keep one document from being slow to compile or to render, not tenants from growing: what is
// large belongs into pages and blobs.
const (
	maxName         = 200 // bytes of a name shown to people
	maxURL          = 2000
	maxRoles        = 200
	maxEntitlements = 200
	maxKeys         = 16
	maxKeyWraps     = 64
	maxURIs         = 100 // of each list of a client
	maxSecrets      = 10
	// DefaultMaxConfigAge is the bound of a tenant that sets none.
	DefaultMaxConfigAge = 72 * time.Hour
)

func refused(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrCompile, field, fmt.Sprintf(format, args...))
}

func invalid(field string, err error) error { return fmt.Errorf("%w: %s: %w", ErrCompile, field, err) }

// Compile makes the view that the data plane serves from a tenant's document, its layer (nil: platform defaults alone) and its
// org's record. The control plane calls it before it commits a change, the data plane when it loads: what one refuses the other
// never sees. It checks everything, also what is built lazily. Errors wrap ErrCompile or ErrReaderLevel.
func Compile(core *snapshotv1.TenantSnapshot, layer *snapshotv1.Layer, org *snapshotv1.OrgSnapshot) (*Tenant, error) {
	body, err := proto.Marshal(core)
	if err != nil {
		return nil, invalid("tenant", err)
	}
	if len(body) > MaxBody {
		return nil, refused("tenant", "%d bytes, %d allowed", len(body), MaxBody)
	}
	l := platformLayer()
	if layer != nil {
		if l, err = compileLayer(layer, [32]byte{}); err != nil {
			return nil, err
		}
	}
	o, err := compileOrg(org)
	if err != nil {
		return nil, err
	}
	return compileTenant(body, core, l, o)
}

// CompileOrg checks an org's record alone: what a change of it must pass before it commits.
func CompileOrg(org *snapshotv1.OrgSnapshot) error {
	if n := proto.Size(org); n > MaxBody {
		return refused("org", "%d bytes, %d allowed", n, MaxBody)
	}
	_, err := compileOrg(org)
	return err
}

// CompileLayer checks a layer alone.
func CompileLayer(layer *snapshotv1.Layer) error {
	if n := proto.Size(layer); n > MaxBlob {
		return refused("layer", "%d bytes, %d allowed", n, MaxBlob)
	}
	_, err := compileLayer(layer, [32]byte{})
	return err
}

// compiledLayer is shared by all tenants that get it.
type compiledLayer struct {
	digest [32]byte
	doc    *snapshotv1.Layer // nil for the platform's defaults
	policy *Policy
	theme  *Theme
}

var platformLayer = sync.OnceValue(func() *compiledLayer {
	policy, _, err := ResolveTenant(nil, nil)
	if err != nil {
		panic(err) // a test keeps the defaults within their own bounds
	}
	theme, err := CompileTheme()
	if err != nil {
		panic(err)
	}
	return &compiledLayer{policy: policyView(policy), theme: theme}
})

func compileLayer(doc *snapshotv1.Layer, digest [32]byte) (*compiledLayer, error) {
	if doc.GetMinReader() > ReaderLevel {
		return nil, fmt.Errorf("%w: layer needs level %d", ErrReaderLevel, doc.GetMinReader())
	}
	if v := CheckOverrides(doc.GetLocked(), nil, nil); len(v) > 0 {
		return nil, refused("layer.locked", "%q is no policy field", v[0].Path)
	}
	policy, _, err := ResolveTenant(doc, nil)
	if err != nil {
		return nil, invalid("layer.policy", err)
	}
	theme, err := CompileTheme(doc.GetTheme())
	if err != nil {
		return nil, invalid("layer.theme", err)
	}
	return &compiledLayer{digest: digest, doc: doc, policy: policyView(policy), theme: theme}, nil
}

// compiledOrg is shared by all tenants of the org.
type compiledOrg struct {
	id       id.Org
	version  uint64
	active   bool
	slug     string
	name     string
	audience string
	clients  map[id.Client]*snapshotv1.Client
}

func compileOrg(doc *snapshotv1.OrgSnapshot) (*compiledOrg, error) {
	if doc.GetMinReader() > ReaderLevel {
		return nil, fmt.Errorf("%w: org needs level %d", ErrReaderLevel, doc.GetMinReader())
	}
	orgID, ok := rawID[id.Org](doc.GetOrgId())
	if !ok {
		return nil, refused("org.org_id", "want 16 bytes")
	}
	if v := doc.GetConfigVersion(); v == 0 || v > MaxVersion {
		return nil, refused("org.config_version", "%d", v)
	}
	if err := checkText("org.display_name", doc.GetDisplayName()); err != nil {
		return nil, err
	}
	if a := doc.GetDefaultAudience(); a == "" || len(a) > maxURL {
		return nil, refused("org.default_audience", "want 1 to %d bytes", maxURL)
	}
	o := &compiledOrg{
		id: orgID, version: doc.GetConfigVersion(), active: doc.GetActive(), slug: doc.GetSlug(), name: doc.GetDisplayName(),
		audience: doc.GetDefaultAudience(), clients: make(map[id.Client]*snapshotv1.Client, len(doc.GetClients())),
	}
	for i, c := range doc.GetClients() {
		// Every tenant of the org is to be able to use the client, so it is checked under the widest rules here; what a production
		// tenant may not have of it is left out when it is built for that tenant.
		built, err := buildClient(c, clientContext{slug: "a", development: true, shared: true, policy: platformLayer().policy})
		if err != nil {
			return nil, invalid(fmt.Sprintf("org.clients[%d]", i), err)
		}
		if _, twice := o.clients[built.UID]; twice {
			return nil, refused(fmt.Sprintf("org.clients[%d]", i), "the same id twice")
		}
		o.clients[built.UID] = c
	}
	return o, nil
}

// compileTenant is Compile over parts that are shared. body is the encoding of core and is kept.
func compileTenant(body []byte, core *snapshotv1.TenantSnapshot, layer *compiledLayer, org *compiledOrg) (*Tenant, error) {
	if core.GetMinReader() > ReaderLevel {
		return nil, fmt.Errorf("%w: tenant needs level %d", ErrReaderLevel, core.GetMinReader())
	}
	t := &Tenant{
		ConfigVersion: core.GetConfigVersion(), OrgVersion: org.version, LayerDigest: layer.digest, PlacementEpoch: core.GetPlacementEpoch(),
		Slug: core.GetSlug(), DisplayName: core.GetDisplayName(), Issuer: core.GetIssuer(), Region: core.GetRegion(),
		OrgSlug: org.slug, OrgName: org.name, DefaultAudience: org.audience,
		MaxConfigAge: DefaultMaxConfigAge, core: body, layer: layer, ringNumber: core.GetRing(),
	}
	t.org = org
	for _, step := range [...]func(*snapshotv1.TenantSnapshot) error{
		t.identity, t.hostsAndIssuer, t.policyAndTheme, t.rolesAndEntitlements, t.checkClients, t.checkKeys,
	} {
		if err := step(core); err != nil {
			return nil, err
		}
	}
	t.Keys = &KeyRing{tenant: t}
	t.serving = core.GetState() == snapshotv1.TenantState_TENANT_STATE_ACTIVE && org.active
	t.shareStrings()
	return t, nil
}

func (t *Tenant) identity(core *snapshotv1.TenantSnapshot) error {
	var ok bool
	if t.ID, ok = rawID[id.Tenant](core.GetTenantId()); !ok {
		return refused("tenant_id", "want 16 bytes")
	}
	if t.Org, ok = rawID[id.Org](core.GetOrgId()); !ok || t.Org != t.org.id {
		return refused("org_id", "want the 16 bytes of the org whose record it is compiled with")
	}
	if t.Pool, ok = rawID[id.UserPool](core.GetUserPoolId()); !ok {
		return refused("user_pool_id", "want 16 bytes")
	}
	if n := len(core.GetPairwiseSalt()); n != 0 && n != 32 {
		return refused("pairwise_salt", "want 32 bytes or none")
	}
	t.PairwiseSalt = bytes.Clone(core.GetPairwiseSalt())
	if b := core.GetBlueprintId(); len(b) != 0 && len(b) != 16 {
		return refused("blueprint_id", "want 16 bytes or none")
	}
	if core.GetRing() > 255 {
		return refused("ring", "%d is above 255", core.GetRing())
	}
	if v := core.GetConfigVersion(); v == 0 || v > MaxVersion {
		return refused("config_version", "%d", v)
	}
	switch core.GetState() {
	case snapshotv1.TenantState_TENANT_STATE_ACTIVE, snapshotv1.TenantState_TENANT_STATE_SUSPENDED, snapshotv1.TenantState_TENANT_STATE_DELETED:
	default:
		return refused("state", "%d is no state", core.GetState())
	}
	switch core.GetType() {
	case snapshotv1.TenantType_TENANT_TYPE_DEVELOPMENT:
		t.Development = true
	case snapshotv1.TenantType_TENANT_TYPE_PRODUCTION:
	default:
		return refused("type", "%d is no type", core.GetType())
	}
	if err := checkRegion(core.GetRegion()); err != nil {
		return invalid("region", err)
	}
	if s := core.GetSlug(); len(s) > 63 || strings.Contains(s, ".") || !isNormalHost(s+".a") {
		return refused("slug", "%q is no DNS label", s)
	}
	if d := core.GetMaxConfigAge(); d != nil {
		if err := d.CheckValid(); err != nil || d.AsDuration() < time.Minute {
			return refused("max_config_age", "want a minute at least")
		}
		t.MaxConfigAge = d.AsDuration()
	}
	return checkText("display_name", core.GetDisplayName())
}

func (t *Tenant) hostsAndIssuer(core *snapshotv1.TenantSnapshot) error {
	hosts := core.GetHosts()
	if len(hosts) > MaxHosts {
		return refused("hosts", "%d, %d allowed", len(hosts), MaxHosts)
	}
	for i, h := range hosts {
		if n, err := NormalizeHost(h); err != nil || n != h {
			return refused("hosts", "%q is not a hostname in normal form", h)
		}
		if slices.Contains(hosts[:i], h) {
			return refused("hosts", "%q twice", h)
		}
	}
	t.Hosts = slices.Clone(hosts)
	u, err := url.Parse(t.Issuer)
	if err != nil || len(t.Issuer) > maxURL || u.Host == "" || u.User != nil || strings.ContainsAny(t.Issuer, "?#") || strings.HasSuffix(t.Issuer, "/") {
		return refused("issuer", "want scheme://host without query, fragment and trailing slash")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !t.Development || !strings.HasSuffix(u.Hostname(), ".localhost")) {
		return refused("issuer", "want https, or http under .localhost for a development tenant")
	}
	// A tenant whose hosts were all released keeps its issuer; it is served nowhere.
	if len(hosts) > 0 && !slices.Contains(hosts, u.Hostname()) {
		return refused("issuer", "its host is none of the tenant's hosts")
	}
	return nil
}

func (t *Tenant) policyAndTheme(core *snapshotv1.TenantSnapshot) error {
	t.Policy, t.Theme = t.layer.policy, t.layer.theme
	if core.GetOverrides() != nil {
		if v := CheckOverrides(nil, nil, core.GetOverrides()); len(v) > 0 {
			return refused("overrides."+v[0].Path, "%s", v[0].Reason)
		}
		p, _, err := ResolveTenant(t.layer.doc, core.GetOverrides())
		if err != nil {
			return invalid("overrides", err)
		}
		t.Policy = policyView(p)
	}
	if core.GetTheme() != nil {
		theme, err := CompileTheme(t.layer.doc.GetTheme(), core.GetTheme())
		if err != nil {
			return invalid("theme", err)
		}
		t.Theme = theme
	}
	return nil
}

func (t *Tenant) rolesAndEntitlements(core *snapshotv1.TenantSnapshot) error {
	if n := len(core.GetRoles()); n > maxRoles {
		return refused("roles", "%d, %d allowed", n, maxRoles)
	}
	for i, r := range core.GetRoles() {
		roleID, ok := rawID[id.Role](r.GetRoleId())
		if !ok {
			return refused(fmt.Sprintf("roles[%d].role_id", i), "want 16 bytes")
		}
		if err := checkText(fmt.Sprintf("roles[%d].name", i), r.GetName()); err != nil {
			return err
		}
		if slices.ContainsFunc(t.Roles, func(o Role) bool { return o.Name == r.GetName() || o.ID == roleID }) {
			return refused(fmt.Sprintf("roles[%d]", i), "the same role twice")
		}
		t.Roles = append(t.Roles, Role{ID: roleID, Name: r.GetName(), Default: r.GetDefault()})
	}
	t.Roles = slices.Clip(t.Roles)
	if n := len(core.GetEntitlements()); n > maxEntitlements {
		return refused("entitlements", "%d, %d allowed", n, maxEntitlements)
	}
	for i, e := range core.GetEntitlements() {
		if err := checkText(fmt.Sprintf("entitlements[%d]", i), e); err != nil {
			return err
		}
	}
	t.Entitlements = slices.Clone(core.GetEntitlements())
	return nil
}

func (t *Tenant) checkClients(core *snapshotv1.TenantSnapshot) error {
	ctx := t.clientContext(core, false)
	for i, c := range core.GetClients() {
		built, err := buildClient(c, ctx)
		if err != nil {
			return invalid(fmt.Sprintf("clients[%d]", i), err)
		}
		if slices.Contains(t.inline, built.UID) {
			return refused(fmt.Sprintf("clients[%d]", i), "the same id twice")
		}
		t.inline = append(t.inline, built.UID)
	}
	t.inline = slices.Clip(t.inline)
	return nil
}

func (t *Tenant) checkKeys(core *snapshotv1.TenantSnapshot) error {
	if n := len(core.GetSigningKeys()); n > maxKeys {
		return refused("signing_keys", "%d, %d allowed", n, maxKeys)
	}
	active := false
	for i, k := range core.GetSigningKeys() {
		field := fmt.Sprintf("signing_keys[%d]", i)
		keyID, ok := rawID[id.SigningKey](k.GetKeyId())
		if !ok {
			return refused(field+".key_id", "want 16 bytes")
		}
		switch k.GetState() {
		case snapshotv1.SigningKeyState_SIGNING_KEY_STATE_ACTIVE:
			active = true
			if len(k.GetSealedPrivateKey()) == 0 || len(k.GetWraps()) == 0 || len(k.GetWraps()) > maxKeyWraps {
				return refused(field, "an active key has a sealed private key and 1 to %d wraps", maxKeyWraps)
			}
		case snapshotv1.SigningKeyState_SIGNING_KEY_STATE_STAGED, snapshotv1.SigningKeyState_SIGNING_KEY_STATE_PUBLISHED,
			snapshotv1.SigningKeyState_SIGNING_KEY_STATE_RETIRING:
		default:
			return refused(field+".state", "%d is no state", k.GetState())
		}
		jwk, err := jose.ParseJWK(k.GetPublicJwk())
		if err != nil {
			return invalid(field+".public_jwk", err)
		}
		if jwk.KeyID() != keyID.String() || string(jwk.Algorithm()) != k.GetAlgorithm() {
			return refused(field+".public_jwk", "its kid and alg are not those of the key")
		}
		if slices.ContainsFunc(core.GetSigningKeys()[:i], func(o *snapshotv1.SigningKey) bool { return bytes.Equal(o.GetKeyId(), k.GetKeyId()) }) {
			return refused(field, "the same id twice")
		}
	}
	if !active {
		return refused("signing_keys", "none is active")
	}
	return nil
}

// shareStrings moves the tenant's own strings into one allocation, so that a cached tenant is a few objects for the collector.
func (t *Tenant) shareStrings() {
	strs := make([]*string, 0, 4+len(t.Hosts)+len(t.Roles)+len(t.Entitlements))
	strs = append(strs, &t.Slug, &t.DisplayName, &t.Issuer, &t.Region)
	for i := range t.Hosts {
		strs = append(strs, &t.Hosts[i])
	}
	for i := range t.Roles {
		strs = append(strs, &t.Roles[i].Name)
	}
	for i := range t.Entitlements {
		strs = append(strs, &t.Entitlements[i])
	}
	intern(strs...)
}

// policyView turns a resolved policy, every field of which is set and within bounds, into the struct that requests read.
func policyView(p *snapshotv1.Policy) *Policy {
	k, s, l, o := p.GetToken(), p.GetSession(), p.GetLifetimes(), p.GetOauth()
	profile, _ := oauth2.ParseProfile(o.GetSecurityProfile()) // one of the ranks, which are all profiles
	return &Policy{
		AccessTTL: k.GetAccessTtl().AsDuration(), IDTokenTTL: k.GetIdTokenTtl().AsDuration(), RefreshTTL: k.GetRefreshTtl().AsDuration(),
		RefreshAbsoluteTTL: k.GetRefreshAbsoluteTtl().AsDuration(), RefreshGrace: k.GetRefreshGrace().AsDuration(),
		AccessAlg: k.GetAccessAlg(), IDTokenAlgs: slices.Clone(k.GetIdTokenAlgs().GetValues()),
		SessionIdleTTL: s.GetIdleTtl().AsDuration(), SessionAbsoluteTTL: s.GetAbsoluteTtl().AsDuration(),
		PasswordMinLength: int(p.GetPassword().GetMinLength()), PasswordCommonCheck: p.GetPassword().GetCommonCheck(),
		CodeTTL: l.GetCode().AsDuration(), InvitationTTL: l.GetInvitation().AsDuration(),
		AuthorizationRequestTTL: l.GetAuthorizationRequest().AsDuration(),
		RegistrationEnabled:     p.GetRegistration().GetEnabled(),
		EmailFrom:               p.GetEmail().GetFrom(), EmailFromName: p.GetEmail().GetFromName(),
		CORSOrigins:      slices.Clone(p.GetCors().GetOrigins().GetValues()),
		PushedRequestTTL: l.GetPushedRequest().AsDuration(), DeviceCodeTTL: l.GetDeviceCode().AsDuration(),
		BackchannelRequestTTL: l.GetBackchannelRequest().AsDuration(),
		Profile:               profile, ResponseTypes: slices.Clone(o.GetResponseTypes().GetValues()), DynamicRegistration: o.GetDynamicRegistration(),
		ClientIDMetadataDocuments: o.GetClientIdMetadataDocuments(), LegacyAssertionAudience: o.GetLegacyAssertionAudience(),
		DetailTypes: detailTypes(o.GetAuthorizationDetailsTypes().GetValues()), SessionManagement: o.GetSessionManagement(),
	}
}

func detailTypes(texts []string) []oauth2.DetailType {
	var list []oauth2.DetailType
	for _, text := range texts {
		if t, err := oauth2.ParseDetailType(text); err == nil { // checked with the policy's bounds
			list = append(list, t)
		}
	}
	return list
}

func rawID[T ~[16]byte](b []byte) (v T, ok bool) {
	if len(b) != 16 {
		return v, false
	}
	v = T(b)
	return v, v != T{}
}

func checkText(field, s string) error {
	if !isText(s) {
		return refused(field, textWanted, maxName)
	}
	return nil
}

const textWanted = "want 1 to %d bytes of text without control characters"

func isText(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func isNormalHost(s string) bool {
	n, err := NormalizeHost(s)
	return err == nil && n == s
}

// unmarshalTenant decodes a verified body and checks that it speaks of what the record speaks of.
func unmarshalTenant(r Record) (*snapshotv1.TenantSnapshot, error) {
	core := &snapshotv1.TenantSnapshot{}
	if err := proto.Unmarshal(r.Body, core); err != nil {
		return nil, invalid("tenant", err)
	}
	if !bytes.Equal(core.GetTenantId(), r.Subject[:]) || core.GetConfigVersion() != r.Version {
		return nil, refused("tenant", "its id or config_version is not that of its record")
	}
	return core, nil
}
