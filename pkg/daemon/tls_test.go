// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeCertificate makes a self-signed certificate for 127.0.0.1 whose subject is name, and returns its PEM.
func writeCertificate(t *testing.T, dir, name string, changed time.Time) (cfg TLSConfig, certPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	cfg = TLSConfig{CertFile: Path(filepath.Join(dir, "cert.pem")), KeyFile: Path(filepath.Join(dir, "key.pem"))}
	for path, text := range map[Path][]byte{cfg.CertFile: certPEM, cfg.KeyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})} {
		if err := os.WriteFile(string(path), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(string(path), changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	return cfg, certPEM
}

func client(root []byte, certs ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: certs},
		ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
}

func TestTLSServesHTTP2AndWantsClientCertificates(t *testing.T) {
	cfg, root := writeCertificate(t, t.TempDir(), "first", time.Now())
	cfg.ClientCAFile = cfg.CertFile
	p, _ := newProcess(t, Config{})
	s := p.NewHTTPServer("web", HTTPConfig{ListenConfig: ListenConfig{Address: "127.0.0.1:0", TLS: cfg}}, http.NotFoundHandler())
	signals, wait := running(t, p, s.Component())
	if resp, err := client(root).Get("https://" + s.Addr()); err == nil {
		resp.Body.Close()
		t.Error("a client without a certificate was served")
	}
	own, err := tls.LoadX509KeyPair(string(cfg.CertFile), string(cfg.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client(root, own).Get("https://" + s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("protocol %s", resp.Proto)
	}
	signals <- syscall.SIGTERM
	if err := wait(); err != nil {
		t.Error(err)
	}
}

func TestRenewedCertificateIsServedWithoutRestart(t *testing.T) {
	dir, begin := t.TempDir(), time.Now()
	cfg, _ := writeCertificate(t, dir, "first", begin)
	f := &certificateFiles{cert: string(cfg.CertFile), key: string(cfg.KeyFile)}
	serving := func() string {
		t.Helper()
		f.looked = time.Time{} // ten seconds have passed
		c, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.Subject.CommonName
	}
	if got := serving(); got != "first" {
		t.Fatal(got)
	}
	writeCertificate(t, dir, "second", begin.Add(time.Minute))
	if got := serving(); got != "second" {
		t.Errorf("after a renewal: %s", got)
	}
	// Half of a renewal must not take the listener down.
	if err := os.WriteFile(string(cfg.KeyFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serving(); got != "second" {
		t.Errorf("after half a renewal: %s", got)
	}
	writeCertificate(t, dir, "third", begin.Add(2*time.Minute))
	if got := serving(); got != "third" {
		t.Errorf("after the other half: %s", got)
	}
}

func TestWrongCertificateIsFoundAtTheStart(t *testing.T) {
	p, _ := newProcess(t, Config{})
	bad := ListenConfig{Address: "127.0.0.1:0", TLS: TLSConfig{CertFile: "/nowhere/cert.pem", KeyFile: "/nowhere/key.pem"}}
	if _, err := p.NewGRPCServer("api", GRPCConfig{ListenConfig: bad}); err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Errorf("gRPC: %v", err)
	}
	s := p.NewHTTPServer("web", HTTPConfig{ListenConfig: bad}, nil)
	if err := p.run(t.Context(), nil, []Component{s.Component()}); err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Errorf("HTTP: %v", err)
	}
}
