// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
)

func TestExpires(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		h    http.Header
		want time.Time
	}{
		"nothing":             {http.Header{}, time.Time{}},
		"other directives":    {http.Header{"Cache-Control": {"public, must-revalidate"}}, time.Time{}},
		"max-age":             {http.Header{"Cache-Control": {"public, MAX-AGE=600"}}, now.Add(10 * time.Minute)},
		"max-age quoted":      {http.Header{"Cache-Control": {`max-age="600"`}}, now.Add(10 * time.Minute)},
		"with Age":            {http.Header{"Cache-Control": {"max-age=600"}, "Age": {"100"}}, now.Add(500 * time.Second)},
		"older than max-age":  {http.Header{"Cache-Control": {"max-age=60"}, "Age": {"100"}}, now},
		"no-store":            {http.Header{"Cache-Control": {"max-age=600", "no-store"}}, now},
		"no-cache":            {http.Header{"Cache-Control": {"max-age=600, no-cache"}}, now},
		"for ever":            {http.Header{"Cache-Control": {"max-age=2147483647"}}, now.Add(24 * time.Hour)},
		"overflow":            {http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, now},
		"negative":            {http.Header{"Cache-Control": {"max-age=-1"}}, now},
		"twice":               {http.Header{"Cache-Control": {"max-age=60, max-age=6000"}}, now.Add(time.Minute)},
		"Expires":             {http.Header{"Expires": {at(time.Hour)}}, now.Add(time.Hour)},
		"Expires and Date":    {http.Header{"Expires": {at(time.Hour)}, "Date": {at(30 * time.Minute)}}, now.Add(30 * time.Minute)},
		"Expires in the past": {http.Header{"Expires": {at(-time.Hour)}}, now},
		"Expires 0":           {http.Header{"Expires": {"0"}}, now},
		"max-age wins":        {http.Header{"Expires": {at(time.Hour)}, "Cache-Control": {"max-age=60"}}, now.Add(time.Minute)},
	} {
		if got := expires(c.h, now); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestConfig(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"allow_networks: [10.0.0.0/8, 'fd00::/8']\nallow_http: true\ntimeout: 5s\nproxy: http://proxy.example:3128": "",
		"allow_networks: [10.0.0.1]":        "allow_networks[0]",
		"allow_networks: [0.0.0.0/0]":       "allow_networks[0]",
		"allow_networks: ['::ffff:0:0/96']": "allow_networks[0]",
		"allow_http: true":                  "allow_http",
		"timeout: 31s":                      "timeout",
		"timeout: -1s":                      "timeout",
		"proxy: https://proxy.example:3128": "proxy",
		"proxy: http://a:b@proxy.example:1": "proxy",
		"proxy: proxy.example":              "proxy",
	} {
		var cfg Config
		err := daemon.ParseConfig("test.yaml", []byte(text), &cfg)
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			} else if _, err := New(cfg, Options{}); err != nil {
				t.Errorf("%q: New: %v", text, err)
			}
			continue
		}
		var problems *daemon.ConfigError
		if !errors.As(err, &problems) || problems.Problems[0].Field != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for name, cfg := range map[string]Config{
		"network": {AllowNetworks: []string{"x"}}, "proxy": {Proxy: "x"}, "no CA file": {CAFile: "/does/not/exist"}, "CA file of something else": {CAFile: daemon.Path(os.Args[0])},
	} {
		if _, err := New(cfg, Options{}); err == nil {
			t.Errorf("New with a bad %s", name)
		}
	}
}
