// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package tokenserver is the program tenantry-token: the token service with a process around it, from one configuration file.
package tokenserver

import (
	"context"
	"fmt"
	"io"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/dataplane/token"
	"github.com/tenantry/tenantry/services/internal/serve"
)

// Config is the configuration file.
type Config struct {
	// Process is how the process logs, reports and ends.
	Process daemon.Config `yaml:",inline"`
	// Service is the token service.
	Service token.Config `yaml:",inline"`
	// Memory bounds the heap.
	Memory serve.Memory `yaml:"memory"`
}

// Validate implements daemon.Validator.
func (c *Config) Validate(k *daemon.Check) { k.Require("listen.address", c.Service.Listen.Address) }

// Load reads a configuration file over the defaults.
func Load(file string) (Config, error) {
	var c Config
	c.Service.Listen.Address = ":8080"
	c.Process.Admin.Address = ":9192"
	err := daemon.LoadConfig(file, &c)
	return c, err
}

// Program is tenantry-token, and `tenantry serve token`.
var Program = serve.Service{
	Name:  "tenantry-token",
	Check: func(file string) error { _, err := Load(file); return err },
	Run:   run,
}

func run(ctx context.Context, file string, log io.Writer) error {
	cfg, err := Load(file)
	if err != nil {
		return err
	}
	cfg.Memory.Apply()
	process, err := daemon.NewProcess(ctx, "tenantry-token", serve.Version(), cfg.Process, log)
	if err != nil {
		return err
	}
	service, err := token.New(ctx, cfg.Service, token.Deps{Logger: process.Log, Build: serve.Version()})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	process.Telemetry.AddMetrics(service.Metrics())
	components := []daemon.Component{{
		Name:  "token service",
		Start: func(context.Context) error { service.Start(); return nil },
		Stop:  func(context.Context) error { service.Stop(); return nil },
	}}
	if cfg.Service.Internal.Address != "" {
		handler, err := service.InternalHandler()
		if err != nil {
			return err
		}
		// Before the data plane's, so that it outlives it: a login that is under way may still have to be signed.
		components = append(components, process.NewHTTPServer("internal", cfg.Service.Internal.HTTPConfig, handler).Component())
	}
	components = append(components, process.NewHTTPServer("data plane", cfg.Service.Listen, service.Handler()).Component())
	return process.Run(ctx, components...)
}
