// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
)

// The yardsticks are what the work would cost with nothing around it: handlers of net/http in a process of their own, which know
// nothing of tenants, clients, errors, logs or attacks. They send the headers and the bytes that Tenantry sent.

// fixed is an answer as Tenantry gave it.
type fixed struct {
	Header map[string]string
	Body   []byte
}

// yardsticks is what the process is told, on its standard input.
type yardsticks struct {
	Address string
	// Hello are answers by path.
	Hello map[string]fixed
	// Sign is the answer of a token request, Claims the payload of its access token.
	Sign   fixed
	Claims []byte
	// Introspection is the answer of an introspection request, Public the tenant's key (an uncompressed point), Redis where to ask.
	Introspection fixed
	Public        []byte
	Redis         string
}

// fix takes an answer without what net/http adds itself.
func fix(a answer) fixed {
	f := fixed{Header: map[string]string{}, Body: a.body}
	for line := range strings.SplitSeq(string(a.head), "\r\n") {
		if k, v, ok := strings.Cut(line, ": "); ok && k != "Date" && k != "Content-Length" && k != "Transfer-Encoding" {
			f.Header[textproto.CanonicalMIMEHeaderKey(k)] = v
		}
	}
	return f
}

func (f *fixed) write(w http.ResponseWriter, body []byte) {
	h := w.Header()
	for k, v := range f.Header {
		h[k] = []string{v}
	}
	_, _ = w.Write(body) // nobody is left to be told
}

// serveYardsticks is the yardsticks' process.
func serveYardsticks(stdin io.Reader) error {
	var y yardsticks
	if err := json.NewDecoder(stdin).Decode(&y); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opt, err := redis.ParseURL(y.Redis)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opt)
	mux := http.NewServeMux()
	for path, f := range y.Hello {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { f.write(w, f.Body) })
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	mux.HandleFunc("/sign", bareSign(&y, key))
	mux.HandleFunc("/prove", bareProve(&y, key))
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), y.Public)
	if err != nil {
		return err
	}
	mux.HandleFunc("/introspect", bareIntrospect(&y, public, rdb))
	mux.HandleFunc("/argon2id", bareHash())
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", y.Address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return rdb.Close()
}

// bareSign parses the form, takes one SHA-256, signs one JWT.
func bareSign(y *yardsticks, key *ecdsa.PrivateKey) http.HandlerFunc {
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"sgk_01ky9s5xjkf6t9zq4v2m8c0a1b"}`))
	return func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, password, _ := r.BasicAuth()
		if sum := sha256.Sum256([]byte(password)); sum[0] == 0 && sum[1] == 0 && sum[2] == 0 && sum[3] == 0 && r.PostForm.Get("scope") == "" {
			http.Error(w, "no", http.StatusUnauthorized) // the sum is used
			return
		}
		token := make([]byte, 0, 1024)
		token = append(append(token, header...), '.')
		token = base64.RawURLEncoding.AppendEncode(token, y.Claims)
		digest := sha256.Sum256(token)
		sr, ss, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		var signature [64]byte
		sr.FillBytes(signature[:32])
		ss.FillBytes(signature[32:])
		token = base64.RawURLEncoding.AppendEncode(append(token, '.'), signature[:])
		body := append(append(append(make([]byte, 0, 1200), `{"access_token":"`...), token...), `","token_type":"Bearer","expires_in":600,"scope":"chat:read"}`...)
		y.Sign.write(w, body)
	}
}

// bareIntrospect verifies one JWT and asks Redis once.
func bareIntrospect(y *yardsticks, key *ecdsa.PublicKey, rdb *redis.Client) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		token := r.PostForm.Get("token")
		dot := strings.LastIndexByte(token, '.')
		signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
		digest := sha256.Sum256([]byte(token[:max(dot, 0)]))
		if err != nil || len(signature) != 64 || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		if err := rdb.Get(r.Context(), "bench:"+token[dot+1:dot+12]).Err(); !errors.Is(err, redis.Nil) {
			http.Error(w, "redis", http.StatusServiceUnavailable)
			return
		}
		y.Introspection.write(w, y.Introspection.Body)
	}
}

// bareHash verifies a password and does nothing else.
func bareHash() http.HandlerFunc {
	hasher := secret.NewHasher(secret.Argon2Params{}, 0, 256)
	const password = "correct horse battery"
	phc, err := hasher.Hash(context.Background(), id.Tenant{}, password)
	return func(w http.ResponseWriter, r *http.Request) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if ok, _, err := hasher.Verify(r.Context(), id.Tenant{}, phc, password); !ok || err != nil {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte("ok"))
	}
}
