// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// ThemeTokens are the colours of one colour scheme. Every pair that meets on a page has its contrast assured when the theme is
// compiled: on-canvas, on-brand, muted, link and danger 4.5:1, text 7:1, line, focus and brand-edge 3:1.
type ThemeTokens struct {
	Canvas, OnCanvas     Color // the page around the card, and text and focus ring on it
	Surface, Text, Muted Color // the card and its text
	Line                 Color // borders of inputs
	Brand, OnBrand       Color // buttons and their text
	Link                 Color // the brand's hue, readable on the surface
	Focus, BrandEdge     Color // the brand's hue, visible on the surface
	Danger               Color
}

// Theme is a compiled appearance. It may be shared by tenants; nobody changes it.
type Theme struct {
	Title       string // empty: the tenant's display name; see Tenant.Title
	Light, Dark ThemeTokens
	Radius      string // CSS length of corners, such as "0.5rem"
	Font        string // CSS font-family list of local fonts
	LogoHeight  int    // CSS pixels
	Logo        *Logo  // nil: none
}

// Logo is a small picture, inlined into pages.
type Logo struct {
	MediaType string // image/svg+xml, image/png, image/webp or image/jpeg
	Data      []byte
	Alt       string // text for people who do not see it
}

// maxLogo bounds a logo, which travels in every snapshot that has one.
const maxLogo = 10 << 10

// fonts are the families a theme may name. All are local: a page never fetches a font.
var fonts = map[string]string{
	"system-ui":  "system-ui,sans-serif",
	"sans-serif": "Helvetica,Arial,sans-serif",
	"serif":      "Georgia,\"Times New Roman\",serif",
	"monospace":  "ui-monospace,Menlo,Consolas,monospace",
	"ui-rounded": "ui-rounded,system-ui,sans-serif",
}

// defaultTheme is the layer under all others.
var defaultTheme = &snapshotv1.Theme{
	Background: proto.String("#f4f4f6"), Brand: proto.String("#3451b2"), Radius: proto.Uint32(50), Font: proto.String("system-ui"),
	LogoHeight: proto.Uint32(32),
}

// MergeThemes merges layers, outermost first: for each field the nearest layer that sets it wins. Nil layers are skipped; values
// may be shared with the arguments.
func MergeThemes(layers ...*snapshotv1.Theme) *snapshotv1.Theme {
	out := &snapshotv1.Theme{}
	m := out.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		for _, layer := range slices.Backward(layers) {
			if l := layer.ProtoReflect(); l.IsValid() && l.Has(field) {
				m.Set(field, l.Get(field))
				break
			}
		}
	}
	return out
}

// CompileTheme merges the layers over the platform's appearance and computes the tokens. The error names the field that cannot be
// used.
func CompileTheme(layers ...*snapshotv1.Theme) (*Theme, error) {
	m := MergeThemes(append([]*snapshotv1.Theme{defaultTheme}, layers...)...)
	background, err := ParseColor(m.GetBackground())
	if err != nil {
		return nil, fmt.Errorf("theme background: %w", err)
	}
	brand, err := ParseColor(m.GetBrand())
	if err != nil {
		return nil, fmt.Errorf("theme brand: %w", err)
	}
	if m.GetRadius() > 150 {
		return nil, fmt.Errorf("theme radius: %d hundredths of a rem, at most 150", m.GetRadius())
	}
	font, known := fonts[m.GetFont()]
	if !known {
		return nil, fmt.Errorf("theme font: %q is none of the local families", m.GetFont())
	}
	if h := m.GetLogoHeight(); h < 24 || h > 64 {
		return nil, fmt.Errorf("theme logo_height: %d is outside 24 to 64", h)
	}
	if len(m.GetTitle()) > maxName {
		return nil, fmt.Errorf("theme title: %d bytes, %d allowed", len(m.GetTitle()), maxName)
	}
	t := &Theme{
		Title: m.GetTitle(), Font: font, LogoHeight: int(m.GetLogoHeight()),
		Radius: strconv.FormatFloat(float64(m.GetRadius())/100, 'f', -1, 64) + "rem",
		Light:  lightTokens(background, brand), Dark: darkTokens(brand),
	}
	if l := m.GetLogo(); l != nil {
		switch l.GetMediaType() {
		case "image/svg+xml", "image/png", "image/webp", "image/jpeg":
		default:
			return nil, fmt.Errorf("theme logo: media type %q", l.GetMediaType())
		}
		if n := len(l.GetData()); n == 0 || n > maxLogo {
			return nil, fmt.Errorf("theme logo: %d bytes, 1 to %d allowed", n, maxLogo)
		}
		if len(l.GetAlt()) > maxName {
			return nil, fmt.Errorf("theme logo: alt has %d bytes, %d allowed", len(l.GetAlt()), maxName)
		}
		t.Logo = &Logo{MediaType: l.GetMediaType(), Data: l.GetData(), Alt: l.GetAlt()}
	}
	return t, nil
}

func lightTokens(canvas, brand Color) ThemeTokens {
	t := ThemeTokens{
		Canvas: canvas, Surface: Color{0xff, 0xff, 0xff}, Text: Color{0x16, 0x16, 0x1a}, Muted: Color{0x59, 0x59, 0x62},
		Line: Color{0x76, 0x76, 0x80}, Brand: brand, Danger: Color{0xb3, 0x26, 0x1e},
	}
	return t.derive()
}

func darkTokens(brand Color) ThemeTokens {
	t := ThemeTokens{
		Canvas: Color{0x12, 0x12, 0x15}, Surface: Color{0x1c, 0x1c, 0x20}, Text: Color{0xf2, 0xf2, 0xf5}, Muted: Color{0xb5, 0xb5, 0xbd},
		Line: Color{0x8a, 0x8a, 0x93}, Brand: brand, Danger: Color{0xff, 0xb4, 0xab},
	}
	return t.derive()
}

func (t ThemeTokens) derive() ThemeTokens {
	t.OnCanvas = readable(t.Canvas)
	t.OnBrand = readable(t.Brand)
	t.Link = moved(t.Brand, t.Surface, textContrast)
	t.Focus = moved(t.Brand, t.Surface, edgeContrast)
	t.BrandEdge = t.Focus
	return t
}

// CSS is the style sheet with the tokens as custom properties: light values, dark ones under prefers-color-scheme. It holds only
// colours, numbers and names of this package, so it may stand in a page as it is.
func (t *Theme) CSS() string {
	var b strings.Builder
	b.Grow(640)
	b.WriteString(":root{color-scheme:light dark;")
	t.Light.css(&b)
	b.WriteString("--radius:" + t.Radius + ";--font:" + t.Font + ";--logo-height:" + strconv.Itoa(t.LogoHeight) + "px}")
	b.WriteString("@media(prefers-color-scheme:dark){:root{")
	t.Dark.css(&b)
	b.WriteString("}}")
	return b.String()
}

func (t *ThemeTokens) css(b *strings.Builder) {
	for _, p := range [...]struct {
		name  string
		color Color
	}{
		{"canvas", t.Canvas},
		{"on-canvas", t.OnCanvas},
		{"surface", t.Surface},
		{"text", t.Text},
		{"muted", t.Muted},
		{"line", t.Line},
		{"brand", t.Brand},
		{"on-brand", t.OnBrand},
		{"link", t.Link},
		{"focus", t.Focus},
		{"brand-edge", t.BrandEdge},
		{"danger", t.Danger},
	} {
		b.WriteString("--" + p.name + ":" + p.color.String() + ";")
	}
}
