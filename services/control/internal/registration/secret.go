// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package registration

import (
	"time"

	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// hasSecret says whether the text is a secret that the client has now.
func hasSecret(c *tenancy.Client, text string, now time.Time) bool {
	named, presented, err := secret.ParseToken(secret.ClientSecret, text)
	if err != nil {
		return false
	}
	for _, s := range c.Secrets {
		if [16]byte(s.ID) == named && s.Hash.Equal(presented) && (s.ExpireTime.IsZero() || now.Before(s.ExpireTime)) {
			return true
		}
	}
	return false
}
