// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/publish"
	"github.com/tenantry/tenantry/services/control/internal/store"
)

// Republish sends what changed since a time (zero: ever) to Redis again, of one org by its slug or id or, with "", of all. It goes the
// way of every change, beside running publishers: what Redis has already is neither replaced nor announced. It answers how many
// records were looked at.
func Republish(ctx context.Context, cfg Config, org string, since time.Time) (_ int64, err error) {
	if err := daemon.Validate(&cfg); err != nil {
		return 0, err
	}
	cfg = cfg.withDefaults()
	if cfg.SnapshotKey == "" {
		return 0, errors.New("control: snapshot_key must be set: records are signed")
	}
	key, err := snapshot.LoadSigningKey(string(cfg.SnapshotKey))
	if err != nil {
		return 0, fmt.Errorf("control: snapshot_key: %w", err)
	}
	var only id.Org
	if org != "" {
		if only, err = id.ParseOrg(org); err != nil {
			st, err := store.Open(ctx, store.Config{URL: cfg.Database.Value(), MaxConns: 1})
			if err != nil {
				return 0, fmt.Errorf("control: database: %w", err)
			}
			defer st.Close()
			if only, err = st.OrgBySlug(ctx, org); err != nil {
				return 0, fmt.Errorf("org %s: %w", org, err)
			}
		}
	}
	worker, err := store.OpenWorker(ctx, store.Config{URL: cfg.WorkerDatabase.Value(), MaxConns: 2})
	if err != nil {
		return 0, fmt.Errorf("control: worker_database: %w", err)
	}
	defer worker.Close()
	rdb, err := snapshot.ConnectWriter(cfg.ConfigRedis.Value())
	if err != nil {
		return 0, fmt.Errorf("control: config_redis: %w", err)
	}
	defer func() { err = errors.Join(err, rdb.Close()) }()
	p, err := publish.New(publish.Config{Worker: worker, Writer: snapshot.NewWriter(rdb), Key: key, Region: cfg.Region})
	if err != nil {
		return 0, fmt.Errorf("control: %w", err)
	}
	return p.Republish(ctx, only, since)
}
