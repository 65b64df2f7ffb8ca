// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Validator is implemented by configuration structs, at any depth, that have rules beyond the types of their fields.
type Validator interface {
	// Validate tells the check what is wrong.
	Validate(k *Check)
}

// Check collects what is wrong with a configuration.
type Check struct {
	path     string
	problems *[]Problem
}

// Fail says what is wrong with a field, named as in the file and relative to the struct under validation. The field "" is
// the struct itself. The text must not quote secrets.
func (k *Check) Fail(field, format string, args ...any) {
	*k.problems = append(*k.problems, Problem{Field: join(k.path, field), Why: fmt.Sprintf(format, args...)})
}

// Require fails a string field that is empty.
func (k *Check) Require(field, value string) {
	if value == "" {
		k.Fail(field, "must be set")
	}
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Field string // "listen.address"; "" for the file as a whole
	Line  int    // in the file; 0 when the field does not stand there
	Why   string
}

// ConfigError lists all that is wrong with a configuration.
type ConfigError struct {
	File     string // "" for a configuration that was not read from a file
	Problems []Problem
}

// Error gives one line for each problem: file:line: field: why.
func (e *ConfigError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		switch {
		case e.File != "" && p.Line > 0:
			fmt.Fprintf(&b, "%s:%d: ", e.File, p.Line)
		case e.File != "":
			b.WriteString(e.File + ": ")
		}
		if p.Field != "" {
			b.WriteString(p.Field + ": ")
		}
		b.WriteString(p.Why)
	}
	return b.String()
}

// LoadConfig reads a YAML (or JSON) file into the struct that into points to, whose present values are the defaults, and
// validates it. It is strict: unknown and repeated fields, values of the wrong type and a second document are refused. All
// problems are reported together, as a [*ConfigError]. Field names are those of `yaml` tags; a [Path] or [Secret] is
// relative to the file's directory.
func LoadConfig(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return ParseConfig(path, text, into)
}

// ParseConfig is LoadConfig for text that stands, or would stand, in the named file.
func ParseConfig(file string, text []byte, into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("configuration target is a %T, not a pointer to a struct", into)
	}
	d := &decoder{lines: map[string]int{}, dir: filepath.Dir(file)}
	in := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, second yaml.Node
	if err := in.Decode(&doc); err == nil {
		d.value("", doc.Content[0], target.Elem())
		if in.Decode(&second) == nil {
			d.fail("", second.Line, "only one YAML document is allowed")
		}
	} else if !errors.Is(err, io.EOF) {
		d.fail("", 0, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(d.problems) == 0 { // rules presume that the fields are what the file says
		d.problems = validate(target)
		for i := range d.problems {
			d.problems[i].Line = d.lines[d.problems[i].Field]
		}
	}
	if len(d.problems) > 0 {
		return &ConfigError{File: file, Problems: d.problems}
	}
	return nil
}

// Validate applies the rules of a configuration that was built in code, as LoadConfig does to one from a file. The argument
// is a pointer to a struct.
func Validate(cfg any) error {
	if problems := validate(reflect.ValueOf(cfg)); len(problems) > 0 {
		return &ConfigError{Problems: problems}
	}
	return nil
}

// validate calls each Validator in v, the inner ones first.
func validate(v reflect.Value) []Problem {
	var problems []Problem
	walk("", v, func(path string, v reflect.Value) {
		if val, ok := v.Interface().(Validator); ok {
			val.Validate(&Check{path: path, problems: &problems})
		}
	})
	// A struct that embeds a Validator is one by promotion, and would report twice.
	var once []Problem
	for _, p := range problems {
		if !slices.Contains(once, p) {
			once = append(once, p)
		}
	}
	return once
}

// walk visits each struct that can be reached through exported fields, as a pointer, the inner ones first.
func walk(path string, v reflect.Value, visit func(string, reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walk(path, v.Elem(), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(path+"["+strconv.Itoa(i)+"]", v.Index(i), visit)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() { // values of maps are no addressable structs: a copy is validated
			elem := reflect.New(v.Type().Elem())
			elem.Elem().Set(v.MapIndex(key))
			walk(join(path, fmt.Sprint(key)), elem, visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				if name, inline := fieldName(f); inline {
					walk(path, v.Field(i), visit)
				} else if name != "" {
					walk(join(path, name), v.Field(i), visit)
				}
			}
		}
		if v.CanAddr() {
			visit(path, v.Addr())
		}
	default:
	}
}

func join(path, field string) string {
	switch {
	case path == "":
		return field
	case field == "" || strings.HasPrefix(field, "["):
		return path + field
	}
	return path + "." + field
}

// fieldName is the name of a struct field in a file, "" for none.
func fieldName(f reflect.StructField) (name string, inline bool) {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	switch {
	case options == "inline":
		return "", true
	case name == "-":
		return "", false
	case name == "":
		return strings.ToLower(f.Name), false
	}
	return name, false
}

// decoder moves a parsed document into a struct. It is ours, because the library's own names neither the path nor the line
// of what it refuses, and stops early.
type decoder struct {
	dir      string
	lines    map[string]int // field path to line
	problems []Problem
}

func (d *decoder) fail(path string, line int, format string, args ...any) {
	d.problems = append(d.problems, Problem{Field: path, Line: line, Why: fmt.Sprintf(format, args...)})
}

// resolver is a value that depends on the directory of the file.
type resolver interface{ resolve(dir string) error }

// value decodes one node.
func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	d.lines[path] = n.Line
	if n.Kind == yaml.AliasNode {
		d.fail(path, n.Line, "aliases are not supported")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" { // "field:" with nothing after it
		if path != "" {
			d.fail(path, n.Line, "has no value; leave the field out for its default")
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != yaml.ScalarNode {
			d.fail(path, n.Line, "must be a single value")
		} else if err := text.UnmarshalText([]byte(n.Value)); err != nil {
			d.fail(path, n.Line, "%s", err)
		} else {
			d.resolve(path, n, v)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structValue(path, n, v)
	case reflect.Map:
		d.mapValue(path, n, v)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fail(path, n.Line, "must be a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(path+"["+strconv.Itoa(i)+"]", c, v.Index(i))
		}
	default:
		d.scalar(path, n, v)
	}
}

func (d *decoder) resolve(path string, n *yaml.Node, v reflect.Value) {
	if r, ok := v.Addr().Interface().(resolver); ok {
		if err := r.resolve(d.dir); err != nil {
			d.fail(path, n.Line, "%s", err)
		}
	}
}

func (d *decoder) scalar(path string, n *yaml.Node, v reflect.Value) {
	want := ""
	switch v.Kind() {
	case reflect.String:
		if want = "text"; n.Kind == yaml.ScalarNode {
			v.SetString(n.Value)
			d.resolve(path, n, v)
			return
		}
	case reflect.Bool:
		if want = "true or false"; n.Kind == yaml.ScalarNode && n.Tag == "!!bool" && n.Decode(v.Addr().Interface()) == nil {
			return
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		want = "a whole number"
		if i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits()); n.Kind == yaml.ScalarNode && err == nil {
			v.SetInt(i)
			return
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		want = "a whole number that is not negative"
		if i, err := strconv.ParseUint(n.Value, 10, v.Type().Bits()); n.Kind == yaml.ScalarNode && err == nil {
			v.SetUint(i)
			return
		}
	case reflect.Float64, reflect.Float32:
		want = "a number"
		if f, err := strconv.ParseFloat(n.Value, v.Type().Bits()); n.Kind == yaml.ScalarNode && err == nil && f == f { // no NaN
			v.SetFloat(f)
			return
		}
	default:
		want = "left out: this program cannot read a " + v.Type().String()
	}
	d.fail(path, n.Line, "must be %s", want)
}

func (d *decoder) structValue(path string, n *yaml.Node, v reflect.Value) {
	fields := map[string]reflect.Value{}
	collectFields(v, fields)
	d.pairs(path, n, func(key, val *yaml.Node) {
		f, ok := fields[key.Value]
		if !ok {
			why := "unknown field"
			if near := nearest(key.Value, fields); near != "" {
				why += fmt.Sprintf("; did you mean %q?", near)
			}
			d.fail(join(path, key.Value), key.Line, "%s", why)
			return
		}
		d.value(join(path, key.Value), val, f)
	})
}

func (d *decoder) mapValue(path string, n *yaml.Node, v reflect.Value) {
	if v.Type().Key().Kind() != reflect.String {
		d.scalar(path, n, v)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(path, n, func(key, val *yaml.Node) {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(join(path, key.Value), val, elem)
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), elem)
	})
}

// pairs visits the members of a mapping and refuses repeated ones.
func (d *decoder) pairs(path string, n *yaml.Node, visit func(key, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fail(path, n.Line, "must have fields")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if first, again := seen[key.Value]; again {
			d.fail(join(path, key.Value), key.Line, "stands in line %d already", first)
			continue
		}
		seen[key.Value] = key.Line
		visit(key, n.Content[i+1])
	}
}

// collectFields gathers a struct's fields by their names in the file, those of inlined structs too.
func collectFields(v reflect.Value, into map[string]reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if name, inline := fieldName(f); inline {
			collectFields(v.Field(i), into)
		} else if name != "" {
			into[name] = v.Field(i)
		}
	}
}

// nearest is the field that an unknown name was probably meant to be: at most two letters away, and fewer than half of it.
func nearest(name string, fields map[string]reflect.Value) string {
	best, bestDistance := "", 3
	for f := range fields {
		if n := distance(name, f); n < bestDistance || n == bestDistance && f < best {
			best, bestDistance = f, n
		}
	}
	if bestDistance*2 >= len(name) {
		return ""
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
