// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package controlserver is the program tenantry-control: the control plane with a process around it, from one configuration
// file.
package controlserver

import (
	"context"
	"fmt"
	"io"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/internal/serve"
)

// Config is the configuration file.
type Config struct {
	// Process is how the process logs, reports and ends.
	Process daemon.Config `yaml:",inline"`
	// Service is the control plane.
	Service control.Config `yaml:",inline"`
	// Memory bounds the heap.
	Memory serve.Memory `yaml:"memory"`
}

// Load reads a configuration file over the defaults.
func Load(file string) (Config, error) {
	var c Config
	c.Process.Admin.Address = ":9190"
	err := daemon.LoadConfig(file, &c)
	return c, err
}

// Program is tenantry-control, and `tenantry serve control`.
var Program = serve.Service{
	Name:  "tenantry-control",
	Check: func(file string) error { _, err := Load(file); return err },
	Run:   run,
}

func run(ctx context.Context, file string, log io.Writer) error {
	cfg, err := Load(file)
	if err != nil {
		return err
	}
	cfg.Memory.Apply()
	process, err := daemon.NewProcess(ctx, "tenantry-control", serve.Version(), cfg.Process, log)
	if err != nil {
		return err
	}
	service, err := control.New(ctx, cfg.Service, control.Deps{Process: process, Build: serve.Version()})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return process.Run(ctx, service.Components()...)
}
