// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Context is a server with a key, under a name.
type Context struct {
	// Server is the base URL of the REST API.
	Server string `json:"server"`
	// Key is the API key's text.
	Key string `json:"key,omitempty"`
	// Org is the resource name of the org that commands are about: orgs/piedpiper.
	Org string `json:"org,omitempty"`
	// DataPlane has the scheme and port of tenants' hosts: http://localhost:8080; empty: https, 443.
	DataPlane string `json:"dataPlane,omitempty"`
}

// Contexts is the file of them.
type Contexts struct {
	Current  string             `json:"current"`
	Contexts map[string]Context `json:"contexts"`

	path string
}

// ContextsFile is where contexts are kept: TENANTRY_CONFIG, else tenantry/config.json below XDG_CONFIG_HOME or ~/.config.
func ContextsFile(getenv func(string) string) (string, error) {
	if path := getenv("TENANTRY_CONFIG"); path != "" {
		return path, nil
	}
	dir := getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := getenv("HOME")
		if home == "" {
			return "", errors.New("neither TENANTRY_CONFIG nor HOME is set: there is no place for contexts")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "tenantry", "config.json"), nil
}

// LoadContexts reads the file; one that does not exist has no contexts.
func LoadContexts(path string) (*Contexts, error) {
	c := &Contexts{Contexts: map[string]Context{}, path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]Context{}
	}
	return c, nil
}

// Save writes the file for its owner alone, whole or not at all.
func (c *Contexts) Save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return err
	}
	return WriteFile(c.path, append(text, '\n'))
}

// WriteFile replaces a file by one that only its owner may read, whole or not at all.
func WriteFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// target is where a command goes.
type target struct {
	Context
	// Name of the context; "" when flags or the environment named the server.
	Name string
}

// String names the target in questions.
func (t target) String() string {
	if t.Name != "" {
		return fmt.Sprintf("%s (%s)", t.Name, t.Server)
	}
	return t.Server
}

// target finds server, key and org: flag, environment, context, in this order, each by itself. A server from outside the
// context does not get the context's key.
func (a *app) target() (target, error) {
	path, err := ContextsFile(a.getenv)
	if err != nil {
		path = ""
	}
	all := &Contexts{}
	if path != "" {
		if all, err = LoadContexts(path); err != nil {
			return target{}, err
		}
	}
	var t target
	name := cmp.Or(a.flags.context, a.getenv("TENANTRY_CONTEXT"))
	if c, ok := all.Contexts[cmp.Or(name, all.Current)]; ok {
		t = target{Context: c, Name: cmp.Or(name, all.Current)}
	} else if name != "" {
		e := &usageError{text: fmt.Sprintf("there is no context %q", name)}
		if near := nearest(name, slices.Collect(maps.Keys(all.Contexts))); near != "" {
			e.suggestion = "Did you mean: --context " + near
		}
		return t, e
	}
	if server := cmp.Or(a.flags.server, a.getenv("TENANTRY_SERVER")); server != "" && server != t.Server {
		t = target{Context: Context{Server: server, Org: t.Org}}
	}
	t.Server = strings.TrimSuffix(t.Server, "/")
	switch {
	case a.flags.keyFile == "-":
		text, err := io.ReadAll(io.LimitReader(a.in, 4096))
		if err != nil {
			return t, err
		}
		t.Key = strings.TrimSpace(string(text))
	case a.flags.keyFile != "":
		text, err := os.ReadFile(a.flags.keyFile)
		if err != nil {
			return t, &keyError{text: err.Error()}
		}
		t.Key = strings.TrimSpace(string(text))
	case a.flags.key != "":
		a.hint("Warning: a key on the command line can be seen by other users of this machine; use --key-file.")
		t.Key = a.flags.key
	default:
		if key := a.getenv("TENANTRY_API_KEY"); key != "" {
			t.Key = strings.TrimSpace(key)
		}
	}
	if org := cmp.Or(a.flags.org, a.getenv("TENANTRY_ORG")); org != "" {
		t.Org = "orgs/" + strings.TrimPrefix(org, "orgs/")
	}
	if t.Server == "" {
		return t, &usageError{text: "no server", suggestion: "Name one with --server or TENANTRY_SERVER, or make a context: make run makes the context dev"}
	}
	return t, nil
}

// org is the org that a command is about.
func (t target) org() (string, error) {
	if t.Org == "" {
		return "", &usageError{text: "no org", suggestion: "Name it with --org or TENANTRY_ORG"}
	}
	return t.Org, nil
}

func (a *app) contextCommand() *cobra.Command {
	load := func() (*Contexts, error) {
		path, err := ContextsFile(a.getenv)
		if err != nil {
			return nil, err
		}
		return LoadContexts(path)
	}
	list := &cobra.Command{
		Use: "list", Short: "List the contexts", Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			all, err := load()
			if err != nil {
				return err
			}
			t := a.table("", "NAME", "SERVER", "ORG")
			t.keep = 1
			for _, name := range slices.Sorted(maps.Keys(all.Contexts)) {
				mark := ""
				if name == all.Current {
					mark = "*"
				}
				t.row(mark, name, all.Contexts[name].Server, strings.TrimPrefix(all.Contexts[name].Org, "orgs/"))
			}
			return t.print()
		},
	}
	use := &cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Args: exactArgs("context"),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := load()
			if err != nil {
				return err
			}
			if _, ok := all.Contexts[args[0]]; !ok {
				e := &usageError{text: fmt.Sprintf("there is no context %q", args[0]), cmd: cmd}
				if near := nearest(args[0], slices.Collect(maps.Keys(all.Contexts))); near != "" {
					e.suggestion = "Did you mean: " + near
				}
				return e
			}
			all.Current = args[0]
			return all.Save()
		},
	}
	set := &cobra.Command{
		Use: "set NAME", Short: "Make or change a context from --server, --key-file and --org", Args: exactArgs("context"),
		Example: `  tenantry context set prod --server https://api.example.com --key-file key.txt --org piedpiper`,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := load()
			if err != nil {
				return err
			}
			if _, exists := all.Contexts[args[0]]; exists {
				a.flags.context = args[0]
			}
			t, err := a.target()
			if err != nil {
				return err
			}
			all.Contexts[args[0]] = t.Context
			if all.Current == "" {
				all.Current = args[0]
			}
			return all.Save()
		},
	}
	remove := &cobra.Command{
		Use: "delete NAME", Short: "Forget a context", Args: exactArgs("context"),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := load()
			if err != nil {
				return err
			}
			delete(all.Contexts, args[0])
			if all.Current == args[0] {
				all.Current = ""
			}
			return all.Save()
		},
	}
	return group(&cobra.Command{Use: "context", Short: "Servers and keys under a name", Example: "  tenantry context list\n  tenantry context use dev"}, list, use, set, remove)
}
