// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/tenantry/tenantry/pkg/localserver"
)

// Exec runs a command with one throw-away PostgreSQL, whose superuser URL is in TENANTRY_TEST_DATABASE_URL, and answers the
// command's exit code. An URL that is set already is left alone. Signals go to the command; the server ends after it.
func Exec(ctx context.Context, command []string, in io.Reader, out, errOut io.Writer) (int, error) {
	environment := os.Environ()
	if os.Getenv(localserver.TestDatabaseEnv) == "" {
		pg, err := localserver.StartPostgres(ctx, localserver.PostgresConfig{
			// Many test binaries at once, each with pools of its own.
			Settings: map[string]string{"max_connections": "400"},
		})
		if err != nil {
			return 0, err
		}
		defer pg.Stop()
		environment = append(environment, localserver.TestDatabaseEnv+"="+pg.URL("postgres", localserver.Superuser))
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // the caller's own command, which signals end
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environment, in, out, errOut
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if s != os.Interrupt { // a terminal has sent that one to the command already
					_ = cmd.Process.Signal(s)
				}
			case <-ctx.Done():
				_ = cmd.Process.Signal(syscall.SIGTERM)
				return
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return ended.ExitCode(), nil
	}
	return 0, err
}
