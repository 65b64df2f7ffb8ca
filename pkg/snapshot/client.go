// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Client finds a client by its client_id: the tenant's own first, then the org's shared ones with their templates filled in for
// this tenant. It answers the same pointer every time. A client that is not enabled is found, too: its Enabled says so.
func (t *Tenant) Client(clientID string) (*oauth2.Client, bool) {
	if m := t.clients.Load(); m != nil {
		if c, ok := (*m)[clientID]; ok {
			return c, true
		}
	}
	uid, err := id.ParseClient(clientID)
	if err != nil {
		return t.foreignClient(clientID)
	}
	if c, ok := t.registered(uid); ok {
		return c, true
	}
	return t.youngClient(uid)
}

// registered is Client for the id of a client that this view of the tenant has.
func (t *Tenant) registered(uid id.Client) (*oauth2.Client, bool) {
	shared := t.org.clients[uid]
	if shared == nil && !slices.Contains(t.inline, uid) {
		return nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.addClient(uid)
}

// ClientIDs lists at most limit clients in the order of their creation: the tenant's own first, then the org's shared ones.
func (t *Tenant) ClientIDs(limit int) []id.Client {
	own := slices.SortedFunc(slices.Values(t.inline), id.Client.Compare)
	shared := slices.SortedFunc(maps.Keys(t.org.clients), id.Client.Compare)
	shared = slices.DeleteFunc(shared, func(c id.Client) bool { return slices.Contains(own, c) })
	all := append(own, shared...)
	return all[:min(len(all), max(limit, 0))]
}

// addClient builds one client and publishes a new map with it. The caller holds mu.
func (t *Tenant) addClient(uid id.Client) (*oauth2.Client, bool) {
	var old map[string]*oauth2.Client
	if m := t.clients.Load(); m != nil {
		old = *m
		if c, ok := old[uid.String()]; ok {
			return c, true
		}
	}
	core := &snapshotv1.TenantSnapshot{}
	if err := proto.Unmarshal(t.core, core); err != nil {
		return nil, false // decoded before; cannot happen
	}
	doc, ctx := t.org.clients[uid], t.clientContext(core, true)
	for _, c := range core.GetClients() {
		if v, ok := rawID[id.Client](c.GetClientId()); ok && v == uid {
			doc, ctx = c, t.clientContext(core, false)
		}
	}
	if doc == nil {
		return nil, false
	}
	c, err := buildClient(doc, ctx)
	if err != nil {
		return nil, false // built before, when the tenant or the org was compiled
	}
	fresh := make(map[string]*oauth2.Client, len(old)+1)
	for k, v := range old {
		fresh[k] = v
	}
	fresh[c.ID] = c
	t.clients.Store(&fresh)
	t.grow(600 + 2*proto.Size(doc))
	return c, true
}

// AllowsOrigin reports whether a browser at origin may call the token service of this tenant: an origin of the policy, or of an
// enabled client.
func (t *Tenant) AllowsOrigin(origin string) bool {
	m := t.origins.Load()
	if m == nil {
		m = t.buildOrigins()
	}
	_, ok := (*m)[origin]
	return ok
}

func (t *Tenant) buildOrigins() *map[string]struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.origins.Load(); m != nil {
		return m
	}
	set := map[string]struct{}{}
	for _, o := range t.Policy.CORSOrigins {
		set[o] = struct{}{}
	}
	ids := slices.Clone(t.inline)
	for uid := range t.org.clients {
		ids = append(ids, uid)
	}
	for _, uid := range ids {
		if c, ok := t.addClient(uid); ok && c.Enabled {
			for _, o := range c.CORSOrigins {
				set[o] = struct{}{}
			}
		}
	}
	size := 48
	for o := range set {
		size += len(o) + 24
	}
	t.grow(size)
	t.origins.Store(&set)
	return &set
}

// clientContext is what a client takes from its tenant.
type clientContext struct {
	slug        string
	development bool
	shared      bool // the client is of the org: templates are filled in, and what this tenant may not have is left out
	policy      *Policy
	// resolve gives the policy with a client's overrides.
	resolve func(*snapshotv1.Policy) (*snapshotv1.Policy, error)
}

func (t *Tenant) clientContext(core *snapshotv1.TenantSnapshot, shared bool) clientContext {
	return clientContext{
		slug: t.Slug, development: t.Development, shared: shared, policy: t.Policy,
		resolve: func(overrides *snapshotv1.Policy) (*snapshotv1.Policy, error) {
			effective, _, err := ResolveTenant(t.layer.doc, core.GetOverrides())
			if err != nil {
				return nil, err
			}
			return resolveClient(effective, t.layer.doc.GetLocked(), overrides)
		},
	}
}

var clientKinds = map[snapshotv1.ClientKind]oauth2.ClientKind{
	snapshotv1.ClientKind_CLIENT_KIND_UNSPECIFIED: oauth2.KindWeb,
	snapshotv1.ClientKind_CLIENT_KIND_WEB:         oauth2.KindWeb,
	snapshotv1.ClientKind_CLIENT_KIND_SPA:         oauth2.KindSPA,
	snapshotv1.ClientKind_CLIENT_KIND_NATIVE:      oauth2.KindNative,
	snapshotv1.ClientKind_CLIENT_KIND_SERVICE:     oauth2.KindService,
}

// buildClient turns a client's document into what the engine uses, and refuses what the engine could not use.
func buildClient(doc *snapshotv1.Client, ctx clientContext) (*oauth2.Client, error) {
	uid, ok := rawID[id.Client](doc.GetClientId())
	if !ok {
		return nil, fmt.Errorf("client_id: want 16 bytes")
	}
	kind, ok := clientKinds[doc.GetKind()]
	if !ok {
		return nil, fmt.Errorf("kind: %d is no kind", doc.GetKind())
	}
	if !isText(doc.GetDisplayName()) {
		return nil, fmt.Errorf("display_name: "+textWanted, maxName)
	}
	c := &oauth2.Client{
		ID: uid.String(), UID: uid, Name: doc.GetDisplayName(), Public: doc.GetPublic(), FirstParty: doc.GetFirstParty(),
		Enabled: doc.GetEnabled(), RequirePKCE: doc.GetRequirePkce(), Kind: kind, AuthMethod: doc.GetTokenEndpointAuthMethod(),
		LogoURI: doc.GetLogoUri(), PolicyURI: doc.GetPolicyUri(), TOSURI: doc.GetTosUri(), InitiateLoginURI: doc.GetInitiateLoginUri(),
		IDTokenAlg: doc.GetIdTokenSignedResponseAlg(), Audiences: doc.GetAudiences(), Scopes: doc.GetScopes(),
	}
	if c.IDTokenAlg == "" {
		c.IDTokenAlg = "ES256"
	} else if err := checkAlgorithm(c.IDTokenAlg); err != nil {
		return nil, fmt.Errorf("id_token_signed_response_alg: %w", err)
	}
	grants, err := oauth2.ParseGrantTypes(doc.GetGrantTypes())
	if err != nil {
		return nil, fmt.Errorf("grant_types: %w", err)
	}
	c.GrantTypes = grants
	for _, s := range doc.GetScopes() {
		if !oauth2.ValidScope(s) {
			return nil, fmt.Errorf("scopes: %q is no scope", s)
		}
	}
	if err := bounded("scopes", doc.GetScopes()); err != nil {
		return nil, err
	}
	if err := bounded("audiences", doc.GetAudiences()); err != nil {
		return nil, err
	}
	for _, step := range [...]func(*oauth2.Client, *snapshotv1.Client, clientContext) error{
		clientAuthentication, clientURIs, clientPages, clientLifetimes, clientProtocol,
	} {
		if err := step(c, doc, ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func clientAuthentication(c *oauth2.Client, doc *snapshotv1.Client, _ clientContext) error {
	switch c.AuthMethod {
	case oauth2.AuthMethodNone:
		if !c.Public {
			return fmt.Errorf("token_endpoint_auth_method: a confidential client authenticates")
		}
	case oauth2.AuthMethodBasic, oauth2.AuthMethodPost, oauth2.AuthMethodSecretJWT, oauth2.AuthMethodPrivateKeyJWT, oauth2.AuthMethodTLS,
		oauth2.AuthMethodSelfSignedTLS, "":
		if c.Public && c.AuthMethod != "" {
			return fmt.Errorf("token_endpoint_auth_method: a public client has none")
		}
	default:
		return fmt.Errorf("token_endpoint_auth_method: %q is not known", c.AuthMethod)
	}
	if len(doc.GetSecrets()) > maxSecrets {
		return fmt.Errorf("secrets: %d, %d allowed", len(doc.GetSecrets()), maxSecrets)
	}
	for _, s := range doc.GetSecrets() {
		secretID, ok := rawID[id.ClientSecret](s.GetSecretId())
		hash, hashed := secret.HashFromBytes(s.GetHash())
		if !ok || !hashed {
			return fmt.Errorf("secrets: want an id of 16 and a hash of 32 bytes")
		}
		out := oauth2.ClientSecret{ID: secretID, Hash: hash, Sealed: sealedSecret(s)}
		if s.GetExpireTime() != nil {
			if err := s.GetExpireTime().CheckValid(); err != nil {
				return fmt.Errorf("secrets: expire_time: %w", err)
			}
			out.ExpireTime = s.GetExpireTime().AsTime()
		}
		c.Secrets = append(c.Secrets, out)
	}
	return nil
}

func clientURIs(c *oauth2.Client, doc *snapshotv1.Client, ctx clientContext) error {
	if !ctx.shared && len(doc.GetRedirectUriTemplates())+len(doc.GetPostLogoutRedirectUriTemplates())+len(doc.GetCorsOriginTemplates()) > 0 {
		return fmt.Errorf("redirect_uri_templates: only a client of the org has templates")
	}
	rules := oauth2.RedirectRules{Development: ctx.development, Native: c.Kind == oauth2.KindNative}
	// widest is what a template or a shared URI has to pass whatever the tenant; this tenant's own rules then decide.
	widest := oauth2.RedirectRules{Development: true, Native: rules.Native}

	take := func(field string, exact, templates []string, origin bool, add func(raw string)) error {
		if err := bounded(field, exact); err != nil {
			return err
		}
		if err := bounded(field+"_templates", templates); err != nil {
			return err
		}
		check := func(raw string, rules oauth2.RedirectRules) (err error) {
			if origin {
				_, err = oauth2.ParseOrigin(raw, rules)
			} else {
				_, err = oauth2.ParseRedirectURI(raw, rules)
			}
			return err
		}
		one := func(raw string) error {
			err := check(raw, rules)
			if err != nil && ctx.shared && check(raw, widest) == nil {
				return nil // fit for development tenants, left out here
			}
			if err != nil {
				return fmt.Errorf("%s: %q: %w", field, raw, err)
			}
			add(raw)
			return nil
		}
		for _, raw := range exact {
			if err := one(raw); err != nil {
				return err
			}
		}
		parse := oauth2.ParseRedirectTemplate
		if origin {
			parse = oauth2.ParseOriginTemplate
		}
		for _, raw := range templates {
			t, err := parse(raw, widest)
			if err != nil {
				return fmt.Errorf("%s_templates: %q: %w", field, raw, err)
			}
			filled, err := t.Expand(ctx.slug)
			if err != nil {
				return fmt.Errorf("%s_templates: %q: %w", field, raw, err)
			}
			if err := one(filled); err != nil {
				return err
			}
		}
		return nil
	}

	err := take("redirect_uri", doc.GetRedirectUris(), doc.GetRedirectUriTemplates(), false, func(raw string) {
		if u, err := oauth2.ParseRedirectURI(raw, rules); err == nil {
			c.RedirectURIs = append(c.RedirectURIs, u)
		}
	})
	if err != nil {
		return err
	}
	err = take("post_logout_redirect_uri", doc.GetPostLogoutRedirectUris(), doc.GetPostLogoutRedirectUriTemplates(), false, func(raw string) {
		c.PostLogoutRedirectURIs = append(c.PostLogoutRedirectURIs, raw)
	})
	if err != nil {
		return err
	}
	return take("cors_origin", doc.GetCorsOrigins(), doc.GetCorsOriginTemplates(), true, func(raw string) {
		c.CORSOrigins = append(c.CORSOrigins, raw)
	})
}

// clientPages keeps the addresses of the application's pages to what a browser may be sent to.
func clientPages(c *oauth2.Client, _ *snapshotv1.Client, ctx clientContext) error {
	for _, p := range [...]struct {
		field string
		value string
	}{{"logo_uri", c.LogoURI}, {"policy_uri", c.PolicyURI}, {"tos_uri", c.TOSURI}, {"initiate_login_uri", c.InitiateLoginURI}} {
		if p.value == "" {
			continue
		}
		if strings.HasPrefix(p.value, "https://") || strings.HasPrefix(p.value, "http://") {
			if _, err := oauth2.ParseRedirectURI(p.value, oauth2.RedirectRules{Development: ctx.development || ctx.shared}); err == nil {
				continue
			}
		}
		return fmt.Errorf("%s: %q is not an https address", p.field, p.value)
	}
	return nil
}

func clientLifetimes(c *oauth2.Client, doc *snapshotv1.Client, ctx clientContext) error {
	p := ctx.policy
	if o := doc.GetOverrides(); o != nil {
		if v := CheckOverrides(nil, nil, o); len(v) > 0 {
			return fmt.Errorf("overrides.%s: %s", v[0].Path, v[0].Reason)
		}
		if ctx.resolve != nil {
			resolved, err := ctx.resolve(o)
			if err != nil {
				return fmt.Errorf("overrides: %w", err)
			}
			p = policyView(resolved)
		}
	}
	c.AccessTTL, c.IDTokenTTL, c.AccessAlg = p.AccessTTL, p.IDTokenTTL, p.AccessAlg
	c.RefreshTTL, c.RefreshAbsoluteTTL, c.RefreshGrace = p.RefreshTTL, p.RefreshAbsoluteTTL, p.RefreshGrace
	return nil
}

func bounded(field string, list []string) error {
	if len(list) > maxURIs {
		return fmt.Errorf("%s: %d, %d allowed", field, len(list), maxURIs)
	}
	for _, s := range list {
		if s == "" || len(s) > maxURL {
			return fmt.Errorf("%s: want 1 to %d bytes each", field, maxURL)
		}
	}
	return nil
}

// sealedSecret is the secret's text as the token service opens it; nil for all but client_secret_jwt.
func sealedSecret(s *snapshotv1.ClientSecret) *secret.Sealed {
	if len(s.GetSealed()) == 0 {
		return nil
	}
	sealed := sealedOf(s.GetSealed(), s.GetWraps())
	return &sealed
}

// ClientSecretAAD is the place that a client secret is sealed for: the control plane seals with it, the token service opens.
func ClientSecretAAD(client id.Client, s id.ClientSecret) secret.AAD {
	return secret.AAD{Purpose: secret.PurposeSigning, Tenant: id.Tenant(client), KeyID: s.String(), Algorithm: "client-secret"}
}
