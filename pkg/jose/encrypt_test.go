// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// The recipient is written here from RFC 7516 and RFC 7518, with the standard library alone: what it opens, others can open.

type jweHeader struct {
	Alg string `json:"alg"`
	Enc string `json:"enc"`
	Kid string `json:"kid"`
	Cty string `json:"cty"`
	Zip string `json:"zip"`
	Epk struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		X   string `json:"x"`
		Y   string `json:"y"`
		D   string `json:"d"`
	} `json:"epk"`
}

var keyBytes = map[string]int{"A128GCM": 16, "A256GCM": 32, "A128CBC-HS256": 32, "A256CBC-HS512": 64, "A128KW": 16, "A256KW": 32}

func open(priv crypto.PrivateKey, message string) (h jweHeader, plain []byte, err error) {
	parts := strings.Split(message, ".")
	if len(parts) != 5 {
		return h, nil, fmt.Errorf("%d parts", len(parts))
	}
	var raw [5][]byte
	for i, p := range parts {
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(p); err != nil {
			return h, nil, err
		}
	}
	if err := json.Unmarshal(raw[0], &h); err != nil {
		return h, nil, err
	}
	var cek []byte
	switch h.Alg {
	case "RSA-OAEP":
		cek, err = rsa.DecryptOAEP(sha1.New(), nil, priv.(*rsa.PrivateKey), raw[1], nil)
	case "RSA-OAEP-256":
		cek, err = rsa.DecryptOAEP(sha256.New(), nil, priv.(*rsa.PrivateKey), raw[1], nil)
	case "ECDH-ES":
		if len(raw[1]) != 0 {
			return h, nil, errors.New("an encrypted key with direct agreement")
		}
		cek, err = agree(priv, h, h.Enc, keyBytes[h.Enc])
	default:
		var kek []byte
		if kek, err = agree(priv, h, h.Alg, keyBytes[strings.TrimPrefix(h.Alg, "ECDH-ES+")]); err == nil {
			cek, err = unwrap(kek, raw[1])
		}
	}
	if err != nil {
		return h, nil, err
	}
	if len(cek) != keyBytes[h.Enc] {
		return h, nil, fmt.Errorf("content key of %d bytes", len(cek))
	}
	plain, err = decrypt(h.Enc, cek, []byte(parts[0]), raw[2], raw[3], raw[4])
	return h, plain, err
}

// agree is RFC 7518 section 4.6.2: ECDH and the Concat KDF of one round or two.
func agree(priv crypto.PrivateKey, h jweHeader, algorithm string, size int) ([]byte, error) {
	x, err := base64.RawURLEncoding.DecodeString(h.Epk.X)
	if err != nil {
		return nil, err
	}
	var ours *ecdh.PrivateKey
	var theirs *ecdh.PublicKey
	switch k := priv.(type) {
	case *ecdh.PrivateKey:
		ours = k
		theirs, err = ecdh.X25519().NewPublicKey(x)
	case *ecdsa.PrivateKey:
		if ours, err = k.ECDH(); err != nil {
			return nil, err
		}
		y, decodeErr := base64.RawURLEncoding.DecodeString(h.Epk.Y)
		if decodeErr != nil {
			return nil, decodeErr
		}
		theirs, err = ours.Curve().NewPublicKey(append(append([]byte{4}, x...), y...))
	default:
		return nil, errors.New("no key agreement with this key")
	}
	if err != nil {
		return nil, err
	}
	z, err := ours.ECDH(theirs)
	if err != nil {
		return nil, err
	}
	u32 := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	info := bytes.Join([][]byte{u32(len(algorithm)), []byte(algorithm), u32(0), u32(0), u32(size * 8)}, nil)
	var out []byte
	for round := 1; len(out) < size; round++ {
		sum := sha256.Sum256(bytes.Join([][]byte{u32(round), z, info}, nil))
		out = append(out, sum[:]...)
	}
	return out[:size], nil
}

// unwrap is RFC 3394 section 2.2.2.
func unwrap(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil || len(wrapped)%8 != 0 || len(wrapped) < 24 {
		return nil, errors.New("not a wrapped key")
	}
	n := len(wrapped)/8 - 1
	a, r := bytes.Clone(wrapped[:8]), bytes.Clone(wrapped[8:])
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			t := binary.BigEndian.Uint64(a) ^ uint64(n*j+i)
			b := append(binary.BigEndian.AppendUint64(nil, t), r[(i-1)*8:i*8]...)
			block.Decrypt(b, b)
			copy(a, b[:8])
			copy(r[(i-1)*8:], b[8:])
		}
	}
	if !bytes.Equal(a, bytes.Repeat([]byte{0xA6}, 8)) {
		return nil, errors.New("key unwrap")
	}
	return r, nil
}

// decrypt is RFC 7518 sections 5.2.2.2 and 5.3.
func decrypt(enc string, cek, aad, iv, text, tag []byte) ([]byte, error) {
	if strings.HasSuffix(enc, "GCM") {
		block, err := aes.NewCipher(cek)
		if err != nil {
			return nil, err
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		return gcm.Open(nil, iv, append(bytes.Clone(text), tag...), aad)
	}
	newHash := sha256.New
	if enc == "A256CBC-HS512" {
		newHash = sha512.New
	}
	half := len(cek) / 2
	m := hmac.New(newHash, cek[:half])
	for _, p := range [][]byte{aad, iv, text, binary.BigEndian.AppendUint64(nil, uint64(len(aad)*8))} {
		m.Write(p)
	}
	if !hmac.Equal(m.Sum(nil)[:half], tag) {
		return nil, errors.New("tag")
	}
	block, err := aes.NewCipher(cek[half:])
	if err != nil {
		return nil, err
	}
	out := bytes.Clone(text)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, out)
	return out[:len(out)-int(out[len(out)-1])], nil
}

// encJWK is the public half as a client would register it.
func encJWK(t testing.TB, priv crypto.PrivateKey) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := priv.(type) {
	case *rsa.PrivateKey:
		return `{"kty":"RSA","kid":"e1","use":"enc","n":"` + b64(k.N.Bytes()) + `","e":"` + b64(big.NewInt(int64(k.E)).Bytes()) + `"}`
	case *ecdh.PrivateKey:
		return `{"kty":"OKP","crv":"X25519","kid":"e1","use":"enc","x":"` + b64(k.PublicKey().Bytes()) + `"}`
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		return `{"kty":"EC","crv":"` + k.Curve.Params().Name + `","kid":"e1","use":"enc","x":"` + b64(point[1:1+half]) + `","y":"` + b64(point[1+half:]) + `"}`
	}
	t.Fatalf("%T", priv)
	return ""
}

func TestEncryptOpensElsewhere(t *testing.T) {
	payload := []byte(sign(t, ES256, "k1", "JWT"))
	tried := 0
	for name, priv := range encryptable(t) {
		set := parseForeign(t, encJWK(t, priv))
		for _, alg := range EncryptionAlgs() {
			if strings.HasPrefix(alg, "RSA") != (name == "RSA") {
				continue
			}
			for _, enc := range EncryptionEncs() {
				tried++
				key, ok := set.Encryption(alg)
				if !ok {
					t.Fatalf("%s: no key for %s", name, alg)
				}
				message, err := Encrypt(key, alg, enc, "JWT", payload)
				if err != nil {
					t.Fatalf("%s %s %s: %v", name, alg, enc, err)
				}
				h, plain, err := open(priv, message)
				if err != nil || !bytes.Equal(plain, payload) {
					t.Errorf("%s %s %s: %v", name, alg, enc, err)
				}
				if h.Alg != alg || h.Enc != enc || h.Kid != "e1" || h.Cty != "JWT" || h.Zip != "" || h.Epk.D != "" {
					t.Errorf("%s %s %s: header %+v", name, alg, enc, h)
				}
				// Each message has its own key and nonce.
				if again, err := Encrypt(key, alg, enc, "JWT", payload); err != nil || again == message {
					t.Errorf("%s %s %s: twice the same message", name, alg, enc)
				}
			}
		}
	}
	if tried != 4*(2+4*3) {
		t.Errorf("%d combinations", tried)
	}
}

func TestEncryptRefuses(t *testing.T) {
	rsaKey, _ := parseForeign(t, encJWK(t, keys()[RS256].signer)).Encryption("RSA-OAEP")
	ecKey, _ := parseForeign(t, encJWK(t, keys()[ES256].signer)).Encryption("ECDH-ES")
	for _, c := range []struct {
		name     string
		k        EncryptionKey
		alg, enc string
		want     error
	}{
		{"no key", EncryptionKey{}, "RSA-OAEP", "A128GCM", ErrKey},
		{"RSA1_5", rsaKey, "RSA1_5", "A128GCM", ErrAlgorithm},
		{"dir", rsaKey, "dir", "A128GCM", ErrAlgorithm},
		{"another type", rsaKey, "ECDH-ES", "A128GCM", ErrAlgorithm},
		{"RSA alg with an EC key", ecKey, "RSA-OAEP", "A128GCM", ErrAlgorithm},
		{"unknown enc", rsaKey, "RSA-OAEP", "A192GCM", ErrAlgorithm},
		{"no enc", rsaKey, "RSA-OAEP", "", ErrAlgorithm},
	} {
		if out, err := Encrypt(c.k, c.alg, c.enc, "", []byte("x")); !errors.Is(err, c.want) || out != "" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, ok := parseForeign(t, encJWK(t, keys()[RS256].signer)).Encryption("RSA1_5"); ok {
		t.Error("a key for RSA1_5")
	}
	message, err := Encrypt(rsaKey, "RSA-OAEP", "A128GCM", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if h, plain, err := open(keys()[RS256].signer, message); err != nil || len(plain) != 0 || h.Cty != "" {
		t.Errorf("empty payload: %+v, %v", h, err)
	}
}

// RFC 7518 appendix C: the test's own key agreement has a known answer.
func TestOurRecipientAgreesWithTheStandard(t *testing.T) {
	d, _ := base64.RawURLEncoding.DecodeString("VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw")
	bob, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	var h jweHeader
	h.Epk.X, h.Epk.Y = "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0", "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"
	// The appendix has apu and apv, which we do not send; without them the key is another, so only the shared point is compared.
	ours, err := bob.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	x, _ := base64.RawURLEncoding.DecodeString(h.Epk.X)
	y, _ := base64.RawURLEncoding.DecodeString(h.Epk.Y)
	epk, err := ours.Curve().NewPublicKey(append(append([]byte{4}, x...), y...))
	if err != nil {
		t.Fatal(err)
	}
	z, err := ours.ECDH(epk)
	if err != nil || z[0] != 158 || z[1] != 86 || z[31] != 196 {
		t.Errorf("Z = %v, %v", z, err)
	}
}
