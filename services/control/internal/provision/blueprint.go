// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var blueprintFields = []tenancy.FilterField{
	{Name: "slug", Has: true}, {Name: "state", Check: choices("DRAFT", "PUBLISHED")}, {Name: "labels.*"},
}

// blueprintRef takes a uid or slug apart.
func blueprintRef(ref string) (bp id.Blueprint, slug string) {
	if bp, err := id.ParseBlueprint(ref); err == nil {
		return bp, ""
	}
	return id.Blueprint{}, ref
}

func blueprintName(org id.Org, bp id.Blueprint) string {
	return orgName(org) + "/blueprints/" + bp.String()
}

// CreateBlueprint makes a blueprint with a draft.
func (s *Service) CreateBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, in BlueprintInput) (blueprint.Blueprint, error) {
	b := in.Blueprint
	if !tenancy.ValidSlug(in.Slug) {
		return b, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "blueprint_id", "write lower-case letters, digits and inner hyphens")
	}
	if err := b.Draft.Validate("blueprint.draft."); err != nil {
		return b, err
	}
	b.Org, b.ID, b.Slug, b.Version, b.Revision = org, id.NewBlueprint(), in.Slug, 1, 0
	if b.DisplayName == "" {
		b.DisplayName = b.Slug
	}
	v, _, err := change(ctx, s, caller, org, "CreateBlueprint", in.Call, func(tx *store.Tx, now time.Time) (blueprint.Blueprint, error) {
		if _, err := tx.LockOrg(); err != nil {
			return b, err
		}
		b.CreateTime, b.UpdateTime, b.Warnings = now, now, b.Draft.Warnings("draft.")
		if err := tx.InsertBlueprint(b); err != nil {
			return b, err
		}
		return b, tx.Audit(event(caller, now, tenancy.ActionBlueprintCreated, blueprintName(org, b.ID)))
	})
	if in.ValidateOnly {
		v.ID = id.Blueprint{}
	}
	return v, err
}

// GetBlueprint reads a blueprint by uid or slug.
func (s *Service) GetBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, ref string) (blueprint.Blueprint, error) {
	bp, slug := blueprintRef(ref)
	b, err := s.store.Blueprint(ctx, org, bp, slug)
	if err != nil {
		return b, err
	}
	return b, s.attachedBlueprint(ctx, caller, org, b.ID)
}

// attachedBlueprint lets a key that is locked to tenants see only the blueprints of those tenants.
func (s *Service) attachedBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, bp id.Blueprint) error {
	if caller.Rights.Scope != tenancy.ScopeTenants {
		return nil
	}
	for _, t := range caller.Rights.Tenants {
		tenant, err := s.store.Tenant(ctx, org, t)
		if err == nil && tenant.Blueprint == bp {
			return nil
		}
		if err != nil && !errors.Is(err, tenancy.ReasonNotFound) {
			return err
		}
	}
	return tenancy.Refuse(tenancy.ReasonNotFound)
}

// ListBlueprints lists an org's blueprints.
func (s *Service) ListBlueprints(ctx context.Context, caller tenancy.Principal, org id.Org, page tenancy.Page) (List[blueprint.Blueprint], error) {
	q, binding, err := s.query(caller, page, blueprintFields, byIDOrSlug, "blueprints", org.String())
	if err != nil {
		return List[blueprint.Blueprint]{}, err
	}
	items, err := s.store.Blueprints(ctx, org, q)
	if err != nil {
		return List[blueprint.Blueprint]{}, err
	}
	return paged(s, items, q, binding, func(b blueprint.Blueprint) []byte { return cursorOf(q, b.ID, b.Slug) }), nil
}

// UpdateBlueprint changes a blueprint's draft or its other fields. No tenant sees it before it is published.
func (s *Service) UpdateBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, ref string, in BlueprintInput) (blueprint.Blueprint, error) {
	bp, slug := blueprintRef(ref)
	v, _, err := change(ctx, s, caller, org, "UpdateBlueprint", in.Call, func(tx *store.Tx, now time.Time) (blueprint.Blueprint, error) {
		b, ring, err := tx.LockBlueprint(bp, slug)
		if err != nil {
			return b, err
		}
		if err := tenancy.CheckEtag(in.Etag, b.ID, b.Version); err != nil {
			return b, err
		}
		draft := &in.Blueprint.Draft
		for _, f := range in.Mask {
			switch f {
			case "display_name":
				b.DisplayName = in.Blueprint.DisplayName
			case "description":
				b.Description = in.Blueprint.Description
			case "labels":
				b.Labels = in.Blueprint.Labels
			case "annotations":
				b.Annotations = in.Blueprint.Annotations
			case "draft":
				b.Draft = *draft
			case "draft.config":
				b.Draft.Config = draft.Config
			case "draft.theme":
				b.Draft.Theme = draft.Theme
			case "draft.roles":
				b.Draft.Roles = draft.Roles
			case "draft.clients":
				b.Draft.Clients = draft.Clients
			case "draft.api_keys":
				b.Draft.APIKeys = draft.APIKeys
			case "draft.initial_users":
				b.Draft.InitialUsers = draft.InitialUsers
			case "draft.locked":
				b.Draft.Locked = draft.Locked
			case "draft.parameters":
				b.Draft.Parameters = draft.Parameters
			default:
				return b, unknownField("blueprint", f)
			}
		}
		if err := b.Draft.Validate("blueprint.draft."); err != nil {
			return b, err
		}
		b.UpdateTime, b.Warnings = now, b.Draft.Warnings("draft.")
		if err := tx.UpdateBlueprint(&b, ring); err != nil {
			return b, err
		}
		e := event(caller, now, tenancy.ActionBlueprintUpdated, blueprintName(org, b.ID))
		e.ChangedFields = in.Mask
		return b, tx.Audit(e)
	})
	s.docs.forget(org)
	return v, err
}

// PublishBlueprint makes an immutable revision of the draft and moves all rings to it. A draft that equals the last revision answers
// that one. No key that the revision makes may exceed the rights of who publishes it.
func (s *Service) PublishBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, ref, message string, call Call) (blueprint.Revision, error) {
	bp, slug := blueprintRef(ref)
	v, _, err := change(ctx, s, caller, org, "PublishBlueprint", call, func(tx *store.Tx, now time.Time) (r blueprint.Revision, err error) {
		o, err := tx.LockOrg()
		if err != nil {
			return r, err
		}
		b, ring, err := tx.LockBlueprint(bp, slug)
		if err != nil {
			return r, err
		}
		if err := tenancy.CheckEtag(call.Etag, b.ID, b.Version); err != nil {
			return r, err
		}
		if err := b.Draft.Validate("blueprint.draft."); err != nil {
			return r, err
		}
		spec, digest, err := b.Draft.Encode()
		if err != nil {
			return r, err
		}
		var last blueprint.Revision
		if b.Revision > 0 {
			if last, _, err = tx.Revision(b.ID, b.Revision); err != nil {
				return r, err
			}
			if bytes.Equal(last.Digest[:], digest[:]) {
				return last, nil
			}
		}
		for i, k := range b.Draft.APIKeys {
			if !caller.Rights.Permissions.Covers(tenancy.Expand(k.Permissions, k.Role)) {
				return r, &tenancy.Error{
					Reason: tenancy.ReasonMintExceedsMinter, Field: "blueprint.draft.api_keys[" + strconv.Itoa(i) + "]",
					Text: "the API key " + k.ID + " of the blueprint has more permissions than the key that publishes it",
				}
			}
		}
		r = blueprint.Revision{
			Org: org, Blueprint: b.ID, ID: id.NewRevision(), Number: b.Revision + 1, Spec: b.Draft, Digest: digest, Author: caller.Key,
			Message: message, CreateTime: now, Cap: caller.Rights.Permissions.Patterns(),
		}
		layer, err := s.layer(tx, &o, &r.Spec, r.Number, now)
		if err != nil {
			return r, err
		}
		if err := tx.InsertRevision(r, spec, layer); err != nil {
			return r, err
		}
		b.Revision, b.UpdateTime = r.Number, now
		if err := s.putRing(tx, &o, &b, &ring, now); err != nil {
			return r, err
		}
		if err := tx.UpdateBlueprint(&b, ring); err != nil {
			return r, err
		}
		if last.Number > 0 {
			if r.Warnings, err = s.publishWarnings(tx, &o, b.ID, &last.Spec, &r.Spec); err != nil {
				return r, err
			}
		}
		if grew(&last.Spec, &r.Spec) {
			// Tenants that exist need a key for each algorithm that they did not offer before.
			if err := tx.WantKeys(b.ID, now); err != nil {
				return r, err
			}
		}
		e := event(caller, now, tenancy.ActionBlueprintPublished, blueprintName(org, b.ID)+"/revisions/"+strconv.Itoa(r.Number))
		e.Reason = message
		return r, tx.Audit(e)
	})
	s.docs.forget(org)
	return v, err
}

// grew reports whether a revision offers signature algorithms that the one before did not.
func grew(before, after *blueprint.Spec) bool {
	algs := func(s *blueprint.Spec) []string {
		if s.Config == nil {
			return nil
		}
		k := s.Config.GetToken()
		return append(slices.Clone(k.GetIdTokenAlgs().GetValues()), k.GetAccessAlg())
	}
	old := algs(before)
	return slices.ContainsFunc(algs(after), func(a string) bool { return a != "" && !slices.Contains(old, a) })
}

// GetBlueprintRevision reads a revision by number or uid.
func (s *Service) GetBlueprintRevision(ctx context.Context, caller tenancy.Principal, org id.Org, ref, rev string) (blueprint.Revision, error) {
	b, err := s.GetBlueprint(ctx, caller, org, ref)
	if err != nil {
		return blueprint.Revision{}, err
	}
	number, uid, ok := revisionRef(rev)
	if !ok {
		return blueprint.Revision{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	r, _, err := s.store.Revision(ctx, org, b.ID, number, uid)
	return r, err
}

// revisionRef takes a number or uid apart.
func revisionRef(ref string) (number int, uid id.Revision, ok bool) {
	if uid, err := id.ParseRevision(ref); err == nil {
		return 0, uid, true
	}
	n, err := strconv.Atoi(ref)
	return n, id.Revision{}, err == nil && n > 0 && n < 1<<30 && !strings.HasPrefix(ref, "0") && !strings.HasPrefix(ref, "+")
}

// ListBlueprintRevisions lists the revisions of a blueprint, the newest first.
func (s *Service) ListBlueprintRevisions(ctx context.Context, caller tenancy.Principal, org id.Org, ref string, page tenancy.Page) (List[blueprint.Revision], error) {
	b, err := s.GetBlueprint(ctx, caller, org, ref)
	if err != nil {
		return List[blueprint.Revision]{}, err
	}
	q, binding, err := s.query(caller, page, nil, []string{"revision"}, "revisions", org.String(), b.ID.String())
	if err != nil {
		return List[blueprint.Revision]{}, err
	}
	items, err := s.store.Revisions(ctx, org, b.ID, q)
	if err != nil {
		return List[blueprint.Revision]{}, err
	}
	return paged(s, items, q, binding, func(r blueprint.Revision) []byte { return []byte(strconv.Itoa(r.Number)) }), nil
}

// DigestText is a revision's digest as it is shown.
func DigestText(r *blueprint.Revision) string { return "sha256:" + hex.EncodeToString(r.Digest[:]) }
