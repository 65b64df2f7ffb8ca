// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"strings"
	texttemplate "text/template"

	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/identity"
)

// askings is the worker for mails that tell a person of a request that waits for them (CIBA Core section 8). The mail's link leads to
// their own page and carries nothing: who reads the mail still has to be signed in, and sees there what is asked.
type askings struct {
	river.WorkerDefaults[identity.BackchannelMail]
	m      *mailer
	grants *grant.Store
	text   *texttemplate.Template
	html   *template.Template
}

func newAskings(m *mailer, grants *grant.Store) (*askings, error) {
	text, err := texttemplate.ParseFS(mailFiles, "templates/mail/backchannel.txt")
	if err != nil {
		return nil, fmt.Errorf("login: mail: %w", err)
	}
	html, err := template.ParseFS(mailFiles, "templates/mail/backchannel.html")
	if err != nil {
		return nil, fmt.Errorf("login: mail: %w", err)
	}
	return &askings{m: m, grants: grants, text: text, html: html}, nil
}

// Work sends one mail, unless the request does not wait any more: then nobody has a use for it.
func (w *askings) Work(ctx context.Context, job *river.Job[identity.BackchannelMail]) error {
	args := job.Args
	t, err := w.m.tenants.Tenant(ctx, args.Tenant)
	if errors.Is(err, snapshot.ErrUnknownTenant) {
		return river.JobCancel(err)
	}
	if err != nil {
		return fmt.Errorf("login: request mail: tenant: %w", err)
	}
	h, ok := grant.ParseHandle(args.Request)
	if !ok {
		return river.JobCancel(errors.New("login: request mail: no request"))
	}
	b, err := w.grants.Backchannel(ctx, t.ID, h, args.User, w.m.now())
	if errors.Is(err, grant.ErrCodeUnknown) || errors.Is(err, grant.ErrDecided) {
		return river.JobCancel(err)
	}
	if err != nil {
		return fmt.Errorf("login: request mail: %w", err)
	}
	user, err := w.m.identity.GetUser(ctx, args.TenantRef, args.User)
	if errors.Is(err, identity.ErrNotFound) {
		return river.JobCancel(err)
	}
	if err != nil {
		return fmt.Errorf("login: request mail: %w", err)
	}
	client, ok := t.Client(b.Client)
	if !ok || !client.Enabled || !user.CanLogIn() || user.Email == "" {
		return river.JobCancel(errors.New("login: request mail: nobody may be asked any more"))
	}
	l, err := w.letter(t, client, &b, &user)
	if err != nil {
		return err
	}
	if err := w.m.sender.send(ctx, l); err != nil {
		return fmt.Errorf("login: request mail: %w", err)
	}
	w.m.log.InfoContext(ctx, "request mail sent", slog.String("tenant", t.ID.String()), slog.String("client_id", client.ID))
	return nil
}

// askingView is what the templates see beside the rest.
type askingView struct {
	mailView
	App, Message string
}

func (w *askings) letter(t *snapshot.Tenant, client *oauth2.Client, b *grant.Backchannel, user *identity.User) (letter, error) {
	tag, ok := supported(user.Locale)
	if !ok {
		tag = languages[0].Tag
	}
	texts := catalogueOf(tag)
	v := &askingView{
		mailView: mailView{
			texts: texts, Tag: tag, Dir: direction(tag), Tenant: oneLine(t.Title()), Name: oneLine(user.Name), Dev: t.Development,
			Link: strings.TrimSuffix(t.Issuer, "/") + pathBackchannel, Until: b.Expire.UTC().Format(texts.text("mail.date")),
			Host: issuerHost(t.Issuer), Light: t.Theme.Light, Font: template.CSS(t.Theme.Font), //nolint:gosec // a name of pkg/snapshot's list
		},
		App: oneLine(client.Name), Message: oneLine(b.BindingMessage),
	}
	var text, html bytes.Buffer
	if err := w.text.Execute(&text, v); err != nil {
		return letter{}, fmt.Errorf("login: request mail: %w", err)
	}
	if err := w.html.Execute(&html, v); err != nil {
		return letter{}, fmt.Errorf("login: request mail: %w", err)
	}
	l := letter{
		From: t.Policy.EmailFrom, FromName: t.Policy.EmailFromName, To: user.Email, Subject: v.T("mail.ask.subject", "app", v.App),
		Text: text.String(), HTML: html.String(),
	}
	if l.From == "" {
		l.From = w.m.cfg.From
	}
	if l.FromName == "" {
		l.FromName = v.Tenant
	}
	if t.Development {
		l.Subject = "[" + v.T("dev.banner") + "] " + l.Subject
	}
	return l, nil
}
