// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package blueprint

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// The names that every blueprint may use beside its own parameters.
const (
	NameTenantSlug = "tenant.slug"
	NameHostLabel  = "host.label"
	NameOwnerEmail = "owner.email"
)

// hasTemplate says whether a text differs from tenant to tenant.
func hasTemplate(s string) bool { return strings.Contains(s, "{{") }

// expand fills in every {{name}} of a text. A name without a value, and braces that do not close, are errors.
func expand(s string, values map[string]string) (string, error) {
	if !hasTemplate(s) {
		return s, nil
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{{")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		name, after, ok := strings.Cut(rest, "}}")
		if !ok {
			return "", fmt.Errorf("{{ without }}")
		}
		v, ok := values[strings.TrimSpace(name)]
		if !ok {
			return "", fmt.Errorf("there is no parameter %q", strings.TrimSpace(name))
		}
		b.WriteString(v)
		s = after
	}
}

const defaultMaxLength = 256

// patterns are the compiled patterns of parameters. A full map is emptied: patterns come from blueprints, which are many but few in use.
var patterns struct {
	sync.Mutex
	m map[string]*regexp.Regexp
}

// pattern compiles a parameter's pattern, once.
func pattern(text string) (*regexp.Regexp, error) {
	patterns.Lock()
	defer patterns.Unlock()
	if re := patterns.m[text]; re != nil {
		return re, nil
	}
	re, err := regexp.Compile(`\A(?:` + text + `)\z`)
	if err != nil {
		return nil, err
	}
	if patterns.m == nil || len(patterns.m) >= 1024 {
		patterns.m = map[string]*regexp.Regexp{}
	}
	patterns.m[text] = re
	return re, nil
}

// check brings a value to the text that templates get, or says what the value must be.
func (p Parameter) check(v any) (text, rule string) {
	switch p.Type {
	case TypeNumber:
		n, ok := v.(float64)
		switch m := v.(type) {
		case int:
			n, ok = float64(m), true
		case int64:
			n, ok = float64(m), true
		case json.Number:
			f, err := m.Float64()
			n, ok = f, err == nil
		}
		if !ok || math.IsInf(n, 0) || math.IsNaN(n) {
			return "", "send a number"
		}
		return strconv.FormatFloat(n, 'f', -1, 64), ""
	case TypeBoolean:
		b, ok := v.(bool)
		if !ok {
			return "", "send true or false"
		}
		return strconv.FormatBool(b), ""
	case TypeString, "":
	}
	s, ok := v.(string)
	if !ok {
		return "", "send a text"
	}
	limit := p.MaxLength
	if limit == 0 {
		limit = defaultMaxLength
	}
	switch {
	case utf8.RuneCountInString(s) > limit:
		return "", fmt.Sprintf("at most %d characters", limit)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", "leave out control characters"
	case strings.Contains(s, "{{") || strings.Contains(s, "}}"):
		return "", "leave out double braces"
	}
	if p.Pattern != "" {
		if re, err := pattern(p.Pattern); err != nil || !re.MatchString(s) {
			return "", "it must match " + p.Pattern
		}
	}
	return s, ""
}

// values checks given parameters against the declared ones and answers the texts for templates and the full set of values.
func (s Spec) values(given map[string]any) (texts map[string]string, all map[string]any, vs []tenancy.Violation) {
	texts, all = make(map[string]string, len(s.Parameters)+3), make(map[string]any, len(s.Parameters))
	for name := range given {
		if _, ok := s.Parameters[name]; !ok {
			vs = append(vs, tenancy.Violation{Field: "parameters." + name, Text: "the blueprint declares no such parameter"})
		}
	}
	for name, p := range s.Parameters {
		v, ok := given[name]
		if !ok || v == nil {
			if v = p.Default; v == nil {
				vs = append(vs, tenancy.Violation{Field: "parameters." + name, Text: "send a value: it has no default"})
				continue
			}
		}
		text, rule := p.check(v)
		if rule != "" {
			vs = append(vs, tenancy.Violation{Field: "parameters." + name, Text: rule})
			continue
		}
		texts[name], all[name] = text, v
	}
	return texts, all, vs
}
