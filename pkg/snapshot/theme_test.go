// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

func TestThemeOfYellow(t *testing.T) {
	theme, err := CompileTheme(nil, &snapshotv1.Theme{Brand: proto.String("#ffdd00")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		got  Color
		want string
	}{
		{"on-brand", theme.Light.OnBrand, "#000000"},
		{"light link", theme.Light.Link, "#897600"},
		{"dark link", theme.Dark.Link, "#ffdd00"},
		{"light focus", theme.Light.Focus, "#ac9400"},
		{"on-canvas", theme.Light.OnCanvas, "#000000"},
		{"dark on-canvas", theme.Dark.OnCanvas, "#ffffff"},
	} {
		if c.got.String() != c.want {
			t.Errorf("%s is %s, want %s", c.name, c.got, c.want)
		}
	}
	css := theme.CSS()
	for _, want := range []string{"--brand:#ffdd00;", "--link:#897600;", "--radius:0.5rem;", "--logo-height:32px", "prefers-color-scheme:dark"} {
		if !strings.Contains(css, want) {
			t.Errorf("style sheet lacks %q: %s", want, css)
		}
	}
	if len(css) > 800 {
		t.Errorf("style sheet has %d bytes", len(css))
	}
}

// Every pair of colours that meets on a page is readable, whatever the brand and the background are.
func TestThemeContrastForManyColours(t *testing.T) {
	step := 15
	if testing.Short() {
		step = 51
	}
	atLeast := func(c Color, what string, a, b Color, want float64) {
		if got := Contrast(a, b); got < want {
			t.Fatalf("%s of %s: %s on %s has %.3f:1, want %.1f:1", what, c, a, b, got, want)
		}
	}
	for r := 0; r <= 255; r += step {
		for g := 0; g <= 255; g += step {
			for b := 0; b <= 255; b += step {
				c := Color{uint8(r), uint8(g), uint8(b)}
				for _, tokens := range []ThemeTokens{lightTokens(c, c), darkTokens(c)} {
					atLeast(c, "on-canvas", tokens.OnCanvas, tokens.Canvas, 4.5)
					atLeast(c, "text", tokens.Text, tokens.Surface, 7)
					atLeast(c, "muted", tokens.Muted, tokens.Surface, 4.5)
					atLeast(c, "line", tokens.Line, tokens.Surface, 3)
					atLeast(c, "on-brand", tokens.OnBrand, tokens.Brand, 4.5)
					atLeast(c, "link", tokens.Link, tokens.Surface, 4.5)
					atLeast(c, "focus", tokens.Focus, tokens.Surface, 3)
					atLeast(c, "brand-edge", tokens.BrandEdge, tokens.Surface, 3)
					atLeast(c, "danger", tokens.Danger, tokens.Surface, 4.5)
				}
			}
		}
	}
}

func TestThemeRefuses(t *testing.T) {
	for name, theme := range map[string]*snapshotv1.Theme{
		"background": {Background: proto.String("red;}body{display:none")},
		"brand":      {Brand: proto.String("#12345")},
		"brand hex":  {Brand: proto.String("#12345g")},
		"radius":     {Radius: proto.Uint32(151)},
		"font":       {Font: proto.String("url(https://evil.example/f)")},
		"height":     {LogoHeight: proto.Uint32(65)},
		"logo type":  {Logo: &snapshotv1.Logo{MediaType: "text/html", Data: []byte("x")}},
		"logo size":  {Logo: &snapshotv1.Logo{MediaType: "image/png", Data: make([]byte, maxLogo+1)}},
		"logo empty": {Logo: &snapshotv1.Logo{MediaType: "image/png"}},
	} {
		if _, err := CompileTheme(theme); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestMergeThemesNearestWins(t *testing.T) {
	m := MergeThemes(
		&snapshotv1.Theme{Background: proto.String("#111111"), Brand: proto.String("#222222")}, nil,
		&snapshotv1.Theme{Brand: proto.String("#333333")})
	if m.GetBackground() != "#111111" || m.GetBrand() != "#333333" || m.Radius != nil {
		t.Errorf("merged to %v", m)
	}
}
