// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/tenantry/tenantry/services/internal/outbound"
)

// maxSectorBytes bounds a sector document: a hundred clients with long redirect URIs.
const maxSectorBytes = 256 << 10

// sectors reads the documents that say which clients share pairwise subjects (OpenID Connect Registration section 5): a JSON array of
// redirect URIs.
func sectors(out *outbound.Client, log *slog.Logger) func(ctx context.Context, uri string) ([]string, error) {
	return func(ctx context.Context, uri string) ([]string, error) {
		r, err := out.Get(ctx, uri, outbound.GetOptions{Accept: "application/json", MaxBytes: maxSectorBytes})
		if err != nil {
			log.InfoContext(ctx, "a sector document could not be fetched", "error", outbound.Detail(err))
			return nil, fmt.Errorf("sector document: %w", err)
		}
		if r.Status != http.StatusOK {
			return nil, fmt.Errorf("sector document: status %d", r.Status)
		}
		var list []string
		if err := json.Unmarshal(r.Body, &list); err != nil {
			return nil, fmt.Errorf("sector document: %w", err)
		}
		return list, nil
	}
}
