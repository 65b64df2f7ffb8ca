// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/internal/serve/controlserver"
)

func (a *app) snapshotsCommand() *cobra.Command {
	var file, since string
	republish := &cobra.Command{
		Use: "republish --config FILE", Short: "Send the configuration of all tenants, or of --org, to Redis again", Args: exactArgs(),
		Example: "  tenantry snapshots republish --config control.yaml\n  tenantry snapshots republish --config control.yaml --org piedpiper --since 24h",
		Long: `Send the configuration of all tenants, or of --org, to Redis again, with the control plane's configuration file. What is
there already is neither replaced nor announced. A running publisher does this by itself when Redis has lost its data.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return &usageError{text: "say which configuration: --config FILE", cmd: cmd}
			}
			var from time.Time
			if since != "" {
				var d daemon.Duration
				if err := d.UnmarshalText([]byte(since)); err != nil || d <= 0 {
					return &usageError{text: fmt.Sprintf("--since %q is no time such as 12h or 7d", since), cmd: cmd}
				}
				from = time.Now().Add(-time.Duration(d))
			}
			cfg, err := controlserver.Load(file)
			if err != nil {
				return err
			}
			begin := time.Now()
			n, err := control.Republish(cmd.Context(), cfg.Service, strings.TrimPrefix(a.flags.org, "orgs/"), from)
			if err != nil {
				return err
			}
			a.hint("%d records looked at in %s", n, time.Since(begin).Round(time.Millisecond))
			return nil
		},
	}
	republish.Flags().StringVar(&file, "config", "", "the control plane's configuration file")
	republish.Flags().StringVar(&since, "since", "", "only what changed since then, such as 24h")
	return group(&cobra.Command{Use: "snapshots", Short: "What the data plane knows of tenants"}, republish)
}
