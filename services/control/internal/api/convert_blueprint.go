// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var parameterTypes = map[controlv1.ParameterSpec_Type]blueprint.ParameterType{
	controlv1.ParameterSpec_TYPE_UNSPECIFIED: blueprint.TypeString, controlv1.ParameterSpec_STRING: blueprint.TypeString,
	controlv1.ParameterSpec_NUMBER: blueprint.TypeNumber, controlv1.ParameterSpec_BOOLEAN: blueprint.TypeBoolean,
}

func specIn(m *controlv1.BlueprintSpec) blueprint.Spec {
	s := blueprint.Spec{Config: policyOfConfig(m.GetConfig()), Theme: themeIn(m.GetTheme())}
	for _, r := range m.GetRoles() {
		s.Roles = append(s.Roles, tenancy.RoleSpec{ID: r.GetId(), DisplayName: r.GetDisplayName(), Description: r.GetDescription(), Default: r.GetDefault()})
	}
	for _, c := range m.GetClients() {
		s.Clients = append(s.Clients, clientSpecIn(c))
	}
	for _, k := range m.GetApiKeys() {
		s.APIKeys = append(s.APIKeys, keySpecIn(k))
	}
	for _, u := range m.GetInitialUsers() {
		s.InitialUsers = append(s.InitialUsers, userSpecIn(u))
	}
	for _, p := range m.GetLocked() {
		s.Locked = append(s.Locked, lockedPath(p))
	}
	for name, p := range m.GetParameters() {
		if s.Parameters == nil {
			s.Parameters = map[string]blueprint.Parameter{}
		}
		x := blueprint.Parameter{
			Type: parameterTypes[p.GetType()], Description: p.GetDescription(), Pattern: p.GetPattern(), MaxLength: int(p.GetMaxLength()),
		}
		if p.GetDefault() != nil {
			x.Default = p.GetDefault().AsInterface()
		}
		s.Parameters[name] = x
	}
	return s
}

func specOut(s *blueprint.Spec) *controlv1.BlueprintSpec {
	m := &controlv1.BlueprintSpec{
		Config: configOfPolicy(s.Config), Theme: themeOut(s.Theme), Clients: each(s.Clients, clientSpecOut), ApiKeys: each(s.APIKeys, keySpecOut),
		InitialUsers: each(s.InitialUsers, userSpecOut),
		Roles: each(s.Roles, func(r *tenancy.RoleSpec) *controlv1.RoleSpec {
			return &controlv1.RoleSpec{Id: r.ID, DisplayName: r.DisplayName, Description: r.Description, Default: r.Default}
		}),
		Locked: each(s.Locked, func(p *string) string { return lockedName(*p) }),
	}
	for name, p := range s.Parameters {
		if m.Parameters == nil {
			m.Parameters = map[string]*controlv1.ParameterSpec{}
		}
		x := &controlv1.ParameterSpec{Type: controlv1.ParameterSpec_STRING, Description: p.Description, Pattern: p.Pattern, MaxLength: int32(p.MaxLength)} //nolint:gosec // bounded
		for wire, domain := range parameterTypes {
			if domain == p.Type && wire != controlv1.ParameterSpec_TYPE_UNSPECIFIED {
				x.Type = wire
			}
		}
		if p.Default != nil {
			if v, err := structpb.NewValue(p.Default); err == nil {
				x.Default = v
			}
		}
		m.Parameters[name] = x
	}
	return m
}

func blueprintOut(b *blueprint.Blueprint) *controlv1.Blueprint {
	m := &controlv1.Blueprint{
		Name: blueprintName(b.Org, b.ID), Uid: uidText(b.ID), Slug: b.Slug, DisplayName: b.DisplayName, State: controlv1.Blueprint_DRAFT,
		Etag: tenancy.Etag(b.ID, b.Version), CreateTime: timestamp(b.CreateTime), UpdateTime: timestamp(b.UpdateTime), Annotations: b.Annotations,
		Labels: b.Labels, Description: b.Description, Draft: specOut(&b.Draft), Warnings: each(b.Warnings, warningOut),
	}
	if b.Revision > 0 {
		m.State, m.DefaultRevision = controlv1.Blueprint_PUBLISHED, revisionName(b.Org, b.ID, b.Revision)
	}
	return m
}

func blueprintIn(m *controlv1.Blueprint) blueprint.Blueprint {
	return blueprint.Blueprint{
		Standard:    tenancy.Standard{DisplayName: m.GetDisplayName(), Labels: m.GetLabels(), Annotations: m.GetAnnotations()},
		Description: m.GetDescription(), Draft: specIn(m.GetDraft()),
	}
}

func revisionOut(r *blueprint.Revision) *controlv1.BlueprintRevision {
	return &controlv1.BlueprintRevision{
		Name: revisionName(r.Org, r.Blueprint, r.Number), Uid: uidText(r.ID), Revision: int64(r.Number), CreateTime: timestamp(r.CreateTime),
		Spec: specOut(&r.Spec), Digest: provision.DigestText(r), Author: uidText(r.Author), Message: r.Message, Warnings: each(r.Warnings, warningOut),
	}
}

func userSpecIn(u *controlv1.UserSpec) tenancy.UserSpec {
	return tenancy.UserSpec{Email: u.GetEmail(), DisplayName: u.GetDisplayName(), Locale: u.GetLocale(), Roles: u.GetRoles(), Invite: u.GetInvite()}
}

func userSpecOut(u *tenancy.UserSpec) *controlv1.UserSpec {
	return &controlv1.UserSpec{Email: u.Email, DisplayName: u.DisplayName, Locale: u.Locale, Roles: u.Roles, Invite: u.Invite}
}
