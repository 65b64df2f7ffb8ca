// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// A listener that asks for certificates takes any or none, and hands on what it was shown.
func TestListenerAsksForClientCertificates(t *testing.T) {
	cfg, root := writeCertificate(t, t.TempDir(), "server", time.Now())
	theirs, _ := writeCertificate(t, t.TempDir(), "stranger", time.Now())
	own, err := tls.LoadX509KeyPair(string(theirs.CertFile), string(theirs.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	cfg.RequestClientCert = true
	p, _ := newProcess(t, Config{})
	s := p.NewHTTPServer("web", HTTPConfig{ListenConfig: ListenConfig{Address: "127.0.0.1:0", TLS: cfg}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Shown", fmt.Sprint(len(r.TLS.PeerCertificates)))
	}))
	signals, wait := running(t, p, s.Component())
	for want, c := range map[string]*http.Client{"0": client(root), "1": client(root, own)} {
		resp, err := c.Get("https://" + s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Shown"); got != want {
			t.Errorf("%s certificates, want %s", got, want)
		}
	}
	// TLS 1.2 with CBC is what FAPI 2.0 section 5.2.1 and BCP 195 leave out.
	for suite, ok := range map[uint16]bool{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: false} {
		c := client(root)
		config := c.Transport.(*http.Transport).TLSClientConfig
		config.MaxVersion, config.CipherSuites = tls.VersionTLS12, []uint16{suite}
		resp, err := c.Get("https://" + s.Addr())
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), err)
		}
	}
	signals <- syscall.SIGTERM
	if err := wait(); err != nil {
		t.Error(err)
	}
}

func TestRequestClientCertIsForTLS(t *testing.T) {
	for name, cfg := range map[string]TLSConfig{
		"without TLS":         {RequestClientCert: true},
		"beside an authority": {RequestClientCert: true, CertFile: "a", KeyFile: "b", ClientCAFile: "c"},
	} {
		if err := Validate(&cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := Validate(&TLSConfig{RequestClientCert: true, CertFile: "a", KeyFile: "b"}); err != nil {
		t.Error(err)
	}
}
