// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package keyfiles

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// passwords of the servers of docker-compose.yml. Each is in a file of its own, NAME.password; what else needs one is derived from it.
var passwords = []string{
	"postgres-superuser", "postgres-owner", "postgres-control", "postgres-publisher", "postgres-identity",
	"redis-publisher", "redis-replica", "redis-runtime",
}

// addresses of the servers of docker-compose.yml, as the programs read them: file, then scheme, user, password and the rest.
var addresses = []struct{ file, user, password, rest string }{
	{"control-owner.url", "tenantry_owner", "postgres-owner", "postgres:5432/tenantry_control?sslmode=disable"},
	{"identity-owner.url", "tenantry_owner", "postgres-owner", "postgres:5432/tenantry_identity?sslmode=disable"},
	{"control.url", "tenantry_control", "postgres-control", "postgres:5432/tenantry_control?sslmode=disable"},
	{"control-worker.url", "tenantry_publisher", "postgres-publisher", "postgres:5432/tenantry_control?sslmode=disable"},
	{"identity.url", "tenantry_identity", "postgres-identity", "postgres:5432/tenantry_identity?sslmode=disable"},
	{"config-redis-publisher.url", "publisher", "redis-publisher", "redis-config:6379/0"},
	{"config-redis-replica.url", "replica", "redis-replica", "redis-config:6379/0"},
	{"runtime-redis.url", "runtime", "redis-runtime", "redis-runtime:6379/0"},
}

// What everybody may do without a password: health checks ask for a PONG.
const anybody = "user default on nopass resetkeys resetchannels -@all +ping\n"

// The users of the Redis servers; %s is the SHA-256 of a password. On the config server the publisher writes what replicas read, and
// replicas write their reports alone: who takes over a replica cannot change a tenant. Both lose the dangerous commands (FLUSHALL,
// KEYS, CONFIG, DEBUG); the publisher gets back INFO, with which it sees that the server does not evict.
const (
	publisherRule = "user publisher on #%s resetchannels ~t:* ~b:* ~r:* ~o:* ~h:* ~log:* ~meta:* %%R~fleet:* %%R~nack " +
		"-@all +@read +@write +@connection +eval +evalsha +script|load -@dangerous +info +wait\n"
	replicaRule = "user replica on #%s resetchannels %%R~t:* %%R~b:* %%R~r:* %%R~o:* %%R~h:* %%R~log:* %%R~meta:* ~fleet:* ~nack " +
		"-@all +@read +hset +hdel +xadd +@connection -@dangerous\n"
	runtimeRule = "user runtime on #%s resetchannels ~* -@all +@read +@write +@connection +eval +evalsha +script|load +time -@dangerous\n"
)

// certificateLife is that of the self-signed certificates, which are for the first day: an operator puts real ones in their place.
const certificateLife = 825 * 24 * time.Hour

// InitStack makes what is missing of the secrets of docker-compose.yml: the key files of [Init], passwords of its servers, their
// addresses and access lists, and self-signed certificates. Like Init it never replaces a file, and returns the names of those it made.
//
//	file                        who reads it
//	*.password                  postgres: the first start makes its roles with them (those of redis: nobody)
//	*-owner.url                 migrate, and the operator's own commands
//	control.url, …-worker.url   control
//	identity.url                control, login, token
//	config-redis-publisher.url  control             config-redis-replica.url  login, token
//	runtime-redis.url           login, token
//	redis-config.acl            redis-config        redis-runtime.acl         redis-runtime
//	grpc.crt, grpc.key          control             edge/tls.crt, edge/tls.key  edge
func InitStack(d Dir, region string, now time.Time) ([]string, error) {
	made, err := Init(d, region, now)
	if err != nil {
		return made, err
	}
	write := func(name string, text func() (string, error)) error {
		path := d.file(name)
		if missing, err := absent(path); err != nil || !missing {
			return err
		}
		body, err := text()
		if err == nil {
			err = writeNew(path, []byte(body))
		}
		if err == nil {
			made = append(made, name)
		}
		return err
	}
	for _, name := range passwords {
		if err := write(name+".password", func() (string, error) { return rand.Text() + "\n", nil }); err != nil {
			return made, err
		}
	}
	for _, a := range addresses {
		if err := write(a.file, func() (string, error) {
			password, err := d.password(a.password)
			scheme, _, _ := strings.Cut(a.password, "-") // postgres or redis
			return fmt.Sprintf("%s://%s:%s@%s\n", scheme, a.user, password, a.rest), err
		}); err != nil {
			return made, err
		}
	}
	for _, list := range []struct {
		file  string
		users []struct{ password, rule string }
	}{
		{"redis-config.acl", []struct{ password, rule string }{{"redis-publisher", publisherRule}, {"redis-replica", replicaRule}}},
		{"redis-runtime.acl", []struct{ password, rule string }{{"redis-runtime", runtimeRule}}},
	} {
		if err := write(list.file, func() (string, error) {
			text := anybody
			for _, u := range list.users {
				password, err := d.password(u.password)
				if err != nil {
					return "", err
				}
				sum := sha256.Sum256([]byte(password))
				text += fmt.Sprintf(u.rule, hex.EncodeToString(sum[:]))
			}
			return text, nil
		}); err != nil {
			return made, err
		}
	}
	if err := os.MkdirAll(d.file("edge"), 0o700); err != nil {
		return made, err
	}
	for _, c := range []struct {
		cert, key string
		names     []string
	}{
		{"grpc.crt", "grpc.key", []string{"localhost", "control", "127.0.0.1"}},
		{filepath.Join("edge", "tls.crt"), filepath.Join("edge", "tls.key"), []string{"localhost", "*.localhost"}},
	} {
		names, err := d.selfSigned(c.cert, c.key, c.names, now)
		made = append(made, names...)
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

func (d Dir) password(name string) (string, error) {
	text, err := os.ReadFile(d.file(name + ".password"))
	return strings.TrimSpace(string(text)), err
}

// selfSigned makes a certificate with its key, when neither is there.
func (d Dir) selfSigned(certFile, keyFile string, names []string, now time.Time) ([]string, error) {
	noCert, err := absent(d.file(certFile))
	noKey, keyErr := absent(d.file(keyFile))
	if err = errors.Join(err, keyErr); err != nil {
		return nil, err
	}
	if noKey && !noCert {
		return nil, orphaned(d.file(certFile), d.file(keyFile))
	}
	if !noCert {
		return nil, nil
	}
	if !noKey {
		return nil, fmt.Errorf("%s is there without %s: put that back, or remove both", d.file(keyFile), d.file(certFile))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true, // so that a client can name the file as the authority that it trusts
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(d.file(keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})); err != nil {
		return nil, err
	}
	return []string{keyFile, certFile}, writeNew(d.file(certFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
}

// ShareWith lets a group read all files of the directory, and nobody else but their owner: that of the containers, whose users are
// not the one who made the files.
func ShareWith(d Dir, gid int) error {
	return filepath.WalkDir(string(d), func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o640)
		switch {
		case entry.IsDir():
			mode = 0o750
		case !entry.Type().IsRegular():
			return nil // a link may lead anywhere
		}
		return errors.Join(os.Chown(path, -1, gid), os.Chmod(path, mode)) //nolint:gosec // for the group is what was asked for
	})
}
