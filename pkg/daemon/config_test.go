// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serviceConfig is a configuration as a service writes one.
type serviceConfig struct {
	Config   `yaml:",inline"`
	Listen   HTTPConfig         `yaml:"listen"`
	GRPC     *GRPCConfig        `yaml:"grpc"`
	Database Secret             `yaml:"database_url_file"`
	Key      Path               `yaml:"key_file"`
	TTL      Duration           `yaml:"ttl"`
	Memory   Bytes              `yaml:"memory"`
	Workers  int                `yaml:"workers"`
	Count    uint8              `yaml:"count"`
	Ratio    float64            `yaml:"ratio"`
	Debug    bool               `yaml:"debug"`
	Proxies  []string           `yaml:"proxies"`
	Labels   map[string]string  `yaml:"labels"`
	Parts    map[string]partCfg `yaml:"parts"`
	Private  string             `yaml:"-"`
}

type partCfg struct {
	Name string `yaml:"name"`
}

func (p *partCfg) Validate(k *Check) { k.Require("name", p.Name) }

func (c *serviceConfig) Validate(k *Check) {
	if c.Workers < 0 {
		k.Fail("workers", "must not be negative")
	}
}

func TestLoadConfigReadsEveryKindOfField(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "db"), []byte("postgres://u:hunter2@h/db\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "service.yaml")
	text := `
log: {level: debug, format: text}
telemetry:
  sample_ratio: 0.5
drain:
  delay: 5s
listen:
  address: 127.0.0.1:8080
  max_header_bytes: 32KiB
  tls: {cert_file: tls/cert.pem, key_file: /abs/key.pem}
grpc:
  address: unix:/run/x.sock
database_url_file: db
key_file: keys/signing.json
ttl: 30d
memory: 256MiB
workers: 4
count: 255
ratio: 2.5
debug: true
proxies: [10.0.0.0/8, "::1/128"]
labels: {a: "1", b: x}
parts:
  one: {name: first}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := serviceConfig{Workers: 1, Private: "kept"}
	if err := LoadConfig(file, &got); err != nil {
		t.Fatal(err)
	}
	half := 0.5
	want := serviceConfig{
		Config: Config{
			Log: LogConfig{Level: "debug", Format: "text"}, Telemetry: TelemetryConfig{SampleRatio: &half},
			Drain: DrainConfig{Delay: Duration(5 * time.Second)},
		},
		Listen: HTTPConfig{
			ListenConfig: ListenConfig{
				Address: "127.0.0.1:8080",
				TLS:     TLSConfig{CertFile: Path(filepath.Join(dir, "tls/cert.pem")), KeyFile: "/abs/key.pem"},
			},
			MaxHeaderBytes: 32 << 10,
		},
		GRPC:     &GRPCConfig{ListenConfig: ListenConfig{Address: "unix:/run/x.sock"}},
		Database: Secret{path: filepath.Join(dir, "db"), value: "postgres://u:hunter2@h/db"},
		Key:      Path(filepath.Join(dir, "keys/signing.json")),
		TTL:      Duration(30 * 24 * time.Hour), Memory: 256 << 20, Workers: 4, Count: 255, Ratio: 2.5, Debug: true,
		Proxies: []string{"10.0.0.0/8", "::1/128"}, Labels: map[string]string{"a": "1", "b": "x"},
		Parts:   map[string]partCfg{"one": {Name: "first"}},
		Private: "kept",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Secret{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestEmptyConfigKeepsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "{}"} {
		c := serviceConfig{Workers: 7}
		if err := ParseConfig("c.yaml", []byte(text), &c); err != nil || c.Workers != 7 {
			t.Errorf("%q: %v, workers %d", text, err, c.Workers)
		}
	}
}

func TestConfigErrorsNameFieldLineAndReason(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown field":            {"wokers: 3", `c.yaml:1: wokers: unknown field; did you mean "workers"?`},
		"unknown field, no guess":  {"zzz: 3", `c.yaml:1: zzz: unknown field`},
		"unknown nested field":     {"listen:\n  adress: :80", `c.yaml:2: listen.adress: unknown field; did you mean "address"?`},
		"unknown field of a map":   {"parts:\n  a:\n    nam: x", `c.yaml:3: parts.a.nam: unknown field; did you mean "name"?`},
		"field without a name":     {"private: x", `c.yaml:1: private: unknown field`},
		"repeated field":           {"workers: 1\nworkers: 2", `c.yaml:2: workers: stands in line 1 already`},
		"word for a number":        {"workers: many", `c.yaml:1: workers: must be a whole number`},
		"number too large":         {"count: 256", `c.yaml:1: count: must be a whole number that is not negative`},
		"not a number":             {"ratio: .nan", `c.yaml:1: ratio: must be a number`},
		"word for a truth":         {"debug: maybe", `c.yaml:1: debug: must be true or false`},
		"old YAML's yes":           {"debug: yes", `c.yaml:1: debug: must be true or false`},
		"value for a list":         {"proxies: 10.0.0.0/8", `c.yaml:1: proxies: must be a list`},
		"list for a value":         {"key_file: [a]", `c.yaml:1: key_file: must be text`},
		"value for a struct":       {"listen: :8080", `c.yaml:1: listen: must have fields`},
		"struct for a duration":    {"ttl: {a: b}", `c.yaml:1: ttl: must be a single value`},
		"bad duration":             {"\n\nttl: 5", `c.yaml:3: ttl: "5" is not a duration such as 90s, 1h30m or 30d`},
		"bad size":                 {"memory: 5 apples", `c.yaml:1: memory: "5 apples" is not a size such as 512, 64KiB or 256MiB`},
		"nothing after the colon":  {"workers:", `c.yaml:1: workers: has no value; leave the field out for its default`},
		"alias":                    {"key_file: &a x\ndatabase_url_file: *a", `c.yaml:2: database_url_file: aliases are not supported`},
		"merge key":                {"listen:\n  <<: {address: x}", `c.yaml:2: listen.<<: unknown field`},
		"list as a whole":          {"- a", `c.yaml:1: must have fields`},
		"two documents":            {"workers: 1\n---\nworkers: 2", `only one YAML document is allowed`},
		"broken YAML":              {"a: [", `c.yaml: line 1: did not find expected node content`},
		"missing secret":           {"database_url_file: /nowhere/x", `c.yaml:1: database_url_file: stat /nowhere/x: no such file or directory`},
		"secret is no file":        {"database_url_file: /", `c.yaml:1: database_url_file: / is no file of at most 64KiB`},
		"rule of the service":      {"\nworkers: -1", `c.yaml:2: workers: must not be negative`},
		"rule of an embedded part": {"drain:\n  delay: -1s", `c.yaml:2: drain.delay: must be between 0s and 5m`},
		"rule of an inlined part":  {"grpc:\n  address: nine", `c.yaml:2: grpc.address: must be host:port, :port or unix:PATH`},
		"rule of a map's values":   {"parts: {a: {name: ''}}", `c.yaml:1: parts.a.name: must be set`},
		"rule about a struct":      {"listen:\n  tls:\n    cert_file: x", `c.yaml:3: listen.tls: cert_file and key_file go together`},
		"port of a word":           {"listen: {address: ':http'}", `c.yaml:1: listen.address: port "http" is not a number up to 65535`},
		"log level":                {"log: {level: loud, format: xml}", "c.yaml:1: log.format: must be json or text\nc.yaml:1: log.level: must be debug, info, warn or error"},
		"all at once":              {"workers: x\ndebug: x\nttl: x", "c.yaml:1: workers: must be a whole number\nc.yaml:2: debug: must be true or false\nc.yaml:3: ttl: "},
	} {
		t.Run(name, func(t *testing.T) {
			var c serviceConfig
			err := ParseConfig("c.yaml", []byte(tc.text), &c)
			var ce *ConfigError
			if !errors.As(err, &ce) {
				t.Fatalf("err = %v, want a ConfigError", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error\n%s\ndoes not say\n%s", err, tc.want)
			}
		})
	}
}

func TestValidateOfAConfigBuiltInCode(t *testing.T) {
	c := serviceConfig{Workers: -1, GRPC: &GRPCConfig{MaxMessageBytes: 1}}
	err := Validate(&c)
	if got, want := fmt.Sprint(err), "grpc.max_message_bytes: must be between 64KiB and 256MiB\nworkers: must not be negative"; got != want {
		t.Errorf("Validate = %q, want %q", got, want)
	}
	if err := Validate(&serviceConfig{}); err != nil {
		t.Errorf("the zero configuration: %v", err)
	}
}

func TestSecretNeverShowsItsValue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(file, []byte("hunter2\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c struct {
		S Secret `yaml:"s"`
	}
	if err := ParseConfig(file, []byte("s: s"), &c); err != nil || c.S.Value() != "hunter2" {
		t.Fatalf("%v, value %q", err, c.S.Value())
	}
	var out bytes.Buffer
	log := NewLogger(&out, LogConfig{Format: "text"})
	for _, s := range []Secret{c.S, SecretOf("hunter2")} {
		text, _ := s.MarshalText()
		fmt.Fprintf(&out, "%v %+v %#v %s %q %s", s, s, s, s, s, text)
		fmt.Fprintf(&out, "%+v %#v", struct{ S Secret }{s}, struct{ S *Secret }{&s})
		log.Info("configured", "secret", s, slog.Any("pointer", &s))
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("the value shows: %s", out.String())
	}
	if !SecretOf("x").IsZero() == false || !(Secret{}).IsZero() {
		t.Error("IsZero is wrong")
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ParseConfig(file, []byte("s: s"), &c); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty secret: %v", err)
	}
}

func TestDurationAndBytesPrintWhatTheyRead(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "512": 512, "64KiB": 64 << 10, "3 MiB": 3 << 20, "2GiB": 2 << 30, "5KB": 5000, "10B": 10, "1TiB": 1 << 40} {
		var b, again Bytes
		if err := b.UnmarshalText([]byte(in)); err != nil || int64(b) != want {
			t.Errorf("%q = %d, %v", in, b, err)
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%q printed as %q, which reads as %d, %v", in, b, again, err)
		}
	}
	for _, bad := range []string{"", "-1", "1.5MiB", "KiB", "9999999999TiB", "1 kB", "0x10", "１"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("size %q is taken for %d", bad, b)
		}
	}
	for in, want := range map[string]time.Duration{"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "-5s": -5 * time.Second} {
		var d, again Duration
		if err := d.UnmarshalText([]byte(in)); err != nil || time.Duration(d) != want {
			t.Errorf("%q = %v, %v", in, d, err)
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%q printed as %q, which reads as %v, %v", in, d, again, err)
		}
	}
	for _, bad := range []string{"", "5", "d", "-1d", "1.5d", "99999d", "1w", "9999999h9999999h"} {
		var d Duration
		if err := d.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("duration %q is taken for %v", bad, d)
		}
	}
}

// The configuration is the operator's, but it is text: whatever it is, it answers with an error or a configuration.
func FuzzParseConfig(f *testing.F) {
	f.Add("listen: {address: ':1'}\nparts: {a: {name: b}}")
	f.Add("a: &a [*a]")
	f.Add("? {a: b}\n: c")
	f.Add("--- !!binary x\n...\n---")
	f.Add("workers: 0x10\nttl: 1_0s")
	f.Fuzz(func(t *testing.T, text string) {
		var c serviceConfig
		err := ParseConfig("c.yaml", []byte(text), &c)
		var ce *ConfigError
		if err != nil && (!errors.As(err, &ce) || len(ce.Problems) == 0) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
