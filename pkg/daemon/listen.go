// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// ListenConfig says where a server listens.
type ListenConfig struct {
	// Address is host:port, :port for every address of the machine, or unix:PATH for a unix socket.
	Address string `yaml:"address"`
	// MaxConnections bounds how many connections are open at once; further ones wait. 0: no bound.
	MaxConnections int `yaml:"max_connections"`
	// TLS is served where a certificate is configured.
	TLS TLSConfig `yaml:"tls"`
}

// Validate implements [Validator].
func (c *ListenConfig) Validate(k *Check) {
	if path, unix := strings.CutPrefix(c.Address, "unix:"); unix {
		if path == "" {
			k.Fail("address", "has no path after unix:")
		}
	} else if c.Address != "" {
		if _, port, err := net.SplitHostPort(c.Address); err != nil {
			k.Fail("address", "must be host:port, :port or unix:PATH")
		} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			k.Fail("address", "port %q is not a number up to 65535", port)
		}
	}
	if c.MaxConnections < 0 {
		k.Fail("max_connections", "must not be negative")
	}
}

// TLSConfig names the files of a server's certificate. They are read again when they change, so that a renewed certificate
// needs no restart.
type TLSConfig struct {
	// CertFile holds the certificate and its chain in PEM.
	CertFile Path `yaml:"cert_file"`
	// KeyFile holds the private key in PEM.
	KeyFile Path `yaml:"key_file"`
	// ClientCAFile holds the certificates of those who issue client certificates; with it every client must show one.
	ClientCAFile Path `yaml:"client_ca_file"`
	// RequestClientCert asks clients for a certificate and takes any, or none: who may do what with it is decided by what is served
	// (OAuth mTLS, RFC 8705). Browsers with certificates ask their users which one to show.
	RequestClientCert bool `yaml:"request_client_cert"`
}

// Validate implements [Validator].
func (c *TLSConfig) Validate(k *Check) {
	if (c.CertFile == "") != (c.KeyFile == "") {
		k.Fail("", "cert_file and key_file go together")
	}
	if c.ClientCAFile != "" && c.CertFile == "" {
		k.Fail("client_ca_file", "has no use without cert_file")
	}
	if c.RequestClientCert && (c.CertFile == "" || c.ClientCAFile != "") {
		k.Fail("request_client_cert", "needs cert_file and goes without client_ca_file, with which every client must show one")
	}
}

// Enabled reports whether a certificate is configured.
func (c *TLSConfig) Enabled() bool { return c.CertFile != "" }

// serverConfig reads the files, so that a wrong one is found at the start. Nil when TLS is not configured.
func (c *TLSConfig) serverConfig(protocols ...string) (*tls.Config, error) {
	if !c.Enabled() {
		return nil, nil // no TLS is no configuration
	}
	files := &certificateFiles{cert: string(c.CertFile), key: string(c.KeyFile)}
	if _, err := files.get(nil); err != nil {
		return nil, err
	}
	cfg := ServerTLS(files.get, protocols...)
	if c.RequestClientCert {
		cfg.ClientAuth = tls.RequestClientCert
	}
	if c.ClientCAFile != "" {
		pool, err := certPool(c.ClientCAFile)
		if err != nil {
			return nil, err
		}
		cfg.ClientCAs, cfg.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

// ServerTLS is the TLS that every listener of ours speaks with the certificates that a function gives: protocol versions and cipher
// suites are not for an operator to loosen.
func ServerTLS(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), protocols ...string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: cipherSuites, GetCertificate: certificate, NextProtos: protocols}
}

// cipherSuites are those of TLS 1.2 that BCP 195 recommends and FAPI 2.0 permits (section 5.2.1). TLS 1.3 has good ones only.
var cipherSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

// certificateFiles is a certificate that follows its files.
type certificateFiles struct {
	cert, key string

	mu      sync.Mutex
	looked  time.Time // when the files were last looked at
	changed time.Time // the modification time of what is loaded
	loaded  *tls.Certificate
}

// lookEvery is how often a handshake looks whether the files have changed.
const lookEvery = 10 * time.Second

// get is tls.Config.GetCertificate. A change that cannot be loaded (one file of two has been written) leaves the old
// certificate in use.
func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded != nil && time.Since(f.looked) < lookEvery {
		return f.loaded, nil
	}
	f.looked = time.Now()
	changed, err := newest(f.cert, f.key)
	if err == nil && (f.loaded == nil || !changed.Equal(f.changed)) {
		var c tls.Certificate
		if c, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.loaded, f.changed = &c, changed
		}
	}
	if f.loaded == nil {
		return nil, err
	}
	return f.loaded, nil
}

// newest is the latest modification time of some files.
func newest(paths ...string) (latest time.Time, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return time.Time{}, err
		}
		if t := info.ModTime(); t.After(latest) {
			latest = t
		}
	}
	return latest, nil
}

// listen opens the listener, without TLS.
func (c *ListenConfig) listen(ctx context.Context) (net.Listener, error) {
	network, address := "tcp", c.Address
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", path
		if err := removeStaleSocket(ctx, path); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if c.MaxConnections > 0 {
		l = netutil.LimitListener(l, c.MaxConnections)
	}
	return l, nil
}

// removeStaleSocket removes the socket of a process that was killed. One that answers is left, and listening fails.
func removeStaleSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket", path)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var d net.Dialer
	if conn, err := d.DialContext(ctx, "unix", path); err == nil {
		return errors.Join(fmt.Errorf("another process listens on %s", path), conn.Close())
	}
	return os.Remove(path)
}
