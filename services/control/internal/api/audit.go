// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
	"github.com/tenantry/tenantry/services/identity"
)

// auditFields are those that both logs can be narrowed by; the control database's are provision's.
var auditFields = []tenancy.FilterField{{Name: "action", Has: true}, {Name: "actor"}, {Name: "request_id"}, {Name: "resource", Has: true}}

// auditPosition is where a page of the two logs of a tenant ended: each goes its own way, and the page is both in the order of time.
type auditPosition struct {
	Control     string `json:"c,omitempty"` // page token of the control database's log
	ControlDone bool   `json:"cd,omitempty"`
	Before      int64  `json:"i,omitempty"` // last sequence shown of the identity database's log
	UsersDone   bool   `json:"id,omitempty"`
}

// ListAuditEvents implements AuditService: the log of the configuration and, for a tenant, that of its users, the newest event first.
func (s *Server) ListAuditEvents(ctx context.Context, req *controlv1.ListAuditEventsRequest) (*controlv1.ListAuditEventsResponse, error) {
	c := callOf(ctx)
	page := listing(req)
	if c.resolved.Tenant.IsZero() || c.caller.Rights.Scope == tenancy.ScopePlatform {
		// What users do is personal data, which a platform key does not read.
		l, err := s.control.ListAuditEvents(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, page)
		if err != nil {
			return nil, err
		}
		return &controlv1.ListAuditEventsResponse{AuditEvents: each(l.Items, controlEvent), NextPageToken: l.NextPageToken}, nil
	}
	limit, err := page.Limit()
	if err != nil {
		return nil, err
	}
	filter, err := tenancy.ParseFilter(page.Filter, auditFields)
	if err != nil {
		return nil, err
	}
	binding := []string{"audit", c.caller.Key.String(), c.resolved.Tenant.String(), filter.Canonical()}
	var at auditPosition
	if cursor, err := s.pages.Read(page.Token, binding...); err != nil {
		return nil, err
	} else if cursor != nil && json.Unmarshal(cursor, &at) != nil {
		return nil, tenancy.Refuse(tenancy.ReasonPageTokenInvalid)
	}
	var control provision.List[tenancy.AuditEvent]
	from := tenancy.Page{Size: limit, Token: at.Control, Filter: page.Filter}
	if !at.ControlDone {
		if control, err = s.control.ListAuditEvents(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, from); err != nil {
			return nil, err
		}
	}
	out := &controlv1.ListAuditEventsResponse{}
	users, usersEnd, err := s.userEvents(ctx, c, at, limit, filter)
	if err != nil {
		s.log.WarnContext(ctx, "the audit log of users cannot be read", slog.String("request_id", c.id), slog.Any("error", err))
		out.Unreachable, users, usersEnd = []string{"identity"}, nil, at.UsersDone
	}
	next := at
	taken, shown := 0, 0
	for len(out.GetAuditEvents()) < limit && (taken < len(control.Items) || shown < len(users)) {
		if shown == len(users) || taken < len(control.Items) && !control.Items[taken].Time.Before(users[shown].Time) {
			out.AuditEvents = append(out.AuditEvents, controlEvent(&control.Items[taken]))
			taken++
			continue
		}
		out.AuditEvents = append(out.AuditEvents, userEvent(c, &users[shown]))
		next.Before = users[shown].Seq
		shown++
	}
	next.UsersDone = usersEnd && shown == len(users) && len(out.GetUnreachable()) == 0 || at.UsersDone
	if next.Control, next.ControlDone, err = s.controlPosition(ctx, c, from, control, taken, at); err != nil {
		return nil, err
	}
	if !next.ControlDone || !next.UsersDone && len(out.GetUnreachable()) == 0 {
		cursor, err := json.Marshal(next)
		if err != nil {
			return nil, err
		}
		out.NextPageToken = s.pages.Make(cursor, binding...)
	}
	return out, nil
}

// controlPosition is the page token behind the events that were shown. When only a part of a page was, the page is read once more up
// to there; events that came meanwhile make it longer.
func (s *Server) controlPosition(ctx context.Context, c *call, from tenancy.Page, l provision.List[tenancy.AuditEvent], taken int, at auditPosition) (string, bool, error) {
	switch {
	case at.ControlDone:
		return "", true, nil
	case taken == len(l.Items):
		return l.NextPageToken, l.NextPageToken == "", nil
	case taken == 0:
		return at.Control, false, nil
	}
	last := l.Items[taken-1].ID
	for from.Size = taken; from.Size <= tenancy.MaxPageSize; from.Size++ {
		again, err := s.control.ListAuditEvents(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, from)
		if err != nil {
			return "", false, err
		}
		if n := len(again.Items); n == 0 || again.Items[n-1].ID == last || n < from.Size {
			return again.NextPageToken, false, nil
		}
	}
	return at.Control, false, nil
}

// maxAuditScan bounds how many events one call looks through for those that a filter wants.
const maxAuditScan = 20000

// userEvents reads events of the identity database; end says that there are no more behind them.
func (s *Server) userEvents(ctx context.Context, c *call, at auditPosition, limit int, filter tenancy.Filter) (out []identity.AuditEvent, end bool, err error) {
	if at.UsersDone {
		return nil, true, nil
	}
	t, err := s.control.GetTenant(ctx, c.caller, c.resolved.Org, c.resolved.Tenant)
	if err != nil {
		return nil, false, err
	}
	p := identity.AuditPage{Before: at.Before, Limit: limit + 1}
	for i := range filter {
		r := &filter[i]
		value := r.Value
		if r.Field == "resource" {
			value = value[strings.LastIndexByte(value, '/')+1:]
		}
		if r.Has {
			p.Limit = tenancy.MaxPageSize
			continue
		}
		switch r.Field {
		case "action":
			p.Action = value
		case "actor":
			p.Actor = value
		case "resource":
			p.Resource = value
		case "request_id":
			p.Limit = tenancy.MaxPageSize
		}
	}
	for scanned := 0; len(out) <= limit && scanned < maxAuditScan; {
		events, err := s.users.ListAuditEvents(ctx, identity.TenantRef{Tenant: t.ID, Pool: t.Pool}, p)
		if err != nil {
			return nil, false, err
		}
		for i := range events {
			if wanted(c, filter, &events[i]) {
				out = append(out, events[i])
			}
		}
		if scanned += len(events); len(events) < p.Limit {
			return out, true, nil
		}
		p.Before = events[len(events)-1].Seq
	}
	return out, false, nil
}

// wanted applies a filter to an event of the identity database.
func wanted(c *call, filter tenancy.Filter, e *identity.AuditEvent) bool {
	return !slices.ContainsFunc(filter, func(r tenancy.Restriction) bool {
		have := map[string]string{"action": e.Action, "actor": e.Actor, "request_id": e.RequestID, "resource": userResource(c, e.Resource)}[r.Field]
		if r.Has {
			return !strings.HasPrefix(have, r.Value)
		}
		return have != r.Value && (r.Field != "resource" || e.Resource != r.Value)
	})
}

// userResource is the name of what an event of the identity database is about: users have one, the rest have an id.
func userResource(c *call, text string) string {
	if strings.HasPrefix(text, "uid_") {
		return tenantName(c.resolved.Org, c.resolved.Tenant) + "/users/" + text
	}
	return text
}

func controlEvent(e *tenancy.AuditEvent) *controlv1.AuditEvent {
	return &controlv1.AuditEvent{
		Name: parentName(e.Org, e.Tenant) + "/auditEvents/" + e.ID.String(), Uid: e.ID.String(), CreateTime: timestamp(e.Time), Action: e.Action,
		Outcome: controlv1.AuditEvent_SUCCEEDED, Actor: actor(e.Actor), Resource: e.Resource, ChangedFields: e.ChangedFields, Reason: e.Reason,
		Ip: e.Source, UserAgent: e.UserAgent, RequestId: e.RequestID, ConfigVersion: e.ConfigVersion, Chain: controlv1.AuditEvent_CONTROL,
		Sequence: e.Sequence, PreviousHash: e.PrevHash, Hash: e.Hash,
	}
}

func userEvent(c *call, e *identity.AuditEvent) *controlv1.AuditEvent {
	m := &controlv1.AuditEvent{
		Name: tenantName(c.resolved.Org, c.resolved.Tenant) + "/auditEvents/" + e.ID.String(), Uid: e.ID.String(), CreateTime: timestamp(e.Time),
		Action: e.Action, Outcome: controlv1.AuditEvent_SUCCEEDED, Actor: actor(e.Actor), Resource: userResource(c, e.Resource), Ip: e.IP,
		UserAgent: e.UserAgent, RequestId: e.RequestID, Chain: controlv1.AuditEvent_IDENTITY, Sequence: e.Seq, Hash: e.Hash,
	}
	if e.Outcome != "success" {
		m.Outcome, m.Reason = controlv1.AuditEvent_REFUSED, e.Outcome
	}
	return m
}

// actor tells the kind of an actor by the prefix of its id.
func actor(text string) *controlv1.AuditActor {
	for prefix, kind := range map[string]controlv1.AuditActor_Type{
		"key_": controlv1.AuditActor_API_KEY, "uid_": controlv1.AuditActor_USER, "cli_": controlv1.AuditActor_CLIENT,
	} {
		if strings.HasPrefix(text, prefix) {
			return &controlv1.AuditActor{Type: kind, Name: text}
		}
	}
	return &controlv1.AuditActor{Type: controlv1.AuditActor_SYSTEM}
}
