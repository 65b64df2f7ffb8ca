// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// DetailType is a type of authorization_details that a tenant knows (RFC 9396 section 2): what an object of it may have, and the
// words that the consent page shows it with.
type DetailType struct {
	// Type is the value of `type`.
	Type string `json:"type"`
	// Title is what the consent page calls it; empty: the type.
	Title string `json:"title,omitempty"`
	// Fields are the members beside `type`; no others are accepted.
	Fields []DetailField `json:"fields,omitempty"`
}

// DetailField is a member of an authorization_details object.
type DetailField struct {
	// Name of the member.
	Name string `json:"name"`
	// Kind of its value: string, number, boolean, strings (an array of them) or object (with Fields of its own).
	Kind string `json:"kind"`
	// Label is what the consent page calls it; empty: it is not shown.
	Label string `json:"label,omitempty"`
	// Required says whether it must be there.
	Required bool `json:"required,omitempty"`
	// Enum are the values that a string, or each of strings, may have; empty: any.
	Enum []string `json:"enum,omitempty"`
	// Fields are the members of an object; no others are accepted.
	Fields []DetailField `json:"fields,omitempty"`
}

// Bounds of a type's definition.
const (
	maxDetailTypeBytes = 8 << 10
	maxDetailFields    = 50
	maxDetailDepth     = 3
)

var detailKinds = []string{"string", "number", "boolean", "strings", "object"}

// ParseDetailType reads the JSON text of a type's definition. The errors say what is wrong with it.
func ParseDetailType(text string) (DetailType, error) {
	var t DetailType
	if len(text) > maxDetailTypeBytes {
		return t, fmt.Errorf("%d bytes, %d allowed", len(text), maxDetailTypeBytes)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return t, fmt.Errorf("no definition of an authorization_details type: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return t, errors.New("more than one JSON value")
	}
	if t.Type == "" || len(t.Type) > 200 || !cleanText(t.Type, false) || len(t.Title) > 200 || !cleanText(t.Title, false) {
		return t, errors.New("type wants 1 to 200 bytes, title 200 at most, without control characters")
	}
	return t, checkDetailFields(t.Fields, 1)
}

func checkDetailFields(fields []DetailField, depth int) error {
	if len(fields) > maxDetailFields || depth > maxDetailDepth {
		return fmt.Errorf("%d fields in one object and %d levels at most", maxDetailFields, maxDetailDepth)
	}
	for i := range fields {
		f := &fields[i]
		switch {
		case f.Name == "" || len(f.Name) > 100 || !cleanText(f.Name, false) || len(f.Label) > 200 || !cleanText(f.Label, false):
			return errors.New("a field wants a name of 1 to 100 bytes and a label of 200 at most, without control characters")
		case f.Name == "type" && depth == 1:
			return errors.New("the field type is there by itself")
		case slices.ContainsFunc(fields[:i], func(o DetailField) bool { return o.Name == f.Name }):
			return fmt.Errorf("the field %q twice", f.Name)
		case !slices.Contains(detailKinds, f.Kind):
			return fmt.Errorf("field %q: kind %q is none of %v", f.Name, f.Kind, detailKinds)
		case len(f.Fields) > 0 && f.Kind != "object", len(f.Enum) > 0 && f.Kind != "string" && f.Kind != "strings":
			return fmt.Errorf("field %q: fields are for objects, enum for strings", f.Name)
		}
		if err := checkDetailFields(f.Fields, depth+1); err != nil {
			return err
		}
	}
	return nil
}
