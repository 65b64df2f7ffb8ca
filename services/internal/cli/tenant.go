// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/services/internal/restclient"
)

// tenant is what commands show of a tenant.
type tenant struct {
	Name, Slug, DisplayName, State, Type, Region, Blueprint, Plan, Owner, Issuer, PrimaryDomain, Etag string
	ConfigVersion                                                                                     string
	CreateTime, PurgeTime                                                                             time.Time
	Hosts                                                                                             []struct {
		Host, URL, State string
		Primary          bool
	}
	Warnings []warning
}

// address is where its people sign in.
func (t tenant) address() string {
	for _, h := range t.Hosts {
		if h.Primary && h.URL != "" {
			return shortURL(h.URL)
		}
	}
	return cmp.Or(shortURL(t.Issuer), t.PrimaryDomain)
}

func shortURL(u string) string {
	_, rest, ok := strings.Cut(u, "://")
	if !ok {
		return u
	}
	return rest
}

// kind is the type in a word for people.
func (t tenant) kind() string {
	switch t.Type {
	case "DEVELOPMENT":
		return "dev"
	case "PRODUCTION":
		return "prod"
	}
	return strings.ToLower(t.Type)
}

// tenantName is the resource name for a slug, id or whole name.
func tenantName(org, ref string) (string, error) {
	if strings.HasPrefix(ref, "orgs/") {
		return ref, nil
	}
	if ref == "" || strings.ContainsAny(ref, "/?#:% ") {
		return "", &usageError{text: fmt.Sprintf("%q is no tenant: give its slug, its id or its whole name", ref)}
	}
	return org + "/tenants/" + ref, nil
}

func (a *app) tenantCommand() *cobra.Command {
	return group(&cobra.Command{
		Use: "tenant", Short: "Tenants: make, see, suspend, delete", Aliases: []string{"tenants"},
		Example: "  tenantry tenant provision hooli --blueprint ppvc-standard --owner gavin@hooli.example\n  tenantry tenant list",
	},
		a.tenantProvision(), a.tenantList(), a.tenantGet(), a.tenantDelete(),
		a.tenantState("suspend", "Close a tenant: nobody signs in, no token is issued", true),
		a.tenantState("resume", "Open a suspended tenant again", false),
		a.tenantState("undelete", "Take back a deletion", false),
	)
}

func (a *app) tenantProvision() *cobra.Command {
	var f struct {
		blueprint, displayName, owner, ownerName, kind, requestID, wait string
		params, hosts                                                   []string
		validate                                                        bool
	}
	cmd := &cobra.Command{
		Use: "provision SLUG", Short: "Make a tenant from a blueprint", Args: exactArgs("slug"),
		Example: `  tenantry tenant provision hooli --blueprint ppvc-standard --owner gavin@hooli.example
  tenantry tenant provision raviga --blueprint ppvc-standard --param brandColor=#7c2d12 --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, t, err := a.client()
			if err != nil {
				return err
			}
			org, err := t.org()
			if err != nil {
				return err
			}
			body := map[string]any{"tenantId": args[0], "requestId": cmp.Or(f.requestID, restclient.NewRequestID())}
			if f.blueprint == "" {
				return &usageError{text: "say which blueprint: --blueprint", cmd: cmd}
			}
			if !strings.HasPrefix(f.blueprint, "orgs/") {
				f.blueprint = org + "/blueprints/" + f.blueprint
			}
			body["blueprint"] = f.blueprint
			if len(f.params) > 0 {
				params := map[string]any{}
				for _, p := range f.params {
					name, value, ok := strings.Cut(p, "=")
					if !ok {
						return &usageError{text: fmt.Sprintf("--param %q has no =", p), cmd: cmd}
					}
					params[name] = parameter(value)
				}
				body["parameters"] = params
			}
			fields := map[string]any{}
			if f.displayName != "" {
				fields["displayName"] = f.displayName
			}
			if f.kind != "" {
				kind, ok := map[string]string{"dev": "DEVELOPMENT", "development": "DEVELOPMENT", "prod": "PRODUCTION", "production": "PRODUCTION"}[strings.ToLower(f.kind)]
				if !ok {
					return &usageError{text: fmt.Sprintf("--type %q is neither dev nor prod", f.kind), cmd: cmd}
				}
				fields["type"] = kind
			}
			if len(fields) > 0 {
				body["tenant"] = fields
			}
			if len(f.hosts) > 0 {
				hosts := make([]map[string]any, len(f.hosts))
				for i, h := range f.hosts {
					hosts[i] = map[string]any{"label": h, "primary": i == 0}
					if strings.Contains(h, ".") {
						hosts[i] = map[string]any{"domain": h, "primary": i == 0}
					}
				}
				body["hosts"] = hosts
			}
			if f.owner != "" {
				owner := map[string]any{"email": f.owner}
				if f.ownerName != "" {
					owner["displayName"] = f.ownerName
				}
				body["owner"] = owner
			}
			if f.validate {
				body["validateOnly"] = true
			}
			depth, ok := map[string]string{"committed": "COMMITTED", "login-ready": "LOGIN_READY", "everything": "EVERYTHING"}[f.wait]
			if !ok {
				return &usageError{text: fmt.Sprintf("--wait-for %q is none of committed, login-ready, everything", f.wait), cmd: cmd}
			}
			body["waitFor"] = depth
			raw, err := c.Do(cmd.Context(), http.MethodPost, "/v1/"+org+"/tenants:provision", nil, body)
			if err != nil {
				return provisionFailure(err, args[0], f.blueprint)
			}
			return a.provisioned(raw, f.validate)
		},
	}
	p := cmd.Flags()
	p.StringVar(&f.blueprint, "blueprint", "", "blueprint to make it from (required)")
	p.StringArrayVar(&f.params, "param", nil, "parameter of the blueprint as name=value; may be repeated")
	p.StringVar(&f.displayName, "display-name", "", "name for people")
	p.StringVar(&f.owner, "owner", "", "e-mail address of the owner, who is invited")
	p.StringVar(&f.ownerName, "owner-name", "", "the owner's name")
	p.StringArrayVar(&f.hosts, "host", nil, "label under the org's base domain, or whole domain; may be repeated (default: the slug)")
	p.StringVar(&f.kind, "type", "", "dev or prod (default: dev for hosts under .localhost)")
	p.StringVar(&f.requestID, "request-id", "", "UUID that makes a repeated call the same call (default: a new one)")
	p.StringVar(&f.wait, "wait-for", "login-ready", "committed, login-ready or everything")
	p.BoolVar(&f.validate, "validate-only", false, "show what would be made, and make nothing")
	return cmd
}

// parameter reads a value as a number or a truth value where it is one.
func parameter(s string) any {
	switch s {
	case "true":
		return true
	case "false":
		return false
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && strconv.FormatFloat(n, 'f', -1, 64) == s {
		return n
	}
	return s
}

// provisionFailure adds the next command to the commonest refusal.
func provisionFailure(err error, slug, blueprint string) error {
	var e *restclient.Error
	if !errors.As(err, &e) {
		return err
	}
	cure := ""
	switch e.Reason {
	case "HOSTNAME_UNAVAILABLE", "SLUG_TAKEN":
		cure = "Nothing was created. Try another: tenantry tenant provision " + slug + "-eu --blueprint " + blueprint[strings.LastIndexByte(blueprint, '/')+1:]
	case "NOT_FOUND":
		cure = "Is the org right, and the blueprint published? See them: --org, --blueprint"
	}
	return &failure{text: e.Error(), cure: cure, cause: err}
}

// provisioned shows the answer of a provision.
func (a *app) provisioned(raw []byte, planOnly bool) error {
	var op struct {
		Name     string
		Done     bool
		Response struct {
			Tenant  tenant
			Issuer  string
			Clients []struct {
				ID, ClientID, Secret string
				Client               struct{ Warnings []warning }
			}
			APIKeys               []struct{ ID, Secret string } `json:"apiKeys"`
			URLs                  map[string]string             `json:"urls"`
			Propagation           string
			SecretAlreadyReturned bool
		}
	}
	if err := json.Unmarshal(raw, &op); err != nil {
		return fmt.Errorf("the server answered something else than an operation: %w", err)
	}
	if a.flags.json {
		if err := a.raw(raw); err != nil {
			return err
		}
	} else {
		r := op.Response
		l := a.list()
		l.add("tenant", r.Tenant.Name)
		l.add("slug", r.Tenant.Slug)
		l.add("issuer", r.Issuer)
		for _, name := range []string{"login", "register", "logout", "discovery"} {
			l.add(name, r.URLs[name])
		}
		for _, c := range r.Clients {
			l.add("client "+c.ID, c.ClientID)
			l.add("  secret", c.Secret)
		}
		for _, k := range r.APIKeys {
			l.add("api key "+k.ID, k.Secret)
		}
		if err := l.print(); err != nil {
			return err
		}
		for _, w := range r.Tenant.Warnings {
			a.warn(w)
		}
		for _, c := range r.Clients {
			for _, w := range c.Client.Warnings {
				w.Resource = "client " + c.ID
				a.warn(w)
			}
		}
		switch {
		case planOnly:
			a.hint("Nothing was made: that is what would be.")
		case r.SecretAlreadyReturned:
			a.hint("This was made by an earlier call with the same request id; its secrets were in that answer.")
		case len(r.Clients)+len(r.APIKeys) > 0:
			a.hint("Secrets are shown only now. Next: tenantry tenant get %s", r.Tenant.Slug)
		default:
			a.hint("Next: tenantry tenant get %s", r.Tenant.Slug)
		}
	}
	if !op.Done || op.Response.Propagation == "PENDING" {
		a.hint("It is made, and not everywhere yet: %s", op.Name)
		return exitError(exitStillRunning)
	}
	return nil
}

func (a *app) tenantList() *cobra.Command {
	var f struct {
		filter, orderBy, pageToken string
		limit                      int
		deleted                    bool
	}
	cmd := &cobra.Command{
		Use: "list", Short: "List the tenants of the org", Aliases: []string{"ls"}, Args: exactArgs(),
		Example: `  tenantry tenant list
  tenantry tenant list --filter 'state=SUSPENDED' --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, t, err := a.client()
			if err != nil {
				return err
			}
			org, err := t.org()
			if err != nil {
				return err
			}
			query := url.Values{}
			set := func(name, value string) {
				if value != "" {
					query.Set(name, value)
				}
			}
			set("filter", f.filter)
			set("order_by", f.orderBy)
			set("page_token", f.pageToken)
			if f.deleted {
				set("show_deleted", "true")
			}
			out := a.table("SLUG", "ADDRESS", "STATE", "TYPE", "AGE")
			n, now := 0, time.Now()
			for {
				query.Set("page_size", strconv.Itoa(min(max(f.limit-n, 1), 1000)))
				raw, err := c.Do(cmd.Context(), http.MethodGet, "/v1/"+org+"/tenants", query, nil)
				if err != nil {
					return err
				}
				if a.flags.json {
					return a.raw(raw)
				}
				var page struct {
					Tenants       []tenant
					NextPageToken string
				}
				if err := json.Unmarshal(raw, &page); err != nil {
					return fmt.Errorf("the server answered something else than tenants: %w", err)
				}
				for _, t := range page.Tenants {
					out.row(t.Slug, t.address(), strings.ToLower(t.State), t.kind(), a.age(t.CreateTime, now))
				}
				n += len(page.Tenants)
				if page.NextPageToken == "" || n >= f.limit {
					if err := out.print(); err != nil {
						return err
					}
					what, more := "tenants", ""
					if n == 1 {
						what = "tenant"
					}
					if page.NextPageToken != "" {
						more = "; there are more: --limit"
					}
					a.hint("%d %s of %s%s", n, what, strings.TrimPrefix(org, "orgs/"), more)
					return nil
				}
				query.Set("page_token", page.NextPageToken)
			}
		},
	}
	p := cmd.Flags()
	p.StringVar(&f.filter, "filter", "", "which ones, such as 'state=ACTIVE AND plan=\"premium\"'")
	p.StringVar(&f.orderBy, "order-by", "", "order, such as 'create_time desc'")
	p.IntVar(&f.limit, "limit", 1000, "most rows; with --json the page size, up to 1000")
	p.StringVar(&f.pageToken, "page-token", "", "nextPageToken of the page before")
	p.BoolVar(&f.deleted, "show-deleted", false, "deleted ones too")
	return cmd
}

// fetchTenant reads one tenant.
func (a *app) fetchTenant(cmd *cobra.Command, c *restclient.Client, t target, ref string) (tenant, []byte, error) {
	org, err := t.org()
	if err != nil && !strings.HasPrefix(ref, "orgs/") {
		return tenant{}, nil, err
	}
	name, err := tenantName(org, ref)
	if err != nil {
		return tenant{}, nil, err
	}
	raw, err := c.Do(cmd.Context(), http.MethodGet, "/v1/"+name, nil, nil)
	if err != nil {
		return tenant{}, nil, err
	}
	var out tenant
	if err := json.Unmarshal(raw, &out); err != nil {
		return tenant{}, nil, fmt.Errorf("the server answered something else than a tenant: %w", err)
	}
	return out, raw, nil
}

func (a *app) tenantGet() *cobra.Command {
	return &cobra.Command{
		Use: "get TENANT", Short: "Show a tenant", Args: exactArgs("tenant"), ValidArgsFunction: a.completeTenants,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, t, err := a.client()
			if err != nil {
				return err
			}
			got, raw, err := a.fetchTenant(cmd, c, t, args[0])
			if err != nil {
				return err
			}
			if a.flags.json {
				return a.raw(raw)
			}
			return a.showTenant(got)
		},
	}
}

func (a *app) showTenant(t tenant) error {
	l := a.list()
	l.add("tenant", t.Name)
	l.add("slug", t.Slug)
	l.add("display name", t.DisplayName)
	l.add("state", strings.ToLower(t.State))
	l.add("type", t.kind())
	l.add("region", t.Region)
	l.add("issuer", t.Issuer)
	for _, h := range t.Hosts {
		l.add("host", h.URL+"  "+strings.ToLower(strings.ReplaceAll(h.State, "_", " ")))
	}
	l.add("blueprint", t.Blueprint)
	l.add("plan", t.Plan)
	l.add("owner", t.Owner)
	l.add("config version", t.ConfigVersion)
	if !t.CreateTime.IsZero() {
		l.add("made", t.CreateTime.Local().Format(time.RFC3339))
	}
	if !t.PurgeTime.IsZero() {
		l.add("erased on", t.PurgeTime.Local().Format(time.RFC3339))
	}
	return l.print()
}

func (a *app) tenantDelete() *cobra.Command {
	var confirm string
	var force bool
	cmd := &cobra.Command{
		Use: "delete TENANT", Short: "Delete a tenant; it can be taken back until it is erased", Args: exactArgs("tenant"), ValidArgsFunction: a.completeTenants,
		Example: "  tenantry tenant delete hooli\n  tenantry tenant delete hooli --confirm hooli --no-input",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, t, err := a.client()
			if err != nil {
				return err
			}
			got, _, err := a.fetchTenant(cmd, c, t, args[0])
			if err != nil {
				return err
			}
			query := url.Values{"validate_only": {"true"}}
			if force {
				query.Set("force", "true")
			}
			if _, err := c.Do(cmd.Context(), http.MethodDelete, "/v1/"+got.Name, query, nil); err != nil {
				return err
			}
			if confirm == "" {
				a.hint("On %s, deleting %s (%s):", t, got.Slug, got.DisplayName)
				a.hint("  goes    sign-in at %s, its sessions and tokens, at once; its users, clients and keys when it is erased", got.address())
				a.hint("  stays   the address is kept for it; the audit log; until it is erased, everything: tenantry tenant undelete %s", got.Slug)
				if confirm, err = a.ask(cmd, fmt.Sprintf("Type %s to delete it: ", got.Slug), "--confirm "+got.Slug); err != nil {
					return err
				}
			}
			if confirm != got.Slug {
				return &usageError{text: fmt.Sprintf("%q is not the slug %q: nothing was deleted", confirm, got.Slug), cmd: cmd}
			}
			query.Del("validate_only")
			query.Set("etag", got.Etag)
			raw, err := c.Do(cmd.Context(), http.MethodDelete, "/v1/"+got.Name, query, nil)
			if err != nil {
				return err
			}
			return a.changed(raw, "Take it back: tenantry tenant undelete "+got.Slug)
		},
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the tenant's slug: answers the question")
	cmd.Flags().BoolVar(&force, "force", false, "also when it has users")
	return cmd
}

// tenantState is a command that moves a tenant to another state.
func (a *app) tenantState(verb, short string, question bool) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: verb + " TENANT", Short: short, Args: exactArgs("tenant"), ValidArgsFunction: a.completeTenants,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, t, err := a.client()
			if err != nil {
				return err
			}
			got, _, err := a.fetchTenant(cmd, c, t, args[0])
			if err != nil {
				return err
			}
			if question && !yes {
				answer, err := a.ask(cmd, fmt.Sprintf("On %s, %s %s (%s)? Nobody signs in there until it is resumed. [y/N] ", t, verb, got.Slug, got.address()), "--yes")
				if err != nil {
					return err
				}
				if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
					a.hint("Nothing was changed.")
					return exitError(exitFailed)
				}
			}
			raw, err := c.Do(cmd.Context(), http.MethodPost, "/v1/"+got.Name+":"+verb, nil, map[string]any{"requestId": restclient.NewRequestID()})
			if err != nil {
				return err
			}
			next := "See it: tenantry tenant get " + got.Slug
			if verb == "suspend" {
				next = "Open it again: tenantry tenant resume " + got.Slug
			}
			return a.changed(raw, next)
		},
	}
	if question {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return cmd
}

// changed shows a tenant after a change, and the next command.
func (a *app) changed(raw []byte, next string) error {
	if a.flags.json {
		return a.raw(raw)
	}
	var t tenant
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("the server answered something else than a tenant: %w", err)
	}
	out := a.table("SLUG", "ADDRESS", "STATE")
	out.row(t.Slug, t.address(), strings.ToLower(t.State))
	if err := out.print(); err != nil {
		return err
	}
	a.hint("%s", next)
	return nil
}

// ask asks a question on the terminal; where nobody can answer, it names the flag that does.
func (a *app) ask(cmd *cobra.Command, question, flag string) (string, error) {
	if a.flags.noInput || !a.inTerminal {
		return "", &usageError{text: "this needs an answer, and nobody can be asked", suggestion: "Add " + flag, cmd: cmd}
	}
	fmt.Fprint(a.err, question)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(line), nil
}

// raw writes an answer as it came.
func (a *app) raw(body []byte) error {
	if _, err := a.out.Write(body); err != nil {
		return err
	}
	if f, ok := a.out.(*os.File); ok && a.outTerminal && len(body) > 0 && body[len(body)-1] != '\n' {
		_, err := f.WriteString("\n") // for the prompt; a file or pipe gets the bytes alone
		return err
	}
	return nil
}

// completeTenants asks the server for slugs, for 300 ms at most.
func (a *app) completeTenants(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, t, err := a.client()
	if err != nil || t.Org == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c.HTTP = &http.Client{Transport: restclient.Transport(), Timeout: 300 * time.Millisecond}
	var page struct{ Tenants []tenant }
	if err := c.Call(cmd.Context(), http.MethodGet, "/v1/"+t.Org+"/tenants", url.Values{"page_size": {"200"}}, nil, &page); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var slugs []string
	for _, t := range page.Tenants {
		if strings.HasPrefix(t.Slug, prefix) {
			slugs = append(slugs, t.Slug+"\t"+t.DisplayName)
		}
	}
	return slugs, cobra.ShellCompDirectiveNoFileComp
}

// facts are pairs of name and value, one a line.
type facts struct {
	app   *app
	pairs [][2]string
}

func (a *app) list() *facts { return &facts{app: a} }

// add adds a pair; an empty value is left out.
func (l *facts) add(name, value string) {
	if value != "" {
		l.pairs = append(l.pairs, [2]string{name, printable(value)})
	}
}

func (l *facts) print() error {
	wide := 0
	for _, p := range l.pairs {
		wide = max(wide, len(p[0]))
	}
	for _, p := range l.pairs {
		line := p[0] + "\t" + p[1]
		if l.app.outTerminal {
			line = fmt.Sprintf("%-*s  %s", wide, p[0], p[1])
		}
		if _, err := fmt.Fprintln(l.app.out, line); err != nil {
			return err
		}
	}
	return nil
}
