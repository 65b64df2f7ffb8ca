// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tenantry/tenantry/pkg/secret"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/api"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/publish"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"

	longrunning "cloud.google.com/go/longrunning/autogen/longrunningpb"
)

// world is the API over real databases, reached as everybody reaches it: by gRPC over TCP and by HTTP. It has two orgs, of which the
// first has two tenants, and keys of all kinds.
type world struct {
	t       testing.TB
	conn    *grpc.ClientConn
	rest    *httptest.Server
	log     *lines
	n       atomic.Int64
	control *provision.Service
	seeds   *publish.Seeds

	platform, owner, stranger, auditor, nobody string // keys: installation, org one, org two, two that may do little in org one
	tenantKey, neighbourKey                    string // keys of the two tenants of org one
	org, other                                 string // orgs/org_…
	tenant, neighbour                          string // orgs/…/tenants/tnt_…
	blueprint                                  string
	operation                                  string
}

// lines is a log that can be searched.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newWorld(t testing.TB, edit ...func(*api.Config)) *world {
	t.Helper()
	ctx := context.Background()
	controlDB, identityDB := dbtest.New(t, "control", store.Migrate), dbtest.New(t, "identity", identity.Migrate)
	w := &world{t: t, log: &lines{}}
	st, err := store.Open(ctx, store.Config{URL: controlDB.URL("tenantry_control")})
	w.ok(err)
	t.Cleanup(st.Close)
	worker, err := store.OpenWorker(ctx, store.Config{URL: controlDB.URL("tenantry_publisher")})
	w.ok(err)
	t.Cleanup(worker.Close)
	users, err := identity.Open(ctx, identity.Config{DatabaseURL: identityDB.URL(identity.Role)}, secret.NewHasher(secret.Argon2Params{MemoryKiB: 64, Time: 1}, 2, 16))
	w.ok(err)
	t.Cleanup(users.Close)
	region, err := secret.GeneratePrivateKey("local", secret.PurposeSigning, time.Now())
	w.ok(err)
	page := sha256.Sum256([]byte("page"))
	w.seeds = publish.NewSeeds(worker, users, nil)
	w.seeds.Start(ctx)
	t.Cleanup(w.seeds.Stop)
	w.control, err = provision.New(provision.Config{
		Store: st, Recipients: []secret.PublicKey{region.Public()}, PublicURL: "http://{host}:8080", APIDomain: "api.example", Development: true,
		PageKey: page[:], Seeded: w.seeds.Poke,
	})
	w.ok(err)
	cfg := api.Config{
		Control: w.control, Users: users, PageKey: page[:], DocsURL: "http://docs.example", HostnameChecks: 1000,
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)),
	}
	for _, f := range edit {
		f(&cfg)
	}
	w.serve(ctx, cfg)
	key, err := provision.MintPlatformKey(ctx, controlDB.OwnerURL, "test", 0, time.Now())
	w.ok(err)
	w.platform = key.Text
	w.furnish()
	return w
}

// serve starts the two listeners.
func (w *world) serve(ctx context.Context, cfg api.Config) {
	server, err := api.New(cfg)
	w.ok(err)
	inner, outer := grpc.NewServer(server.Options()...), grpc.NewServer(server.Options()...)
	server.Register(inner)
	server.Register(outer)
	gateway, err := server.NewGateway(ctx)
	w.ok(err)
	go inner.Serve(gateway.Listener())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.ok(err)
	go outer.Serve(l)
	handler, err := gateway.Handler()
	w.ok(err)
	w.rest = httptest.NewServer(handler)
	w.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	w.ok(err)
	w.t.Cleanup(func() {
		w.conn.Close()
		w.rest.Close()
		gateway.Close()
		outer.Stop()
		inner.Stop()
	})
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// slug is a name that was not used before.
func (w *world) slug() string { return fmt.Sprintf("x%d", w.n.Add(1)) }

func (w *world) furnish() {
	w.org, w.owner, w.blueprint = w.newOrg("one")
	w.other, w.stranger, _ = w.newOrg("two")
	w.auditor = w.mint(w.org, &controlv1.ApiKey{Permissions: []string{"auditEvents.list"}})
	w.nobody = w.mint(w.org, &controlv1.ApiKey{Permissions: []string{"users.search"}})
	var r *controlv1.ProvisionTenantResponse
	r, w.operation = w.provision("hooli")
	w.tenant, w.tenantKey = r.GetTenant().GetName(), r.GetApiKeys()[0].GetSecret()
	r, _ = w.provision("raviga")
	w.neighbour, w.neighbourKey = r.GetTenant().GetName(), r.GetApiKeys()[0].GetSecret()
}

func (w *world) newOrg(slug string) (name, owner, bp string) {
	var o controlv1.Org
	w.must(w.platform, &controlv1.CreateOrgRequest{OrgId: slug, Org: &controlv1.Org{BaseDomain: slug + ".localhost"}}, &o)
	owner = w.mint(o.GetName(), &controlv1.ApiKey{Role: "orgOwner", Mint: &controlv1.MintPolicy{
		MaxScope: controlv1.ApiKey_ORG, MayMintManagers: true, PermissionsCeiling: []string{"*"},
	}})
	var b controlv1.Blueprint
	w.must(owner, &controlv1.CreateBlueprintRequest{Parent: o.GetName(), BlueprintId: "standard", Blueprint: &controlv1.Blueprint{Draft: &controlv1.BlueprintSpec{
		Roles: []*controlv1.RoleSpec{{Id: "admin"}, {Id: "member", Default: true}}, ApiKeys: []*controlv1.ApiKeySpec{{Id: "admin", Role: "tenantOwner"}},
	}}}, &b)
	w.must(owner, &controlv1.PublishBlueprintRequest{Name: b.GetName()}, &controlv1.BlueprintRevision{})
	return o.GetName(), owner, b.GetName()
}

func (w *world) mint(parent string, k *controlv1.ApiKey) string {
	w.t.Helper()
	var c controlv1.ApiKeyCredentials
	w.must(w.platform, &controlv1.MintApiKeyRequest{Parent: parent, ApiKey: k}, &c)
	return c.GetSecret()
}

func (w *world) provision(slug string) (*controlv1.ProvisionTenantResponse, string) {
	w.t.Helper()
	var op longrunning.Operation
	w.must(w.owner, &controlv1.ProvisionTenantRequest{
		Parent: w.org, TenantId: slug, Blueprint: w.blueprint, WaitFor: controlv1.ProvisionTenantRequest_COMMITTED,
	}, &op)
	var r controlv1.ProvisionTenantResponse
	w.ok(op.GetResponse().UnmarshalTo(&r))
	return &r, op.GetName()
}

// newTenant is a tenant that one test may change as it likes.
func (w *world) newTenant() string {
	r, _ := w.provision(w.slug())
	return r.GetTenant().GetName()
}

func (w *world) newUser() *controlv1.User {
	var u controlv1.User
	w.must(w.owner, &controlv1.CreateUserRequest{Parent: w.tenant, User: &controlv1.User{
		DisplayName: "Gavin Belson", Emails: []*controlv1.UserEmail{{Address: w.slug() + "@hooli.example"}}, Roles: []string{"member"},
	}}, &u)
	return &u
}

func (w *world) newClient(parent string) *controlv1.Client {
	var c controlv1.Client
	w.must(w.owner, &controlv1.CreateClientRequest{Parent: parent, ClientId: w.slug(), Client: &controlv1.Client{Kind: controlv1.Client_SERVICE}}, &c)
	return &c
}

func (w *world) newKey() *controlv1.ApiKeyCredentials {
	var c controlv1.ApiKeyCredentials
	w.must(w.owner, &controlv1.MintApiKeyRequest{Parent: w.tenant, ApiKeyId: w.slug(), ApiKey: &controlv1.ApiKey{Role: "tenantAuditor"}}, &c)
	return &c
}

func (w *world) signingKey(tenant string) string {
	var l controlv1.ListSigningKeysResponse
	w.must(w.owner, &controlv1.ListSigningKeysRequest{Parent: tenant, Filter: "state=ACTIVE"}, &l)
	return l.GetSigningKeys()[0].GetName()
}

// methodOf finds the method that takes a request.
func methodOf(req proto.Message) protoreflect.MethodDescriptor {
	var found protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("tenantry.control.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				if m := f.Services().Get(i).Methods().Get(j); m.Input().FullName() == req.ProtoReflect().Descriptor().FullName() {
					found = m
				}
			}
		}
		return found == nil
	})
	return found
}

// call is gRPC.
func (w *world) call(key string, req, answer proto.Message, md ...string) error {
	m := methodOf(req)
	if key != "" {
		md = append(md, "authorization", "Bearer "+key)
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(), md...)
	return w.conn.Invoke(ctx, fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), req, answer)
}

func (w *world) must(key string, req, answer proto.Message) {
	w.t.Helper()
	if err := w.call(key, req, answer); err != nil {
		w.t.Fatalf("%s: %v\n%v", methodOf(req).Name(), err, status.Convert(err).Details())
	}
}

func answerOf(req proto.Message) proto.Message {
	m := methodOf(req)
	if m.Output().FullName() == "google.longrunning.Operation" {
		return &longrunning.Operation{}
	}
	return dynamicpb.NewMessage(m.Output())
}

// reply is an HTTP answer.
type reply struct {
	code   int
	header http.Header
	body   []byte
}

// status reads the answer as an error.
func (r reply) status() *status.Status {
	var st rpcStatus
	if err := st.unmarshal(r.body); err != nil {
		return nil
	}
	return st.Status
}

type rpcStatus struct{ *status.Status }

func (s *rpcStatus) unmarshal(body []byte) error {
	p := status.New(0, "").Proto()
	if err := protojson.Unmarshal(body, p); err != nil {
		return err
	}
	s.Status = status.FromProto(p)
	return nil
}

// http is one request as it is.
func (w *world) http(key, method, path string, body []byte, header ...string) reply {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, w.rest.URL+path, bytes.NewReader(body))
	w.ok(err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	w.ok(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	w.ok(err)
	return reply{resp.StatusCode, resp.Header, text}
}

// rested is a request as REST has it, by the http option of its method.
type rested struct {
	method, path string
	query        url.Values
	body         map[string]any // nil for none
}

func (r rested) bytes() []byte {
	if r.body == nil {
		return nil
	}
	b, err := json.Marshal(r.body)
	if err != nil {
		panic(err)
	}
	return b
}

func (r rested) url() string {
	if len(r.query) == 0 {
		return r.path
	}
	return r.path + "?" + r.query.Encode()
}

// restOf turns a request into the HTTP request that stands for it.
func restOf(req proto.Message) (rested, error) {
	rule := proto.GetExtension(methodOf(req).Options(), annotations.E_Http).(*annotations.HttpRule)
	text, err := protojson.Marshal(req)
	if err != nil {
		return rested{}, err
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return rested{}, err
	}
	for _, b := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		var r rested
		var pattern string
		switch p := b.GetPattern().(type) {
		case *annotations.HttpRule_Get:
			r.method, pattern = "GET", p.Get
		case *annotations.HttpRule_Post:
			r.method, pattern = "POST", p.Post
		case *annotations.HttpRule_Patch:
			r.method, pattern = "PATCH", p.Patch
		case *annotations.HttpRule_Delete:
			r.method, pattern = "DELETE", p.Delete
		}
		r.path = pattern
		if open := strings.IndexByte(pattern, '{'); open >= 0 {
			closing := strings.IndexByte(pattern, '}')
			field, form, _ := strings.Cut(pattern[open+1:closing], "=")
			name := lookup(all, strings.Split(field, "."))
			if !fits(name, form) {
				continue
			}
			r.path = pattern[:open] + name + pattern[closing+1:]
			if !strings.Contains(field, ".") {
				delete(all, field)
			}
		}
		switch b.GetBody() {
		case "*":
			r.body, all = all, nil
		case "":
		default:
			r.body, _ = all[b.GetBody()].(map[string]any)
			if r.body == nil {
				r.body = map[string]any{}
			}
			delete(all, b.GetBody())
		}
		r.query = url.Values{}
		for k, v := range all {
			r.query.Set(k, fmt.Sprint(v))
		}
		return r, nil
	}
	return rested{}, errors.New("no binding fits")
}

func lookup(m map[string]any, path []string) string {
	for i, p := range path {
		if i == len(path)-1 {
			s, _ := m[p].(string)
			return s
		}
		m, _ = m[p].(map[string]any)
	}
	return ""
}

func fits(name, form string) bool {
	a, b := strings.Split(name, "/"), strings.Split(form, "/")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if b[i] != "*" && a[i] != b[i] {
			return false
		}
	}
	return true
}

// reason is the reason of an error, empty for one without.
func reason(st *status.Status) string {
	if st == nil {
		return ""
	}
	for _, d := range st.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i.GetReason()
		}
	}
	return ""
}

// shape is an error without what differs from call to call.
func shape(st *status.Status) string {
	p := st.Proto()
	out := fmt.Sprint(p.GetCode(), p.GetMessage())
	for _, d := range st.Details() {
		if _, ok := d.(*errdetails.RequestInfo); !ok {
			b, err := protojson.Marshal(d.(proto.Message))
			if err != nil {
				panic(err)
			}
			var v any
			if err := json.Unmarshal(b, &v); err != nil {
				panic(err)
			}
			out += fmt.Sprintf(" %T%v", d, v)
		}
	}
	return out
}
