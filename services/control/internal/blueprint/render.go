// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package blueprint

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Facts fill in a blueprint's templates beside its parameters.
type Facts struct {
	TenantSlug string
	HostLabel  string // the left-most label of the primary hostname
	OwnerEmail string // empty without an owner
	Parameters map[string]any
}

// Rendered is what a blueprint gives one tenant. It shares no memory with the Spec that may be changed.
type Rendered struct {
	Overrides    *snapshotv1.Policy // what is filled in of the policy; the rest is inherited
	Theme        *snapshotv1.Theme  // likewise
	Roles        []tenancy.RoleSpec
	Clients      []tenancy.ClientSpec
	APIKeys      []tenancy.APIKeySpec
	InitialUsers []tenancy.UserSpec
	Parameters   map[string]any // defaults included
}

// Render fills a blueprint in for one tenant. The error is PARAMETER_INVALID with every violation.
func (s Spec) Render(f Facts) (Rendered, error) {
	texts, all, vs := s.values(f.Parameters)
	texts[NameTenantSlug], texts[NameHostLabel] = f.TenantSlug, f.HostLabel
	if f.OwnerEmail != "" {
		texts[NameOwnerEmail] = f.OwnerEmail
	}
	if err := tenancy.Violated(tenancy.ReasonParameterInvalid, vs); err != nil {
		return Rendered{}, err
	}
	r := Rendered{Roles: s.Roles, APIKeys: s.APIKeys, Parameters: all}
	fill := func(path, text string) string {
		out, err := expand(text, texts)
		if err != nil {
			vs = append(vs, tenancy.Violation{Field: path, Text: err.Error()})
		}
		return out
	}
	fillAll := func(path string, in []string) []string {
		if !slices.ContainsFunc(in, hasTemplate) {
			return in
		}
		out := make([]string, len(in))
		for i, text := range in {
			out[i] = fill(fmt.Sprintf("%s[%d]", path, i), text)
		}
		return out
	}
	r.Overrides, r.Theme = s.filled(fill, fillAll)
	r.Clients = make([]tenancy.ClientSpec, len(s.Clients))
	for i, c := range s.Clients {
		at := fmt.Sprintf("clients[%d].", i)
		c.DisplayName = fill(at+"display_name", c.DisplayName)
		c.RedirectURIs = fillAll(at+"redirect_uris", c.RedirectURIs)
		c.PostLogoutRedirectURIs = fillAll(at+"post_logout_redirect_uris", c.PostLogoutRedirectURIs)
		c.CORSOrigins = fillAll(at+"cors_origins", c.CORSOrigins)
		c.Audiences = fillAll(at+"audiences", c.Audiences)
		c.LogoURI, c.PolicyURI = fill(at+"logo_uri", c.LogoURI), fill(at+"policy_uri", c.PolicyURI)
		c.TOSURI, c.InitiateLoginURI = fill(at+"tos_uri", c.TOSURI), fill(at+"initiate_login_uri", c.InitiateLoginURI)
		if c.Protocol != nil {
			p := proto.CloneOf(c.Protocol.ClientProtocol)
			for name, v := range map[string]*string{
				"jwks_uri": &p.JwksUri, "sector_identifier_uri": &p.SectorIdentifierUri, "backchannel_logout_uri": &p.BackchannelLogoutUri,
				"frontchannel_logout_uri": &p.FrontchannelLogoutUri, "client_uri": &p.ClientUri,
				"backchannel_client_notification_endpoint": &p.BackchannelClientNotificationEndpoint,
			} {
				*v = fill(at+"protocol."+name, *v)
			}
			p.RequestUris = fillAll(at+"protocol.request_uris", p.GetRequestUris())
			c.Protocol = &tenancy.Protocol{ClientProtocol: p}
		}
		r.Clients[i] = c
	}
	for i, u := range s.InitialUsers {
		if f.OwnerEmail == "" && u.Email == "{{"+NameOwnerEmail+"}}" {
			continue // a tenant without an owner has no such user
		}
		u.Email = fill(fmt.Sprintf("initial_users[%d].email", i), u.Email)
		u.DisplayName = fill(fmt.Sprintf("initial_users[%d].display_name", i), u.DisplayName)
		r.InitialUsers = append(r.InitialUsers, u)
	}
	return r, tenancy.Violated(tenancy.ReasonParameterInvalid, vs)
}

// filled renders the parts of policy and appearance that have templates; nil for none.
func (s Spec) filled(fill func(path, text string) string, fillAll func(path string, in []string) []string) (p *snapshotv1.Policy, t *snapshotv1.Theme) {
	if c := s.Config; c != nil {
		if e := c.GetEmail(); hasTemplate(e.GetFrom()) || hasTemplate(e.GetFromName()) {
			p = &snapshotv1.Policy{Email: &snapshotv1.EmailConfig{}}
			if hasTemplate(e.GetFrom()) {
				p.Email.From = proto.String(fill("config.email_config.from", e.GetFrom()))
			}
			if hasTemplate(e.GetFromName()) {
				p.Email.FromName = proto.String(fill("config.email_config.from_name", e.GetFromName()))
			}
		}
		if o := c.GetCors().GetOrigins().GetValues(); slices.ContainsFunc(o, hasTemplate) {
			if p == nil {
				p = &snapshotv1.Policy{}
			}
			p.Cors = &snapshotv1.CorsPolicy{Origins: &snapshotv1.StringList{Values: fillAll("config.cors.origins", o)}}
		}
	}
	if c := s.Theme; c != nil {
		text := func(path string, v *string) *string {
			if v == nil || !hasTemplate(*v) {
				return nil
			}
			if t == nil {
				t = &snapshotv1.Theme{}
			}
			return proto.String(fill("theme."+path, *v))
		}
		background, brand, title := text("background", c.Background), text("brand", c.Brand), text("display_name", c.Title)
		if t != nil {
			t.Background, t.Brand, t.Title = background, brand, title
		}
	}
	return p, t
}

// Layer is what all tenants of the revision inherit: policy and appearance without what is filled in for each, on top of what the
// org sets. It is content-addressed, so it is built the same way each time.
func (s Spec) Layer(org *snapshotv1.Policy, orgTheme *snapshotv1.Theme, merge func(...*snapshotv1.Policy) *snapshotv1.Policy, mergeThemes func(...*snapshotv1.Theme) *snapshotv1.Theme, revision int) *snapshotv1.Layer {
	l := &snapshotv1.Layer{Revision: uint32(revision), Locked: slices.Sorted(slices.Values(s.Locked))} //nolint:gosec // revisions are small
	var own *snapshotv1.Policy
	if s.Config != nil {
		own = proto.CloneOf(s.Config.Policy)
		if e := own.GetEmail(); e != nil {
			if hasTemplate(e.GetFrom()) {
				e.From = nil
			}
			if hasTemplate(e.GetFromName()) {
				e.FromName = nil
			}
		}
		if slices.ContainsFunc(own.GetCors().GetOrigins().GetValues(), hasTemplate) {
			own.Cors = nil
		}
	}
	var look *snapshotv1.Theme
	if s.Theme != nil {
		look = proto.CloneOf(s.Theme.Theme)
		for _, v := range []**string{&look.Background, &look.Brand, &look.Title} {
			if *v != nil && hasTemplate(**v) {
				*v = nil
			}
		}
	}
	l.Policy = merge(org, own)
	if l.GetPolicy().GetOauth() != nil {
		l.MinReader = 2 // of a reader that does not know the section, tenants would get less than it demands
	}
	l.Theme = mergeThemes(orgTheme, look)
	return l
}
