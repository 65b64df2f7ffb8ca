// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/services/internal/cli/bootstrap"
)

func (a *app) applyCommand() *cobra.Command {
	var file, keys string
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Bring orgs, blueprints, shared clients and API keys to what a file says", Args: exactArgs(),
		Example: `  tenantry apply -f deploy/dev/bootstrap.yaml --keys keys.json
  tenantry apply -f - < bootstrap.yaml`,
		Long: `Bring orgs, blueprints, shared clients and API keys to what a file says. Applying the same file again changes nothing.

The text of each API key that is made goes into the file of --keys (JSON, resource name to text, mode 0600), or is printed
once, after the key's name.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return &usageError{text: "say which file: -f FILE, or -f - for stdin", cmd: cmd}
			}
			text, err := a.read(file)
			if err != nil {
				return err
			}
			docs, err := bootstrap.Parse(file, text)
			if err != nil {
				return &failure{text: "the file cannot be applied; nothing was changed", cause: err}
			}
			c, _, err := a.client()
			if err != nil {
				return err
			}
			store, err := openKeyStore(keys)
			if err != nil {
				return err
			}
			changes := 0
			_, err = bootstrap.Apply(cmd.Context(), c, docs, bootstrap.Options{
				Done: func(r bootstrap.Result) {
					if r.Outcome != bootstrap.Unchanged {
						changes++
					}
					what := string(r.Outcome)
					if len(r.Fields) > 0 {
						what += ": " + strings.Join(r.Fields, ", ")
					}
					a.hint("%-30s %s", r.Document, what)
					for _, w := range r.Warnings {
						a.warn(warning{Field: w.GetField(), Text: w.GetText(), Resource: w.GetResource()})
					}
				},
				Secret: func(d bootstrap.Document, text string) error {
					if keys == "" {
						_, err := fmt.Fprintf(a.out, "%s\t%s\n", d, text)
						return err
					}
					return store.put(keyPath(d), text)
				},
			})
			if err != nil {
				return err
			}
			if changes == 0 {
				a.hint("Nothing to change.")
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "filename", "f", "", "the file, - for stdin")
	cmd.Flags().StringVar(&keys, "keys", "", "file that keeps the texts of API keys that are made")
	return cmd
}

// warning is what the server says of a change that it made as it was asked.
type warning struct{ Reason, Field, Text, Resource string }

// warn prints one for people.
func (a *app) warn(w warning) {
	about := w.Field
	if w.Resource != "" {
		about = w.Resource + ": " + w.Field
	}
	a.hint("Warning: %s: %s", printable(about), printable(w.Text))
}

// read reads a file, or stdin for "-".
func (a *app) read(file string) ([]byte, error) {
	if file != "-" {
		return os.ReadFile(file)
	}
	if a.inTerminal {
		a.hint("Reading from the terminal; end with Ctrl-D.")
	}
	return io.ReadAll(io.LimitReader(a.in, 4<<20))
}

func keyPath(d bootstrap.Document) string { return "orgs/" + d.Org + "/apiKeys/" + d.Name }

// keyStore is a file with the texts of keys.
type keyStore struct {
	path string
	keys map[string]string
}

func openKeyStore(path string) (*keyStore, error) {
	s := &keyStore{path: path, keys: map[string]string{}}
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &s.keys); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (s *keyStore) put(name, text string) error {
	s.keys[name] = text
	out, err := json.MarshalIndent(s.keys, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(s.path, append(out, '\n'))
}
