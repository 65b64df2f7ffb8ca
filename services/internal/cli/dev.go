// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/services/internal/cli/bootstrap"
	"github.com/tenantry/tenantry/services/internal/devenv"
	"github.com/tenantry/tenantry/services/internal/restclient"
	"github.com/tenantry/tenantry/services/internal/serve"
)

// devContext is the name of the context that `make run` makes.
const devContext = "dev"

func (a *app) devCommand() *cobra.Command {
	var dir string
	var offset int
	dev := group(&cobra.Command{
		Use: "dev", Short: "A whole Tenantry on this machine, with sample apps",
		Example: "  tenantry dev\n  tenantry dev exec -- go test work",
		Long: `A whole Tenantry on this machine, with sample apps: what make run starts. It needs PostgreSQL and Redis binaries and a
checkout, and keeps everything in .run.`,
		Annotations: ownSignals,
	}, a.devReset(&dir), a.devExec())
	unknown := dev.RunE
	dev.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args)
		}
		root, err := checkout()
		if err != nil {
			return err
		}
		if dir == "" {
			dir = filepath.Join(root, ".run")
		}
		return devFailure(devenv.Run(cmd.Context(), devenv.Options{
			Root: root, Dir: dir, PortOffset: offset, Apply: applyForDev, Context: a.keepDevContext, Version: serve.Version(),
			Out: a.out, Terminal: a.outTerminal,
		}))
	}
	dev.PersistentFlags().StringVar(&dir, "dir", "", "directory for data, keys and logs (default: .run in the checkout)")
	dev.Flags().IntVar(&offset, "port-offset", 0, "add this to every port; fixed for the data in a directory")
	return dev
}

// checkout is the directory with deploy/routes.yaml: the working directory or one above it.
func checkout() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "deploy", "routes.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", &failure{text: "tenantry dev needs a checkout of Tenantry", cure: "Run it there: " + start + " is in none."}
		}
	}
}

// devFailure adds what to do to what can go wrong at a start.
func devFailure(err error) error {
	var ports *devenv.PortError
	var running *devenv.RunningError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, devenv.ErrInterrupted):
		return exitError(exitInterrupted)
	case errors.As(err, &ports):
		return &failure{
			text: ports.Error(), cause: nil,
			cure: "Nothing was started. Stop what has it, or use other ports: bin/tenantry dev --port-offset 100 --dir .run-100",
		}
	case errors.As(err, &running):
		return &failure{text: running.Error(), cure: "Use it (bin/tenantry tenant list), or stop it with Ctrl-C where it runs."}
	case errors.Is(err, localserver.ErrMissing):
		return &failure{text: err.Error()}
	}
	return &failure{text: "Tenantry did not start", cause: err, cure: "More is in .run/logs. To start from nothing: make reset"}
}

func (a *app) devReset(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "reset", Short: "Throw away the data of tenantry dev", Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			root, err := checkout()
			if err != nil {
				return err
			}
			path := *dir
			if path == "" {
				path = filepath.Join(root, ".run")
			}
			if err := devenv.Reset(path); err != nil {
				var running *devenv.RunningError
				if errors.As(err, &running) || errors.Is(err, localserver.ErrInUse) {
					return &failure{text: err.Error(), cure: "Nothing was deleted. Stop it first, with Ctrl-C where it runs."}
				}
				return err
			}
			a.forgetDevContext()
			a.hint("The data in %s is gone.", path)
			return nil
		},
	}
}

func (a *app) devExec() *cobra.Command {
	return &cobra.Command{
		Use: "exec -- COMMAND…", Short: "Run a command with a throw-away PostgreSQL", Annotations: ownSignals,
		Example: "  tenantry dev exec -- go test work",
		Long: `Run a command with a throw-away PostgreSQL: its superuser's URL is in TENANTRY_TEST_DATABASE_URL. The exit code is the
command's.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{text: "say which command, after --", cmd: cmd}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			code, err := devenv.Exec(cmd.Context(), args, a.in, a.out, a.err)
			if err != nil {
				return err
			}
			if code != exitOK {
				return exitError(code)
			}
			return nil
		},
	}
}

// applyForDev applies the bootstrap file for tenantry dev. Unlike `tenantry apply` it rotates keys whose text is lost.
func applyForDev(ctx context.Context, server, platformKey, file string, text []byte, keys string) (devenv.Applied, error) {
	applied := devenv.Applied{Keys: map[string]string{}, Clients: map[string]string{}}
	docs, err := bootstrap.Parse(file, text)
	if err != nil {
		return applied, err
	}
	store, err := openKeyStore(keys)
	if err != nil {
		return applied, err
	}
	c := &restclient.Client{Server: server, Key: platformKey, UserAgent: "tenantry-dev/" + serve.Version()}
	results, err := bootstrap.Apply(ctx, c, docs, bootstrap.Options{
		Secret: func(d bootstrap.Document, text string) error { return store.put(keyPath(d), text) },
		Lost:   func(d bootstrap.Document) bool { return store.keys[keyPath(d)] == "" },
	})
	if err != nil {
		return applied, err
	}
	for _, r := range results {
		switch r.Kind {
		case bootstrap.KindOrg:
			applied.Org, applied.OrgSlug = r.Resource, r.Name
		case bootstrap.KindBlueprint:
			if applied.Blueprint == "" {
				applied.Blueprint = r.Resource
			}
		case bootstrap.KindClient:
			applied.Clients[r.Name] = r.ClientID
		case bootstrap.KindAPIKey:
			applied.Keys[r.Name] = store.keys[keyPath(r.Document)]
		}
	}
	return applied, nil
}

// keepDevContext keeps the context dev, and makes it the current one unless another is: nobody's production is swapped for it.
func (a *app) keepDevContext(i devenv.Info) (string, error) {
	path, err := ContextsFile(a.getenv)
	if err != nil {
		return "", err
	}
	all, err := LoadContexts(path)
	if err != nil {
		return "", err
	}
	c := Context{Server: i.REST, Key: i.OrgAPIKey, Org: "orgs/" + i.OrgSlug, DataPlane: i.DataPlane}
	if all.Current == "" {
		all.Current = devContext
	}
	if all.Contexts[devContext] != c || all.Current == devContext {
		all.Contexts[devContext] = c
		if err := all.Save(); err != nil {
			return "", err
		}
	}
	if all.Current != devContext {
		return fmt.Sprintf("--context %s ", devContext), nil
	}
	return "", nil
}

// forgetDevContext forgets a context whose server is gone.
func (a *app) forgetDevContext() {
	path, err := ContextsFile(a.getenv)
	if err != nil {
		return
	}
	all, err := LoadContexts(path)
	if err != nil {
		return
	}
	if _, ok := all.Contexts[devContext]; !ok {
		return
	}
	delete(all.Contexts, devContext)
	if all.Current == devContext {
		all.Current = ""
	}
	if err := all.Save(); err != nil {
		a.hint("The context %s could not be forgotten: %v", devContext, err)
	}
}
