// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
)

// DigestedSeed is a seed with the digest that tells whether it was applied.
type DigestedSeed struct {
	Seed
	Digest [32]byte
}

// insertSeedUser is insertUser under two conditions: this call is the one that applies the seed, and the user or the address may
// already be there. Who registered the address between the provision and now keeps their user without the seed's roles: the
// invitation carries the roles, and only its mail reaches the owner.
var insertSeedUser = insertUser(
	fmt.Sprintf(`WHERE EXISTS (SELECT FROM applied_seeds s WHERE s.tenant_id = $1 AND s.digest = $%d AND s.batch = $%d)`, afterInsertUser, afterInsertUser+1),
	`ON CONFLICT DO NOTHING`)

// ApplySeeds applies many tenants' seeds in one transaction: four round trips, however many there are. A seed that was applied
// before is left alone, also when its users have changed or gone since.
func (s *Store) ApplySeeds(ctx context.Context, seeds []DigestedSeed) error {
	// One order for everybody, so that two workers with overlapping lists wait instead of deadlocking.
	seeds = slices.Clone(seeds)
	slices.SortFunc(seeds, func(a, b DigestedSeed) int {
		if c := bytes.Compare(a.Tenant[:], b.Tenant[:]); c != 0 {
			return c
		}
		return bytes.Compare(a.Digest[:], b.Digest[:])
	})
	batch := uuid(id.NewOperation())
	return fail(pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var (
			b     pgx.Batch
			mails []InvitationMail
		)
		for i := range seeds {
			queueSeed(&b, &seeds[i], batch, &mails)
		}
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		return s.enqueue(ctx, tx, mails)
	}))
}

func queueSeed(b *pgx.Batch, seed *DigestedSeed, batch [16]byte, mails *[]InvitationMail) {
	op := Op{Now: seed.Time, Actor: seed.Actor, RequestID: seed.RequestID}
	b.Queue(setTenant, seed.Tenant.UUID(), seed.Pool.UUID())
	b.Queue(`
		INSERT INTO applied_seeds (tenant_id, digest, batch, apply_time) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, digest) DO NOTHING`, uuid(seed.Tenant), seed.Digest[:], batch, micro(seed.Time))
	for i := range seed.Users {
		n := &seed.Users[i]
		u := NewUser{
			ID: n.ID, Membership: n.Membership, Email: n.Email, EmailKey: n.EmailKey, EmailVerified: n.EmailVerified, Profile: n.Profile,
			NameKey: n.NameKey, State: UserActive, Roles: n.Roles, Groups: n.Groups, Source: "API", Invitation: n.Invitation,
		}
		if n.Invitation != nil {
			u.State, u.Source = UserInvited, "INVITE"
		}
		args := append(insertUserArgs(seed.TenantRef, op, &u), seed.Digest[:], batch)
		b.Queue(insertSeedUser, args...).QueryRow(func(row pgx.Row) error {
			var users, invitations int
			if err := row.Scan(&users, &invitations); err != nil {
				return err
			}
			if invitations > 0 {
				*mails = append(*mails, InvitationMail{TenantRef: seed.TenantRef, Invitation: n.Invitation.ID})
			}
			return nil
		})
	}
}
