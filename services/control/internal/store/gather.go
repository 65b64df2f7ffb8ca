// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Provision writes a new tenant, completely or not at all, in one round trip: a batch is one implicit transaction. Inside it org
// and blueprint must be at the versions that the tenant was planned from (CONCURRENT_CHANGE otherwise; a suspension is a version too), and
// every hostname free; else everything is rolled back and the reason answered. Neither row is locked: a suspension that commits at the
// same moment comes after the tenant, and closes it with the org's record.
//
// Tenants that come while others of the same org and blueprint are being written go together in the next transaction, as commits share
// a sync of the log: a wave of sign-ups costs the database a third. None waits for company, and none suffers from it: when such a
// transaction is refused, each of its tenants is written alone and gets its own answer. A caller that gives up leaves a write that is
// under way to its end.
func (s *Store) Provision(ctx context.Context, org id.Org, n *NewTenant) error {
	r, err := n.rows(org)
	if err != nil {
		return err
	}
	if n.Reclaim {
		return s.provision(ctx, org, r)
	}
	err = s.gather.do(ctx, s, org, r)
	if errors.Is(err, errAlone) {
		return s.provision(ctx, org, r)
	}
	return refusal(err)
}

// provision is one transaction for tenants that were planned from the same versions.
func (s *Store) provision(ctx context.Context, org id.Org, all ...*tenantRows) error {
	b := &pgx.Batch{}
	n := all[0]
	// The setting is evaluated first, so the checks behind it see the org's rows; if they did not, nothing could ever be provisioned.
	b.Queue(`SELECT set_config('tenantry.org_id', $1, true), CASE
		WHEN NOT EXISTS (SELECT FROM orgs o JOIN blueprints b ON b.org_id = $2 AND b.id = $4 WHERE o.id = $2 AND o.version = $3 AND b.version = $5)
		THEN tenantry_refuse('CONCURRENT_CHANGE')
		END`, org.UUID(), org, n.OrgVersion, n.Tenant.Blueprint, n.BlueprintVersion)
	queueTenants(b, org, all...)
	return refusal(s.pool.SendBatch(ctx, b).Close())
}

const (
	// gatherRunning is how many transactions of one group run at a time, and gatherSize how many tenants one has.
	gatherRunning = 2
	gatherSize    = 16
	// gatherTime bounds a transaction, for it is cut off by no caller.
	gatherTime = 5 * time.Second
)

// errAlone tells a caller to write its tenant by itself.
var errAlone = errors.New("store: to be written alone")

// gathering is what tenants must have in common to be written together: the org, and all that the transaction checks.
type gathering struct {
	org                          id.Org
	blueprint                    id.Blueprint
	orgVersion, blueprintVersion int64
}

// gather collects the tenants that wait for their transaction.
type gather struct {
	mu     sync.Mutex
	groups map[gathering]*group
}

type group struct {
	running int
	waiting []*gathered
}

type gathered struct {
	*tenantRows
	done chan error
}

func (g *gather) do(ctx context.Context, s *Store, org id.Org, r *tenantRows) error {
	key := gathering{org, r.Tenant.Blueprint, r.OrgVersion, r.BlueprintVersion}
	own := &gathered{r, make(chan error, 1)}
	g.mu.Lock()
	p := g.groups[key]
	if p == nil {
		p = &group{}
		g.groups[key] = p
	}
	p.waiting = append(p.waiting, own)
	if p.running < gatherRunning {
		p.running++
		go g.run(context.WithoutCancel(ctx), s, key, p)
	}
	g.mu.Unlock()
	select {
	case err := <-own.done:
		return err
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		p.waiting = slices.DeleteFunc(p.waiting, func(w *gathered) bool { return w == own })
		return ctx.Err()
	}
}

// run writes what waits until nothing does.
func (g *gather) run(ctx context.Context, s *Store, key gathering, p *group) {
	for {
		g.mu.Lock()
		n := min(len(p.waiting), gatherSize)
		if n == 0 {
			if p.running--; p.running == 0 {
				delete(g.groups, key)
			}
			g.mu.Unlock()
			return
		}
		all := slices.Clone(p.waiting[:n])
		p.waiting = slices.Delete(p.waiting, 0, n)
		g.mu.Unlock()
		err := s.together(ctx, key.org, all)
		for _, w := range all {
			w.done <- err
		}
	}
}

func (s *Store) together(ctx context.Context, org id.Org, all []*gathered) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// Whose fault it was shows when each is written alone, where its caller recovers.
			err = fmt.Errorf("%w: %v\n%s", errAlone, p, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	rows := make([]*tenantRows, len(all))
	for i, w := range all {
		rows[i] = w.tenantRows
	}
	// In one order, so that transactions which want the same names do not wait for each other in a circle.
	slices.SortFunc(rows, func(a, b *tenantRows) int { return cmp.Compare(a.names[0], b.names[0]) })
	err = s.provision(ctx, org, rows...)
	if err != nil && len(all) > 1 && !errors.Is(err, tenancy.ReasonUnavailable) && !errors.Is(err, tenancy.ReasonConcurrentChange) {
		return errAlone
	}
	return err
}
