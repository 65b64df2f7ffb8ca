// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package bootstrap brings an installation to what a file describes: orgs, blueprints, shared clients and API keys, by the
// public REST API alone. Applying the same file again changes nothing.
//
// The file has YAML documents of apiVersion tenantry.dev/v1. What a kind may hold is the resource's message in the API, with
// these differences for people: keys in either spelling, durations with s, m, h and d, names of enums in any case.
//
//	kind: Org        metadata {name, displayName, labels}       spec: Org
//	kind: Blueprint  metadata {name, org, displayName, labels}  parameters, spec: BlueprintSpec
//	kind: Client     metadata {name, org, displayName, labels}  spec: Client, shared by the org's tenants
//	kind: ApiKey     metadata {name, org, displayName, labels}  spec: ApiKey
//
// The org of a document is that of the Org before it, unless it names another one.
package bootstrap

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenantry/tenantry/pkg/daemon"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
)

// Kinds of documents.
const (
	KindOrg       = "Org"
	KindBlueprint = "Blueprint"
	KindClient    = "Client"
	KindAPIKey    = "ApiKey"
)

const apiVersion = "tenantry.dev/v1"

// Document is one resource as the file wants it.
type Document struct {
	Kind string
	// Org is the slug of the org: of an Org itself.
	Org string
	// Name is the resource's slug.
	Name string

	line int
	want proto.Message // *controlv1.Org, Blueprint, Client or ApiKey
}

// String names the resource.
func (d Document) String() string { return strings.ToLower(d.Kind[:1]) + d.Kind[1:] + " " + d.Name }

// FileError lists all that is wrong with a file.
type FileError struct{ Problems []string }

// Error gives one line for each problem: file:line: field: why.
func (e *FileError) Error() string { return strings.Join(e.Problems, "\n") }

// Parse reads a bootstrap file strictly. The name is for errors, which are a [*FileError].
func Parse(name string, text []byte) ([]Document, error) {
	p := &parser{file: name}
	in := yaml.NewDecoder(strings.NewReader(string(text)))
	var docs []Document
	org := ""
	for {
		var node yaml.Node
		if err := in.Decode(&node); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			p.fail(0, "", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
			break
		}
		if len(node.Content) == 0 || node.Content[0].Tag == "!!null" {
			continue // nothing between two separators
		}
		if d, ok := p.document(node.Content[0], &org); ok {
			docs = append(docs, d)
		}
	}
	if len(p.problems) > 0 {
		return nil, &FileError{Problems: p.problems}
	}
	if len(docs) == 0 {
		return nil, &FileError{Problems: []string{name + ": has no documents"}}
	}
	return docs, nil
}

type parser struct {
	file     string
	problems []string
}

func (p *parser) fail(line int, field, format string, args ...any) {
	at := p.file + ": "
	if line > 0 {
		at = p.file + ":" + strconv.Itoa(line) + ": "
	}
	if field != "" {
		at += field + ": "
	}
	p.problems = append(p.problems, at+fmt.Sprintf(format, args...))
}

// pairs visits the members of a mapping and refuses repeated ones.
func (p *parser) pairs(n *yaml.Node, field string, visit func(key string, line int, v *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.fail(n.Line, field, "must have fields")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			p.fail(key.Line, join(field, key.Value), "stands twice")
			continue
		}
		seen[key.Value] = true
		visit(key.Value, key.Line, n.Content[i+1])
	}
}

func join(path, field string) string {
	if path == "" || strings.HasPrefix(field, "[") {
		return path + field
	}
	return path + "." + field
}

func (p *parser) document(n *yaml.Node, org *string) (Document, bool) {
	before := len(p.problems)
	d := Document{line: n.Line}
	var metadata, spec, parameters *yaml.Node
	version := ""
	p.pairs(n, "", func(key string, line int, v *yaml.Node) {
		switch key {
		case "apiVersion":
			version = v.Value
		case "kind":
			d.Kind = v.Value
		case "metadata":
			metadata = v
		case "spec":
			spec = v
		case "parameters":
			parameters = v
		default:
			p.fail(line, key, "unknown field; a document has apiVersion, kind, metadata and spec")
		}
	})
	if version != apiVersion {
		p.fail(n.Line, "apiVersion", "must be %s", apiVersion)
	}
	var settings protoreflect.Message
	blueprint := &controlv1.Blueprint{Draft: &controlv1.BlueprintSpec{}}
	switch d.Kind {
	case KindOrg:
		d.want = &controlv1.Org{}
	case KindBlueprint:
		d.want, settings = blueprint, blueprint.Draft.ProtoReflect()
	case KindClient:
		d.want = &controlv1.Client{}
	case KindAPIKey:
		d.want = &controlv1.ApiKey{}
	default:
		p.fail(n.Line, "kind", "must be %s, %s, %s or %s", KindOrg, KindBlueprint, KindClient, KindAPIKey)
		return d, false
	}
	if settings == nil {
		settings = d.want.ProtoReflect()
	}
	if metadata == nil {
		p.fail(n.Line, "metadata", "must be set")
		return d, false
	}
	p.pairs(metadata, "metadata", func(key string, line int, v *yaml.Node) {
		switch key {
		case "name":
			d.Name = v.Value
		case "org":
			d.Org = v.Value
		case "displayName", "display_name", "labels", "annotations":
			p.field(v, "metadata."+key, d.want.ProtoReflect(), key)
		default:
			p.fail(line, "metadata."+key, "unknown field")
		}
	})
	if d.Name == "" {
		p.fail(metadata.Line, "metadata.name", "must be set")
	}
	switch {
	case d.Kind == KindOrg && d.Org != "" && d.Org != d.Name:
		p.fail(metadata.Line, "metadata.org", "an org is in no other org")
	case d.Kind == KindOrg:
		d.Org, *org = d.Name, d.Name
	case d.Org == "":
		if d.Org = *org; d.Org == "" {
			p.fail(metadata.Line, "metadata.org", "must be set, since no Org stands before")
		}
	}
	if parameters != nil {
		if d.Kind != KindBlueprint {
			p.fail(parameters.Line, "parameters", "only a Blueprint has them")
		} else {
			p.field(parameters, "parameters", settings, "parameters")
		}
	}
	if spec != nil {
		p.message(spec, "spec", settings)
	}
	return d, len(p.problems) == before
}

func (p *parser) message(n *yaml.Node, path string, m protoreflect.Message) {
	switch into := m.Interface().(type) {
	case *durationpb.Duration:
		var d daemon.Duration
		if err := d.UnmarshalText([]byte(n.Value)); n.Kind != yaml.ScalarNode || err != nil {
			p.fail(n.Line, path, "must be a duration such as 90s, 10m, 24h or 30d")
			return
		}
		proto.Merge(into, durationpb.New(time.Duration(d)))
		return
	case *timestamppb.Timestamp:
		t, err := time.Parse(time.RFC3339, n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			p.fail(n.Line, path, "must be a time such as 2027-01-31T12:00:00Z")
			return
		}
		proto.Merge(into, timestamppb.New(t))
		return
	case *structpb.Value, *structpb.Struct:
		var v any
		if err := n.Decode(&v); err != nil {
			p.fail(n.Line, path, "must be a JSON value")
			return
		}
		value, err := structpb.NewValue(v)
		if err != nil {
			p.fail(n.Line, path, "must be a JSON value")
			return
		}
		if s, ok := into.(*structpb.Struct); ok {
			if value.GetStructValue() == nil {
				p.fail(n.Line, path, "must have fields")
				return
			}
			proto.Merge(s, value.GetStructValue())
			return
		}
		proto.Merge(into, value)
		return
	}
	p.pairs(n, path, func(key string, _ int, v *yaml.Node) { p.field(v, join(path, key), m, key) })
}

// field sets one field of a message, named in either spelling.
func (p *parser) field(n *yaml.Node, path string, m protoreflect.Message, key string) {
	fields := m.Descriptor().Fields()
	f := fields.ByJSONName(key)
	if f == nil {
		f = fields.ByName(protoreflect.Name(key))
	}
	if f == nil {
		p.fail(n.Line, path, "unknown field")
		return
	}
	switch {
	case f.IsMap():
		into := m.Mutable(f).Map()
		p.pairs(n, path, func(k string, _ int, v *yaml.Node) {
			value := into.NewValue()
			if f.MapValue().Message() != nil {
				p.message(v, join(path, k), value.Message())
			} else if scalar, ok := p.scalar(v, join(path, k), f.MapValue()); ok {
				value = scalar
			}
			into.Set(protoreflect.ValueOfString(k).MapKey(), value)
		})
	case f.IsList():
		if n.Kind != yaml.SequenceNode {
			p.fail(n.Line, path, "must be a list")
			return
		}
		into := m.Mutable(f).List()
		for i, item := range n.Content {
			at := join(path, "["+strconv.Itoa(i)+"]")
			if f.Message() != nil {
				p.message(item, at, into.AppendMutable().Message())
			} else if v, ok := p.scalar(item, at, f); ok {
				into.Append(v)
			}
		}
	case f.Message() != nil:
		p.message(n, path, m.Mutable(f).Message())
	default:
		if v, ok := p.scalar(n, path, f); ok {
			m.Set(f, v)
		}
	}
}

func (p *parser) scalar(n *yaml.Node, path string, f protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	var none protoreflect.Value
	want := ""
	switch scalar := n.Kind == yaml.ScalarNode; f.Kind() {
	case protoreflect.StringKind:
		if want = "text"; scalar && n.Tag != "!!null" {
			return protoreflect.ValueOfString(n.Value), true
		}
	case protoreflect.BoolKind:
		if want = "true or false"; scalar && (n.Value == "true" || n.Value == "false") {
			return protoreflect.ValueOfBool(n.Value == "true"), true
		}
	case protoreflect.Int32Kind:
		want = "a whole number"
		if v, err := strconv.ParseInt(n.Value, 10, 32); scalar && err == nil {
			return protoreflect.ValueOfInt32(int32(v)), true
		}
	case protoreflect.Int64Kind:
		want = "a whole number"
		if v, err := strconv.ParseInt(n.Value, 10, 64); scalar && err == nil {
			return protoreflect.ValueOfInt64(v), true
		}
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		v := values.ByName(protoreflect.Name(strings.ToUpper(strings.ReplaceAll(n.Value, "-", "_"))))
		if scalar && v != nil && v.Number() != 0 {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
		var names []string
		for i := range values.Len() {
			if values.Get(i).Number() != 0 {
				names = append(names, string(values.Get(i).Name()))
			}
		}
		want = "one of " + strings.Join(names, ", ")
	case protoreflect.BytesKind:
		want = "base64"
		if v, err := base64.StdEncoding.DecodeString(n.Value); scalar && err == nil {
			return protoreflect.ValueOfBytes(v), true
		}
	default:
		want = "left out: this program cannot read a " + f.Kind().String()
	}
	p.fail(n.Line, path, "must be %s", want)
	return none, false
}
