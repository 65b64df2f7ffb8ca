// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tenantry/tenantry/pkg/daemon"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control"
)

// certificate makes one for 127.0.0.1 in two files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// With TLS on the public port, REST still works: its way to the server lies inside the process.
func TestTLSOnThePublicPort(t *testing.T) {
	cert, key := certificate(t)
	p := start(t, func(c *control.Config) {
		c.GRPC.TLS = daemon.TLSConfig{CertFile: daemon.Path(cert), KeyFile: daemon.Path(key)}
	})
	p.must(t, p.key, "POST", "/v1/orgs?orgId=piedpiper", `{}`)
	creds, err := credentials.NewClientTLSFromFile(cert, "")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", h, err)
	}
	if _, err := controlv1.NewOrgServiceClient(conn).GetOrg(t.Context(), &controlv1.GetOrgRequest{Name: "orgs/piedpiper"}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a key: %v", err)
	}
	large := &controlv1.GetOrgRequest{Name: string(make([]byte, 1<<20+1))}
	if _, err := controlv1.NewOrgServiceClient(conn).GetOrg(t.Context(), large); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message above 1 MiB: %v", status.Code(err))
	}
	plain, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := controlv1.NewOrgServiceClient(plain).GetOrg(t.Context(), &controlv1.GetOrgRequest{Name: "orgs/x"}); status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: %v", err)
	}
}
