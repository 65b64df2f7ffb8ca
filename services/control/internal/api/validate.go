// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// maxMetadataBytes bounds a metadata object as JSON.
const maxMetadataBytes = 16 << 10

// maxDepth bounds the nesting of free values.
const maxDepth = 32

// validate checks a request against the rules of its messages and against what rules cannot say, and answers all violations at once.
func (s *Server) validate(req proto.Message) error {
	var vs []tenancy.Violation
	err := s.rules.Validate(req)
	var violated *protovalidate.ValidationError
	switch {
	case errors.As(err, &violated):
		for _, v := range violated.Violations {
			vs = append(vs, tenancy.Violation{Field: protovalidate.FieldPathString(v.Proto.GetField()), Text: ruleText(v)})
		}
	case err != nil:
		return fmt.Errorf("rules of %s: %w", req.ProtoReflect().Descriptor().FullName(), err)
	}
	vs = append(vs, walk("", req.ProtoReflect(), 0)...)
	return tenancy.Violated(tenancy.ReasonInvalidArgument, vs)
}

// ruleText is the sentence of a broken rule. Those of the library begin with "must"; ours are sentences for people.
func ruleText(v *protovalidate.Violation) string {
	text := v.Proto.GetMessage()
	if v.Proto.GetRuleId() == "required" {
		return "it must be set"
	}
	if text == "" {
		return "it breaks the rule " + v.Proto.GetRuleId()
	}
	if rest, ok := strings.CutPrefix(text, "value "); ok {
		return "it " + rest
	}
	return text
}

// walk finds what the database could not keep or what would cost too much: U+0000 in any text (also inside free values), numbers that
// JSON does not have, metadata above its bound, and values nested too deep.
func walk(path string, m protoreflect.Message, depth int) (vs []tenancy.Violation) {
	if depth > maxDepth {
		return []tenancy.Violation{{Field: path, Text: fmt.Sprintf("it is nested deeper than %d", maxDepth)}}
	}
	if st, ok := m.Interface().(*structpb.Struct); ok {
		if b, err := protojson.Marshal(st); err == nil && len(b) > maxMetadataBytes {
			return []tenancy.Violation{{Field: path, Text: "it is longer than 16 KiB as JSON"}}
		}
	}
	text := func(at, s string) {
		if strings.ContainsRune(s, 0) {
			vs = append(vs, tenancy.Violation{Field: at, Text: "leave out the character U+0000"})
		}
	}
	value := func(at string, f protoreflect.FieldDescriptor, v protoreflect.Value) {
		switch f.Kind() {
		case protoreflect.StringKind:
			text(at, v.String())
		case protoreflect.DoubleKind, protoreflect.FloatKind:
			if n := v.Float(); math.IsNaN(n) || math.IsInf(n, 0) {
				vs = append(vs, tenancy.Violation{Field: at, Text: "send a number that JSON can write"})
			}
		case protoreflect.MessageKind, protoreflect.GroupKind:
			vs = append(vs, walk(at, v.Message(), depth+1)...)
		default:
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := string(f.Name())
		if path != "" {
			at = path + "." + at
		}
		switch {
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if f.MapKey().Kind() == protoreflect.StringKind {
					text(at, k.String())
				}
				value(at, f.MapValue(), v)
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				value(fmt.Sprintf("%s[%d]", at, i), f, v.List().Get(i))
			}
		default:
			value(at, f, v)
		}
		return true
	})
	return vs
}
