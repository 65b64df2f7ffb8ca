// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/services/internal/restclient"
)

// doctor walks what lies between a person and a sign-in page, and says at each step what it found and what to do.
type doctor struct {
	app    *app
	ctx    context.Context //nolint:containedctx // of one command
	failed int
}

func (a *app) doctorCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use: "doctor", Short: "Find out why something cannot be reached", Args: exactArgs(),
		Example: "  tenantry doctor\n  tenantry doctor --host hooli.localhost:8080",
		Long: `Find out why something cannot be reached. Without --host it looks at this machine and the control plane; with it, it walks
from the name to the sign-in page: resolver, port, edge, claim, snapshot, key.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{app: a, ctx: cmd.Context()}
			if host == "" {
				d.machine()
			} else {
				d.host(host)
			}
			if d.failed > 0 {
				return exitError(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "a tenant's host, as in the browser's address line")
	return cmd
}

// say prints one finding. What is wrong has a cure.
func (d *doctor) say(ok bool, what, found, cure string) bool {
	mark, color := "ok  ", "32"
	if !ok {
		mark, color = "FAIL", "31"
		d.failed++
	}
	if d.app.color(d.app.outTerminal) {
		mark = "\x1b[" + color + "m" + mark + "\x1b[0m"
	}
	fmt.Fprintf(d.app.out, "%s  %-9s  %s\n", mark, what, found)
	if cure != "" {
		fmt.Fprintf(d.app.out, "      %-9s  %s\n", "", cure)
	}
	return ok
}

// note prints a finding that is neither good nor bad.
func (d *doctor) note(what, found, cure string) {
	fmt.Fprintf(d.app.out, "note  %-9s  %s\n", what, found)
	if cure != "" {
		fmt.Fprintf(d.app.out, "      %-9s  %s\n", "", cure)
	}
}

// machine looks at the command line's own ground: contexts, resolver, control plane, key.
func (d *doctor) machine() {
	if path, err := ContextsFile(d.app.getenv); err == nil {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.note("contexts", path+" does not exist", "")
		case err != nil:
			d.say(false, "contexts", err.Error(), "")
		default:
			cure := ""
			if ok := info.Mode().Perm()&0o077 == 0; !ok {
				cure = "Others may read the keys in it: chmod 600 " + path
			}
			d.say(cure == "", "contexts", path, cure)
		}
	}
	d.resolver("doctor.localhost")
	t, err := d.app.target()
	if err != nil {
		d.say(false, "server", err.Error(), "Name one with --server, or: make run")
		return
	}
	c := &restclient.Client{Server: t.Server, Key: t.Key}
	begin := time.Now()
	if _, err := c.Do(d.ctx, http.MethodGet, "/healthz", nil, nil); err != nil && errors.Is(err, restclient.ErrUnreachable) {
		d.say(false, "server", err.Error(), "Is it running? Here: make run")
		return
	} else if err != nil {
		d.say(false, "server", err.Error(), "Something else answers there.")
		return
	}
	d.say(true, "server", fmt.Sprintf("%s answers, %s", t, time.Since(begin).Round(time.Millisecond)), "")
	if t.Key == "" {
		d.say(false, "key", "there is none", "Name a file with --key-file, or set TENANTRY_API_KEY.")
		return
	}
	path, what := "/v1/orgs", "reaches the orgs"
	if t.Org != "" {
		path, what = "/v1/"+t.Org, "reaches "+t.Org
	}
	if _, err := c.Do(d.ctx, http.MethodGet, path, nil, nil); err != nil {
		var refused *restclient.Error
		if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
			d.say(true, "key", "is accepted, with few rights: "+refused.Message, "")
			return
		}
		d.say(false, "key", err.Error(), "Is it of this server, and was it not revoked?")
		return
	}
	d.say(true, "key", what, "")
}

// resolver looks whether this machine finds a name. Browsers and curl find names below localhost by themselves.
func (d *doctor) resolver(name string) {
	ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	switch {
	case err == nil:
		d.say(true, "resolver", name+" is "+strings.Join(addresses, ", "), "")
	case restclient.IsLocalhost(name):
		d.note("resolver", "this machine's resolver does not know names below localhost",
			"Browsers and curl do. For other programs: nss-myhostname, or a line in /etc/hosts for each name.")
	default:
		d.say(false, "resolver", err.Error(), "Let "+name+" point at the edge: a DNS record, or a wildcard for the org's base domain.")
	}
}

// host walks from a name to its sign-in page.
func (d *doctor) host(raw string) {
	t, targetErr := d.app.target()
	base, err := hostURL(raw, t.DataPlane)
	if err != nil {
		d.say(false, "address", err.Error(), "")
		return
	}
	name, port := base.Hostname(), base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[base.Scheme]
	}
	if net.ParseIP(name) != nil {
		d.say(false, "address", name+" is an address, not a name: tenants are found by name", "Use the tenant's hostname.")
		return
	}
	d.resolver(name)
	dial := name
	if restclient.IsLocalhost(name) {
		dial = "127.0.0.1"
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(d.ctx, "tcp", net.JoinHostPort(dial, port))
	if err != nil {
		d.say(false, "port", err.Error(), "Nothing listens there: is it running, and is this its port?")
		return
	}
	_ = conn.Close()
	d.say(true, "port", net.JoinHostPort(dial, port)+" is open", "")
	discovery, known := d.edge(base)
	claimed := d.claim(t, targetErr, name)
	if !known {
		if claimed {
			d.say(false, "snapshot", "the tenant is there, and its host is not served", "Is the publisher running? tenantry snapshots republish sends everything again.")
		}
		return
	}
	d.keys(base, discovery)
}

// hostURL reads what stands in a browser's address line.
func hostURL(raw, dataPlane string) (*url.URL, error) {
	scheme, defaultPort := "https", ""
	if u, err := url.Parse(dataPlane); err == nil && u.Host != "" {
		scheme, defaultPort = u.Scheme, u.Port()
	}
	if !strings.Contains(raw, "://") {
		host, _, _ := strings.Cut(raw, ":")
		if restclient.IsLocalhost(host) {
			scheme = "http"
		}
		raw = scheme + "://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no host such as hooli.example.com", raw)
	}
	if u.Port() == "" && defaultPort != "" && restclient.IsLocalhost(u.Hostname()) {
		u.Host = net.JoinHostPort(u.Hostname(), defaultPort)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// document is what the walk reads of discovery.
type document struct {
	Issuer  string
	JWKSURI string `json:"jwks_uri"`
}

// edge asks for discovery, and tells a tenant's answer from the fixed one for unknown hosts and from somebody else's.
func (d *doctor) edge(base *url.URL) (doc document, known bool) {
	status, body, err := d.get(base.String() + "/.well-known/openid-configuration")
	switch {
	case err != nil:
		d.say(false, "edge", err.Error(), "The edge must pass requests to the login and token services, with the Host header unchanged.")
	case status == http.StatusOK && json.Unmarshal(body, &doc) == nil && doc.Issuer != "":
		d.say(true, "edge", "the token service answers for this host", "")
		if doc.Issuer != base.String() {
			d.say(false, "issuer", fmt.Sprintf("the issuer is %s, and this is %s", doc.Issuer, base), "Use the issuer's address: apps compare it byte by byte.")
		}
		return doc, true
	case status == http.StatusServiceUnavailable:
		d.say(false, "edge", "the data plane answers, and cannot read its configuration (503)", "Is the Redis server for configuration reachable, and does it hold data?")
	case status == http.StatusNotFound:
		d.note("edge", "answers that nobody lives at this address (404)", "Unknown, suspended and deleted hosts read the same.")
	default:
		d.say(false, "edge", fmt.Sprintf("answers %d, and is not Tenantry", status), "Does the edge pass the Host header on unchanged?")
	}
	return document{}, false
}

// get reads a page.
func (d *doctor) get(address string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	client := &http.Client{Transport: restclient.Transport(), Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, body, err
}

// claim asks the control plane whose host this is.
func (d *doctor) claim(t target, targetErr error, name string) (served bool) {
	if targetErr != nil || t.Key == "" || t.Org == "" {
		d.note("claim", "not looked up: that needs a server, a key and an org", "")
		return false
	}
	c := &restclient.Client{Server: t.Server, Key: t.Key}
	var page struct{ Tenants []tenant }
	query := url.Values{"filter": {fmt.Sprintf("primary_domain=%q", name)}, "show_deleted": {"true"}}
	if err := c.Call(d.ctx, http.MethodGet, "/v1/"+t.Org+"/tenants", query, nil, &page); err != nil {
		d.say(false, "claim", err.Error(), "")
		return false
	}
	if len(page.Tenants) > 0 {
		got := page.Tenants[0]
		active := got.State == "ACTIVE"
		cure := ""
		switch got.State {
		case "SUSPENDED":
			cure = "Open it again: tenantry tenant resume " + got.Slug
		case "DELETED":
			cure = "Take it back: tenantry tenant undelete " + got.Slug
		}
		d.say(active, "claim", fmt.Sprintf("%s has it (%s)", cmp.Or(got.Slug, got.Name), strings.ToLower(got.State)), cure)
		return active
	}
	var check struct{ Availability string }
	if err := c.Call(d.ctx, http.MethodPost, "/v1/"+t.Org+"/hostnameClaims:check", nil, map[string]any{"domain": name}, &check); err == nil && check.Availability == "AVAILABLE" {
		d.say(false, "claim", "nobody has this address", "Make its tenant: tenantry tenant provision "+strings.Split(name, ".")[0]+" --blueprint …")
		return false
	}
	d.note("claim", "no tenant of "+strings.TrimPrefix(t.Org, "orgs/")+" has it as its main address, and it is not free", "It may be another org's, reserved, or held after a release.")
	return false
}

// keys looks at what apps check tokens with.
func (d *doctor) keys(base *url.URL, doc document) {
	d.say(true, "snapshot", "served, with the issuer "+doc.Issuer, "")
	if !strings.HasPrefix(doc.JWKSURI, base.String()+"/") {
		d.say(false, "key", fmt.Sprintf("the keys are said to be at %q, which is not this host", doc.JWKSURI), "")
		return
	}
	status, body, err := d.get(doc.JWKSURI)
	var set struct{ Keys []struct{ Kid, Alg string } }
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &set) != nil {
		d.say(false, "key", fmt.Sprintf("the keys cannot be read (%d)", status), "")
		return
	}
	var algs []string
	for _, k := range set.Keys {
		algs = append(algs, k.Alg)
	}
	if len(algs) == 0 {
		d.say(false, "key", "there are none", "Every tenant gets one when it is made: look at the control plane's logs.")
		return
	}
	d.say(true, "key", fmt.Sprintf("%d to check tokens with: %s", len(algs), strings.Join(algs, ", ")), "")
}
