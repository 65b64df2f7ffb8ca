// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/identity"
)

// forbidden are words that a text for people does without: they apologise, blame or say nothing (the rules of the product's pages).
var forbidden = regexp.MustCompile(`(?i)\b(please|sorry|oops|invalid|forbidden|an error occurred|required field|illegal|bitte|leider|ungültig|entschuldigung)\b`)

var (
	placeholder = regexp.MustCompile(`\{(\w+)\}`)
	usedKeys    = regexp.MustCompile(`(?:\.T|v\.problem\([^,]+,|\.text\(|\bkey :?=|\.Where =|Where:|,) ?\(?"([a-z_]+(?:\.[a-z_0-9]+)+)"`)
)

func TestCatalogue(t *testing.T) {
	for name, c := range map[string]catalogue{"english": english, "german": german} {
		for key, text := range c {
			if text == "" || forbidden.MatchString(text) || strings.Contains(text, "!") || strings.TrimSpace(text) != text && key != "error.prefix" {
				t.Errorf("%s %s: %q", name, key, text)
			}
			base, there := english[key]
			if !there {
				t.Errorf("%s %s is not in the first table", name, key)
			}
			if a, b := places(text), places(base); !slices.Equal(a, b) {
				t.Errorf("%s %s: values %v, want %v", name, key, a, b)
			}
		}
		if len(c) != len(english) {
			t.Errorf("%s has %d texts, english %d", name, len(c), len(english))
		}
	}
}

func places(text string) []string {
	var names []string
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestEveryTextIsUsedAndEveryUseHasAText reads the program and its templates.
func TestEveryTextIsUsedAndEveryUseHasAText(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.go", "templates/*.html", "templates/mail/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	used := map[string]bool{}
	for _, v := range []identity.PasswordViolation{
		identity.PasswordTooShort, identity.PasswordTooLong, identity.PasswordUnusable, identity.PasswordCommon, identity.PasswordIsEmail, identity.PasswordIsTenant,
	} {
		used["password."+string(v)] = true
	}
	for _, s := range []string{"openid", "profile", "email", "offline_access", "roles"} {
		used["scope."+s] = true
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "messages.go" {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range usedKeys.FindAllStringSubmatch(string(raw), -1) {
			if _, there := english[m[1]]; there || !strings.HasSuffix(m[1], ".example") {
				used[m[1]] = true
			}
		}
	}
	for _, key := range []string{"fault.missing", "fault.method", "fault.away", "fault.server", "fault.request"} {
		used[key], used[key+".2"] = true, true
	}
	for key := range english {
		if !used[key] {
			t.Errorf("%s is used nowhere", key)
		}
	}
	for key := range used {
		if _, there := english[key]; !there {
			t.Errorf("%s has no text", key)
		}
	}
}

func TestLanguageIsChosen(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		lang string
		path string
		head string
	}{
		"default":               {"en", "/login", ""},
		"browser":               {"de", "/login", "de-CH,de;q=0.9,en;q=0.8"},
		"browser, other first":  {"en", "/login", "fr, en;q=0.5, de;q=0.4"},
		"browser, refused":      {"en", "/login", "de;q=0, en"},
		"browser, none we have": {"en", "/login", "xx, *;q=0.1"},
		"application":           {"de", strings.TrimPrefix(r.hooli.authorizeURL(r.hooli.chat, "ui_locales", "fr de-AT"), r.hooli.base), "en"},
	} {
		if p := r.browser().get(r.hooli.base+c.path, "Accept-Language", c.head); !strings.Contains(p.body, `<html lang="`+c.lang+`"`) || p.header.Get("Content-Language") != c.lang {
			t.Errorf("%s: %.60s", name, p.body)
		}
	}
	// A choice on the page lasts over the pages that follow, and keeps the request.
	b := r.browser()
	p := b.get(r.hooli.authorizeURL(r.hooli.chat))
	p = b.get(p.link("Deutsch")).shows(200, "Bei Hooli anmelden")
	p = b.submit(p, "email", "gavin@hooli.example", "password", "x").shows(422, "passen zu keinem Konto")
	b.code(b.submit(p, "email", "gavin@hooli.example", "password", password), r.hooli, chatCallback)
	b.get(r.hooli.base+"/account").shows(200, "Sie sind angemeldet")
}
