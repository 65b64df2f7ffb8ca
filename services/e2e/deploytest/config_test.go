// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package deploytest_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/dataplane/login"
	"github.com/tenantry/tenantry/services/dataplane/token"
	"github.com/tenantry/tenantry/services/e2e/e2etest"
	"github.com/tenantry/tenantry/services/internal/edge"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
	"github.com/tenantry/tenantry/services/internal/serve/controlserver"
	"github.com/tenantry/tenantry/services/internal/serve/loginserver"
	"github.com/tenantry/tenantry/services/internal/serve/tokenserver"
)

var names = []string{e2etest.Control, e2etest.Login, e2etest.Token}

// sample is a sample configuration with its secrets elsewhere, and further replacements, as a file of its own.
func sample(t *testing.T, name string, dir keyfiles.Dir, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(e2etest.Root(), "deploy", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			t.Fatalf("deploy/%s.yaml has no %q", name, replace[i])
		}
	}
	adapted := strings.NewReplacer(append([]string{"/run/secrets/", string(dir) + "/", "/run/tenantry/", string(dir) + "/"}, replace...)...).Replace(string(text))
	file := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(file, []byte(adapted), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSampleConfigurationsLoad(t *testing.T) {
	dir := secretsDir(t)
	check := map[string]func(string) error{
		e2etest.Control: controlserver.Program.Check, e2etest.Login: loginserver.Program.Check, e2etest.Token: tokenserver.Program.Check,
	}
	for _, name := range names {
		if err := check[name](sample(t, name, dir)); err != nil {
			t.Error(err)
		}
	}
}

// What stands in a comment of a sample is wanted one day: it has to load as well.
func TestCommentedOutMailLoads(t *testing.T) {
	dir := secretsDir(t)
	if err := os.WriteFile(filepath.Join(string(dir), "smtp.password"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := sample(t, e2etest.Login, dir)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	on := regexp.MustCompile(`(?m)^# (mail:|  )`).ReplaceAll(text, []byte("$1"))
	if err := os.WriteFile(file, on, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loginserver.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Service.Mail.Host != "smtp.example.com" {
		t.Errorf("mail goes to %q", cfg.Service.Mail.Host)
	}
}

// The compose file, the sample configurations and the network have to agree on names.
func TestConfigurationsFitTheComposeFile(t *testing.T) {
	project := compose(t)
	secretPath := regexp.MustCompile(`/run/secrets/([\w.-]+)`)
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(e2etest.Root(), "deploy", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAll(text, nil)
		var wanted, given []string
		for _, m := range secretPath.FindAllStringSubmatch(string(text), -1) {
			wanted = append(wanted, m[1])
		}
		s := project.Services[name]
		for _, secret := range s.Secrets {
			given = append(given, secret.Source)
		}
		slices.Sort(wanted)
		slices.Sort(given)
		if !slices.Equal(wanted, given) {
			t.Errorf("%s reads %v and is given %v", name, wanted, given)
		}
		if want := []string{"--config", "/etc/tenantry/" + name + ".yaml"}; !slices.Equal(s.Command, want) {
			t.Errorf("%s is run with %v, want %v", name, s.Command, want)
		}
		if want := []string{"/tenantry-" + name}; !slices.Equal(s.Entrypoint, want) {
			t.Errorf("%s is %v, want %v", name, s.Entrypoint, want)
		}
		admin := regexp.MustCompile(`admin: \{ address: ":(\d+)" \}`).FindSubmatch(text)
		if admin == nil || !slices.Contains(s.HealthCheck.Test, "http://127.0.0.1:"+string(admin[1])+"/readyz") {
			t.Errorf("%s listens for its operator on %s and is asked by %v", name, admin, s.HealthCheck.Test)
		}
		if subnet := project.Networks["edge"].Ipam.Config[0].Subnet; name != e2etest.Control && !strings.Contains(string(text), "trusted_proxies: ["+subnet+"]") {
			t.Errorf("%s does not believe the edge, which is in %s", name, subnet)
		}
	}
}

// An address in a secret names a service of the compose file that is in the same network.
func TestAddressesNameServices(t *testing.T) {
	dir, project := secretsDir(t), compose(t)
	host := regexp.MustCompile(`@([\w-]+):\d+/`)
	for name, s := range project.Services {
		for _, secret := range s.Secrets {
			if !strings.HasSuffix(secret.Source, ".url") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(string(dir), secret.Source))
			if err != nil {
				t.Fatal(err)
			}
			m := host.FindSubmatch(text)
			if m == nil {
				t.Errorf("%s has no address", secret.Source)
				continue
			}
			server, ok := project.Services[string(m[1])]
			_, mine := s.Networks["data"]
			if _, its := server.Networks["data"]; !ok || !mine || !its {
				t.Errorf("%s: %s names %s, which it cannot reach", name, secret.Source, m[1])
			}
		}
	}
}

// mounted lists what login and token really mount. They are made from the samples, which connects to nothing.
func mounted(t *testing.T) map[string][]string {
	t.Helper()
	dir, log := secretsDir(t), slog.New(slog.DiscardHandler)
	loginConfig, err := loginserver.Load(sample(t, e2etest.Login, dir))
	if err != nil {
		t.Fatal(err)
	}
	logins, err := login.New(t.Context(), loginConfig.Service, login.Deps{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer logins.Stop(t.Context())
	tokenConfig, err := tokenserver.Load(sample(t, e2etest.Token, dir))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.New(t.Context(), tokenConfig.Service, token.Deps{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Stop()
	all := map[string][]string{}
	for _, e := range logins.Routes() {
		all["login"] = append(all["login"], e.Path)
	}
	for _, e := range tokens.Routes() {
		all["token"] = append(all["token"], e.Path)
	}
	all["control"] = control.TenantPaths()
	return all
}

func TestEveryMountedPathIsSentToItsService(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(e2etest.Root(), "deploy", "routes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := edge.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	all := mounted(t)
	owners := map[string]bool{}
	for service, paths := range all {
		if len(paths) == 0 {
			t.Errorf("%s mounts nothing", service)
		}
		for _, path := range paths {
			asked := strings.Replace(path, "/…", "/some-thing", 1)
			if got := table.Service(asked); got != service {
				t.Errorf("%s of %s is sent to %s", path, service, got)
			}
			owners[service+" "+path] = true
		}
	}
	for _, r := range table {
		if prefix, ok := r.Prefix(); ok {
			if !slices.ContainsFunc(all[r.Service], func(p string) bool { return strings.HasPrefix(p, prefix) }) {
				t.Errorf("%s is sent to %s, which mounts nothing there", r.Path, r.Service)
			}
		} else if !owners[r.Service+" "+r.Path] {
			t.Errorf("%s is sent to %s, which does not mount it", r.Path, r.Service)
		}
	}
}
