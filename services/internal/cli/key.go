// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
	"github.com/tenantry/tenantry/services/internal/restclient"
)

// apiKey is what commands show of an API key.
type apiKey struct {
	Name, UID, Slug, DisplayName, State, Scope, Role string
	Permissions, Tenants                             []string
	CreateTime, ExpireTime, LastUsedTime             time.Time
}

func (a *app) keyCommand() *cobra.Command {
	return group(&cobra.Command{
		Use: "key", Short: "API keys: mint, list, rotate, revoke",
		Example: "  tenantry key mint portal --role tenantCreator > portal.key\n  tenantry key mint reader --tenant hooli --permission users.get --permission users.list",
	}, a.keyMint(), a.keyList(), a.keyRotate(), a.keyRevoke())
}

// keyParent is what owns the keys that a command is about.
func keyParent(t target, tenant string) (string, error) {
	org, err := t.org()
	if err != nil || tenant == "" {
		return org, err
	}
	return tenantName(org, tenant)
}

// ownerURLHelp says how the commands that need the owner's connection get it.
const ownerURLHelp = "URL of the control database for its owner, or @FILE with it (TENANTRY_CONTROL_OWNER_URL)"

// secretText reads a flag that may name a file with @: URLs with passwords do not belong on command lines.
func (a *app) secretText(value, variable string) (string, error) {
	value = cmp.Or(value, a.getenv(variable))
	if file, ok := strings.CutPrefix(value, "@"); ok {
		text, err := os.ReadFile(file)
		return strings.TrimSpace(string(text)), err
	}
	return value, nil
}

func (a *app) keyMint() *cobra.Command {
	var f struct {
		tenant, role, description, expires, database, maxScope string
		permissions                                            []string
		platform, manager                                      bool
	}
	cmd := &cobra.Command{
		Use: "mint ID", Short: "Make an API key; its text is printed once, alone", Args: exactArgs("id"),
		Example: `  tenantry key mint portal --role tenantCreator > portal.key
  tenantry key mint hooli-admin --tenant hooli --role tenantAdmin --expires 90d
  tenantry key mint first --platform --database @control-owner-url > platform.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.platform {
				owner, err := a.secretText(f.database, "TENANTRY_CONTROL_OWNER_URL")
				if err != nil {
					return err
				}
				if owner == "" {
					return &usageError{text: "--platform needs the owner's database URL: --database @FILE", cmd: cmd}
				}
				var life daemon.Duration
				if f.expires != "" {
					if err := life.UnmarshalText([]byte(f.expires)); err != nil || life <= 0 {
						return &usageError{text: fmt.Sprintf("--expires %q is no time such as 12h or 90d", f.expires), cmd: cmd}
					}
				}
				key, err := control.MintPlatformKey(cmd.Context(), owner, args[0], time.Duration(life))
				if err != nil {
					return err
				}
				return a.minted(key.Text)
			}
			c, t, err := a.client()
			if err != nil {
				return err
			}
			parent, err := keyParent(t, f.tenant)
			if err != nil {
				return err
			}
			key := map[string]any{"displayName": args[0]}
			if f.description != "" {
				key["description"] = f.description
			}
			switch {
			case f.role != "" && len(f.permissions) > 0, f.role == "" && len(f.permissions) == 0:
				return &usageError{text: "say what it may do: either --role or --permission", cmd: cmd}
			case f.role != "":
				key["role"] = f.role
			default:
				key["permissions"] = f.permissions
			}
			if f.expires != "" {
				var d daemon.Duration
				if err := d.UnmarshalText([]byte(f.expires)); err != nil || d <= 0 {
					return &usageError{text: fmt.Sprintf("--expires %q is no time such as 12h or 90d", f.expires), cmd: cmd}
				}
				key["expireTime"] = time.Now().Add(time.Duration(d)).UTC().Format(time.RFC3339)
			}
			if f.manager {
				scope, ok := map[string]string{"tenants": "TENANTS", "org": "ORG"}[f.maxScope]
				if !ok {
					return &usageError{text: fmt.Sprintf("--max-scope %q is neither tenants nor org", f.maxScope), cmd: cmd}
				}
				key["mint"] = map[string]any{"maxScope": scope, "permissionsCeiling": []string{"*"}}
			}
			raw, err := c.Do(cmd.Context(), http.MethodPost, "/v1/"+parent+"/apiKeys:mint", nil, map[string]any{
				"requestId": restclient.NewRequestID(), "apiKeyId": args[0], "apiKey": key,
			})
			if err != nil {
				return err
			}
			if a.flags.json {
				return a.raw(raw)
			}
			return a.mintedAnswer(raw)
		},
	}
	p := cmd.Flags()
	p.StringVar(&f.tenant, "tenant", "", "lock it to this tenant")
	p.StringVar(&f.role, "role", "", "predefined set of permissions, such as tenantCreator or tenantAdmin")
	p.StringArrayVar(&f.permissions, "permission", nil, "what it may do, such as users.get; may be repeated")
	p.StringVar(&f.expires, "expires", "", "how long it is accepted, such as 90d (default: until it is revoked)")
	p.StringVar(&f.description, "description", "", "what it is for")
	p.BoolVar(&f.manager, "manager", false, "it may mint keys within its own rights")
	p.StringVar(&f.maxScope, "max-scope", "tenants", "widest keys that a manager mints: tenants or org")
	p.BoolVar(&f.platform, "platform", false, "the first platform key, made in the database itself")
	p.StringVar(&f.database, "database", "", ownerURLHelp)
	return cmd
}

// mintedAnswer prints the key of a mint or rotation.
func (a *app) mintedAnswer(raw []byte) error {
	var made struct {
		Secret                string
		SecretAlreadyReturned bool
	}
	if err := json.Unmarshal(raw, &made); err != nil {
		return fmt.Errorf("the server answered something else than a key: %w", err)
	}
	if made.SecretAlreadyReturned {
		return &failure{text: "that key was shown by an earlier call", cure: "Who lost it rotates: tenantry key rotate"}
	}
	return a.minted(made.Secret)
}

// minted prints a key alone on stdout, so that it can go into a file.
func (a *app) minted(text string) error {
	if _, err := fmt.Fprintln(a.out, text); err != nil {
		return err
	}
	a.hint("Shown only now. Try it: TENANTRY_API_KEY=tnk_… tenantry tenant list")
	return nil
}

func (a *app) keyList() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "list", Short: "List API keys, without their texts", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, t, err := a.client()
			if err != nil {
				return err
			}
			parent, err := keyParent(t, tenant)
			if err != nil {
				return err
			}
			raw, err := c.Do(cmd.Context(), http.MethodGet, "/v1/"+parent+"/apiKeys", url.Values{"page_size": {strconv.Itoa(1000)}}, nil)
			if err != nil || a.flags.json {
				if err == nil {
					err = a.raw(raw)
				}
				return err
			}
			var page struct {
				APIKeys []apiKey `json:"apiKeys"`
			}
			if err := json.Unmarshal(raw, &page); err != nil {
				return fmt.Errorf("the server answered something else than keys: %w", err)
			}
			out, now := a.table("KEY", "ID", "STATE", "SCOPE", "MAY", "LAST USED", "AGE"), time.Now()
			for _, k := range page.APIKeys {
				out.row(k.UID, cmp.Or(k.Slug, k.DisplayName), strings.ToLower(k.State), strings.ToLower(k.Scope),
					cmp.Or(k.Role, strings.Join(k.Permissions, ",")), a.age(k.LastUsedTime, now), a.age(k.CreateTime, now))
			}
			return out.print()
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the keys of this tenant")
	return cmd
}

// findKey finds a key by its id, its whole name, or the id that it was given when it was made.
func (a *app) findKey(ctx context.Context, c *restclient.Client, t target, tenant, ref string) (k apiKey, err error) {
	name := ref
	if !strings.Contains(ref, "/apiKeys/") {
		parent, err := keyParent(t, tenant)
		if err != nil {
			return k, err
		}
		if name = parent + "/apiKeys/" + url.PathEscape(ref); !strings.HasPrefix(ref, "key_") {
			var page struct {
				APIKeys []apiKey `json:"apiKeys"`
			}
			query := url.Values{"filter": {fmt.Sprintf("slug=%q AND state=ACTIVE", ref)}}
			if err := c.Call(ctx, http.MethodGet, "/v1/"+parent+"/apiKeys", query, nil, &page); err != nil {
				return k, err
			}
			switch len(page.APIKeys) {
			case 0:
				return k, &failure{text: fmt.Sprintf("no active key has the id %q", ref), cure: "See them: tenantry key list"}
			case 1:
				return page.APIKeys[0], nil
			}
			return k, &failure{text: fmt.Sprintf("%d active keys have the id %q", len(page.APIKeys), ref), cure: "Name one by its key_…: tenantry key list"}
		}
	}
	return k, c.Call(ctx, http.MethodGet, "/v1/"+name, nil, nil, &k)
}

func (a *app) keyRotate() *cobra.Command {
	var tenant, grace string
	cmd := &cobra.Command{
		Use: "rotate KEY", Short: "Give a key a new text; its id and rights stay", Args: exactArgs("key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, t, err := a.client()
			if err != nil {
				return err
			}
			k, err := a.findKey(cmd.Context(), c, t, tenant, args[0])
			if err != nil {
				return err
			}
			body := map[string]any{"requestId": restclient.NewRequestID()}
			if grace != "" {
				var d daemon.Duration
				if err := d.UnmarshalText([]byte(grace)); err != nil || d < 0 {
					return &usageError{text: fmt.Sprintf("--grace %q is no time such as 1h", grace), cmd: cmd}
				}
				body["grace"] = fmt.Sprintf("%ds", int64(time.Duration(d).Seconds()))
			}
			raw, err := c.Do(cmd.Context(), http.MethodPost, "/v1/"+k.Name+":rotate", nil, body)
			if err != nil {
				return err
			}
			if a.flags.json {
				return a.raw(raw)
			}
			return a.mintedAnswer(raw)
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "a key of this tenant")
	cmd.Flags().StringVar(&grace, "grace", "", "how long the old text still works, such as 1h (default: not at all)")
	return cmd
}

func (a *app) keyRevoke() *cobra.Command {
	var tenant string
	var yes, children bool
	cmd := &cobra.Command{
		Use: "revoke KEY", Short: "End a key", Args: exactArgs("key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, t, err := a.client()
			if err != nil {
				return err
			}
			k, err := a.findKey(cmd.Context(), c, t, tenant, args[0])
			if err != nil {
				return err
			}
			if !yes {
				answer, err := a.ask(cmd, fmt.Sprintf("On %s, revoke %s (%s)? Who uses it is refused from then on. [y/N] ", t, cmp.Or(k.DisplayName, k.Slug), k.UID), "--yes")
				if err != nil {
					return err
				}
				if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
					a.hint("Nothing was changed.")
					return exitError(exitFailed)
				}
			}
			body := map[string]any{"requestId": restclient.NewRequestID(), "children": "KEEP"}
			if children {
				body["children"] = "REVOKE"
			}
			raw, err := c.Do(cmd.Context(), http.MethodPost, "/v1/"+k.Name+":revoke", nil, body)
			if err != nil {
				return err
			}
			if a.flags.json {
				return a.raw(raw)
			}
			a.hint("Revoked: %s. See the others: tenantry key list", k.UID)
			return nil
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "a key of this tenant")
	cmd.Flags().BoolVar(&children, "children", false, "also the keys that it minted")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// keysCommand is about the key files of an installation, not about API keys.
func (a *app) keysCommand() *cobra.Command {
	var region string
	var stack bool
	gid := -1
	initialize := &cobra.Command{
		Use: "init DIR", Short: "Make the key files of an installation that are missing", Args: exactArgs("directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			initDir := keyfiles.Init
			if stack {
				initDir = keyfiles.InitStack
			}
			made, err := initDir(keyfiles.Dir(args[0]), region, time.Now())
			if err == nil && gid >= 0 {
				err = keyfiles.ShareWith(keyfiles.Dir(args[0]), gid)
			}
			for _, name := range made {
				fmt.Fprintln(a.out, name)
			}
			if err != nil {
				return err
			}
			if len(made) == 0 {
				a.hint("All key files are there: nothing was made.")
				return nil
			}
			a.hint("Keep recovery.key somewhere else, offline; the others go to the services that %s names.", "`tenantry keys init --help`")
			return nil
		},
	}
	initialize.Long = `Make the key files of an installation that are missing. A file that is there is never replaced.

  snapshot-signing.key  control (publisher)
  snapshot-pins.json    login, token
  region-signing.key    token
  region-signing.pub    control
  recovery.key          nobody: keep it offline
  recovery.pub          control
  runtime-keyring.json  login, token
  page-tokens.key       control

With --stack also what docker-compose.yml needs beside them: passwords, addresses and access lists of its servers, and
self-signed certificates to be replaced. deploy/README.md says what each file is.`
	initialize.Flags().BoolVar(&stack, "stack", false, "also the other secrets of docker-compose.yml")
	initialize.Flags().IntVar(&gid, "group", -1, "let the group with this number read the files, such as that of containers")
	initialize.Flags().StringVar(&region, "region", "local", "region of the installation")
	return group(&cobra.Command{Use: "keys", Short: "Key files of an installation (API keys: tenantry key)", Example: "  tenantry keys init deploy/secrets/keys"}, initialize)
}
