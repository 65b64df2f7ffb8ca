// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package loginserver is the program tenantry-login: the login service with a process around it, from one configuration file.
package loginserver

import (
	"context"
	"fmt"
	"io"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/dataplane/login"
	"github.com/tenantry/tenantry/services/internal/serve"
)

// Config is the configuration file.
type Config struct {
	// Process is how the process logs, reports and ends.
	Process daemon.Config `yaml:",inline"`
	// Service is the login service.
	Service login.Config `yaml:",inline"`
	// Memory bounds the heap.
	Memory serve.Memory `yaml:"memory"`
}

// Validate implements daemon.Validator.
func (c *Config) Validate(k *daemon.Check) { k.Require("listen.address", c.Service.Listen.Address) }

// Load reads a configuration file over the defaults.
func Load(file string) (Config, error) {
	var c Config
	c.Service.Listen.Address = ":8080"
	c.Process.Admin.Address = ":9191"
	err := daemon.LoadConfig(file, &c)
	return c, err
}

// Program is tenantry-login, and `tenantry serve login`.
var Program = serve.Service{
	Name:  "tenantry-login",
	Check: func(file string) error { _, err := Load(file); return err },
	Run:   run,
}

func run(ctx context.Context, file string, log io.Writer) error {
	cfg, err := Load(file)
	if err != nil {
		return err
	}
	cfg.Memory.Apply()
	process, err := daemon.NewProcess(ctx, "tenantry-login", serve.Version(), cfg.Process, log)
	if err != nil {
		return err
	}
	service, err := login.New(ctx, cfg.Service, login.Deps{Logger: process.Log, Build: serve.Version()})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	process.Telemetry.AddMetrics(service.Metrics())
	return process.Run(ctx,
		daemon.Component{
			Name:  "login service",
			Start: func(context.Context) error { service.Start(); return nil },
			Stop:  func(ctx context.Context) error { service.Stop(ctx); return nil },
		},
		process.NewHTTPServer("data plane", cfg.Service.Listen, service.Handler()).Component(),
	)
}
