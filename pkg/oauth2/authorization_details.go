// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// Bounds of authorization_details beside those of every parameter.
const (
	maxDetails       = 16
	maxDetailValues  = 64
	maxDetailText    = 1024 // bytes of one string: people are to read it
	maxDetailNumber  = 32
	maxDetailNesting = 8
)

// Detail is one valid object of authorization_details (RFC 9396 section 2).
type Detail struct {
	// Type is its type.
	Type string

	kind   *DetailType
	fields []detailValue // of kind.Fields, in their order; those that were sent
}

// detailValue is a member with its value: string, json.Number, bool, []string or []detailValue by the field's kind.
type detailValue struct {
	field *DetailField
	value any
}

// Details are the authorization_details of a request, checked against the types that the tenant knows. The zero value asks for nothing.
type Details []Detail

// InvalidAuthorizationDetails: an object is malformed, of an unknown type, or not as its type has it (RFC 9396 section 5).
func InvalidAuthorizationDetails(description string) *Error {
	return NewError(CodeInvalidAuthorizationDetails, statusBadRequest, description)
}

// ParseDetails parses an authorization_details parameter (RFC 9396 section 2) against the tenant's types; allowed are those of them that
// the client is registered for. An unknown member is refused, because it may limit what the known ones grant (section 5). The empty text
// gives none. The errors are invalid_authorization_details.
func ParseDetails(text string, types []DetailType, allowed []string) (Details, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > MaxParamBytes {
		return nil, InvalidAuthorizationDetails("authorization_details is too long")
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	value, err := strictJSON(d, 0)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errDetailJSON
		}
	}
	list, ok := value.([]any)
	if err != nil || !ok || len(list) == 0 || len(list) > maxDetails {
		return nil, InvalidAuthorizationDetails("authorization_details is not a JSON array of a few objects").WithCause(err)
	}
	details := make(Details, 0, len(list))
	for _, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			return nil, InvalidAuthorizationDetails("authorization_details is not a JSON array of objects")
		}
		name, _ := object["type"].(string)
		i := slices.IndexFunc(types, func(t DetailType) bool { return t.Type == name })
		if name == "" || i < 0 || !slices.Contains(allowed, name) {
			return nil, InvalidAuthorizationDetails("a type of authorization_details is not known here, or not for this client")
		}
		fields, err := checkDetail(types[i].Fields, object, "type")
		if err != nil {
			return nil, err
		}
		details = append(details, Detail{Type: name, kind: &types[i], fields: fields})
	}
	return details, nil
}

// checkDetail holds an object against its fields. but is a member that has been seen to.
func checkDetail(fields []DetailField, object map[string]any, but string) ([]detailValue, error) {
	for name := range object {
		if name != but && !slices.ContainsFunc(fields, func(f DetailField) bool { return f.Name == name }) {
			return nil, InvalidAuthorizationDetails("a member of authorization_details is not one of its type")
		}
	}
	var values []detailValue
	for i := range fields {
		f := &fields[i]
		raw, ok := object[f.Name]
		if !ok {
			if f.Required {
				return nil, InvalidAuthorizationDetails("authorization_details lacks " + quoteDetail(f.Name))
			}
			continue
		}
		value, ok := f.value(raw)
		if nested, isObject := raw.(map[string]any); isObject && f.Kind == "object" {
			inner, err := checkDetail(f.Fields, nested, "")
			if err != nil {
				return nil, err
			}
			value, ok = inner, true
		}
		if !ok {
			return nil, InvalidAuthorizationDetails("in authorization_details, " + quoteDetail(f.Name) + " has a value that its type does not allow")
		}
		values = append(values, detailValue{f, value})
	}
	return values, nil
}

// value checks a value that is no object. Text is shown to people, so it has no control characters.
func (f *DetailField) value(raw any) (any, bool) {
	text := func(s string) bool {
		return s != "" && len(s) <= maxDetailText && cleanText(s, false) && (len(f.Enum) == 0 || slices.Contains(f.Enum, s))
	}
	switch v := raw.(type) {
	case string:
		return v, f.Kind == "string" && text(v)
	case json.Number:
		return v, f.Kind == "number" && len(v) <= maxDetailNumber
	case bool:
		return v, f.Kind == "boolean"
	case []any:
		if f.Kind != "strings" || len(v) == 0 || len(v) > maxDetailValues {
			return nil, false
		}
		list := make([]string, 0, len(v))
		for _, item := range v {
			s, ok := item.(string)
			if !ok || !text(s) || slices.Contains(list, s) {
				return nil, false
			}
			list = append(list, s)
		}
		return list, true
	}
	return nil, false
}

// quoteDetail names a field, which the tenant's administrators named.
func quoteDetail(name string) string { return "member " + name }

// JSON is the array in one form: the members in the order of their types, whatever order they came in; nil for none.
func (d Details) JSON() json.RawMessage {
	if len(d) == 0 {
		return nil
	}
	b := []byte{'['}
	for i, detail := range d {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsonw.Member(append(b, '{'), "type", detail.Type)
		b = append(appendDetail(b, detail.fields), '}')
	}
	return append(b, ']')
}

func appendDetail(b []byte, fields []detailValue) []byte {
	for _, f := range fields {
		switch v := f.value.(type) {
		case string:
			b = jsonw.Member(b, f.field.Name, v)
		case json.Number:
			b = append(jsonw.Name(b, f.field.Name), v...)
		case bool:
			b = jsonw.Bool(b, f.field.Name, v)
		case []string:
			b = jsonw.Strings(b, f.field.Name, v)
		case []detailValue:
			b = append(appendDetail(append(jsonw.Name(b, f.field.Name), '{'), v), '}')
		}
	}
	return b
}

// Cover says whether what is requested lies inside d, object by object (RFC 9396 sections 6 and 7): it is equal but for lists of strings,
// which may be shorter. What a missing member means is known to its type alone, so one that was granted must be there. Each object of d
// stands for one of those requested: a payment that was allowed once is not two.
func (d Details) Cover(requested Details) bool {
	holder := make([]int, len(d)) // the requested object that each of d stands for, counted from 1
	for i := range requested {
		if !d.place(requested, i, holder, make([]bool, len(d))) {
			return false
		}
	}
	return true
}

// place finds an object of d for a requested one, and another for the one that it stood for before if need be (augmenting paths of a
// bipartite matching): the order of the objects decides nothing.
func (d Details) place(requested Details, i int, holder []int, seen []bool) bool {
	for j := range d {
		if seen[j] || d[j].Type != requested[i].Type || !coverFields(d[j].fields, requested[i].fields) {
			continue
		}
		seen[j] = true
		if holder[j] == 0 || d.place(requested, holder[j]-1, holder, seen) {
			holder[j] = i + 1
			return true
		}
	}
	return false
}

func coverFields(have, want []detailValue) bool {
	return slices.EqualFunc(have, want, func(h, w detailValue) bool {
		if h.field.Name != w.field.Name {
			return false
		}
		switch hv := h.value.(type) {
		case []string:
			wv, ok := w.value.([]string)
			return ok && !slices.ContainsFunc(wv, func(s string) bool { return !slices.Contains(hv, s) })
		case []detailValue:
			wv, ok := w.value.([]detailValue)
			return ok && coverFields(hv, wv)
		}
		return h.value == w.value
	})
}

// Narrow gives the authorization_details of tokens for a request that names some, out of those granted (RFC 9396 section 6.1): the requested
// ones when they lie inside, else invalid_authorization_details; all granted when nothing is requested. granted is what JSON gave at some
// earlier time. When its types have changed since, nothing can be said to lie inside it.
func Narrow(granted json.RawMessage, requested string, types []DetailType, allowed []string) (json.RawMessage, error) {
	if requested == "" {
		return granted, nil
	}
	want, err := ParseDetails(requested, types, allowed)
	if err != nil {
		return nil, err
	}
	have, err := ParseDetails(string(granted), types, allowed)
	if err != nil || !have.Cover(want) {
		return nil, InvalidAuthorizationDetails("authorization_details asks for more than was granted").WithCause(err)
	}
	return want.JSON(), nil
}

// DetailLine is one labelled value for a page. Value is a stranger's text: string, number as it was written, or empty for a boolean, which
// the page says in its own language.
type DetailLine struct {
	Label string
	Value string
	// Boolean and True tell of a boolean.
	Boolean, True bool
}

// Title is what a page calls the object.
func (d Detail) Title() string {
	if d.kind.Title != "" {
		return d.kind.Title
	}
	return d.Type
}

// Lines are the values that have a label, in the order of the type; those of objects have the labels of both.
func (d Detail) Lines() []DetailLine { return detailLines(nil, "", d.fields) }

func detailLines(lines []DetailLine, prefix string, fields []detailValue) []DetailLine {
	for _, f := range fields {
		label := f.field.Label
		if label == "" {
			continue
		}
		if prefix != "" {
			label = prefix + " · " + label
		}
		switch v := f.value.(type) {
		case string:
			lines = append(lines, DetailLine{Label: label, Value: v})
		case json.Number:
			lines = append(lines, DetailLine{Label: label, Value: v.String()})
		case bool:
			lines = append(lines, DetailLine{Label: label, Boolean: true, True: v})
		case []string:
			lines = append(lines, DetailLine{Label: label, Value: strings.Join(v, ", ")})
		case []detailValue:
			lines = detailLines(lines, label, v)
		}
	}
	return lines
}

var errDetailJSON = errors.New("oauth2: unexpected JSON")

// strictJSON reads one value, refusing a member given twice, of which two readers would take different ones.
func strictJSON(d *json.Decoder, depth int) (any, error) {
	if depth > maxDetailNesting {
		return nil, errDetailJSON
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := strictJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	object := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if _, twice := object[name]; !ok || twice {
			return nil, errDetailJSON
		}
		if object[name], err = strictJSON(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return object, err
}
