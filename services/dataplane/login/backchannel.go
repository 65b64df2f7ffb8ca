// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// paramDone says on the page what was just answered.
const paramDone = "done"

// backchannelForm is GET /oauth2/backchannel: what applications ask the person who is signed in, on a device of the person's own (CIBA
// Core section 8). It shows what is asked whatever the address says, so that a link in a mail carries nothing.
func (s *Service) backchannelForm(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	who, err := s.session(r, q)
	if err != nil {
		return unavailable(err)
	}
	if !who.present {
		return s.toLogin(w, q, pathBackchannel)
	}
	params, err := oauth2.ParseParams(r.URL.RawQuery)
	if err != nil {
		return s.fault(w, r, q, pageFault(err))
	}
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	list, err := s.grants.Backchannels(ctx, q.Tenant.ID, who.user.ID, q.Start)
	if err != nil {
		return unavailable(err)
	}
	v := s.view(w, r, q, nil, nil)
	v.Step = v.T("backchannel.title")
	v.person(who.user)
	switch params.Get(paramDone) {
	case "allow":
		v.Notice = v.T("backchannel.allowed")
	case "deny":
		v.Notice = v.T("backchannel.denied")
	case "gone":
		v.Notice = v.T("backchannel.gone")
	}
	s.withForm(w, r, q, v, false)
	nonce := formNonce(w, r, q)
	for i := range list {
		client, ok := s.backchannelClient(q, &list[i])
		if !ok {
			continue
		}
		item, ok := v.asked(q.Tenant, client, &list[i].Waiting)
		if !ok {
			continue
		}
		item.Handle, item.Token = list[i].Handle.String(), s.formToken(q, nonce, backchannelBound(list[i].Handle, who)...)
		v.Asked = append(v.Asked, item)
	}
	v.offerLanguages("")
	return s.render(w, v, "backchannel")
}

// asksAnything says whether a request waits for the person, for the account page. When nobody can tell the page does without.
func (s *Service) asksAnything(r *http.Request, q *web.Request, who login) bool {
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	list, err := s.grants.Backchannels(ctx, q.Tenant.ID, who.user.ID, q.Start)
	return err == nil && len(list) > 0
}

// backchannelClient is the client that asks, as long as it may.
func (s *Service) backchannelClient(q *web.Request, b *grant.Backchannel) (*oauth2.Client, bool) {
	client, ok := q.Tenant.Client(b.Client)
	return client, ok && client.Enabled && client.CheckGrant(oauth2.GrantCIBA) == nil
}

// backchannelBound ties an answer to one request and one person.
func backchannelBound(h grant.Handle, who login) [][]byte {
	return [][]byte{[]byte("backchannel"), h[:], who.user.ID[:]}
}

// backchannelSubmit is POST /oauth2/backchannel: the answer to one request. The client hears of it by its next poll, or by a ping.
func (s *Service) backchannelSubmit(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	form, err := web.ReadForm(w, r)
	if err != nil {
		return err
	}
	who, err := s.session(r, q)
	if err != nil {
		return unavailable(err)
	}
	if !who.present {
		return s.toLogin(w, q, pathBackchannel)
	}
	h, _ := grant.ParseHandle(form.Get("request")) // the zero handle is nobody's
	switch err := s.ownForm(r, q, form, backchannelBound(h, who)...); {
	case errors.Is(err, errForeign):
		return s.foreignForm(w, r, q)
	case err != nil:
		// No cookie, or another person by now: nothing is answered, and the page asks again.
		q.Note(slog.String("answered", "form_token"))
		return redirect(w, pathBackchannel)
	}
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	b, err := s.grants.Backchannel(ctx, q.Tenant.ID, h, who.user.ID, q.Start)
	if errors.Is(err, grant.ErrCodeUnknown) || errors.Is(err, grant.ErrDecided) {
		return redirect(w, backchannelDone("gone"))
	}
	if err != nil {
		return unavailable(err)
	}
	client, ok := s.backchannelClient(q, &b)
	if !ok {
		return redirect(w, backchannelDone("gone"))
	}
	q.Note(slog.String("client_id", client.ID))
	done := "deny"
	var yes *grant.CodeRecord
	if form.Get("answer") == "allow" {
		done, yes = "allow", answeredYes(&b.Waiting, who)
		switch err := s.noteClient(ctx, q, client, who.session.ID); {
		case errors.Is(err, identity.ErrNotFound): // the session ended a moment ago
			return s.toLogin(w, q, pathBackchannel)
		case err != nil:
			return unavailable(err)
		}
	}
	err = s.grants.DecideBackchannel(ctx, q.Tenant.ID, b, yes, q.Start)
	if errors.Is(err, grant.ErrDecided) {
		return redirect(w, backchannelDone("gone"))
	}
	if err != nil {
		return unavailable(err)
	}
	q.Note(slog.String("answered", done))
	s.pings.send(ping{client: client, token: b.NotificationToken, requestID: b.RequestID, tenant: q.Tenant.ID, trace: q.ID})
	return redirect(w, backchannelDone(done))
}

func backchannelDone(how string) string { return pathBackchannel + "?" + paramDone + "=" + how }
