// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/serve"
	"github.com/tenantry/tenantry/services/internal/serve/controlserver"
	"github.com/tenantry/tenantry/services/internal/serve/loginserver"
	"github.com/tenantry/tenantry/services/internal/serve/tokenserver"
)

// programs are the services by the names that commands use.
var programs = map[string]serve.Service{
	"control": controlserver.Program,
	"login":   loginserver.Program,
	"token":   tokenserver.Program,
}

// program finds a service by its name.
func program(cmd *cobra.Command, name string) (serve.Service, error) {
	if p, ok := programs[name]; ok {
		return p, nil
	}
	e := &usageError{text: fmt.Sprintf("%q is none of control, login, token", name), cmd: cmd}
	if near := nearest(name, []string{"control", "login", "token"}); near != "" {
		e.suggestion = "Did you mean: " + cmd.CommandPath() + " " + near
	}
	return serve.Service{}, e
}

func (a *app) serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "serve control|login|token --config FILE", Short: "Run one service until SIGTERM", Args: exactArgs("service"),
		Example:     "  tenantry serve token --config token.yaml\n  tenantry serve control --config control.yaml",
		ValidArgs:   []string{"control", "login", "token"},
		Annotations: ownSignals,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := program(cmd, args[0])
			if err != nil {
				return err
			}
			if file == "" {
				return &usageError{text: "say which configuration: --config FILE", cmd: cmd}
			}
			return p.Run(cmd.Context(), file, a.err)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	return cmd
}

func (a *app) configCommand() *cobra.Command {
	check := &cobra.Command{
		Use: "check control|login|token FILE", Short: "Say what is wrong with a service's configuration file", Args: exactArgs("service", "file"),
		Example: "  tenantry config check token /etc/tenantry/token.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := program(cmd, args[0])
			if err != nil {
				return err
			}
			if err := p.Check(args[1]); err != nil {
				return err
			}
			a.hint("%s: nothing is wrong with it", args[1])
			return nil
		},
	}
	return group(&cobra.Command{Use: "config", Short: "Configuration files of the services"}, check)
}

func (a *app) migrateCommand() *cobra.Command {
	var controlURL, identityURL string
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring the databases to this release's schema", Args: exactArgs(),
		Example: `  tenantry migrate --control @control-owner-url --identity @identity-owner-url
  TENANTRY_CONTROL_OWNER_URL=postgres://… tenantry migrate`,
		Long: `Bring the databases to this release's schema, as their owners. Several at once wait for each other, and a schema that is
there already is left alone. The URLs have passwords: give files with @, or the environment.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			did := 0
			for _, d := range []struct {
				name, value, variable string
			}{
				{name: "control", value: controlURL, variable: "TENANTRY_CONTROL_OWNER_URL"},
				{name: "identity", value: identityURL, variable: "TENANTRY_IDENTITY_OWNER_URL"},
			} {
				owner, err := a.secretText(d.value, d.variable)
				if err != nil {
					return err
				}
				if owner == "" {
					continue
				}
				did++
				begin := time.Now()
				if d.name == "control" {
					err = control.Migrate(cmd.Context(), owner)
				} else {
					err = identity.Migrate(cmd.Context(), owner)
				}
				if err != nil {
					return err
				}
				a.hint("%-10s up to date after %s", d.name, time.Since(begin).Round(time.Millisecond))
			}
			if did == 0 {
				return &usageError{text: "say which database: --control, --identity or both", cmd: cmd}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&controlURL, "control", "", ownerURLHelp)
	cmd.Flags().StringVar(&identityURL, "identity", "", "the same of the identity database (TENANTRY_IDENTITY_OWNER_URL)")
	return cmd
}
