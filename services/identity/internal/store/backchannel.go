// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/pkg/id"
)

// askAttempts with River's back-off span a few minutes, which is how long what the mail is about waits.
const askAttempts = 4

// BackchannelMail asks for the mail that tells a person of a request that waits for their answer (CIBA Core section 8). It holds ids
// only: what is asked is in the runtime Redis, as long as it waits.
type BackchannelMail struct {
	// TenantRef where the person is asked.
	TenantRef
	// User who is asked.
	User id.User `json:"user"`
	// Request names what is asked.
	Request string `json:"request"`
}

// Kind implements river.JobArgs.
func (BackchannelMail) Kind() string { return "backchannel_mail" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (BackchannelMail) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: MailQueue, MaxAttempts: askAttempts}
}

// AskByMail enqueues the mail to a member of the tenant who can log in; ErrNotFound for anybody else.
func (s *Store) AskByMail(ctx context.Context, mail BackchannelMail) error {
	ref := mail.TenantRef
	return s.tx(ctx, ref, func(tx pgx.Tx) error {
		var user [16]byte
		err := tx.QueryRow(ctx, `SELECT u.id`+ofTenant+` AND u.id = $3 AND u.state = 'ACTIVE' AND m.state = 'ACTIVE'`,
			uuid(ref.Tenant), uuid(ref.Pool), uuid(mail.User)).Scan(&user)
		if err != nil {
			return err
		}
		_, err = s.jobs.InsertManyFastTx(ctx, tx, []river.InsertManyParams{{Args: mail}})
		return err
	})
}
