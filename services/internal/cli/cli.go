// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of Tenantry: the tree of commands, what they print for people and for programs, and their
// exit codes. Commands that ask the control plane do so through its public REST API, with the server and key of a flag, the
// environment or the current context; what else a command does belongs to other packages (devenv, serve, keyfiles).
//
// Data goes to stdout; counts, hints and progress to stderr. With --json, stdout has the REST answer byte for byte.
//
//	exit code  meaning
//	0          done
//	1          failed
//	2          wrong usage
//	4          key missing or refused
//	8          accepted, still running
//	130        interrupted
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/tenantry/tenantry/services/internal/restclient"
	"github.com/tenantry/tenantry/services/internal/serve"
)

// Exit codes.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitKey          = 4
	exitStillRunning = 8
	exitInterrupted  = 130
)

// Main is main of the program tenantry.
func Main() {
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv,
		inTerminal: term.IsTerminal(int(os.Stdin.Fd())), outTerminal: term.IsTerminal(int(os.Stdout.Fd())), errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		width: func() int {
			if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
				return w
			}
			return 80
		},
	}
	os.Exit(a.main(context.Background(), os.Args[1:]))
}

// app is one call of the program.
type app struct {
	in                                   io.Reader
	out, err                             io.Writer
	getenv                               func(string) string
	inTerminal, outTerminal, errTerminal bool
	width                                func() int // of the terminal

	flags struct {
		server, keyFile, key, context, org string
		json, noColor, noInput             bool
	}
}

// main runs one command line and answers its exit code.
func (a *app) main(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupts)
	done := make(chan struct{})
	defer close(done)
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		if cmd.Annotations["signals"] == "own" {
			signal.Stop(interrupts)
			return
		}
		go func() {
			select {
			case <-interrupts:
				signal.Stop(interrupts) // the next one ends the program as it would without us
				stop(errInterrupted)
			case <-done:
			}
		}()
	}
	return a.report(ctx, root.ExecuteContext(ctx))
}

var errInterrupted = errors.New("interrupted")

// ownSignals marks a command that handles signals itself.
var ownSignals = map[string]string{"signals": "own"}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tenantry",
		Short: "Login for every customer of your SaaS",
		Example: `  tenantry tenant provision hooli --blueprint ppvc-standard --owner gavin@hooli.example
  tenantry tenant list`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	group(root)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{text: err.Error(), cmd: cmd, suggestion: nearestFlag(cmd, err)}
	})
	p := root.PersistentFlags()
	p.StringVar(&a.flags.server, "server", "", "address of the control plane's REST API (TENANTRY_SERVER)")
	p.StringVar(&a.flags.keyFile, "key-file", "", "file with the API key, - for stdin (or TENANTRY_API_KEY, the key itself)")
	p.StringVar(&a.flags.key, "key", "", "the API key itself: other users of this machine can see it")
	_ = p.MarkHidden("key")
	p.StringVar(&a.flags.context, "context", "", "which context to use instead of the current one (TENANTRY_CONTEXT)")
	p.StringVar(&a.flags.org, "org", "", "slug or name of the org (TENANTRY_ORG)")
	p.BoolVar(&a.flags.json, "json", false, "print the REST answer as it came")
	p.BoolVar(&a.flags.noColor, "no-color", false, "no colours (NO_COLOR)")
	p.BoolVar(&a.flags.noInput, "no-input", false, "ask nothing: fail where an answer is needed")
	root.AddCommand(
		a.devCommand(), a.tenantCommand(), a.keyCommand(), a.applyCommand(), a.doctorCommand(), a.contextCommand(),
		a.serveCommand(), a.migrateCommand(), a.keysCommand(), a.snapshotsCommand(), a.configCommand(), a.versionCommand(), a.healthcheckCommand(),
	)
	return root
}

// group makes a command that only has commands below it: alone it shows its help, with an unknown word it names the nearest.
func group(cmd *cobra.Command, sub ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(sub...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		var names []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				names = append(names, c.Name())
				names = append(names, c.Aliases...)
			}
		}
		e := &usageError{text: fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0]), cmd: cmd}
		if near := nearest(args[0], names); near != "" {
			e.suggestion = "Did you mean: " + cmd.CommandPath() + " " + near
		}
		return e
	}
	return cmd
}

// exactArgs demands the arguments that a command's use line names.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return &usageError{text: "say which " + names[len(args)], cmd: cmd}
		case len(args) > len(names):
			return &usageError{text: fmt.Sprintf("%q is one word too many", args[len(names)]), cmd: cmd}
		}
		return nil
	}
}

const helpTemplate = `{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}`

const usageTemplate = `{{if .HasExample}}Examples:
{{.Example}}

{{end}}Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

For every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// nearestFlag finds the flag that an unknown one was probably meant to be.
func nearestFlag(cmd *cobra.Command, err error) string {
	_, name, ok := strings.Cut(err.Error(), "unknown flag: --")
	if !ok {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := nearest(name, names); near != "" {
		return "Did you mean: --" + near
	}
	return ""
}

// nearest is the candidate at most two letters away, and fewer than half of the word; "" for none.
func nearest(word string, candidates []string) string {
	best, bestDistance := "", 3
	for _, c := range candidates {
		if strings.HasPrefix(c, word) && len(word) >= 3 {
			return c
		}
		if d := distance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if bestDistance*2 > max(len(word), 2) {
		return ""
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version", Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, "tenantry", serve.Version())
			return err
		},
	}
}

// hint prints a line that is no data.
func (a *app) hint(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

// client is the REST client of the chosen server and key.
func (a *app) client() (*restclient.Client, target, error) {
	t, err := a.target()
	if err != nil {
		return nil, t, err
	}
	if t.Key == "" {
		return nil, t, &keyError{text: "no API key", cure: "Name a file with --key-file, set TENANTRY_API_KEY, or choose a context: tenantry context list"}
	}
	return &restclient.Client{Server: t.Server, Key: t.Key, UserAgent: "tenantry-cli/" + serve.Version()}, t, nil
}
