// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/identity"
)

//go:embed templates/mail/*
var mailFiles embed.FS

// letter is a mail, ready to be sent.
type letter struct {
	FromName, From string
	To             string
	Subject        string
	Text, HTML     string
}

// sender hands a letter to a mail server. An error means that it may be tried again.
type sender interface {
	send(ctx context.Context, l letter) error
}

// mailer works the mail jobs of the identity database.
type mailer struct {
	cfg      MailConfig
	tenants  Tenants
	identity Identity
	sender   sender
	text     *texttemplate.Template
	html     *template.Template
	log      *slog.Logger
	now      func() time.Time
}

func newMailer(cfg MailConfig, tenants Tenants, users Identity, log *slog.Logger, now func() time.Time) (*mailer, error) {
	text, err := texttemplate.ParseFS(mailFiles, "templates/mail/invitation.txt")
	if err != nil {
		return nil, fmt.Errorf("login: mail: %w", err)
	}
	html, err := template.ParseFS(mailFiles, "templates/mail/invitation.html")
	if err != nil {
		return nil, fmt.Errorf("login: mail: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	return &mailer{cfg: cfg, tenants: tenants, identity: users, sender: smtpSender{cfg}, text: text, html: html, log: log, now: now}, nil
}

// invitations is the worker for invitation mails.
type invitations struct {
	river.WorkerDefaults[identity.InvitationMail]
	m *mailer
}

// Work sends one invitation. The link's secret is drawn here: it exists in this mail and nowhere else. A job that is tried again draws
// another one; the earlier links go on working, in case a mail left although its job failed.
func (w *invitations) Work(ctx context.Context, job *river.Job[identity.InvitationMail]) error {
	err := w.m.invite(ctx, job.Args)
	if errors.Is(err, snapshot.ErrUnknownTenant) {
		return postponed(w.m.now().Sub(job.CreatedAt), err)
	}
	return err
}

// postponed is what becomes of a mail whose tenant is not served: its snapshot is on its way, or it is suspended or deleted and may
// come back. Waiting costs no attempt; a mail whose tenant stays away longer than a deletion can be undone is given up.
func postponed(age time.Duration, err error) error {
	switch {
	case age < 2*time.Minute:
		return river.JobSnooze(10 * time.Second)
	case age < 31*24*time.Hour:
		return river.JobSnooze(10 * time.Minute)
	default:
		return river.JobCancel(err)
	}
}

func (m *mailer) invite(ctx context.Context, args identity.InvitationMail) error {
	t, err := m.tenants.Tenant(ctx, args.Tenant)
	if err != nil {
		return fmt.Errorf("login: invitation mail: tenant: %w", err)
	}
	invitation, token, err := m.identity.IssueInvitationToken(ctx, args.TenantRef, args.Invitation, m.now())
	if errors.Is(err, identity.ErrNotFound) {
		return river.JobCancel(fmt.Errorf("login: invitation mail: %w", err)) // accepted, withdrawn or expired meanwhile
	}
	if err != nil {
		return fmt.Errorf("login: invitation mail: %w", err)
	}
	l, err := m.invitationLetter(t, invitation, token)
	if err != nil {
		return err
	}
	if err := m.sender.send(ctx, l); err != nil {
		return fmt.Errorf("login: invitation mail: %w", err)
	}
	m.log.InfoContext(ctx, "invitation mail sent", slog.String("tenant", t.ID.String()), slog.String("invitation", invitation.ID.String()))
	return nil
}

// mailView is what the mail templates see.
type mailView struct {
	texts                  catalogue
	Tag, Dir, Tenant, Name string
	Link, Until, Host      string
	Dev                    bool
	Light                  snapshot.ThemeTokens
	Font                   template.CSS
}

// T is a text of the mail's language.
func (v *mailView) T(key string, pairs ...string) string { return v.texts.text(key, pairs...) }

// invitationLetter writes the mail. Its link is built from the tenant's issuer alone.
func (m *mailer) invitationLetter(t *snapshot.Tenant, i identity.Invitation, token string) (letter, error) {
	tag, ok := supported(i.Locale)
	if !ok {
		tag = languages[0].Tag
	}
	v := &mailView{
		texts: catalogueOf(tag), Tag: tag, Dir: direction(tag), Tenant: oneLine(t.Title()), Name: oneLine(i.Name), Dev: t.Development,
		Link: strings.TrimSuffix(t.Issuer, "/") + pathInvite + token, Until: i.ExpireTime.UTC().Format(catalogueOf(tag).text("mail.date")),
		Host: issuerHost(t.Issuer), Light: t.Theme.Light, Font: template.CSS(t.Theme.Font), //nolint:gosec // a name of pkg/snapshot's list
	}
	var text, html bytes.Buffer
	if err := m.text.Execute(&text, v); err != nil {
		return letter{}, fmt.Errorf("login: invitation mail: %w", err)
	}
	if err := m.html.Execute(&html, v); err != nil {
		return letter{}, fmt.Errorf("login: invitation mail: %w", err)
	}
	l := letter{
		From: t.Policy.EmailFrom, FromName: t.Policy.EmailFromName, To: i.Email, Subject: v.T("mail.invite.subject", "tenant", v.Tenant),
		Text: text.String(), HTML: html.String(),
	}
	if l.From == "" {
		l.From = m.cfg.From
	}
	if l.FromName == "" {
		l.FromName = v.Tenant
	}
	if t.Development {
		l.Subject = "[" + v.T("dev.banner") + "] " + l.Subject
	}
	return l, nil
}

// oneLine keeps a name from ending a header line or a line of text.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// join makes the process work mail jobs.
func (m *mailer) join(j *jobs) {
	river.AddWorker(j.workers, &invitations{m: m})
	n := m.cfg.Workers
	if n <= 0 {
		n = 4
	}
	j.queue(identity.MailQueue, n, m.timeout())
}

func (m *mailer) timeout() time.Duration {
	if m.cfg.Timeout > 0 {
		return time.Duration(m.cfg.Timeout)
	}
	return 15 * time.Second
}
