// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package readme

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// standardsAnswers are what the sections of docs/standards.md that have commands must print, in their order.
var standardsAnswers = []struct {
	section string
	answers []string
}{
	{"Before you begin", []string{"tenant standards with the client cli_", "and the user uid_"}},
	{"Discovery", []string{
		`{"issuer":"http://standards.localhost:8080"`, `"pushed_authorization_request_endpoint":"http://standards.localhost:8080/oauth2/par"`,
		"\n" + `"grant_types_supported":["authorization_code"`, "\n" + `"alg":"ES256"`,
	}},
	{"A program's own token", []string{`{"access_token":"eyJ`, `"token_type":"Bearer"`, `"scope":"invoices:read"`}},
	{"Introspection and revocation", []string{
		`"active":true`, `"aud":"https://reports.example"`, "\neyJ", "\n" + `{"active":false}`,
	}},
	{"A person logs in", []string{
		"http://shop.localhost:3000/callback?code=", "&state=af0ifjsldkj&iss=http%3A%2F%2Fstandards.localhost%3A8080", `"id_token":"eyJ`,
		`"refresh_token":"`, `"email":"dinesh@standards.example"`,
	}},
	{"Authorization requests, pushed", []string{
		`"request_uri":"urn:ietf:params:oauth:request_uri:`, `"authorization_details":[{"type":"payment"`,
		"  Pay an invoice", "Amount   45     To   Raviga", `"amount":45`,
	}},
	{"Devices without a browser", []string{`"verification_uri_complete":"http://standards.localhost:8080/oauth2/device?`, `{"access_token":"eyJ`, `"id_token":"eyJ`}},
	{"What needs a signature", nil}, // the client that the next block uses
	{"What needs a signature", []string{
		`"token_type":"Bearer"`, `"token_type":"DPoP"`, `"cnf":{"jkt":"`, `pushed: {"request_uri":"urn:`,
		`verified: {"iss":"http://standards.localhost:8080"`, `"error":"login_required"`,
	}},
	{"Tokens for somebody else", []string{
		`"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"`, `"sub":"uid_`, `"aud":"https://reports.example"`, `"act":{"sub":"cli_`,
	}},
	{"People who are asked on another device", []string{`"auth_req_id":"`, `"error":"authorization_pending"`}},
	{"Clients that register themselves", []string{`"registration_access_token":"tnr_`, "\n" + `"client_name":"Fridge"`, "deleted: 204"}},
	{"An address as client_id", []string{`"client_id_metadata_document_supported":true`, "no document there: 400"}},
	{"Logout", []string{"http://shop.localhost:3000/?state=xyz", `"error":"invalid_token"`}},
	{"Your API checks tokens", []string{"--- PASS: ExampleHostPattern"}},
	{"FAPI 2.0 by one field", []string{
		`"token_type":"Bearer"`, "this client will be refused", `{"error":"unauthorized_client"`, `"token_type":"DPoP"`,
		`"require_pushed_authorization_requests":true`,
	}},
}

var heading = regexp.MustCompile(`(?m)^## (.*)$`)

// standards runs the page as its reader does, in one shell, and looks at what each block prints.
func standards(t *testing.T, clone string, env []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(clone, "docs", "standards.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := block.FindAllStringSubmatchIndex(string(page), -1)
	if len(found) != len(standardsAnswers) {
		t.Fatalf("docs/standards.md has %d blocks of commands, this test knows the answers of %d", len(found), len(standardsAnswers))
	}
	const mark = "=== the next block"
	var script strings.Builder
	var blocks []string
	for i, at := range found {
		above := heading.FindAllStringSubmatch(string(page[:at[0]]), -1)
		if got := above[len(above)-1][1]; got != standardsAnswers[i].section {
			t.Fatalf("block %d is below %q, not %q", i+1, got, standardsAnswers[i].section)
		}
		blocks = append(blocks, string(page[at[2]:at[3]]))
		fmt.Fprintf(&script, "%secho\necho '%s'\n", blocks[i], mark)
	}
	out, err := shell(t, clone, env, script.String())
	parts := strings.Split(out, mark)
	if err != nil { // the last part is that of the block which failed
		n := min(len(parts), len(blocks)) - 1
		t.Errorf("docs/standards.md: %s: %v\n%s\n%s", standardsAnswers[n].section, err, blocks[n], parts[n])
		blocks = blocks[:n]
	}
	for i, b := range blocks {
		expect(t, "docs/standards.md: "+standardsAnswers[i].section, b, parts[i], standardsAnswers[i].answers)
	}
}

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fences = regexp.MustCompile("(?s)```.*?```")
	notID  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the ids that a page's headings get.
func anchors(page string) map[string]bool {
	ids := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(fences.ReplaceAllString(page, ""), -1) {
		ids[strings.ReplaceAll(notID.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return ids
}

func TestTheReadmeNamesTheStandardsOfTheirPage(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "standards.md"))
	if err != nil {
		t.Fatal(err)
	}
	numbers := func(text string) []string {
		all := regexp.MustCompile(`\b\d{4}\b`).FindAllString(text, -1)
		slices.Sort(all)
		return slices.Compact(all)
	}
	row := regexp.MustCompile(`(?m)^\| OAuth \|.*$`).FindString(string(readme))
	var table []string
	for _, m := range regexp.MustCompile(`\[RFC (\d+)\][ ,|]`).FindAllStringSubmatch(string(page), -1) {
		table = append(table, m[1])
	}
	if here, there := numbers(row), numbers(strings.Join(table, " ")); len(here) == 0 || !slices.Equal(here, there) {
		t.Errorf("README.md has %v\ndocs/standards.md has %v", here, there)
	}
}

func TestLinksOfThePagesLeadSomewhere(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	for _, name := range []string{"README.md", "docs/standards.md", "deploy/README.md", "examples/piedpiper/README.md"} {
		page, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(fences.ReplaceAllString(string(page), ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to, text := filepath.Join(root, filepath.Dir(name), target), string(page)
			if target != "" {
				info, err := os.Stat(to)
				if err != nil {
					t.Errorf("%s: %s: %v", name, m[1], err)
					continue
				}
				if anchor == "" || info.IsDir() {
					continue
				}
				other, err := os.ReadFile(to)
				if err != nil {
					t.Fatal(err)
				}
				text = string(other)
			}
			if !anchors(text)[anchor] {
				t.Errorf("%s: there is no heading for %s", name, m[1])
			}
		}
	}
}
