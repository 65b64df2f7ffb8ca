// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// portal is the sign-up site: one form, one call to Tenantry, one page with what
// came back.
type portal struct {
	cfg     config
	control *controlPlane
	pages   pages
	log     *slog.Logger
}

func newPortal(cfg config, client *http.Client, pages pages, log *slog.Logger) *portal {
	return &portal{cfg: cfg, control: &controlPlane{base: cfg.REST, key: cfg.APIKey, client: client}, pages: pages, log: log}
}

func (p *portal) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.form)
	mux.HandleFunc("POST /{$}", p.submit)
	mux.HandleFunc("GET /availability", p.availability)
	mux.HandleFunc("GET /static/{file}", static)
	return mux
}

// signUpForm is the page: what was typed, and what is wrong with it by field.
type signUpForm struct {
	signUp
	BaseDomain string
	Errors     map[string]string
}

// fieldOrder is the order of the fields on the page, for the summary of problems.
var fieldOrder = []string{"company", "label", "email", "color", "form"}

// Problem is one line of the summary: a link to the field that it is about.
type fieldProblem struct{ Field, Text string }

// Problems lists what is wrong in the order of the page.
func (f signUpForm) Problems() []fieldProblem {
	var out []fieldProblem
	for _, field := range fieldOrder {
		if text := f.Errors[field]; text != "" {
			out = append(out, fieldProblem{field, text})
		}
	}
	return out
}

func (p *portal) form(w http.ResponseWriter, _ *http.Request) {
	p.pages.render(w, http.StatusOK, "signup", signUpForm{
		// The id travels with the form, so that a double click or a reload of the
		// answer asks for the same tenant again instead of a second one.
		signUp:     signUp{RequestID: newUUID(), Color: "#0b6e4f"},
		BaseDomain: p.cfg.BaseDomain,
	})
}

var (
	uuidForm  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	colorForm = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)
)

func (p *portal) submit(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		p.pages.render(w, http.StatusBadRequest, "problem", problem{"This form is too large", "Go back and shorten what you typed.", "/", "Back to sign-up"})
		return
	}
	get := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	form := signUpForm{
		signUp: signUp{
			RequestID: get("request_id"), Company: get("company"), Label: strings.ToLower(get("label")),
			Color: get("color"), Email: get("email"), Name: get("name"),
		},
		BaseDomain: p.cfg.BaseDomain,
		Errors:     map[string]string{},
	}
	if !uuidForm.MatchString(form.RequestID) {
		form.RequestID = newUUID()
	}
	p.check(&form)
	if len(form.Errors) > 0 {
		p.pages.render(w, http.StatusUnprocessableEntity, "signup", form)
		return
	}
	made, err := p.control.provision(r.Context(), p.cfg.Org, p.cfg.Blueprint, form.signUp)
	if err != nil {
		p.refused(w, form, err)
		return
	}
	p.pages.render(w, http.StatusOK, "details", p.details(made))
}

// check finds what can be found without asking Tenantry.
func (p *portal) check(f *signUpForm) {
	switch n := utf8.RuneCountInString(f.Company); {
	case n == 0:
		f.Errors["company"] = "Enter the name of your company"
	case n > 80:
		f.Errors["company"] = "Company name must be 80 characters or fewer"
	}
	switch {
	case f.Label == "":
		f.Errors["label"] = "Choose an address for your company"
	case !validLabel(f.Label):
		f.Errors["label"] = "Address may contain only letters a to z, digits and hyphens, and no hyphen at either end"
	}
	if _, err := mail.ParseAddress(f.Email); err != nil || len(f.Email) > 254 || strings.ContainsAny(f.Email, "<> ") {
		f.Errors["email"] = "Enter your email address, like name@example.com"
	}
	if !colorForm.MatchString(f.Color) {
		f.Errors["color"] = "Choose a colour as # and six hexadecimal digits"
	}
}

// refused shows Tenantry's refusal beside the field that it is about, with
// everything typed still there.
func (p *portal) refused(w http.ResponseWriter, form signUpForm, err error) {
	var refusal *apiError
	status := http.StatusBadGateway
	form.Errors["form"] = "Sign-up is not working at the moment. Nothing was created. Try again in a minute."
	if errors.As(err, &refusal) && refusal.Status < 500 {
		status = http.StatusUnprocessableEntity
		switch {
		case refusal.Reason == "HOSTNAME_UNAVAILABLE" || refusal.Reason == "SLUG_UNAVAILABLE" || refusal.Status == http.StatusConflict && refusal.Reason != "REQUEST_ID_REUSED":
			form.Errors = map[string]string{"label": fmt.Sprintf("Choose another address: %s is not free", form.Label)}
		case refusal.Reason == "REQUEST_ID_REUSED":
			form.RequestID = newUUID()
			form.Errors = map[string]string{"form": "This form was already sent with other answers. Check them and send it again."}
		case len(refusal.Fields) > 0:
			form.Errors = map[string]string{}
			for path, text := range refusal.Fields {
				form.Errors[fieldFor(path)] = text
			}
		}
	}
	if status == http.StatusBadGateway {
		p.log.Error("tenant not provisioned", "error", err)
	}
	p.pages.render(w, status, "signup", form)
}

// fieldFor maps a path of the API request to a field of the form.
func fieldFor(path string) string {
	switch {
	case strings.HasPrefix(path, "tenant.display_name"):
		return "company"
	case strings.HasPrefix(path, "tenant_id"), strings.HasPrefix(path, "hosts"):
		return "label"
	case strings.HasPrefix(path, "owner"):
		return "email"
	case strings.HasPrefix(path, "parameters"):
		return "color"
	}
	return "form"
}

// tenantDetails is the page after a sign-up.
type tenantDetails struct {
	Company, Issuer, ChatURL, RegisterURL, ClientID, Key, Tenant string
	// Shown says that the key was in an earlier answer.
	Shown   bool
	Clients []struct{ ID, ClientID, Secret string }
}

func (p *portal) details(made *provisioned) tenantDetails {
	d := tenantDetails{
		Company: made.Tenant.DisplayName, Issuer: made.Issuer, Tenant: made.Tenant.Name,
		ClientID: p.cfg.ChatClientID, ChatURL: p.cfg.chatURL(made.Tenant.Slug),
		Shown: made.SecretAlreadyReturned, Clients: made.Clients,
	}
	if made.ConsistencyToken != "" {
		d.ChatURL += "?" + url.Values{"tcv": {made.ConsistencyToken}}.Encode()
	}
	for _, key := range made.APIKeys {
		if key.Secret != "" {
			d.Key = key.Secret
			break
		}
	}
	return d
}

// availability answers the live check beside the address field.
func (p *portal) availability(w http.ResponseWriter, r *http.Request) {
	label := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("label")))
	answer := struct {
		State string `json:"state"`
		Text  string `json:"text"`
	}{"unknown", ""}
	if !validLabel(label) {
		answer.State, answer.Text = "wrong", "Letters a to z, digits and hyphens, no hyphen at either end"
	} else if free, host, err := p.control.checkHostname(r.Context(), p.cfg.Org, label); err == nil {
		if free {
			answer.State, answer.Text = "free", host+" is free"
		} else {
			answer.State, answer.Text = "taken", label+" is not free"
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// newUUID returns a random UUID (RFC 9562 section 5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
