// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// Keys are rotated each 90 days unless the file says otherwise; 0 is a word of its own.
func TestKeyRotationInTheConfiguration(t *testing.T) {
	if got := *(Config{}).withDefaults().KeyRotation; time.Duration(got) != 90*24*time.Hour {
		t.Errorf("left out: %v", got)
	}
	for text, refused := range map[string]bool{"0s": false, "1d": false, "30d": false, "1h": true} {
		var age daemon.Duration
		if err := age.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		c := Config{KeyRotation: &age}
		if got := *c.withDefaults().KeyRotation; got != age {
			t.Errorf("%s became %v", text, got)
		}
		err := daemon.Validate(&c)
		if err == nil || strings.Contains(err.Error(), "key_rotation") != refused {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The guarded client's own rules are checked with the file.
func TestOutboundIsCheckedWithTheConfiguration(t *testing.T) {
	err := daemon.Validate(&Config{Outbound: outbound.Config{AllowNetworks: []string{"everything"}}})
	if err == nil || !strings.Contains(err.Error(), "outbound.allow_networks[0]") {
		t.Errorf("%v", err)
	}
}
