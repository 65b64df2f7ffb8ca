// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package repo_test holds the rules about the repository itself: who may import whom, what a go.mod and a source file look
// like. It owns no behaviour of the product; what the linters can say is left to them.
package repo_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// root is the top of the checkout, seen from this package.
const root = "../../.."

// maxLines is how long a hand-written Go file may be: longer ones are a package that nobody split.
const maxLines = 700

const copyright = "// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0\n\n"

// skipped are directories that are made by tools and not part of the repository.
var skipped = []string{".git", ".bin", ".build", ".protodeps", ".run", "bin", "node_modules", "dist"}

// files visits every file below the root whose name ends in one of the suffixes, or every one, with slash-separated paths.
func files(t *testing.T, visit func(path string, text []byte), suffixes ...string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains(skipped, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if len(suffixes) > 0 && !slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(path, s) }) || !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		path, err = filepath.Rel(root, path)
		visit(filepath.ToSlash(path), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// generated is the mark that https://go.dev/s/generatedcode agrees on.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// goFiles visits the hand-written Go files.
func goFiles(t *testing.T, visit func(path string, text []byte)) {
	t.Helper()
	seen := 0
	files(t, func(path string, text []byte) {
		if !generated.Match(text) {
			seen++
			visit(path, text)
		}
	}, ".go")
	if seen < 50 {
		t.Errorf("only %d Go files found: the test looks in the wrong place", seen)
	}
}

func TestGoFilesBeginWithTheCopyrightAndStayShort(t *testing.T) {
	goFiles(t, func(path string, text []byte) {
		if !bytes.HasPrefix(text, []byte(copyright)) {
			t.Errorf("%s: does not begin with %q", path, copyright)
		}
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			t.Errorf("%s: %d lines, more than %d: split it by what it is about", path, n, maxLines)
		}
	})
}

// Unfinished work is an issue, not a comment.
func TestNothingIsLeftForLater(t *testing.T) {
	mark := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|HA` + `CK|XX` + `X)\b`)
	goFiles(t, func(path string, text []byte) {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		for _, group := range file.Comments {
			for _, c := range group.List {
				if m := mark.FindString(c.Text); m != "" {
					t.Errorf("%s: %s in a comment", fset.Position(c.Pos()), m)
				}
			}
		}
	})
}

// Every package says once what it owns. go doc would join several such comments.
func TestEachPackageHasOneDocComment(t *testing.T) {
	type about struct {
		docs     []string // files with a package comment
		files    int      // files that are no tests
		name     string
		firstDoc string
	}
	packages := map[string]*about{}
	goFiles(t, func(path string, text []byte) {
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Error(err)
			return
		}
		dir := filepath.Dir(path)
		p := packages[dir]
		if p == nil {
			p = new(about)
			packages[dir] = p
		}
		if isTest := strings.HasSuffix(path, "_test.go"); !isTest {
			p.files++
			p.name = file.Name.Name
		} else if p.name == "" {
			p.name = file.Name.Name
		}
		if file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != "" {
			p.docs = append(p.docs, path)
			p.firstDoc = file.Doc.Text()
		}
	})
	for dir, p := range packages {
		switch {
		case len(p.docs) == 0:
			t.Errorf("%s: no package comment", dir)
		case len(p.docs) > 1:
			t.Errorf("%s: %d package comments: %s", dir, len(p.docs), strings.Join(p.docs, ", "))
		case p.files > 0 && strings.HasSuffix(p.docs[0], "_test.go"):
			t.Errorf("%s: the package comment is in a test", dir)
		case p.name == "main" && !strings.HasPrefix(p.firstDoc, "Command "):
			t.Errorf("%s: the comment of a program begins with its name: Command %s", dir, filepath.Base(dir))
		case p.name != "main" && !strings.HasPrefix(p.firstDoc, "Package "+p.name+" "):
			t.Errorf("%s: the comment of a package begins with its name: Package %s", dir, p.name)
		}
	}
}

// The rules of the standards and of the domain take the time as an argument, so that tests and replays can hold it still.
func TestPurePackagesReadNoClock(t *testing.T) {
	pure := []string{"pkg/oauth2/", "pkg/oidc/", "services/control/internal/tenancy/", "services/control/internal/blueprint/"}
	seen := map[string]bool{}
	goFiles(t, func(path string, text []byte) {
		in := slices.IndexFunc(pure, func(p string) bool { return strings.HasPrefix(path, p) })
		if in < 0 || strings.HasSuffix(path, "_test.go") {
			return
		}
		seen[pure[in]] = true
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer"}, sel.Sel.Name) {
					t.Errorf("%s: time.%s: the time is passed in", fset.Position(n.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
	})
	for _, p := range pure {
		if !seen[p] {
			t.Errorf("no file in %s: the rule guards nothing", p)
		}
	}
}

// What is specific to one machine works on no other. The patterns are in pieces, so that this file does not match.
func TestNoMachinePaths(t *testing.T) {
	machine := regexp.MustCompile(`(^|[^\w.$/-])(/wo` + `rk/|/ro` + `ot/|/ho` + `me/[a-z]|/Us` + `ers/[a-z]|/tm` + `p/t/|C:` + `\\Us` + `ers)`)
	for text, want := range map[string]bool{
		"cd /wo" + "rk/main": true, "'/ro" + "ot/.cache'": true, "/ho" + "me/ann/x": true,
		"$PWD/ho" + "me/x": false, "https://example.com/wo" + "rk/x": false, "deploy/ro" + "ot/x": false,
	} {
		if machine.MatchString(text) != want {
			t.Errorf("the pattern says %v of %q", !want, text)
		}
	}
	files(t, func(path string, text []byte) {
		if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 { // pictures
			return
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := machine.FindString(line); m != "" {
				t.Errorf("%s:%d: a path of somebody's machine: %s", path, i+1, strings.TrimSpace(m))
			}
		}
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var goLine = regexp.MustCompile(`(?m)^go (\S+)$`)

func TestModules(t *testing.T) {
	want := goLine.FindStringSubmatch(read(t, "go.work"))
	if want == nil {
		t.Fatal("go.work has no go line")
	}
	for _, module := range []string{"proto", "pkg", "services", "examples"} {
		mod := read(t, module+"/go.mod")
		if got := goLine.FindStringSubmatch(mod); got == nil || got[1] != want[1] {
			t.Errorf("%s/go.mod: go line %v, go.work has %s: one language version everywhere", module, got, want[1])
		}
		if regexp.MustCompile(`(?m)^\s*(replace|exclude)\b`).MatchString(mod) {
			t.Errorf("%s/go.mod: replace and exclude break `go install` from outside; go.work maps the siblings", module)
		}
		if regexp.MustCompile(`(?m)^toolchain`).MatchString(mod) {
			t.Errorf("%s/go.mod: a toolchain line would choose for those who import it", module)
		}
	}
	if strings.Contains(read(t, "go.work"), "./tools") {
		t.Error("go.work: the generators' dependencies would raise the versions that the services run with")
	}
}

// The text of the third-party protos is printed by a module of its own. It must be of the revisions that the services link.
func TestProtosArePrintedFromTheLinkedRevisions(t *testing.T) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Version}}", "all")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		linked[path] = version
	}
	tools := read(t, "tools/go.mod")
	for _, module := range []string{
		"google.golang.org/genproto/googleapis/api", "google.golang.org/genproto/googleapis/rpc", "cloud.google.com/go/longrunning",
		"github.com/grpc-ecosystem/grpc-gateway/v2", "google.golang.org/protobuf", "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go",
	} {
		m := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(module) + ` (\S+)`).FindStringSubmatch(tools)
		switch {
		case m == nil || linked[module] == "":
			t.Errorf("%s: not required by tools (%v) or not linked (%q)", module, m, linked[module])
		case sourceRevision(m[1]) != sourceRevision(linked[module]):
			t.Errorf("%s: tools/go.mod has %s, the workspace links %s", module, m[1], linked[module])
		}
	}
}

// sourceRevision leaves out the number, at the end of versions of generated modules, that counts runs of the generator over
// the same source.
func sourceRevision(version string) string {
	return regexp.MustCompile(`(-[0-9a-f]{12})\.\d+$`).ReplaceAllString(version, "$1")
}

// `make help` tells every target.
func TestMakefileExplainsItself(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, m := range regexp.MustCompile(`(?m)^\.PHONY: ([a-z-]+)\n(.*)$`).FindAllStringSubmatch(makefile, -1) {
		if !strings.HasPrefix(m[2], m[1]+":") || !strings.Contains(m[2], " ## ") {
			t.Errorf("Makefile: target %s has no help text: %s", m[1], m[2])
		}
	}
	out, err := exec.Command("make", "-s", "-C", root, "help").CombinedOutput()
	if err != nil {
		t.Fatalf("make help: %v: %s", err, out)
	}
	for _, target := range []string{"help", "run", "reset", "test", "bench", "lint", "generate", "tidy", "build", "tools", "verify"} {
		if !regexp.MustCompile(`(?m)^  make ` + target + ` +\S`).Match(out) {
			t.Errorf("make help does not tell of %s", target)
		}
	}
}
