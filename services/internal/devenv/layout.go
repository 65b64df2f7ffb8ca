// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
)

// layout is what lies where below the directory of an environment.
//
//	postgres/ redis-config/ redis-runtime/   data (a link to elsewhere where the server's user cannot enter, as for root)
//	keys/      key files, mode 0600           mail/  received mails
//	logs/      one file for each program      dev.json  addresses and keys, mode 0600
//	keys.json  texts of API keys, mode 0600   lock, ports, piedpiper.pid
type layout string

func (l layout) path(name ...string) string {
	return filepath.Join(append([]string{string(l)}, name...)...)
}

func (l layout) keys() keyfiles.Dir      { return keyfiles.Dir(l.path("keys")) }
func (l layout) devJSON() string         { return l.path("dev.json") }
func (l layout) log(name string) string  { return l.path("logs", name+".log") }
func (l layout) servers() []string       { return []string{l.postgres(), l.redisConfig(), l.redisRuntime()} }
func (l layout) postgres() string        { return l.path("postgres") }
func (l layout) redisConfig() string     { return l.path("redis-config") }
func (l layout) redisRuntime() string    { return l.path("redis-runtime") }
func (l layout) pid(name string) string  { return l.path(name + ".pid") }
func (l layout) file(name string) string { return l.path(name) }

// make makes the directories. The first one may be entered by everybody, because PostgreSQL runs as another user when this
// program runs as root; what is inside says for itself who may read it.
func (l layout) make() error {
	if err := os.MkdirAll(string(l), 0o711); err != nil {
		return err
	}
	for _, dir := range []string{"logs", "mail"} {
		if err := os.MkdirAll(l.path(dir), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// RunningError: another program has the directory.
type RunningError struct {
	Dir string
	PID int // 0 when unknown
}

// Error implements error.
func (e *RunningError) Error() string {
	if e.PID > 0 {
		return fmt.Sprintf("Tenantry is running already, with the data in %s (process %d)", e.Dir, e.PID)
	}
	return fmt.Sprintf("Tenantry is running already, with the data in %s", e.Dir)
}

// lock makes the directory this program's until the file is closed or the program dies.
func (l layout) lock() (*os.File, error) {
	f, err := os.OpenFile(l.file("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		text, _ := os.ReadFile(f.Name())
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			return nil, &RunningError{Dir: string(l), PID: pid}
		}
		return nil, err
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// Reset throws the environment away with all its data. It refuses while one runs there.
func Reset(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	l := layout(dir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	lock, err := l.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	l.endOrphan(sampleName)
	for _, server := range l.servers() {
		if err := localserver.Remove(server); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// Info is .run/dev.json: what scripts and tests need to know of a running environment.
type Info struct {
	// REST is the base URL of the control plane's REST API, GRPC the address of its gRPC API.
	REST string `json:"rest"`
	GRPC string `json:"grpc"`
	// DataPlane is the base URL of the data plane. A tenant's is the same with its host: http://hooli.localhost:8080.
	DataPlane string `json:"data_plane"`
	// Portal is the base URL of the sample sign-up portal, Mail that of the inbox.
	Portal string `json:"portal"`
	Mail   string `json:"mail"`
	// Admin is the base URL of health and metrics, SMTP the address that takes mails.
	Admin string `json:"admin"`
	SMTP  string `json:"smtp"`
	// Org is the resource name of the org, Blueprint that of its blueprint, ChatClientID the client_id of its shared client.
	Org          string `json:"org"`
	OrgSlug      string `json:"org_slug"`
	Blueprint    string `json:"blueprint"`
	ChatClientID string `json:"chat_client_id"`
	// OrgAPIKey may do everything in the org and mint keys; PortalAPIKey may make tenants; PlatformAPIKey administers orgs.
	OrgAPIKey      string `json:"org_api_key"`
	PortalAPIKey   string `json:"portal_api_key"`
	PlatformAPIKey string `json:"platform_api_key"`
	// BaseDomain is what tenants' hostnames end in.
	BaseDomain string `json:"base_domain"`
	// DatabaseURLs are those of the services' own roles, OwnerDatabaseURLs those of the owner.
	DatabaseURLs      Databases `json:"database_urls"`
	OwnerDatabaseURLs Databases `json:"owner_database_urls"`
	// RedisURLs are unix sockets.
	RedisURLs Redises `json:"redis_urls"`
	// PID is the process of the services.
	PID int `json:"pid"`
}

// Databases are URLs of the two databases.
type Databases struct {
	Control  string `json:"control"`
	Identity string `json:"identity"`
}

// Redises are URLs of the two Redis servers.
type Redises struct {
	Config  string `json:"config"`
	Runtime string `json:"runtime"`
}

// ReadInfo reads what the environment in a directory wrote.
func ReadInfo(dir string) (Info, error) {
	var i Info
	text, err := os.ReadFile(layout(dir).devJSON())
	if err != nil {
		return i, err
	}
	return i, json.Unmarshal(text, &i)
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
