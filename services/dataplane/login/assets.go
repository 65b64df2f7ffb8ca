// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

//go:embed assets/style.css
var styleSheet []byte

//go:embed assets/page.js
var pageScript []byte

const pathAssets = "/assets/"

// assets are the addresses of the files that all tenants share. A digest is part of each, so that browsers may keep them for ever.
type assets struct{ style, script, checkSession string }

func newAssets() assets {
	return assets{
		style: assetPath("style", styleSheet, "css"), script: assetPath("page", pageScript, "js"),
		checkSession: assetPath("check_session", checkSessionScript, "js"),
	}
}

func assetPath(name string, data []byte, suffix string) string {
	sum := sha256.Sum256(data)
	return pathAssets + name + "." + hex.EncodeToString(sum[:10]) + "." + suffix
}

// logoTypes are the pictures that are served, with their suffix.
var logoTypes = map[string]string{
	"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/svg+xml": "svg",
}

func logoPath(l *snapshot.Logo) string { return assetPath("logo", l.Data, logoTypes[l.MediaType]) }

var errNoAsset = oauth2.NewError("not_found", http.StatusNotFound, "there is nothing at this path")

// asset is GET /assets/…. While replicas of two releases run side by side, one may be asked for a file of the other: it answers its
// own, to be kept by nobody, since a page in an older style is better than one in none.
func (s *Service) asset(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	name, _, _ := strings.Cut(q.Rest, ".")
	var (
		path, media string
		data        []byte
	)
	switch logo := q.Tenant.Theme.Logo; {
	case name == "style":
		path, media, data = s.assets.style, "text/css; charset=utf-8", styleSheet
	case name == "page":
		path, media, data = s.assets.script, "text/javascript; charset=utf-8", pageScript
	case name == "check_session" && q.Tenant.Policy.SessionManagement:
		path, media, data = s.assets.checkSession, "text/javascript; charset=utf-8", checkSessionScript
	case name == "logo" && logo != nil && logoTypes[logo.MediaType] != "":
		path, media, data = logoPath(logo), logo.MediaType, logo.Data
	default:
		return errNoAsset
	}
	h := w.Header()
	if pathAssets+q.Rest == path {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-store")
	}
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	// A picture that is opened by itself runs nothing: default-src 'none' is set already, and it has no origin.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(data) //nolint:errcheck // the caller is gone; there is nobody to tell
	}
	return nil
}
