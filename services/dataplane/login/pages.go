// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"crypto/rand"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

//go:embed templates/*.html
var templateFiles embed.FS

// pageNames are the pages; each is a file that fills the layout's "main".
var pageNames = []string{"login", "register", "select_account", "consent", "logout", "invite", "account", "message", "form_post", "frontchannel", "device", "device_confirm", "backchannel"}

// parsePages parses the templates. An error is a mistake in them.
func parsePages() (map[string]*template.Template, error) {
	layout, err := template.ParseFS(templateFiles, "templates/layout.html")
	if err != nil {
		return nil, fmt.Errorf("login: layout: %w", err)
	}
	pages := make(map[string]*template.Template, len(pageNames))
	for _, name := range pageNames {
		page, err := layout.Clone()
		if err == nil {
			page, err = page.ParseFS(templateFiles, "templates/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("login: page %s: %w", name, err)
		}
		pages[name] = page
	}
	return pages, nil
}

// problem is one thing to correct, shown in the summary and beside its field in the same words.
type problem struct {
	Field  string // id of the input; empty for the form as a whole
	Text   string
	Prefix string
}

// link is an address with its text; Class is for those that look like buttons.
type link struct {
	URL, Text, Class string
}

// languageLink offers a page in a language; without URL it is the current one.
type languageLink struct{ Tag, Name, URL string }

type logo struct {
	URL, Alt string
	Height   int
	Plate    bool // the page's background is dark in light mode too: the logo gets a white plate
}

// view is what the templates see. Every page uses the first part; the rest is what single pages add.
type view struct {
	texts           catalogue
	Tag, Dir        string
	Tenant, Host    string
	Initial, Nonce  string
	Dev             bool
	Theme           template.CSS
	Style, Script   string
	Icon            template.URL
	Logo            *logo
	Step            string // what the page is for, in the title
	Where           string // key of the footer's sentence
	Token           string
	Notice          string
	Problems        []problem
	Languages       []languageLink
	AppLinks        []link
	popup           bool // the application opened the page in a window that it talks to
	leaves          bool // a form of the page may end at another site
	status          int
	Who             string // first letter of who is signed in
	EmailComplete   string
	Email, Name     string
	MinLength       string
	App, Target     string
	RegisterURL     string
	LoginURL        string
	BackURL, Handle string
	Items           []string
	Details         []detail
	AppLogo         string // https alone
	Heading         string
	Paragraphs      []string
	Code, RequestID string
	Links           []link
	Frames          []frame
	frames          []string // origins of Frames
	Action          template.URL
	Fields          [][2]string
	focus           string
	UserCode        string
	Asked           []asked // requests that wait for the person
}

// T is a text of the page's language.
func (v *view) T(key string, pairs ...string) string { return v.texts.text(key, pairs...) }

// Of gives the problems of a field.
func (v *view) Of(field string) []problem {
	var own []problem
	for _, p := range v.Problems {
		if p.Field == field {
			own = append(own, p)
		}
	}
	return own
}

// white is the text colour that dark backgrounds get.
var white = snapshot.Color{0xff, 0xff, 0xff}

// person shows who is signed in.
func (v *view) person(u identity.User) {
	v.Email, v.Name = u.Email, u.Name
	if v.Who = initial(u.Name); u.Name == "" {
		v.Who = initial(u.Email)
	}
}

// Has says whether a field has a problem.
func (v *view) Has(field string) bool { return len(v.Of(field)) > 0 }

// Focus says whether a field gets the focus: the first that is empty, unless the summary of problems has it.
func (v *view) Focus(field string) bool { return len(v.Problems) == 0 && v.focus == field }

// problem adds something to correct. pairs fill in the text.
func (v *view) problem(field, key string, pairs ...string) {
	v.Problems = append(v.Problems, problem{Field: field, Text: v.T(key, pairs...), Prefix: v.T("error.prefix")})
}

// view begins a page. req and client are nil on pages without an authorization request.
func (s *Service) view(w http.ResponseWriter, r *http.Request, q *web.Request, req *oidc.AuthorizationRequest, client *oauth2.Client) *view {
	t := q.Tenant
	var asked []string
	if req != nil {
		asked = req.UILocales
	}
	v := &view{
		Tag: language(r, q, asked), Tenant: t.Title(), Host: issuerHost(t.Issuer), Initial: initial(t.Title()), Nonce: pageNonce(),
		Dev: t.Development, Theme: template.CSS(t.Theme.CSS()), //nolint:gosec // colours, numbers and names of pkg/snapshot alone
		Style: s.assets.style, Where: "footer.here", EmailComplete: "username", status: http.StatusOK,
		MinLength: strconv.Itoa(max(t.Policy.PasswordMinLength, leastPassword)),
	}
	v.texts, v.Dir = catalogueOf(v.Tag), direction(v.Tag)
	v.Icon = icon(v.Initial, t.Theme.Light.Brand.String(), t.Theme.Light.OnBrand.String())
	if l := t.Theme.Logo; l != nil {
		alt := l.Alt
		if alt == "" {
			alt = v.Tenant
		}
		v.Logo = &logo{URL: logoPath(l), Alt: alt, Height: t.Theme.LogoHeight, Plate: t.Theme.Light.OnCanvas == white}
	}
	if req != nil {
		v.popup = req.Display == "popup"
	}
	if client != nil {
		v.App = client.Name
		if strings.HasPrefix(client.LogoURI, "https://") {
			v.AppLogo = client.LogoURI
		}
		if client.PolicyURI != "" {
			v.AppLinks = append(v.AppLinks, link{URL: client.PolicyURI, Text: v.T("footer.privacy", "app", client.Name)})
		}
		if client.TOSURI != "" {
			v.AppLinks = append(v.AppLinks, link{URL: client.TOSURI, Text: v.T("footer.terms", "app", client.Name)})
		}
	}
	if chosen, ok := chosenLanguage(r); ok {
		setCookie(w, t, cookieLanguage, chosen, languageLife)
	}
	return v
}

// withForm prepares a page with a form of ours: the token, bound to this browser and to what else is given, and the script that makes
// passwords visible. leaves says that the submit may end at another site.
func (s *Service) withForm(w http.ResponseWriter, r *http.Request, q *web.Request, v *view, leaves bool, bound ...[]byte) {
	v.Token = s.formToken(q, formNonce(w, r, q), bound...)
	v.Script, v.leaves = s.assets.script, leaves
}

// offerLanguages adds links to the same page in the other languages. They keep the sealed request.
func (v *view) offerLanguages(handle string) {
	for _, l := range languages {
		offer := languageLink{Tag: l.Tag, Name: l.Name}
		if l.Tag != v.Tag {
			offer.URL = "?" + paramLanguage + "=" + l.Tag
			if handle != "" {
				offer.URL += "&" + paramSealed + "=" + handle
			}
		}
		v.Languages = append(v.Languages, offer)
	}
}

// render writes a page. The page is made whole first, so that a failure is a clean 500 and not half a page.
func (s *Service) render(w http.ResponseWriter, v *view, page string) error {
	var b bytes.Buffer
	if err := s.pages[page].ExecuteTemplate(&b, "layout", v); err != nil {
		return fmt.Errorf("login: page %s: %w", page, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Tag)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", v.policy())
	if !v.popup {
		// A page of another site that opened ours in a window keeps no handle on it. An application that asked for display=popup
		// waits for an answer through that very handle.
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(v.status)
	w.Write(b.Bytes()) //nolint:errcheck // the caller is gone; there is nobody to tell
	return nil
}

// policy is the page's Content-Security-Policy: nothing but our own style sheet, pictures, and the scripts and styles that carry this
// answer's nonce. Browsers hold form-action against every redirect of a submit, so it is left out where a submit may end at a client.
func (v *view) policy() string {
	p := "default-src 'none'; style-src 'self' 'nonce-" + v.Nonce + "'; img-src 'self' data:" + v.logoSource() + "; base-uri 'none'; frame-ancestors 'none'"
	if v.Script != "" {
		p += "; script-src 'nonce-" + v.Nonce + "'"
	}
	if len(v.frames) > 0 {
		p += "; frame-src " + strings.Join(v.frames, " ")
	}
	if !v.leaves {
		p += "; form-action 'self'"
	}
	return p
}

// logoSource lets the application's logo come from its own site, and nothing else from there.
func (v *view) logoSource() string {
	u, err := url.Parse(v.AppLogo)
	if v.AppLogo == "" || err != nil || u.Host == "" || strings.ContainsAny(u.Host, ";, '*") {
		return ""
	}
	return " https://" + u.Host
}

// PersonName is how a button calls who is signed in.
func (v *view) PersonName() string {
	if v.Name != "" {
		return v.Name
	}
	return v.Email
}

// pageNonce is drawn for each answer.
func pageNonce() string {
	var raw [18]byte
	rand.Read(raw[:]) // as in formNonce
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// issuerHost is the name in the footer: the tenant's own address, whatever the request said.
func issuerHost(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return issuer
	}
	return u.Hostname()
}

// initial is the letter of the mark that stands for a tenant without a logo.
func initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "•"
}

// icon is the tab's icon: the mark in the tenant's colours, inside the page so that it costs no request.
func icon(letter, brand, onBrand string) template.URL {
	svg := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="` + brand +
		`"/><text x="16" y="23" font-family="sans-serif" font-weight="700" font-size="20" text-anchor="middle" fill="` + onBrand + `">` +
		template.HTMLEscapeString(letter) + `</text></svg>`
	return template.URL("data:image/svg+xml," + strings.ReplaceAll(url.PathEscape(svg), "+", "%2B")) //nolint:gosec // made here
}
