// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package mailsink

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"regexp"
	"strconv"
)

//go:embed inbox.html
var inboxHTML string

var inbox = template.Must(template.New("inbox").Funcs(template.FuncMap{"linked": linked}).Parse(inboxHTML))

var linkForm = regexp.MustCompile(`https?://[^\s<>"]+`)

// linked returns a mail's text with its web addresses as links.
func linked(text string) template.HTML {
	var b bytes.Buffer
	last := 0
	for _, at := range linkForm.FindAllStringIndex(text, -1) {
		template.HTMLEscape(&b, []byte(text[last:at[0]]))
		b.WriteString(`<a href="`)
		template.HTMLEscape(&b, []byte(text[at[0]:at[1]]))
		b.WriteString(`">`)
		template.HTMLEscape(&b, []byte(text[at[0]:at[1]]))
		b.WriteString(`</a>`)
		last = at[1]
	}
	template.HTMLEscape(&b, []byte(text[last:]))
	return template.HTML(b.String()) //nolint:gosec // every piece was escaped above
}

// Handler serves the inbox: the page at /, a mail at /mails/{number}, its HTML
// part at /mails/{number}/html, and everything as JSON at /mails.json?to=.
func (s *Sink) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { s.page(w, nil) })
	mux.HandleFunc("GET /mails/{number}", func(w http.ResponseWriter, r *http.Request) {
		if m := s.numbered(w, r); m != nil {
			s.page(w, m)
		}
	})
	mux.HandleFunc("GET /mails/{number}/html", func(w http.ResponseWriter, r *http.Request) {
		if m := s.numbered(w, r); m != nil {
			// A stranger's HTML: no scripts, no requests, an origin of its own.
			w.Header().Set("Content-Security-Policy", "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:")
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte(`<base target="_blank">` + m.HTML))
		}
	})
	mux.HandleFunc("GET /mails.json", func(w http.ResponseWriter, r *http.Request) {
		mails := s.Mails(r.URL.Query().Get("to"))
		if mails == nil {
			mails = []*Mail{}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(mails)
	})
	return mux
}

func (s *Sink) numbered(w http.ResponseWriter, r *http.Request) *Mail {
	number, err := strconv.Atoi(r.PathValue("number"))
	if err == nil {
		if m := s.mail(number); m != nil {
			return m
		}
	}
	http.NotFound(w, r)
	return nil
}

func (s *Sink) page(w http.ResponseWriter, open *Mail) {
	var b bytes.Buffer
	if err := inbox.Execute(&b, struct {
		Mails []*Mail
		Open  *Mail
	}{s.Mails(""), open}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes())
}
