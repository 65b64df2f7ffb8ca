// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"
	"strings"
	"time"

	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// paramLanguage is how the language links of a page choose.
const paramLanguage = "lang"

// languages are those that pages exist in; the first is the default. Names are in the language itself.
var languages = []struct{ Tag, Name string }{{"en", "English"}, {"de", "Deutsch"}}

// rightToLeft are languages whose pages are mirrored. The style sheet has logical properties only, so dir is all it takes.
var rightToLeft = map[string]bool{"ar": true, "fa": true, "he": true, "ur": true}

func direction(tag string) string {
	if rightToLeft[tag] {
		return "rtl"
	}
	return "ltr"
}

// supported finds the language of a tag as RFC 4647 section 3.4 does (lookup): de-CH is served by de.
func supported(tag string) (string, bool) {
	tag = strings.ToLower(strings.TrimSpace(tag))
	for tag != "" {
		for _, l := range languages {
			if l.Tag == tag {
				return l.Tag, true
			}
		}
		cut := strings.LastIndexByte(tag, '-')
		if cut < 0 {
			break
		}
		tag = tag[:cut]
	}
	return "", false
}

// languageLife is how long a choice is remembered.
const languageLife = 365 * 24 * time.Hour

// chosenLanguage is the language that the person has just picked on a page of ours.
func chosenLanguage(r *http.Request) (string, bool) {
	if !strings.Contains(r.URL.RawQuery, paramLanguage+"=") {
		return "", false
	}
	return supported(r.URL.Query().Get(paramLanguage))
}

// language picks a page's language: what the person chose on a page of ours, then what the application asked for (ui_locales,
// OpenID Connect Core section 3.1.2.1), then what the browser prefers.
func language(r *http.Request, q *web.Request, uiLocales []string) string {
	if l, ok := chosenLanguage(r); ok {
		return l
	}
	if cookies := r.CookiesNamed(cookieName(q.Tenant, cookieLanguage)); len(cookies) > 0 {
		if l, ok := supported(cookies[0].Value); ok {
			return l
		}
	}
	for _, tag := range uiLocales {
		if l, ok := supported(tag); ok {
			return l
		}
	}
	return accepted(r.Header.Get("Accept-Language"))
}

// accepted reads Accept-Language. Browsers list by preference, so the order is enough and the q values need no sorting; only q=0
// excludes (RFC 9110 section 12.5.4).
func accepted(header string) string {
	if len(header) > 512 {
		header = header[:512]
	}
	for item := range strings.SplitSeq(header, ",") {
		tag, weight, _ := strings.Cut(item, ";")
		if w := strings.ReplaceAll(weight, " ", ""); w == "q=0" || strings.HasPrefix(w, "q=0.0") && strings.Trim(w[4:], "0.") == "" {
			continue
		}
		if l, ok := supported(tag); ok {
			return l
		}
	}
	return languages[0].Tag
}
