// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthcheckTimeout is below the time-outs that container runtimes give a check.
const healthcheckTimeout = 2 * time.Second

// healthcheckCommand is for containers: the image has no shell and no curl that could ask.
func (a *app) healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck URL", Short: "Ask a service's admin listener whether it is ready", Args: exactArgs("URL"), Hidden: true,
		Example: "  tenantry healthcheck http://127.0.0.1:9192/readyz",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), healthcheckTimeout)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
			if err != nil {
				return err
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(body)))
			}
			return nil
		},
	}
}
