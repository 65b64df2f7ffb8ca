// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/internal/restclient"
)

// usageError: the command line is wrong.
type usageError struct {
	text, suggestion string
	cmd              *cobra.Command
}

func (e *usageError) Error() string { return e.text }

// keyError: there is no key, or it was refused.
type keyError struct{ text, cure string }

func (e *keyError) Error() string { return e.text }

// failure is an error with what to do about it.
type failure struct {
	text, cure string
	cause      error
	code       int // 0 means exitFailed
}

func (e *failure) Error() string { return e.text }

func (e *failure) Unwrap() error { return e.cause }

// exitError ends the program with another program's exit code; it was said already why.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints an error and answers the exit code.
func (a *app) report(ctx context.Context, err error) int {
	var (
		usage  *usageError
		key    *keyError
		fail   *failure
		exit   exitError
		api    *restclient.Error
		config *daemon.ConfigError
	)
	say := func(text string, more ...string) {
		label := "Error:"
		if a.color(a.errTerminal) {
			label = "\x1b[31mError:\x1b[0m"
		}
		fmt.Fprintln(a.err, label, text)
		for _, m := range more {
			for line := range strings.Lines(m) {
				if line = strings.TrimRight(line, "\n"); line != "" {
					fmt.Fprintln(a.err, "  "+line)
				}
			}
		}
	}
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(context.Cause(ctx), errInterrupted):
		fmt.Fprintln(a.err, "interrupted")
		return exitInterrupted
	case errors.As(err, &usage):
		help := "tenantry --help"
		if usage.cmd != nil {
			help = usage.cmd.CommandPath() + " --help"
		}
		say(usage.text, usage.suggestion, "See: "+help)
		return exitUsage
	case errors.As(err, &key):
		say(key.text, key.cure)
		return exitKey
	case errors.As(err, &api):
		cure := ""
		if errors.As(err, &fail) {
			cure = fail.cure
		}
		return a.reportRefusal(api, cure, say)
	case errors.As(err, &fail):
		more := []string{}
		if fail.cause != nil {
			more = append(more, fail.cause.Error())
		}
		say(fail.text, append(more, fail.cure)...)
		if fail.code != 0 {
			return fail.code
		}
		return exitFailed
	case errors.As(err, &config):
		say("the configuration cannot be used", config.Error())
		return exitFailed
	case errors.Is(err, restclient.ErrUnreachable):
		say(err.Error(), "Is it running? Here: make run. Elsewhere: --server, or tenantry context list")
		return exitFailed
	}
	say(err.Error())
	return exitFailed
}

// reportRefusal prints a refusal of the API: what happened, to what, what to do next, and what support asks for.
func (a *app) reportRefusal(e *restclient.Error, cure string, say func(string, ...string)) int {
	var more []string
	for _, f := range e.Fields {
		more = append(more, f.Field+": "+f.Description)
	}
	if cure != "" {
		more = append(more, cure)
	}
	if e.RetryAfter > 0 {
		more = append(more, fmt.Sprintf("Repeat it after %v.", e.RetryAfter))
	}
	var tail []string
	if e.RequestID != "" {
		tail = append(tail, "Request "+e.RequestID)
	}
	if e.Help != "" {
		tail = append(tail, e.Help)
	}
	if tail != nil {
		more = append(more, strings.Join(tail, "  ·  "))
	}
	say(e.Error(), more...)
	if e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden {
		return exitKey
	}
	return exitFailed
}
