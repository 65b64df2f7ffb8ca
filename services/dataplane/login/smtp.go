// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// smtpSender sends letters over SMTP, a connection for each: mails are few, and a connection that is kept would have to be watched.
type smtpSender struct{ cfg MailConfig }

// send implements sender.
func (s smtpSender) send(ctx context.Context, l letter) error {
	msg, err := l.message()
	if err != nil {
		return err
	}
	client, err := mail.NewClient(s.cfg.Host, s.options(l.From)...)
	if err != nil {
		return fmt.Errorf("mail server settings: %w", err)
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		return fmt.Errorf("mail server: %w", err)
	}
	return nil
}

func (s smtpSender) options(from string) []mail.Option {
	timeout := 15 * time.Second
	if s.cfg.Timeout > 0 {
		timeout = time.Duration(s.cfg.Timeout)
	}
	port := s.cfg.Port
	opts := []mail.Option{mail.WithTimeout(timeout), mail.WithHELO(domainOf(from))}
	switch s.cfg.TLS {
	case TLSAlways:
		if port == 0 {
			port = 465
		}
		opts = append(opts, mail.WithSSL())
	case TLSNone:
		opts = append(opts, mail.WithTLSPolicy(mail.NoTLS))
	default:
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if port == 0 {
		port = 587
	}
	opts = append(opts, mail.WithPort(port))
	if s.cfg.User != "" {
		opts = append(opts, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(s.cfg.User), mail.WithPassword(s.cfg.Password.Value()))
	}
	return opts
}

// message is the letter as MIME: plain text and HTML, the reader's choice (RFC 2046 section 5.1.4).
func (l letter) message() (*mail.Msg, error) {
	m := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := m.FromFormat(l.FromName, l.From); err != nil {
		return nil, fmt.Errorf("mail: sender: %w", err)
	}
	if err := m.To(l.To); err != nil {
		return nil, fmt.Errorf("mail: recipient: %w", err)
	}
	m.Subject(l.Subject)
	m.SetDate()
	var raw [16]byte
	rand.Read(raw[:]) // never fails since Go 1.24: it ends the process instead
	m.SetMessageIDWithValue(hex.EncodeToString(raw[:]) + "@" + domainOf(l.From))
	// Nobody's out-of-office answer shall come back (RFC 3834 section 5).
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetBodyString(mail.TypeTextPlain, l.Text)
	m.AddAlternativeString(mail.TypeTextHTML, l.HTML)
	return m, nil
}

func domainOf(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 && at < len(address)-1 {
		return address[at+1:]
	}
	return "localhost"
}
