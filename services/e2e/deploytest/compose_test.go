// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package deploytest_test holds the files that operators start from (docker-compose.yml and deploy/) against the programs: the
// compose file is loaded as Compose does, the sample configurations by the programs' own loaders with secrets that the real command
// made, the path table is compared with what the services mount, and all of it is run once on real servers.
package deploytest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
)

// compose loads the file strictly: unknown keys, undefined secrets, services, networks and volumes are errors.
func compose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(e2etest.Root(), "docker-compose.yml")},
		cli.WithWorkingDirectory(e2etest.Root()), cli.WithProfiles([]string{"*"}), cli.WithConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// secretsDir makes the secrets as the compose file's own service does.
func secretsDir(t *testing.T) keyfiles.Dir {
	t.Helper()
	dir := keyfiles.Dir(filepath.Join(t.TempDir(), "secrets"))
	if _, err := keyfiles.InitStack(dir, "local", time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEveryContainerIsHardened(t *testing.T) {
	for name, s := range compose(t).Services {
		once := s.Restart != "unless-stopped"
		switch {
		case !s.ReadOnly:
			t.Errorf("%s: its file system can be written", name)
		case !slices.Contains(s.SecurityOpt, "no-new-privileges:true"):
			t.Errorf("%s: may gain privileges", name)
		case !slices.Contains(s.CapDrop, "ALL"):
			t.Errorf("%s: keeps capabilities", name)
		case s.MemLimit <= 0:
			t.Errorf("%s: has no memory limit", name)
		case s.Privileged, s.Pid == "host", s.NetworkMode == "host":
			t.Errorf("%s: is not confined", name)
		case !once && s.HealthCheck == nil:
			t.Errorf("%s: runs on without a health check", name)
		case once && !slices.Contains([]string{"migrate", "secrets", "tenantry"}, name):
			t.Errorf("%s: does not come back (restart: %q)", name, s.Restart)
		}
		if len(s.CapAdd) > 0 && name != "edge" && name != "secrets" {
			t.Errorf("%s: gets capabilities %v", name, s.CapAdd)
		}
	}
}

func TestOnlyTheEdgeIsOpenToTheNetwork(t *testing.T) {
	want := map[string][]string{
		"edge":    {":80", ":443"},
		"control": {"127.0.0.1:9080", "127.0.0.1:9090"},
	}
	for name, s := range compose(t).Services {
		var got []string
		for _, p := range s.Ports {
			got = append(got, p.HostIP+":"+p.Published)
		}
		if !slices.Equal(got, want[name]) {
			t.Errorf("%s publishes %v, want %v", name, got, want[name])
		}
		_, outside := s.Networks["edge"]
		if _, data := s.Networks["data"]; data && name == "edge" {
			t.Error("the edge reaches the databases")
		} else if outside && !slices.Contains([]string{"edge", "login", "token", "control"}, name) { // control: clients register themselves
			t.Errorf("%s is in the network whose forwarded headers are believed", name)
		}
	}
	if !compose(t).Networks["data"].Internal {
		t.Error("databases can call out")
	}
}

// Images are named as everybody gets them, and pinned to a major version.
func TestImagesNameNoRegistry(t *testing.T) {
	for name, s := range compose(t).Services {
		repository, tag, tagged := strings.Cut(s.Image, ":")
		if strings.Contains(repository, "/") || strings.Contains(repository, ".") || !tagged || tag == "latest" {
			t.Errorf("%s: image %q", name, s.Image)
		}
	}
	text, err := os.ReadFile(filepath.Join(e2etest.Root(), "deploy", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	from := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(text), -1)
	if len(from) != 2 || from[0][1] != "golang:1.26" || from[1][1] != "scratch" {
		t.Errorf("the image is made from %v", from)
	}
	if !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).Match(text) {
		t.Error("the image has no numeric user other than root")
	}
	for _, s := range compose(t).Services {
		for _, program := range append(slices.Clone(s.Entrypoint), healthProgram(s)...) {
			if strings.HasPrefix(program, "/") && !strings.Contains(string(text), "./services/cmd"+program+" ") && !strings.Contains(string(text), "./services/cmd"+program+"\n") {
				t.Errorf("%s runs %s, which the image has not", s.Name, program)
			}
		}
	}
}

func healthProgram(s types.ServiceConfig) []string {
	if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD" {
		return nil
	}
	return s.HealthCheck.Test[1:2]
}

func TestEverySecretIsMadeByTheCommand(t *testing.T) {
	dir := secretsDir(t)
	base := filepath.Join(e2etest.Root(), "deploy", "secrets")
	for name, s := range compose(t).Secrets {
		if want := filepath.Join(base, name); s.File != want {
			t.Errorf("%s is %q, want %q", name, s.File, want)
		}
		if info, err := os.Stat(filepath.Join(string(dir), name)); err != nil || info.Size() == 0 {
			t.Errorf("%s is not made: %v", name, err)
		}
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if _, err := os.Stat(filepath.Join(string(dir), "edge", name)); err != nil {
			t.Error(err)
		}
	}
}

// DISTRIBUTION 8: what each key may open decides who has it.
func TestEachSecretGoesToWhoNeedsItAlone(t *testing.T) {
	want := map[string][]string{
		"snapshot-signing.key": {"control"},
		"region-signing.key":   {"token"},
		"recovery.key":         nil,
		"runtime-keyring.json": {"login", "token"},
		"page-tokens.key":      {"control"},
		"grpc.key":             {"control"},

		"control-owner.url": {"migrate", "tenantry"}, "identity-owner.url": {"migrate", "tenantry"},
		"control.url": {"control"}, "control-worker.url": {"control"}, "identity.url": {"control", "login", "token"},
		"config-redis-publisher.url": {"control"}, "config-redis-replica.url": {"login", "token"}, "runtime-redis.url": {"login", "token"},
		"postgres-superuser.password": {"postgres"},
	}
	got := map[string][]string{}
	for name, s := range compose(t).Services {
		for _, secret := range s.Secrets {
			if secret.Target != "" && secret.Target != "/run/secrets/"+secret.Source {
				t.Errorf("%s: %s is mounted as %s", name, secret.Source, secret.Target)
			}
			got[secret.Source] = append(got[secret.Source], name)
		}
		for _, v := range s.Volumes {
			if strings.Contains(v.Source, "secrets") && name != "secrets" && (name != "edge" || filepath.Base(v.Source) != "edge") {
				t.Errorf("%s mounts %s", name, v.Source)
			}
		}
	}
	for secret, who := range want {
		slices.Sort(got[secret])
		if !slices.Equal(got[secret], who) {
			t.Errorf("%s goes to %v, want %v", secret, got[secret], who)
		}
	}
	for secret := range compose(t).Secrets {
		if len(got[secret]) == 0 {
			t.Errorf("%s is defined and nobody has it", secret)
		}
	}
}

func TestMountedFilesExist(t *testing.T) {
	root := e2etest.Root()
	for name, s := range compose(t).Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind || strings.HasPrefix(v.Source, filepath.Join(root, "deploy", "secrets")) {
				continue
			}
			if info, err := os.Stat(v.Source); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%s mounts %s: %v", name, v.Source, err)
			}
			if !v.ReadOnly {
				t.Errorf("%s may write %s", name, v.Source)
			}
		}
	}
}
