// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"net"
	"net/url"
	"time"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

func orgOut(o *tenancy.Org) *controlv1.Org {
	return &controlv1.Org{
		Name: orgName(o.ID), Uid: uidText(o.ID), Slug: o.Slug, DisplayName: o.DisplayName, State: controlv1.Org_State(o.State),
		Etag: tenancy.Etag(o.ID, o.Version), CreateTime: timestamp(o.CreateTime), UpdateTime: timestamp(o.UpdateTime), Annotations: o.Annotations,
		Labels: o.Labels, ConfigVersion: o.ConfigVersion, BaseDomain: o.BaseDomain, DefaultAudience: o.DefaultAudience,
		AllowedRegions: o.AllowedRegions, ReservedLabels: o.ReservedLabels,
	}
}

func orgIn(m *controlv1.Org) tenancy.Org {
	return tenancy.Org{
		Standard:   tenancy.Standard{DisplayName: m.GetDisplayName(), Labels: m.GetLabels(), Annotations: m.GetAnnotations()},
		BaseDomain: m.GetBaseDomain(), DefaultAudience: m.GetDefaultAudience(), AllowedRegions: m.GetAllowedRegions(), ReservedLabels: m.GetReservedLabels(),
	}
}

func tenantOut(t *tenancy.Tenant) *controlv1.Tenant {
	m := &controlv1.Tenant{
		Name: tenantName(t.Org, t.ID), Uid: uidText(t.ID), Slug: t.Slug, DisplayName: t.DisplayName, State: controlv1.Tenant_State(t.State),
		Etag: tenancy.Etag(t.ID, t.Version), CreateTime: timestamp(t.CreateTime), UpdateTime: timestamp(t.UpdateTime), DeleteTime: timestamp(t.DeleteTime),
		PurgeTime: timestamp(t.PurgeTime), Annotations: t.Annotations, Labels: t.Labels, ConfigVersion: t.ConfigVersion,
		Type: controlv1.Tenant_Type(t.Type), Region: t.Region, Parameters: freeValues(t.Parameters), Overrides: configOfPolicy(t.Overrides),
		Theme: themeOut(t.Theme), Plan: t.Plan, Entitlements: t.Entitlements, AppMetadata: object(t.AppMetadata),
		InternalMetadata: object(t.InternalMetadata), Issuer: t.Issuer, Hosts: hostsOut(t), Warnings: each(t.Warnings, warningOut),
	}
	if !t.Blueprint.IsZero() {
		m.Blueprint = blueprintName(t.Org, t.Blueprint)
		if t.BlueprintPin > 0 {
			m.BlueprintRevisionPin = revisionName(t.Org, t.Blueprint, t.BlueprintPin)
		}
	}
	if !t.Owner.IsZero() {
		m.Owner = m.GetName() + "/users/" + t.Owner.String()
	}
	if len(m.GetHosts()) > 0 {
		m.PrimaryDomain = m.GetHosts()[0].GetHost()
	}
	return m
}

// hostsOut lists the hostnames of a tenant. Their URLs are the issuer's with the host exchanged: scheme and port are the
// installation's.
func hostsOut(t *tenancy.Tenant) (out []*controlv1.HostResult) {
	for _, h := range t.Hosts {
		if h.Released {
			continue
		}
		r := &controlv1.HostResult{Host: h.Name, Primary: len(out) == 0, State: controlv1.HostResult_READY}
		if u, err := url.Parse(t.Issuer); err == nil && u.Host != "" {
			if p := u.Port(); p != "" {
				u.Host = net.JoinHostPort(h.Name, p)
			} else {
				u.Host = h.Name
			}
			r.Url = u.String()
		}
		out = append(out, r)
	}
	return out
}

func tenantIn(m *controlv1.Tenant) tenancy.Tenant {
	return tenancy.Tenant{
		Standard: tenancy.Standard{DisplayName: m.GetDisplayName(), Labels: m.GetLabels(), Annotations: m.GetAnnotations()},
		Plan:     m.GetPlan(), Entitlements: m.GetEntitlements(), AppMetadata: rawObject(m.GetAppMetadata()),
		InternalMetadata: rawObject(m.GetInternalMetadata()), Overrides: policyOfConfig(m.GetOverrides()), Theme: themeIn(m.GetTheme()),
	}
}

var depths = map[controlv1.ProvisionTenantRequest_ProvisionDepth]provision.Depth{
	controlv1.ProvisionTenantRequest_COMMITTED: provision.DepthCommitted, controlv1.ProvisionTenantRequest_LOGIN_READY: provision.DepthLoginReady,
	controlv1.ProvisionTenantRequest_EVERYTHING: provision.DepthEverything,
}

func provisionIn(req *controlv1.ProvisionTenantRequest) provision.ProvisionInput {
	t := req.GetTenant()
	in := provision.ProvisionInput{
		TenantID: req.GetTenantId(), Parameters: values(req.GetParameters()), DisplayName: t.GetDisplayName(), Type: tenancy.TenantType(t.GetType()), //nolint:gosec // few values
		Region: t.GetRegion(), Plan: t.GetPlan(), Entitlements: t.GetEntitlements(), Labels: t.GetLabels(), Annotations: t.GetAnnotations(),
		AppMetadata: rawObject(t.GetAppMetadata()), InternalMetadata: rawObject(t.GetInternalMetadata()), Theme: themeIn(t.GetTheme()),
		Overrides: policyOfConfig(req.GetOverrides()), WaitFor: depths[req.GetWaitFor()],
	}
	if req.GetOverrides() == nil {
		in.Overrides = policyOfConfig(t.GetOverrides())
	}
	for _, h := range req.GetHosts() {
		in.Hosts = append(in.Hosts, provision.HostSpec{Label: h.GetLabel(), Domain: h.GetDomain(), Primary: h.GetPrimary()})
	}
	if o := req.GetOwner(); o != nil {
		in.Owner = &provision.OwnerSpec{Email: o.GetEmail(), DisplayName: o.GetDisplayName(), Locale: o.GetLocale()}
	}
	for _, c := range req.GetClients() {
		in.Clients = append(in.Clients, clientSpecIn(c))
	}
	for _, k := range req.GetApiKeys() {
		in.APIKeys = append(in.APIKeys, keySpecIn(k))
	}
	for _, u := range req.GetInitialUsers() {
		in.InitialUsers = append(in.InitialUsers, userSpecIn(u))
	}
	return in
}

func provisionOut(r *provision.ProvisionResult, now time.Time) *controlv1.ProvisionTenantResponse {
	t := tenantOut(&r.Tenant)
	m := &controlv1.ProvisionTenantResponse{
		Tenant: t, Issuer: r.Tenant.Issuer, Hosts: t.GetHosts(), Clients: each(r.Clients, clientCredentials), Urls: r.URLs, ConfigVersion: r.ConfigVersion,
		Propagation: propagation(r.Reached), ConsistencyToken: r.ConsistencyToken, SecretAlreadyReturned: r.AlreadyReturned,
	}
	for i := range r.APIKeys {
		m.ApiKeys = append(m.ApiKeys, keyCredentials(&r.APIKeys[i], now))
	}
	if r.AlreadyReturned {
		for _, c := range m.GetClients() {
			c.SecretAlreadyReturned = c.GetSecretId() != ""
		}
		for _, k := range m.GetApiKeys() {
			k.SecretAlreadyReturned = true
		}
	}
	return m
}

func propagation(reached bool) controlv1.OperationMetadata_Propagation {
	if reached {
		return controlv1.OperationMetadata_REACHED
	}
	return controlv1.OperationMetadata_PENDING
}
