// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/internal/restclient"
)

const (
	baseDomain = "localhost"
	region     = "local"
	// drainTimeout is how long requests under way may take at the end: somebody waits for the prompt.
	drainTimeout = 5 * time.Second
)

// bootstrap fills the running control plane: platform key, bootstrap file, sample apps, and what scripts are told.
func (e *environment) bootstrap(ctx context.Context, at *stage) error {
	url := func(port int) string { return "http://localhost:" + strconv.Itoa(port) }
	e.info = Info{
		REST: url(e.ports.REST), GRPC: "localhost:" + strconv.Itoa(e.ports.GRPC), DataPlane: url(e.ports.DataPlane), Mail: url(e.ports.Mail), Admin: url(e.ports.Admin),
		Portal: fmt.Sprintf("http://piedpiper.%s:%d", baseDomain, e.ports.Sample), SMTP: e.services.smtp, BaseDomain: baseDomain,
		DatabaseURLs:      e.services.databases,
		OwnerDatabaseURLs: Databases{Control: e.postgres.URL(controlDatabase, owner), Identity: e.postgres.URL(identityDatabase, owner)},
		RedisURLs:         Redises{Config: e.config.URL(), Runtime: e.state.URL()},
		PID:               os.Getpid(),
	}
	at.set("the platform key")
	old, err := ReadInfo(string(e.layout))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.WarnContext(ctx, "dev.json cannot be read and is written anew", "error", err)
	}
	if e.info.PlatformAPIKey, err = e.platformKey(ctx, old.PlatformAPIKey); err != nil {
		return err
	}
	// Kept before it is used: a kill now would otherwise leave a key that nobody knows.
	if err := writeJSON(e.devJSON(), e.info); err != nil {
		return err
	}
	at.set("deploy/dev/bootstrap.yaml")
	file := filepath.Join(e.Root, "deploy", "dev", "bootstrap.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if e.PortOffset != 0 { // the sample apps' addresses are in their client
		text = bytes.ReplaceAll(text, []byte(":8090/"), []byte(":"+strconv.Itoa(e.ports.Sample)+"/"))
	}
	if e.applied, err = e.Apply(ctx, e.info.REST, e.info.PlatformAPIKey, file, text, e.file("keys.json")); err != nil {
		return err
	}
	e.info.Org, e.info.OrgSlug, e.info.Blueprint, e.info.ChatClientID = e.applied.Org, e.applied.OrgSlug, e.applied.Blueprint, e.applied.Clients["chat"]
	e.info.OrgAPIKey, e.info.PortalAPIKey = e.applied.Keys["key-manager"], e.applied.Keys["portal"]

	at.set("the sample apps to listen")
	if err := e.startSamples(ctx); err != nil {
		return err
	}
	if err := writeJSON(e.devJSON(), e.info); err != nil {
		return err
	}
	if e.Context != nil {
		if e.contextFlag, err = e.Context(e.info); err != nil {
			// No home, or one that cannot be written: everything else works.
			e.log.WarnContext(ctx, "the context dev was not kept", "error", err)
			e.contextFlag = "--context dev "
		}
	}
	return nil
}

// platformKey is the key of the run before when it still works, else a new one.
func (e *environment) platformKey(ctx context.Context, old string) (string, error) {
	if old != "" {
		c := &restclient.Client{Server: e.info.REST, Key: old}
		err := c.Call(ctx, http.MethodGet, "/v1/orgs", nil, nil, nil)
		var refused *restclient.Error
		if err == nil {
			return old, nil
		} else if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			return "", err
		}
	}
	key, err := control.MintPlatformKey(ctx, e.postgres.URL(controlDatabase, owner), "tenantry dev", 0)
	return key.Text, err
}

// startSamples starts the sample apps where their program has been built.
func (e *environment) startSamples(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(self), sampleName)
	if _, err := os.Stat(program); err != nil {
		e.log.WarnContext(ctx, "the sample apps are not built", "program", program)
		return nil
	}
	e.sample, err = e.startSample(ctx, program, []string{
		"TENANTRY_REST=" + e.info.REST,
		"TENANTRY_API_KEY=" + e.info.PortalAPIKey,
		"TENANTRY_DATA_PLANE=http://{host}:" + strconv.Itoa(e.ports.DataPlane),
		"PIEDPIPER_ORG=" + e.info.Org,
		"PIEDPIPER_BLUEPRINT=" + e.info.Blueprint,
		"PIEDPIPER_CHAT_CLIENT_ID=" + e.info.ChatClientID,
		"PIEDPIPER_BASE_DOMAIN=" + baseDomain,
		"PIEDPIPER_LISTEN=127.0.0.1:" + strconv.Itoa(e.ports.Sample),
	}, e.ports.Sample)
	return err
}
