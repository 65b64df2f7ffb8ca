// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/hex"
	"fmt"
	"math"
)

// Color is an sRGB colour, eight bits a channel.
type Color [3]uint8

// String is the form of style sheets, "#rrggbb".
func (c Color) String() string {
	var b [7]byte
	b[0] = '#'
	hex.Encode(b[1:], c[:])
	return string(b[:])
}

// ParseColor reads "#rrggbb", in either case and no other form: what stands in a style sheet is printed by String.
func ParseColor(s string) (Color, error) {
	var c Color
	if len(s) != 7 || s[0] != '#' {
		return c, fmt.Errorf("snapshot: %q is not a colour of the form #rrggbb", s)
	}
	if _, err := hex.Decode(c[:], []byte(s[1:])); err != nil {
		return c, fmt.Errorf("snapshot: %q is not a colour of the form #rrggbb", s)
	}
	return c, nil
}

// linear is the light of one channel (IEC 61966-2-1).
var linear = func() (t [256]float64) {
	for i := range t {
		v := float64(i) / 255
		if v <= 0.04045 {
			t[i] = v / 12.92
		} else {
			t[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return t
}()

func (c Color) luminance() float64 {
	return 0.2126*linear[c[0]] + 0.7152*linear[c[1]] + 0.0722*linear[c[2]]
}

// Contrast is the contrast ratio of two colours (WCAG 2.2), 1 to 21.
func Contrast(a, b Color) float64 {
	x, y := a.luminance(), b.luminance()
	if x < y {
		x, y = y, x
	}
	return (x + 0.05) / (y + 0.05)
}

// oklch is a colour in the OKLCH space: lightness 0 to 1, chroma, and the hue as a unit vector.
type oklch struct{ l, c, cosH, sinH float64 }

func (c Color) oklch() oklch {
	r, g, b := linear[c[0]], linear[c[1]], linear[c[2]]
	l := math.Cbrt(0.4122214708*r + 0.5363325363*g + 0.0514459929*b)
	m := math.Cbrt(0.2119034982*r + 0.6806995451*g + 0.1073969566*b)
	s := math.Cbrt(0.0883024619*r + 0.2817188376*g + 0.6299787005*b)
	light := 0.2104542553*l + 0.7936177850*m - 0.0040720468*s
	x := 1.9779984951*l - 2.4285922050*m + 0.4505937099*s
	y := 0.0259040371*l + 0.7827717662*m - 0.8086757660*s
	chroma := math.Hypot(x, y)
	if chroma < 1e-6 {
		return oklch{l: light}
	}
	return oklch{l: light, c: chroma, cosH: x / chroma, sinH: y / chroma}
}

// rgb gives linear channels, which may lie outside 0 to 1.
func (o oklch) rgb() (r, g, b float64) {
	x, y := o.c*o.cosH, o.c*o.sinH
	l := o.l + 0.3963377774*x + 0.2158037573*y
	m := o.l - 0.1055613458*x - 0.0638541728*y
	s := o.l - 0.0894841775*x - 1.2914855480*y
	l, m, s = l*l*l, m*m*m, s*s*s
	return 4.0767416621*l - 3.3077115913*m + 0.2309699292*s,
		-1.2684380046*l + 2.6097574011*m - 0.3413193965*s,
		-0.0041960863*l - 0.7034186147*m + 1.7076147010*s
}

func (o oklch) inGamut() bool {
	const slack = 1e-4
	r, g, b := o.rgb()
	return min(r, g, b) >= -slack && max(r, g, b) <= 1+slack
}

// color is the nearest sRGB colour of the same lightness and hue: chroma is cut where the screen cannot show it.
func (o oklch) color() Color {
	if !o.inGamut() {
		low, high := 0.0, o.c
		for range 20 {
			o.c = (low + high) / 2
			if o.inGamut() {
				low = o.c
			} else {
				high = o.c
			}
		}
		o.c = low
	}
	var c Color
	r, g, b := o.rgb()
	for i, v := range [3]float64{r, g, b} {
		v = min(max(v, 0), 1)
		if v <= 0.0031308 {
			v *= 12.92
		} else {
			v = 1.055*math.Pow(v, 1/2.4) - 0.055
		}
		c[i] = uint8(math.Round(v * 255))
	}
	return c
}

// moved returns c, or the colour of its hue whose lightness differs least from c's while its contrast with surface reaches want.
// It always succeeds for want up to 4.5: black or white reaches that on any surface.
func moved(c, surface Color, want float64) Color {
	if Contrast(c, surface) >= want {
		return c
	}
	o := c.oklch()
	good, bad := 0.0, o.l // towards black on a light surface
	if surface.luminance() < 0.18 {
		good = 1
	}
	best := oklch{l: good}.color()
	for range 24 {
		try := o
		try.l = (good + bad) / 2
		if out := try.color(); Contrast(out, surface) >= want {
			good, best = try.l, out
		} else {
			bad = try.l
		}
	}
	return best
}

// readable is white if that is readable on background, else black, of which one always is (WCAG 2.2, 1.4.3).
func readable(background Color) Color {
	white := Color{0xff, 0xff, 0xff}
	if Contrast(white, background) >= textContrast {
		return white
	}
	return Color{}
}

const (
	textContrast = 4.5 // WCAG 2.2, 1.4.3
	edgeContrast = 3   // WCAG 2.2, 1.4.11
)
