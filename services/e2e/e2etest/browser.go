// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Browser is a person's browser without scripts: it keeps cookies, follows links and redirects, and sends the forms that it was given.
type Browser struct {
	t      testing.TB
	client *http.Client
	// Header is sent with every request.
	Header http.Header
	// StopAt ends a chain of redirects before an address is asked for: what would go to a relying party is the test's to read.
	StopAt func(*url.URL) bool
}

// NewBrowser is a browser that nobody has used.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := HTTPClient()
	c.Jar = jar
	return &Browser{t: t, client: c, Header: http.Header{}}
}

// Cookies are what the browser would send to an address.
func (b *Browser) Cookies(address string) []*http.Cookie {
	b.t.Helper()
	return b.client.Jar.Cookies(b.parse(address))
}

// SetCookies puts cookies into the jar, as an attacker who can write them would.
func (b *Browser) SetCookies(address string, cookies []*http.Cookie) {
	b.t.Helper()
	b.client.Jar.SetCookies(b.parse(address), cookies)
}

func (b *Browser) parse(address string) *url.URL {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// Page is what the browser shows at the end of a chain of redirects, or the address where StopAt ended it (then Status is that of
// the redirect and Stopped is set).
type Page struct {
	b       *Browser
	URL     *url.URL
	Status  int
	Header  http.Header
	Body    []byte
	Stopped *url.URL
	doc     *html.Node
}

const maxHops = 20

// Get opens an address.
func (b *Browser) Get(address string) *Page {
	b.t.Helper()
	return b.follow(http.MethodGet, b.parse(address), nil)
}

// Post sends a form to an address without having been given one.
func (b *Browser) Post(address string, form url.Values) *Page {
	b.t.Helper()
	return b.follow(http.MethodPost, b.parse(address), form)
}

func (b *Browser) follow(method string, to *url.URL, form url.Values) *Page {
	b.t.Helper()
	for range maxHops {
		var body io.Reader
		if form != nil {
			body = strings.NewReader(form.Encode())
		}
		req, err := http.NewRequestWithContext(b.t.Context(), method, to.String(), body)
		if err != nil {
			b.t.Fatal(err)
		}
		for k, v := range b.Header {
			req.Header[k] = slices.Clone(v)
		}
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := b.client.Do(req)
		if err != nil {
			b.t.Fatalf("%s %s: %v", method, to, err)
		}
		raw, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			b.t.Fatalf("%s %s: %v", method, to, err)
		}
		p := &Page{b: b, URL: to, Status: res.StatusCode, Header: res.Header, Body: raw}
		location := res.Header.Get("Location")
		if location == "" || res.StatusCode < 300 || res.StatusCode > 399 {
			return p
		}
		next, err := to.Parse(location)
		if err != nil {
			b.t.Fatalf("%s %s: location %q: %v", method, to, location, err)
		}
		if b.StopAt != nil && b.StopAt(next) {
			p.Stopped = next
			return p
		}
		to, method, form = next, http.MethodGet, nil
	}
	b.t.Fatalf("more than %d redirects, the last to %s", maxHops, to)
	return nil
}

// Form is a form of a page with the values it was given.
type Form struct {
	p      *Page
	Action *url.URL
	Method string
	Values url.Values
	// Buttons are the names and values of its buttons, in order; sending it presses the first unless told otherwise.
	Buttons [][2]string
	// Types are the fields' types by name.
	Types map[string]string
}

// Doc is the page as a tree.
func (p *Page) Doc() *html.Node {
	if p.doc == nil {
		doc, err := html.Parse(bytes.NewReader(p.Body))
		if err != nil {
			p.b.t.Fatalf("%s: %v", p.URL, err)
		}
		p.doc = doc
	}
	return p.doc
}

// Elements are the elements of a name, in order.
func (p *Page) Elements(name string) (found []*html.Node) {
	for n := range p.Doc().Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

// Attr is an attribute's value, and whether it is there.
func Attr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// Text is what can be read below a node, with single spaces.
func Text(n *html.Node) string {
	var words []string
	for d := range n.Descendants() {
		if d.Type == html.TextNode && (d.Parent == nil || d.Parent.Data != "style" && d.Parent.Data != "script") {
			words = append(words, strings.Fields(d.Data)...)
		}
	}
	return strings.Join(words, " ")
}

// Text is what can be read on the page.
func (p *Page) Text() string { return Text(p.Doc()) }

// Title is the page's title.
func (p *Page) Title() string {
	for _, n := range p.Elements("title") {
		return Text(n)
	}
	return ""
}

// Forms are the page's forms.
func (p *Page) Forms() (forms []*Form) {
	p.b.t.Helper()
	for _, n := range p.Elements("form") {
		f := &Form{p: p, Action: p.URL, Method: http.MethodGet, Values: url.Values{}, Types: map[string]string{}}
		if a, ok := Attr(n, "action"); ok && a != "" {
			u, err := p.URL.Parse(a)
			if err != nil {
				p.b.t.Fatalf("form action %q: %v", a, err)
			}
			f.Action = u
		}
		if m, ok := Attr(n, "method"); ok {
			f.Method = strings.ToUpper(m)
		}
		for d := range n.Descendants() {
			if d.Type != html.ElementNode {
				continue
			}
			name, _ := Attr(d, "name")
			value, _ := Attr(d, "value")
			kind, _ := Attr(d, "type")
			switch d.Data {
			case "input":
				if name != "" {
					f.Values.Add(name, value)
					f.Types[name] = kind
				}
			case "button":
				if kind != "button" {
					f.Buttons = append(f.Buttons, [2]string{name, value})
				}
			}
		}
		forms = append(forms, f)
	}
	return forms
}

// Form is the form that has a field of the name; the page must have one.
func (p *Page) Form(field string) *Form {
	p.b.t.Helper()
	for _, f := range p.Forms() {
		if f.Values.Has(field) {
			return f
		}
	}
	p.b.t.Fatalf("%s (%d) has no form with field %q:\n%s", p.URL, p.Status, field, p.Text())
	return nil
}

// Fill types into a field that the form has.
func (f *Form) Fill(field, value string) *Form {
	f.p.b.t.Helper()
	if !f.Values.Has(field) {
		f.p.b.t.Fatalf("%s: no field %q", f.p.URL, field)
	}
	f.Values.Set(field, value)
	return f
}

// Press chooses the button to send the form with, by its name and value.
func (f *Form) Press(name, value string) *Page {
	f.p.b.t.Helper()
	if !slices.Contains(f.Buttons, [2]string{name, value}) {
		f.p.b.t.Fatalf("%s: no button %s=%s in %v", f.p.URL, name, value, f.Buttons)
	}
	if name != "" {
		f.Values.Set(name, value)
	}
	return f.send()
}

// Submit presses the form's first button.
func (f *Form) Submit() *Page {
	f.p.b.t.Helper()
	if len(f.Buttons) == 0 {
		f.p.b.t.Fatalf("%s: the form has no button: it cannot be sent without scripts", f.p.URL)
	}
	return f.Press(f.Buttons[0][0], f.Buttons[0][1])
}

func (f *Form) send() *Page {
	f.p.b.t.Helper()
	if f.Method == http.MethodGet {
		to := *f.Action
		to.RawQuery = f.Values.Encode()
		return f.p.b.follow(http.MethodGet, &to, nil)
	}
	return f.p.b.follow(http.MethodPost, f.Action, f.Values)
}

// Link follows the link with the text.
func (p *Page) Link(text string) *Page {
	p.b.t.Helper()
	var seen []string
	for _, a := range p.Elements("a") {
		if t := Text(a); t == text {
			href, _ := Attr(a, "href")
			u, err := p.URL.Parse(href)
			if err != nil {
				p.b.t.Fatal(err)
			}
			return p.b.follow(http.MethodGet, u, nil)
		}
		seen = append(seen, Text(a))
	}
	p.b.t.Fatalf("%s: no link %q in %q", p.URL, text, seen)
	return nil
}

// MustBe fails unless the page has the status.
func (p *Page) MustBe(status int) *Page {
	p.b.t.Helper()
	if p.Status != status {
		p.b.t.Fatalf("%s: status %d, want %d:\n%s", p.URL, p.Status, status, p.Text())
	}
	return p
}

func (p *Page) String() string { return fmt.Sprintf("%s (%d) %q", p.URL, p.Status, p.Title()) }
