// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/tenantry/tenantry/pkg/id"
)

// MailQueue is the River queue of everything that ends in a mail.
const MailQueue = "mail"

// LogoutQueue is the River queue of the messages that tell clients of a session's end.
const LogoutQueue = "logout"

// jobKinds are the kinds of jobs that belong to one tenant each.
var jobKinds = []string{InvitationMail{}.Kind(), BackchannelLogout{}.Kind(), BackchannelMail{}.Kind()}

// mailAttempts with River's back-off spans about a day of a mail server's absence.
const mailAttempts = 12

// InvitationMail asks for an invitation's mail. It holds ids only: the link's secret is drawn by whoever writes the mail.
type InvitationMail struct {
	// TenantRef whose invitation it is.
	TenantRef
	// Invitation to be mailed.
	Invitation id.Invitation `json:"invitation"`
}

// Kind implements river.JobArgs.
func (InvitationMail) Kind() string { return "invitation_mail" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (InvitationMail) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: MailQueue, MaxAttempts: mailAttempts}
}

// logoutAttempts with River's back-off span about three hours: what a client's deployment or outage takes. A token older than that
// would mostly tell of sessions that have expired there as well.
const logoutAttempts = 9

// BackchannelLogout asks to tell one client that a session of its user has ended (OpenID Connect Back-Channel Logout section 2.5).
type BackchannelLogout struct {
	// TenantRef whose session it was.
	TenantRef
	// Session that ended.
	Session id.Session `json:"session"`
	// User it was of.
	User id.User `json:"user"`
	// Client to be told.
	Client id.Client `json:"client"`
	// Message is drawn once for all attempts, so that the client can tell a repetition by its `jti`.
	Message id.Event `json:"message"`
	// Time of the session's end.
	Time time.Time `json:"time"`
}

// Kind implements river.JobArgs.
func (BackchannelLogout) Kind() string { return "backchannel_logout" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (BackchannelLogout) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: LogoutQueue, MaxAttempts: logoutAttempts}
}

// announce enqueues the messages to the clients that knew sessions of the user, in the transaction that ends the sessions.
func (s *Store) announce(ctx context.Context, tx pgx.Tx, ref TenantRef, now time.Time, user id.User, clients []SessionClient) error {
	if len(clients) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(clients))
	for i, c := range clients {
		params[i].Args = BackchannelLogout{
			TenantRef: ref, Session: c.Session, User: user, Client: c.Client, Message: id.NewEvent(), Time: now,
		}
	}
	_, err := s.jobs.InsertManyFastTx(ctx, tx, params)
	return err
}

// enqueue inserts the jobs in the caller's transaction: they exist exactly when what they tell of exists.
func (s *Store) enqueue(ctx context.Context, tx pgx.Tx, mails []InvitationMail) error {
	if len(mails) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(mails))
	for i := range mails {
		params[i].Args = mails[i]
	}
	_, err := s.jobs.InsertManyFastTx(ctx, tx, params)
	return err
}

// JobsConfig is how jobs are worked.
type JobsConfig struct {
	// Workers has a worker for each kind of job.
	Workers *river.Workers
	// Queues says how many jobs of each queue run at a time; nil means 8 of MailQueue.
	Queues map[string]int
	// Timeout of one attempt; 0 means 1 minute.
	Timeout time.Duration
	// PollOnly works without LISTEN, for transaction poolers: new jobs then wait up to a second.
	PollOnly bool
	// Logger for the job system; nil discards.
	Logger *slog.Logger
}

// Jobs works the jobs of the identity database.
type Jobs struct {
	client *river.Client[pgx.Tx]
}

// NewJobs prepares working the jobs.
func (s *Store) NewJobs(c JobsConfig) (*Jobs, error) {
	logger := c.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	queues, timeout := map[string]river.QueueConfig{}, time.Minute
	for name, n := range c.Queues {
		queues[name] = river.QueueConfig{MaxWorkers: n}
	}
	if len(queues) == 0 {
		queues[MailQueue] = river.QueueConfig{MaxWorkers: 8}
	}
	if c.Timeout > 0 {
		timeout = c.Timeout
	}
	client, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{
		Workers: c.Workers, Queues: queues, JobTimeout: timeout,
		PollOnly: c.PollOnly, Logger: logger,
	})
	if err != nil {
		return nil, fmt.Errorf("identity: prepare jobs: %w", err)
	}
	return &Jobs{client: client}, nil
}

// Start begins working; it returns at once. Jobs run until Stop, whatever becomes of ctx.
func (j *Jobs) Start(ctx context.Context) error {
	if err := j.client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("identity: start jobs: %w", err)
	}
	return nil
}

// Stop takes no more jobs and waits for the running ones until ctx ends, then cancels them. It may be called twice.
func (j *Jobs) Stop(ctx context.Context) error {
	if err := j.client.Stop(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return j.client.StopAndCancel(ctx)
	}
	return nil
}
