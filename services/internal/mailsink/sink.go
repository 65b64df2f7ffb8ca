// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package mailsink receives mail by SMTP (RFC 5321) and shows it on a page,
// instead of sending it anywhere: the inbox of a development installation and
// of the tests, which read it as JSON.
//
// It keeps the newest mails, on disk where a directory is given. It speaks just
// enough SMTP for a submitting client on the same machine: no TLS, no
// authentication, no relaying. It must never listen on a public address.
package mailsink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what a client may send and of what is kept.
const (
	maxMails      = 500
	maxMailBytes  = 1 << 20
	maxRecipients = 50
	idleTimeout   = 30 * time.Second
)

// Sink receives and keeps mails.
type Sink struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	mails []*Mail // oldest first
	next  int
	conns map[net.Conn]struct{}
}

// New returns a sink that keeps its mails as .eml files in dir and begins with
// the ones that are there; with an empty dir it keeps them in memory.
func New(dir string, log *slog.Logger) (*Sink, error) {
	s := &Sink{dir: dir, log: log, next: 1, conns: map[net.Conn]struct{}{}}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names) // names are zero-padded numbers
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var number int
		if _, err := fmt.Sscanf(filepath.Base(name), "%06d.eml", &number); err != nil {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		s.mails = append(s.mails, parse(number, info.ModTime(), nil, raw))
		s.next = number + 1
	}
	return s, nil
}

// Serve accepts SMTP connections until the context ends.
func (s *Sink) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		_ = listener.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for conn := range s.conns {
			_ = conn.Close()
		}
	})
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.mu.Lock()
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		open.Go(func() {
			defer func() {
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
				_ = conn.Close()
			}()
			if err := s.session(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				s.log.Warn("smtp session ended", "error", err)
			}
		})
	}
}

// session is one SMTP dialogue (RFC 5321 section 4.1).
func (s *Sink) session(conn net.Conn) error {
	reader := bufio.NewReaderSize(conn, 4096)
	reply := func(code int, text string) error {
		_, err := fmt.Fprintf(conn, "%d %s\r\n", code, text)
		return err
	}
	if err := reply(220, "localhost mail sink"); err != nil {
		return err
	}
	var from string
	var to []string
	for {
		if err := conn.SetDeadline(time.Now().Add(idleTimeout)); err != nil {
			return err
		}
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err // also a line over the buffer's size: no client sends one
		}
		verb, argument, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		switch strings.ToUpper(verb) {
		case "HELO", "EHLO":
			from, to = "", nil
			if strings.EqualFold(verb, "EHLO") {
				if _, err = fmt.Fprintf(conn, "250-localhost\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"); err != nil {
					return err
				}
			}
			err = reply(250, fmt.Sprintf("SIZE %d", maxMailBytes))
		case "MAIL":
			from, to = address(argument, "FROM:"), nil
			err = reply(250, "ok")
		case "RCPT":
			switch {
			case len(to) == maxRecipients:
				err = reply(452, "too many recipients")
			default:
				to = append(to, address(argument, "TO:"))
				err = reply(250, "ok")
			}
		case "DATA":
			if len(to) == 0 {
				err = reply(503, "RCPT first")
				break
			}
			if err = reply(354, "end with <CRLF>.<CRLF>"); err != nil {
				return err
			}
			raw, tooLarge, readErr := readData(reader)
			switch {
			case readErr != nil:
				return readErr
			case tooLarge:
				err = reply(552, fmt.Sprintf("over %d bytes", maxMailBytes))
			default:
				if keepErr := s.keep(to, raw); keepErr != nil {
					s.log.Error("mail not kept", "error", keepErr)
					err = reply(451, "not kept, try again")
				} else {
					s.log.Info("mail received", "from", from, "to", to)
					err = reply(250, "kept")
				}
			}
			from, to = "", nil
		case "RSET":
			from, to = "", nil
			err = reply(250, "ok")
		case "NOOP":
			err = reply(250, "ok")
		case "QUIT":
			return reply(221, "bye")
		default:
			err = reply(502, "not spoken here")
		}
		if err != nil {
			return err
		}
	}
}

// address takes the mailbox out of "FROM:<a@b> SIZE=1".
func address(argument, prefix string) string {
	if len(argument) < len(prefix) || !strings.EqualFold(argument[:len(prefix)], prefix) {
		return ""
	}
	box, _, _ := strings.Cut(strings.TrimSpace(argument[len(prefix):]), " ")
	return strings.Trim(box, "<>")
}

// readData reads a message up to the lone dot and undoes dot-stuffing
// (RFC 5321 section 4.5.2).
func readData(r *bufio.Reader) (raw []byte, tooLarge bool, err error) {
	startOfLine := true
	for {
		part, err := r.ReadSlice('\n')
		whole := err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, err
		}
		if startOfLine && whole && (string(part) == ".\r\n" || string(part) == ".\n") {
			return raw, tooLarge, nil
		}
		if startOfLine && part[0] == '.' {
			part = part[1:]
		}
		if len(raw)+len(part) > maxMailBytes {
			tooLarge = true
		} else {
			raw = append(raw, part...)
		}
		startOfLine = whole
	}
}

// keep stores a mail, on disk first.
func (s *Sink) keep(to []string, raw []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	number := s.next
	if s.dir != "" {
		if err := os.WriteFile(s.file(number), raw, 0o600); err != nil {
			return err
		}
	}
	s.next++
	s.mails = append(s.mails, parse(number, time.Now(), to, raw))
	if len(s.mails) > maxMails {
		if s.dir != "" {
			_ = os.Remove(s.file(s.mails[0].Number))
		}
		s.mails = slices.Delete(s.mails, 0, 1)
	}
	return nil
}

func (s *Sink) file(number int) string {
	return filepath.Join(s.dir, fmt.Sprintf("%06d.eml", number))
}

// Mails returns what was received, newest first; with an address, only what
// went there.
func (s *Sink) Mails(to string) []*Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Mail
	for _, m := range slices.Backward(s.mails) {
		if to == "" || slices.ContainsFunc(m.To, func(a string) bool { return strings.EqualFold(a, to) }) {
			out = append(out, m)
		}
	}
	return out
}

// mail returns the mail of a number, or nil.
func (s *Sink) mail(number int) *Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.mails {
		if m.Number == number {
			return m
		}
	}
	return nil
}
