// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// How many wrong user codes may be tried in ten minutes (RFC 8628 section 5.1). A code is looked at for people who are signed in alone, so
// that nobody without an account can guess at all; an hour of a whole tenant's guesses hits one of a hundred open codes once in
// eighty thousand such hours.
const (
	guessesOfBrowser = 10
	guessesOfUser    = 20
	guessesOfAddress = 50
	guessesOfTenant  = 500
)

// asked is a request that waits for a person, as a page shows it.
type asked struct {
	App, When, Where, Message string
	Items                     []string
	Details                   []detail
	Handle, Token             string
}

// deviceForm is GET /oauth2/device (RFC 8628 section 3.3): where people type the code that their device shows, and, when the code came
// with the address or was typed, where they see what asks and answer.
func (s *Service) deviceForm(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, err := oauth2.ParseParams(r.URL.RawQuery)
	if err != nil {
		return s.fault(w, r, q, pageFault(err))
	}
	typed := params.Get(oauth2.ParamUserCode)
	if typed == "" {
		return s.showDevice(w, r, q, "", "", http.StatusOK)
	}
	code, ok := oauth2.ParseUserCode(typed)
	if !ok {
		return s.showDevice(w, r, q, typed, "device.code.format", http.StatusUnprocessableEntity)
	}
	who, err := s.session(r, q)
	if err != nil {
		return unavailable(err)
	}
	if !who.present {
		return s.toLogin(w, q, deviceAddress(code))
	}
	d, client, err := s.device(r, q, who, code)
	if err != nil {
		return s.deviceRefused(w, r, q, code, err)
	}
	v := s.view(w, r, q, nil, client)
	v.Step, v.UserCode = v.T("device.step"), oauth2.FormatUserCode(code)
	v.LoginURL = s.loginTo(q, deviceAddress(code))
	v.person(who.user)
	s.withForm(w, r, q, v, false)
	item, ok := v.asked(q.Tenant, client, &d.Waiting)
	if !ok {
		return s.deviceRefused(w, r, q, code, errNoDevice)
	}
	item.Where, item.Token = d.From, s.formToken(q, formNonce(w, r, q), deviceBound(&d, who)...)
	v.Asked = []asked{item}
	v.offerLanguages("")
	v.keepUserCode()
	return s.render(w, v, "device_confirm")
}

// deviceAddress is the page for a code.
func deviceAddress(code string) string {
	return oidc.PathDevice + "?" + url.Values{oauth2.ParamUserCode: {oauth2.FormatUserCode(code)}}.Encode()
}

// deviceBound ties the answer to the device's request and to who is asked.
func deviceBound(d *grant.Device, who login) [][]byte {
	return [][]byte{[]byte("device"), d.Handle[:], who.user.ID[:]}
}

// keepUserCode makes the links to other languages keep the code.
func (v *view) keepUserCode() {
	for i := range v.Languages {
		if v.Languages[i].URL != "" {
			v.Languages[i].URL += "&" + oauth2.ParamUserCode + "=" + url.QueryEscape(v.UserCode)
		}
	}
}

// asked describes a request. ok is false when the tenant no longer knows what its authorization_details mean: nobody can say yes to that.
func (v *view) asked(t *snapshot.Tenant, client *oauth2.Client, w *grant.Waiting) (a asked, ok bool) {
	details, err := oauth2.ParseDetails(w.AuthorizationDetails, t.Policy.DetailTypes, client.AuthorizationDetailsTypes)
	if err != nil {
		return asked{}, false
	}
	return asked{
		App: client.Name, When: w.Create.UTC().Format(v.T("mail.date")), Message: w.BindingMessage, Items: v.scopes(w.Scopes),
		Details: v.describe(details),
	}, true
}

// errNoDevice: the code is unknown, used or expired, or its client may not use device codes any more.
var errNoDevice = errors.New("login: no device waits with this code")

// device finds what waits under a user code. Each look counts as a guess until it finds something. Errors: errNoDevice,
// grant.ErrGuesses, and those that say nothing about the code.
func (s *Service) device(r *http.Request, q *web.Request, who login, code string) (grant.Device, *oauth2.Client, error) {
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	guessers := []grant.Guesser{{Name: "tenant", Max: guessesOfTenant}, {Name: "user " + who.user.ID.String(), Max: guessesOfUser}}
	if nonce := sentNonce(r, q); nonce != nil {
		guessers = append(guessers, grant.Guesser{Name: "browser " + string(nonce), Max: guessesOfBrowser})
	}
	if q.ClientIP.IsValid() {
		guessers = append(guessers, grant.Guesser{Name: "address " + q.ClientIP.Unmap().String(), Max: guessesOfAddress})
	}
	right, err := s.grants.Guess(ctx, q.Tenant.ID, guessers...)
	if err != nil {
		return grant.Device{}, nil, err
	}
	d, err := s.grants.Device(ctx, q.Tenant.ID, code, q.Start)
	if err != nil {
		if errors.Is(err, grant.ErrCodeUnknown) {
			err = errNoDevice
		} else {
			right(ctx) // nobody looked
		}
		return grant.Device{}, nil, err
	}
	right(ctx)
	client, ok := q.Tenant.Client(d.Client)
	if !ok || !client.Enabled || client.CheckGrant(oauth2.GrantDeviceCode) != nil {
		return grant.Device{}, nil, errNoDevice
	}
	q.Note(slog.String("client_id", client.ID))
	return d, client, nil
}

// deviceRefused shows the field again, with what is wrong.
func (s *Service) deviceRefused(w http.ResponseWriter, r *http.Request, q *web.Request, code string, err error) error {
	switch {
	case errors.Is(err, errNoDevice):
		q.Note(slog.String("answered", "user_code"))
		return s.showDevice(w, r, q, oauth2.FormatUserCode(code), "device.code.unknown", http.StatusUnprocessableEntity)
	case errors.Is(err, grant.ErrGuesses):
		q.Note(slog.String("answered", "guesses"))
		w.Header().Set("Retry-After", "600")
		return s.showDevice(w, r, q, oauth2.FormatUserCode(code), "device.code.guesses", http.StatusTooManyRequests)
	}
	return unavailable(err)
}

// showDevice is the page with the field; problem is the key of what is wrong with the code, empty for nothing.
func (s *Service) showDevice(w http.ResponseWriter, r *http.Request, q *web.Request, typed, problem string, status int) error {
	v := s.view(w, r, q, nil, nil)
	v.Step, v.UserCode, v.focus, v.status = v.T("device.step"), typed, "user_code", status
	if problem != "" {
		v.problem("user_code", problem)
	}
	v.offerLanguages("")
	s.withForm(w, r, q, v, false)
	return s.render(w, v, "device")
}

// deviceSubmit is POST /oauth2/device: a code that was typed, or the answer to what asks.
func (s *Service) deviceSubmit(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	form, err := web.ReadForm(w, r)
	if err != nil {
		return err
	}
	typed := form.Get(oauth2.ParamUserCode)
	code, ok := oauth2.ParseUserCode(typed)
	if !form.Has("answer") {
		switch err := s.ownForm(r, q, form); {
		case errors.Is(err, errForeign):
			return s.foreignForm(w, r, q)
		case typed == "":
			return s.showDevice(w, r, q, "", "device.code.empty", http.StatusUnprocessableEntity)
		case !ok:
			return s.showDevice(w, r, q, typed, "device.code.format", http.StatusUnprocessableEntity)
		}
		// Without the browser's cookie, too: the next page changes nothing, and it asks for a cookie itself.
		return redirect(w, deviceAddress(code))
	}
	if !ok {
		return redirect(w, oidc.PathDevice)
	}
	who, err := s.session(r, q)
	if err != nil {
		return unavailable(err)
	}
	if !who.present {
		return s.toLogin(w, q, deviceAddress(code))
	}
	d, client, err := s.device(r, q, who, code)
	if err != nil {
		return s.deviceRefused(w, r, q, code, err)
	}
	switch err := s.ownForm(r, q, form, deviceBound(&d, who)...); {
	case errors.Is(err, errForeign):
		return s.foreignForm(w, r, q)
	case err != nil:
		// No cookie, or another person or another device by now: nothing is answered, and the page asks again.
		q.Note(slog.String("answered", "form_token"))
		return redirect(w, deviceAddress(code))
	}
	return s.deviceAnswer(w, r, q, who, d, client, form.Get("answer") == "allow")
}

func (s *Service) deviceAnswer(w http.ResponseWriter, r *http.Request, q *web.Request, who login, d grant.Device, client *oauth2.Client, allow bool) error {
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	var yes *grant.CodeRecord
	if allow {
		yes = answeredYes(&d.Waiting, who)
		switch err := s.noteClient(ctx, q, client, who.session.ID); {
		case errors.Is(err, identity.ErrNotFound): // the session ended a moment ago
			return s.toLogin(w, q, deviceAddress(d.UserCode))
		case err != nil:
			return unavailable(err)
		}
	}
	err := s.grants.DecideDevice(ctx, q.Tenant.ID, d, yes, q.Start)
	if errors.Is(err, grant.ErrDecided) {
		return s.deviceRefused(w, r, q, d.UserCode, errNoDevice)
	}
	if err != nil {
		return unavailable(err)
	}
	v := s.view(w, r, q, nil, client)
	v.Step = v.T("device.step")
	if allow {
		q.Note(slog.String("answered", "allowed"))
		v.Heading, v.Paragraphs = v.T("device.done"), []string{v.T("device.done.2", "app", client.Name)}
	} else {
		q.Note(slog.String("answered", oauth2.CodeAccessDenied))
		v.Heading, v.Paragraphs = v.T("device.denied"), []string{v.T("device.denied.2", "app", client.Name)}
	}
	v.Links = []link{{URL: pathAccount, Text: v.T("device.account"), Class: "quiet"}}
	return s.render(w, v, "message")
}

// answeredYes is what a client's tokens will say when a person has allowed it what waits: the person's login is the one of this
// browser.
func answeredYes(w *grant.Waiting, who login) *grant.CodeRecord {
	return &grant.CodeRecord{
		Grant: id.NewGrant(), Client: w.Client, Scopes: w.Scopes, Audience: w.Audience, AuthorizationDetails: json.RawMessage(w.AuthorizationDetails),
		User: who.user.ID, Session: who.session.ID, AuthTime: who.session.AuthTime, ACR: who.session.ACR, AMR: who.session.AMR,
		Roles: who.user.Roles, Groups: who.user.Groups,
	}
}
