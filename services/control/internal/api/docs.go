// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
)

//go:embed pages/*.html
var pageFiles embed.FS

// docs are the pages about the API, rendered once from the OpenAPI document and the table of reasons. They need nothing from elsewhere:
// no script, no font, no other host.
type docs struct{ referencePage, errorsPage []byte }

// The parts of a Swagger 2.0 document that the page shows.
type (
	swagger struct {
		Info struct {
			Title       string `json:"title"`
			Description string `json:"description"`
		} `json:"info"`
		Tags []struct {
			Name        string `json:"name"`
			Description string `json:"description"`
		} `json:"tags"`
		Paths       map[string]map[string]swaggerMethod `json:"paths"`
		Definitions map[string]*swaggerType             `json:"definitions"`
	}
	swaggerMethod struct {
		Summary     string             `json:"summary"`
		Description string             `json:"description"`
		OperationID string             `json:"operationId"`
		Tags        []string           `json:"tags"`
		Parameters  []swaggerParameter `json:"parameters"`
		Responses   map[string]struct {
			Schema *swaggerType `json:"schema"`
		} `json:"responses"`
	}
	swaggerParameter struct {
		Name        string       `json:"name"`
		In          string       `json:"in"`
		Description string       `json:"description"`
		Required    bool         `json:"required"`
		Type        string       `json:"type"`
		Schema      *swaggerType `json:"schema"`
	}
	swaggerType struct {
		Ref         string                  `json:"$ref"`
		Type        string                  `json:"type"`
		Format      string                  `json:"format"`
		Title       string                  `json:"title"`
		Description string                  `json:"description"`
		ReadOnly    bool                    `json:"readOnly"`
		Enum        []string                `json:"enum"`
		Items       *swaggerType            `json:"items"`
		Properties  map[string]*swaggerType `json:"properties"`
		Required    []string                `json:"required"`
		Additional  *swaggerType            `json:"additionalProperties"`
		AllOf       []*swaggerType          `json:"allOf"`
	}
)

// What the templates get.
type (
	docService struct {
		Name, About string
		Methods     []docMethod
	}
	docMethod struct {
		ID, Name, Verb, Path, Text, Permission, Answer, Sample string
		Parameters                                             []docField
	}
	docType struct {
		Name, Text string
		Fields     []docField
	}
	docField struct {
		Name, Type, Ref, Text, Place string
		Required                     bool
	}
	docReason struct {
		Reason, Text, Cause, Cure, Code string
		HTTP                            int
		Retry                           bool
	}
)

func newDocs(openAPI []byte) (*docs, error) {
	var s swagger
	if err := json.Unmarshal(openAPI, &s); err != nil {
		return nil, fmt.Errorf("api: OpenAPI document: %w", err)
	}
	t, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("api: pages: %w", err)
	}
	table, err := policies()
	if err != nil {
		return nil, err
	}
	permissions := map[string]string{}
	for _, p := range table {
		permissions[p.name] = p.permission
	}
	var reference, errorsPage bytes.Buffer
	if err := t.ExecuteTemplate(&reference, "reference.html", map[string]any{
		"Title": s.Info.Title, "About": s.Info.Description, "Services": s.services(permissions), "Types": s.types(),
	}); err != nil {
		return nil, fmt.Errorf("api: reference: %w", err)
	}
	if err := t.ExecuteTemplate(&errorsPage, "errors.html", map[string]any{"Reasons": docReasons()}); err != nil {
		return nil, fmt.Errorf("api: errors: %w", err)
	}
	return &docs{reference.Bytes(), errorsPage.Bytes()}, nil
}

func docReasons() (out []docReason) {
	for _, r := range reasons {
		d := docReason{
			Reason: string(r.Reason), Text: r.Text, Cause: r.Cause, Cure: r.Cure, Retry: r.Retry, HTTP: r.HTTP, Code: codeName(r.Code),
		}
		if d.HTTP == 0 {
			d.HTTP = runtime.HTTPStatusFromCode(r.Code)
		}
		out = append(out, d)
	}
	return out
}

// codeName is the code as the gRPC specification writes it.
func codeName(c codes.Code) string {
	return strings.ToUpper(strings.TrimPrefix(snake(c.String()), "_"))
}

func (s *swagger) services(permissions map[string]string) (out []docService) {
	for _, tag := range s.Tags {
		v := docService{Name: tag.Name, About: tag.Description}
		for _, path := range slices.Sorted(maps.Keys(s.Paths)) {
			for _, verb := range []string{"get", "post", "patch", "delete"} {
				m, ok := s.Paths[path][verb]
				if !ok || !slices.Contains(m.Tags, tag.Name) {
					continue
				}
				v.Methods = append(v.Methods, s.method(path, verb, &m, permissions))
			}
		}
		if len(v.Methods) > 0 {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b docService) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (s *swagger) method(path, verb string, m *swaggerMethod, permissions map[string]string) docMethod {
	name := m.OperationID
	if i := strings.IndexByte(name, '_'); i >= 0 {
		name = name[i+1:]
	}
	name = strings.TrimRight(name, "0123456789")
	d := docMethod{
		ID: m.OperationID, Name: name, Verb: strings.ToUpper(verb), Path: path, Text: strings.TrimSpace(m.Summary + "\n" + m.Description),
		Permission: permissions[name],
	}
	body := ""
	for i := range m.Parameters {
		p := &m.Parameters[i]
		f := docField{Name: p.Name, Text: p.Description, Place: p.In, Required: p.Required, Type: p.Type}
		if p.Schema != nil {
			f.Type, f.Ref = p.Schema.text()
			body = ` \
     -H "Content-Type: application/json" -d '{…}'`
		}
		d.Parameters = append(d.Parameters, f)
	}
	if a := m.Responses["200"].Schema; a != nil {
		_, d.Answer = a.text()
	}
	d.Sample = "curl -X " + d.Verb + ` -H "Authorization: Bearer $TENANTRY_API_KEY"` + body + ` \
     "$TENANTRY_SERVER` + path + `"`
	return d
}

func (s *swagger) types() (out []docType) {
	for _, name := range slices.Sorted(maps.Keys(s.Definitions)) {
		t := s.Definitions[name]
		d := docType{Name: name, Text: strings.TrimSpace(t.Title + "\n" + t.Description)}
		for _, v := range t.Enum {
			d.Fields = append(d.Fields, docField{Name: v, Type: "value"})
		}
		for _, field := range slices.Sorted(maps.Keys(t.Properties)) {
			p := t.Properties[field]
			f := docField{Name: field, Text: strings.TrimSpace(p.Title + "\n" + p.Description), Required: slices.Contains(t.Required, field)}
			f.Type, f.Ref = p.text()
			if p.ReadOnly {
				f.Place = "answered only"
			}
			d.Fields = append(d.Fields, f)
		}
		out = append(out, d)
	}
	return out
}

// text is how a type is written, and the definition that it refers to.
func (t *swaggerType) text() (text, ref string) {
	switch {
	case t.Ref != "":
		ref = t.Ref[strings.LastIndexByte(t.Ref, '/')+1:]
		return ref, ref
	case len(t.AllOf) > 0:
		return t.AllOf[0].text()
	case t.Items != nil:
		text, ref = t.Items.text()
		return "list of " + text, ref
	case t.Additional != nil:
		text, ref = t.Additional.text()
		if text == "" {
			text = "any value"
		}
		return "map to " + text, ref
	case t.Format != "" && t.Type == "string":
		return t.Type + " (" + t.Format + ")", ""
	case t.Type == "":
		return "any value", ""
	}
	return t.Type, ""
}

func (d *docs) reference(w http.ResponseWriter, _ *http.Request) { page(w, d.referencePage) }

func (d *docs) errors(w http.ResponseWriter, _ *http.Request) { page(w, d.errorsPage) }

func page(w http.ResponseWriter, text []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "max-age=300")
	w.Write(text) //nolint:errcheck // the reader has gone
}
