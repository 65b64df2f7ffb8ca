// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ours begins the import path of each package of the repository.
const ours = "github.com/tenantry/tenantry/"

// pkg is what `go list` tells of a package.
type pkg struct {
	ImportPath string
	Imports    []string // of its own files, without tests
	Deps       []string // of everything that ends in a binary with it
}

// graph lists the packages of the workspace, once.
var graph = sync.OnceValues(func() (map[string]pkg, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "work")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(err.Error() + ": " + stderr.String())
	}
	packages := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages[p.ImportPath] = p
	}
})

// matches reports whether an import path is the pattern or, when that ends in "/...", the pattern's path or one below it.
// Patterns without a dot in their first element are relative to the repository.
func matches(path, pattern string) bool {
	if first, _, _ := strings.Cut(pattern, "/"); !strings.Contains(first, ".") {
		if rest, own := strings.CutPrefix(path, ours); own {
			path = rest
		}
	}
	if base, tree := strings.CutSuffix(pattern, "/..."); tree {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

func matchesAny(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(path, p) })
}

// never is an arrow that must not exist, directly or, unless it says so, through others.
type never struct {
	direct bool
	from   []string
	to     []string
	// except are packages below to that may be reached.
	except []string
	why    string
}

// impure is what a package of rules has no use for.
var impure = []string{"log/slog", "database/sql", "google.golang.org/grpc/...", "github.com/redis/go-redis/...", "github.com/jackc/pgx/...", "services/control/internal/store/..."}

var nevers = []never{
	{
		from: []string{"services/dataplane/...", "services/cmd/tenantry-token", "services/cmd/tenantry-login"}, to: []string{"services/control/..."},
		why: "the data plane runs with the control plane and its database gone, and must not be able to ask it",
	},
	{
		from: []string{"services/control/..."}, to: []string{"services/dataplane/..."},
		why: "the planes meet only in proto, pkg/snapshot and services/identity",
	},
	{
		from: []string{"services/identity/..."}, to: []string{"services/control/...", "services/dataplane/..."},
		why: "both planes use the user store, so it can belong to neither",
	},
	{
		from: []string{"services/dataplane/token/...", "services/cmd/tenantry-token"}, to: []string{"services/dataplane/login/..."},
		why: "the token service has no pages, cookies or mail, and is deployed without them",
	},
	{
		from: []string{"pkg/...", "proto/..."}, to: []string{"services/...", "examples/..."},
		why: "pkg and proto are for others to import",
	},
	{
		from: []string{"proto/..."}, to: []string{"pkg/..."},
		why: "a client of the API needs the contracts alone",
	},
	{
		from: []string{"services/control/...", "services/identity/...", "services/dataplane/...", "services/internal/..."}, to: []string{"services/cmd/..."},
		why: "a program is made of services, not the other way round",
	},
	{
		direct: true, // what pkg/verify stands on comes with it
		from:   []string{"examples/..."}, to: []string{"services/...", "pkg/..."}, except: []string{"pkg/verify/..."},
		why: "the samples are written as a customer would write them, on public interfaces",
	},
	{
		from: []string{"services/cmd/tenantry-control", "services/cmd/tenantry-token", "services/cmd/tenantry-login"}, to: []string{"pkg/localserver/...", "services/internal/devenv/...", "services/internal/mailsink/..."},
		why: "what only development needs is not on a production machine",
	},
	{
		from: []string{"services/cmd/...", "examples/..."}, to: []string{"testing", "services/internal/dbtest/..."},
		why: "test kits end in no binary",
	},
	{
		from: []string{"pkg/oauth2/...", "pkg/oidc/..."},
		to:   impure,
		why:  "the rules of the standards are pure: no I/O, no logger",
	},
	{
		direct: true, // the policies are pkg/snapshot's, and with them comes its Redis client
		from:   []string{"services/control/internal/tenancy/...", "services/control/internal/blueprint/..."},
		to:     impure,
		why:    "the rules of the domain are pure: no I/O, no logger",
	},
}

// only is a package, or tree of packages, that few may import themselves.
type only struct {
	what []string
	by   []string
	why  string
}

var onlys = []only{
	{
		what: []string{"github.com/jackc/pgx/...", "database/sql"},
		by:   []string{"services/control/internal/store/...", "services/identity/internal/store/...", "services/internal/dbtest/...", "services/internal/devenv", "services/e2e/e2etest", "services/e2e/bench"},
		why:  "SQL lives in the stores, where every method takes the tenant first; tests look at what was written, devenv makes databases, and bench has yardsticks",
	},
	{
		what: []string{"github.com/pressly/goose/..."},
		by:   []string{"services/control/internal/store/...", "services/identity/internal/store/..."},
		why:  "migrations are the stores'",
	},
	{
		what: []string{"github.com/lestrrat-go/jwx/..."},
		by:   []string{"pkg/jose/..."},
		why:  "the library is to be exchanged, by changing one package",
	},
	{
		what: []string{"github.com/redis/go-redis/..."},
		by:   []string{"pkg/snapshot/...", "services/dataplane/internal/grant/...", "services/dataplane/internal/limit/...", "services/e2e/bench"},
		why:  "what is in Redis is authenticated and has the tenant in its key, which these packages see to; bench has a yardstick that asks once",
	},
	{
		what: []string{"proto/gen/tenantry/control/..."},
		by:   []string{"proto/gen/...", "services/control", "services/control/internal/api/...", "services/internal/cli/...", "services/internal/devenv/...", "services/cmd/...", "examples/...", "services/e2e/..."},
		why:  "generated types stop at the API's handlers and at its clients",
	},
	{
		what: []string{"google.golang.org/grpc/..."},
		by:   []string{"proto/gen/...", "pkg/daemon/...", "services/control", "services/control/internal/api/...", "services/internal/cli/...", "services/internal/devenv/...", "services/cmd/...", "services/e2e/..."},
		why:  "no rule or use case depends on how it was called, and no other code names a status code",
	},
}

// broken lists "package → what it must not reach" for an arrow.
func (n never) broken(packages map[string]pkg) (broken []string) {
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		if !matchesAny(path, n.from) {
			continue
		}
		reached := packages[path].Deps
		if n.direct {
			reached = packages[path].Imports
		}
		for _, to := range n.to { // one line for each pattern: a library arrives with its whole tree
			if i := slices.IndexFunc(reached, func(dep string) bool { return matches(dep, to) && !matchesAny(dep, n.except) }); i >= 0 {
				broken = append(broken, path+" → "+reached[i])
			}
		}
	}
	return broken
}

// broken lists "package → what it must leave to others".
func (o only) broken(packages map[string]pkg) (broken []string, found bool) {
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		for _, imported := range packages[path].Imports {
			if !matchesAny(imported, o.what) {
				continue
			}
			if found = true; !matchesAny(path, o.by) && !matchesAny(path, o.what) {
				broken = append(broken, path+" → "+imported)
			}
		}
	}
	return broken, found
}

func TestImportArrows(t *testing.T) {
	packages, err := graph()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nevers {
		t.Run(strings.Join(n.from, ",")+"→"+strings.Join(n.to, ","), func(t *testing.T) {
			for _, from := range n.from {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(packages)), func(p string) bool { return matches(p, from) }) {
					t.Errorf("no package is %s: the row guards nothing", from)
				}
			}
			for _, b := range n.broken(packages) {
				t.Errorf("%s: %s", b, n.why)
			}
		})
	}
	for _, o := range onlys {
		t.Run("only→"+strings.Join(o.what, ","), func(t *testing.T) {
			broken, found := o.broken(packages)
			if !found {
				t.Errorf("nothing imports %s: the row guards nothing", o.what)
			}
			for _, b := range broken {
				t.Errorf("%s: %s", b, o.why)
			}
		})
	}
}

// A rule that cannot fail guards nothing either: each is shown a repository that breaks it.
func TestEachArrowCanBeBroken(t *testing.T) {
	path := func(pattern string) string {
		pattern = strings.TrimSuffix(pattern, "/...")
		if first, _, _ := strings.Cut(pattern, "/"); strings.Contains(first, ".") || pattern == "testing" || pattern == "log/slog" || pattern == "database/sql" {
			return pattern
		}
		return ours + pattern
	}
	for _, n := range nevers {
		for _, from := range n.from {
			for _, to := range n.to {
				broken := n.broken(map[string]pkg{path(from): {Deps: []string{path(to)}, Imports: []string{path(to)}}})
				if len(broken) != 1 {
					t.Errorf("%s → %s is not noticed: %v", from, to, broken)
				}
			}
		}
		for _, allowed := range n.except {
			if broken := n.broken(map[string]pkg{path(n.from[0]): {Deps: []string{path(allowed)}, Imports: []string{path(allowed)}}}); len(broken) != 0 {
				t.Errorf("%s → %s is refused", n.from[0], allowed)
			}
		}
	}
	for _, o := range onlys {
		for _, what := range o.what {
			if broken, _ := o.broken(map[string]pkg{ours + "pkg/new": {Imports: []string{path(what)}}}); len(broken) != 1 {
				t.Errorf("pkg/new → %s is not noticed", what)
			}
			for _, by := range o.by {
				if broken, _ := o.broken(map[string]pkg{path(by): {Imports: []string{path(what)}}}); len(broken) != 0 {
					t.Errorf("%s → %s is refused", by, what)
				}
			}
		}
	}
	if matches(ours+"services/controlling", "services/control/...") {
		t.Error("a pattern matches half a name")
	}
}
