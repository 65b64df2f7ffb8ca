// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The reference lists the standards of docs/standards.md, and the fields that it and the page name are fields of the API.
func TestStandardsAreThoseOfThePage(t *testing.T) {
	w := newWorld(t)
	reference := string(w.http("", "GET", "/docs", nil).body)
	from, to := strings.Index(reference, `<h2 id="standards">`), strings.Index(reference, `<h2 id="types">`)
	if from < 0 || to < from {
		t.Fatal("the reference has no section of standards before its types")
	}
	section, types := reference[from:to], reference[to:]
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "standards.md"))
	if err != nil {
		t.Fatal(err)
	}
	table, _, ok := strings.Cut(string(page), "What is left out")
	if !ok {
		t.Fatal("docs/standards.md does not say what is left out")
	}
	number := regexp.MustCompile(`RFC (\d+)`)
	rfcs := func(text string) []string {
		found := map[string]bool{}
		for _, m := range number.FindAllStringSubmatch(text, -1) {
			found[m[1]] = true
		}
		return slices.Sorted(maps.Keys(found))
	}
	if here, there := rfcs(section), rfcs(table); !slices.Equal(here, there) {
		t.Errorf("the reference has %v\ndocs/standards.md has %v", here, there)
	}

	fields := func(name string) string {
		_, rest, ok := strings.Cut(types, `<article id="type-`+name+`">`)
		if !ok {
			t.Fatalf("the reference has no type %s", name)
		}
		body, _, _ := strings.Cut(rest, "</article>")
		return body
	}
	links := regexp.MustCompile(`<a href="#type-(\w+)">\w+</a> ((?:<code>\w+</code>(?:, )?)+)`).FindAllStringSubmatch(section, -1)
	if len(links) < 20 {
		t.Errorf("only %d rows name the field that switches them on", len(links))
	}
	code := regexp.MustCompile(`<code>(\w+)</code>`)
	for _, l := range links {
		for _, f := range code.FindAllStringSubmatch(l[2], -1) {
			if !strings.Contains(fields(l[1]), "<code>"+f[1]+"</code>") {
				t.Errorf("the reference names %s.%s, which is no field", l[1], f[1])
			}
		}
	}
	dotted := regexp.MustCompile("`(protocol|oauthPolicy)\\.(\\w+)").FindAllStringSubmatch(string(page), -1)
	if len(dotted) < 20 {
		t.Errorf("docs/standards.md names only %d fields", len(dotted))
	}
	for _, f := range dotted {
		if name := map[string]string{"protocol": "ClientProtocol", "oauthPolicy": "OAuthPolicy"}[f[1]]; !strings.Contains(fields(name), "<code>"+f[2]+"</code>") {
			t.Errorf("docs/standards.md names %s.%s, which is no field", f[1], f[2])
		}
	}
}
