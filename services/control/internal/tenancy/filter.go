// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"slices"
	"strings"
)

// Filter is a parsed list filter: restrictions that all hold. It is the part of AIP-160 that an index can answer:
//
//	filter      = restriction { " AND " restriction }
//	restriction = field ("=" | ":") value
//	value       = quoted string | bare word
//
// `=` is equality; `:` is "has": a prefix for text fields that allow it, membership for lists and labels.
type Filter []Restriction

// Restriction is one condition of a Filter.
type Restriction struct {
	Field string // such as state or labels.team
	Has   bool   // `:` instead of `=`
	Value string
}

// FilterField is one field that a list can be filtered by.
type FilterField struct {
	Name  string                  // labels.* stands for every label
	Has   bool                    // allows `:` too
	Check func(value string) bool // nil allows every value
}

const (
	maxFilter       = 2048
	maxRestrictions = 16
)

// ParseFilter reads a filter and checks it against the fields of a list. The refusal lists what is allowed.
func ParseFilter(text string, allowed []FilterField) (Filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	refuse := func(why string) (Filter, error) {
		return nil, &Error{
			Reason: ReasonFilterUnsupported, Field: "filter", Text: why + "; allowed are " + describe(allowed) + ", joined by AND",
			Violations: []Violation{{Field: "filter", Text: why + "; allowed are " + describe(allowed) + ", joined by AND"}},
		}
	}
	if len(text) > maxFilter {
		return refuse("the filter is longer than 2048 bytes")
	}
	var f Filter
	rest := text
	for {
		var r Restriction
		var ok bool
		if r, rest, ok = restriction(rest); !ok {
			return refuse("the filter is not written as field = \"value\"")
		}
		field := find(allowed, r.Field)
		switch {
		case field == nil:
			return refuse("there is no such field to filter by")
		case r.Has && !field.Has:
			return refuse("the field " + field.Name + " does not take \":\"")
		case field.Check != nil && !field.Check(r.Value):
			return refuse("the value of " + field.Name + " is none that it can have")
		}
		f = append(f, r)
		if len(f) > maxRestrictions {
			return refuse("the filter has more than 16 conditions")
		}
		if rest = strings.TrimLeft(rest, " \t"); rest == "" {
			return f, nil
		}
		word, after, _ := strings.Cut(rest, " ")
		if word != "AND" || after == "" {
			return refuse("conditions are joined by AND only")
		}
		rest = after
	}
}

// restriction reads one condition and returns what follows it.
func restriction(s string) (r Restriction, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t")
	i := 0
	for i < len(s) && fieldByte(s[i]) {
		i++
	}
	r.Field = s[:i]
	s = strings.TrimLeft(s[i:], " \t")
	if r.Field == "" || s == "" || s[0] != '=' && s[0] != ':' {
		return r, "", false
	}
	r.Has = s[0] == ':'
	s = strings.TrimLeft(s[1:], " \t")
	if s == "" {
		return r, "", false
	}
	if s[0] != '"' {
		i = 0
		for i < len(s) && (fieldByte(s[i]) || strings.IndexByte("@+*/", s[i]) >= 0) {
			i++
		}
		if i == 0 || i < len(s) && s[i] != ' ' && s[i] != '\t' {
			return r, "", false
		}
		r.Value = s[:i]
		return r, s[i:], true
	}
	var b strings.Builder
	for i = 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			r.Value = b.String()
			return r, s[i+1:], i+1 == len(s) || s[i+1] == ' ' || s[i+1] == '\t'
		case '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return r, "", false
			}
			b.WriteByte(s[i])
		default:
			if c < 0x20 || c == 0x7f {
				return r, "", false
			}
			b.WriteByte(c)
		}
	}
	return r, "", false
}

func fieldByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

func find(allowed []FilterField, name string) *FilterField {
	i := slices.IndexFunc(allowed, func(f FilterField) bool {
		prefix, wild := strings.CutSuffix(f.Name, "*")
		return f.Name == name || wild && strings.HasPrefix(name, prefix) && len(name) > len(prefix)
	})
	if i < 0 {
		return nil
	}
	return &allowed[i]
}

func describe(allowed []FilterField) string {
	names := make([]string, len(allowed))
	for i, f := range allowed {
		names[i] = f.Name + " ="
		if f.Has {
			names[i] += " or :"
		}
	}
	if len(names) == 0 {
		return "no fields"
	}
	return strings.Join(names, ", ")
}

// Canonical prints the filter in one spelling, for binding a page token to it.
func (f Filter) Canonical() string {
	var b strings.Builder
	for _, r := range f {
		b.WriteString(r.Field)
		if r.Has {
			b.WriteByte(':')
		} else {
			b.WriteByte('=')
		}
		b.WriteByte('"')
		b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(r.Value))
		b.WriteString("\" ")
	}
	return b.String()
}
