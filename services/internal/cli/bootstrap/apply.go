// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/internal/restclient"
)

// Outcome is what became of a document.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Changed   Outcome = "changed"
	Unchanged Outcome = "unchanged"
)

// Result is a document with what became of it.
type Result struct {
	Document
	Outcome Outcome
	// Resource is the canonical resource name.
	Resource string
	// Fields are those that were changed.
	Fields []string
	// ClientID is the client_id of a Client.
	ClientID string
	// Warnings are what the server says of the change.
	Warnings []*controlv1.Warning
}

// Options of Apply.
type Options struct {
	// Done is told of each document when it is as the file wants it.
	Done func(Result)
	// Secret receives the text of each API key that was made. Its error ends the run: the key is then there and its text lost,
	// and the next run rotates it if it may.
	Secret func(d Document, text string) error
	// Lost says whether the text of a key that exists is lost. It is then rotated. Nil: none is.
	Lost func(d Document) bool
}

// Apply brings the installation to what the documents describe, in their order.
func Apply(ctx context.Context, c *restclient.Client, docs []Document, opt Options) ([]Result, error) {
	a := &applier{rest: c, opt: opt}
	var results []Result
	for _, d := range docs {
		r := Result{Document: d, Outcome: Unchanged}
		if err := a.apply(ctx, d, &r); err != nil {
			return results, fmt.Errorf("%s (line %d): %w", d, d.line, err)
		}
		results = append(results, r)
		if opt.Done != nil {
			opt.Done(r)
		}
	}
	return results, nil
}

type applier struct {
	rest *restclient.Client
	opt  Options
}

// kind is how the API handles the resources of a kind.
type kind struct {
	collection string // path of the collection below the org
	id         string // query parameter of the chosen id
}

var kinds = map[string]kind{
	KindOrg:       {"", "org_id"},
	KindBlueprint: {"/blueprints", "blueprint_id"},
	KindClient:    {"/clients", "client_id"},
}

func (a *applier) apply(ctx context.Context, d Document, r *Result) error {
	if d.Kind == KindAPIKey {
		return a.key(ctx, d, r)
	}
	k := kinds[d.Kind]
	collection := "/v1/orgs"
	if d.Kind != KindOrg {
		collection += "/" + d.Org + k.collection
	}
	got := d.want.ProtoReflect().New().Interface()
	err := a.call(ctx, http.MethodGet, collection+"/"+d.Name, nil, nil, got)
	switch {
	case restclient.NotFound(err):
		r.Outcome = Created
		query := url.Values{k.id: {d.Name}, "request_id": {restclient.NewRequestID()}}
		if err := a.call(ctx, http.MethodPost, collection, query, d.want, got); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if err := a.update(ctx, d, got, r); err != nil {
			return err
		}
	}
	r.Resource = name(got)
	switch got := got.(type) {
	case *controlv1.Client:
		r.ClientID, r.Warnings = got.GetUid(), got.GetWarnings()
	case *controlv1.Blueprint:
		r.Warnings = got.GetWarnings()
		return a.publish(ctx, got, r)
	}
	return nil
}

// update changes what differs. The server says what the resource would become, because it alone knows the normal form of each
// value: comparing with the file would find differences that are none.
func (a *applier) update(ctx context.Context, d Document, got proto.Message, r *Result) error {
	paths, fixed := fields(d.want)
	for _, f := range fixed {
		if have, want := got.ProtoReflect().Get(f), d.want.ProtoReflect().Get(f); !have.Equal(want) {
			return fmt.Errorf("%s is %v and cannot become %v: it is fixed when the resource is made", f.JSONName(), have, want)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	query := url.Values{"update_mask": {strings.Join(paths, ",")}, "validate_only": {"true"}}
	would := got.ProtoReflect().New().Interface()
	if err := a.call(ctx, http.MethodPatch, "/v1/"+name(got), query, d.want, would); err != nil {
		return err
	}
	for _, path := range paths {
		f := got.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(path))
		if !got.ProtoReflect().Get(f).Equal(would.ProtoReflect().Get(f)) {
			r.Fields = append(r.Fields, f.JSONName())
		}
	}
	if len(r.Fields) == 0 {
		return nil
	}
	r.Outcome = Changed
	query.Del("validate_only")
	query.Set("request_id", restclient.NewRequestID())
	query.Set("etag", text(got, "etag"))
	return a.call(ctx, http.MethodPatch, "/v1/"+name(got), query, d.want, got)
}

// publish makes the draft the revision that tenants are made from, where it is not.
func (a *applier) publish(ctx context.Context, b *controlv1.Blueprint, r *Result) error {
	if b.GetDefaultRevision() != "" && r.Outcome == Unchanged {
		var last controlv1.BlueprintRevision
		if err := a.call(ctx, http.MethodGet, "/v1/"+b.GetDefaultRevision(), nil, nil, &last); err != nil {
			return err
		}
		if proto.Equal(last.GetSpec(), b.GetDraft()) {
			return nil
		}
	}
	var made controlv1.BlueprintRevision
	body := &controlv1.PublishBlueprintRequest{RequestId: restclient.NewRequestID(), Message: "tenantry apply"}
	if err := a.call(ctx, http.MethodPost, "/v1/"+b.GetName()+":publish", nil, body, &made); err != nil {
		return err
	}
	r.Warnings = append(r.Warnings, made.GetWarnings()...)
	if made.GetName() != b.GetDefaultRevision() && r.Outcome == Unchanged {
		r.Outcome, r.Fields = Changed, []string{"revision"}
	}
	return nil
}

// key makes an API key, or looks whether the one that is there is what the file wants: a key's rights never change.
func (a *applier) key(ctx context.Context, d Document, r *Result) error {
	parent := "/v1/orgs/" + d.Org + "/apiKeys"
	want, ok := d.want.(*controlv1.ApiKey)
	if !ok {
		return errors.New("this document is no API key")
	}
	// A revoked key keeps its slug and can never be used again: a new one takes its place.
	var list controlv1.ListApiKeysResponse
	query := url.Values{"filter": {fmt.Sprintf("slug=%q AND state=ACTIVE", d.Name)}}
	if err := a.call(ctx, http.MethodGet, parent, query, nil, &list); err != nil {
		return err
	}
	if len(list.GetApiKeys()) == 0 {
		r.Outcome = Created
		return a.secret(ctx, d, r, parent+":mint", &controlv1.MintApiKeyRequest{
			RequestId: restclient.NewRequestID(), ApiKeyId: d.Name, ApiKey: want,
		})
	}
	got := list.GetApiKeys()[0]
	r.Resource = got.GetName()
	slices.Sort(got.Permissions)
	sorted := slices.Sorted(slices.Values(want.GetPermissions()))
	if got.GetRole() != want.GetRole() || !slices.Equal(got.GetPermissions(), sorted) || (got.GetMint() == nil) != (want.GetMint() == nil) {
		return errors.New("it has other rights, which never change; revoke it, and give the new one another name")
	}
	if a.opt.Lost != nil && a.opt.Lost(d) {
		r.Outcome, r.Fields = Changed, []string{"secret"}
		return a.secret(ctx, d, r, "/v1/"+got.GetName()+":rotate", &controlv1.RotateApiKeyRequest{RequestId: restclient.NewRequestID()})
	}
	return nil
}

func (a *applier) secret(ctx context.Context, d Document, r *Result, path string, body proto.Message) error {
	var made controlv1.ApiKeyCredentials
	if err := a.call(ctx, http.MethodPost, path, nil, body, &made); err != nil {
		return err
	}
	r.Resource = made.GetApiKey().GetName()
	if a.opt.Secret == nil {
		return nil
	}
	return a.opt.Secret(d, made.GetSecret())
}

// call sends a message as JSON and reads one.
func (a *applier) call(ctx context.Context, method, path string, query url.Values, in, out proto.Message) error {
	var body any
	if in != nil {
		raw, err := protojson.Marshal(in)
		if err != nil {
			return err
		}
		body = json.RawMessage(raw)
	}
	raw, err := a.rest.Do(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	proto.Reset(out)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s %s answered something else: %w", method, path, err)
	}
	return nil
}

// fields are the top-level fields that a message sets: those that can be changed, and those that are fixed.
func fields(m proto.Message) (paths []string, fixed []protoreflect.FieldDescriptor) {
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		behaviors, _ := proto.GetExtension(f.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
		if slices.Contains(behaviors, annotations.FieldBehavior_IMMUTABLE) {
			fixed = append(fixed, f)
		} else {
			paths = append(paths, string(f.Name()))
		}
		return true
	})
	slices.Sort(paths)
	return paths, fixed
}

func name(m proto.Message) string { return text(m, "name") }

func text(m proto.Message, field protoreflect.Name) string {
	return m.ProtoReflect().Get(m.ProtoReflect().Descriptor().Fields().ByName(field)).String()
}
