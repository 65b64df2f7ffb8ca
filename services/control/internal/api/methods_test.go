// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
)

// one is a method with a request of the first org's owner that succeeds; each call of make gives one that was not sent before.
type one struct {
	name string
	make func(w *world) proto.Message
	key  func(w *world) string // nil: the owner
}

func platformKey(w *world) string { return w.platform }

// table has every method of the API, which a test makes sure of.
var table = []one{
	{"CreateOrg", func(w *world) proto.Message {
		return &controlv1.CreateOrgRequest{OrgId: w.slug(), Org: &controlv1.Org{DisplayName: "New"}}
	}, platformKey},
	{"GetOrg", func(w *world) proto.Message { return &controlv1.GetOrgRequest{Name: w.org} }, nil},
	{"ListOrgs", func(*world) proto.Message { return &controlv1.ListOrgsRequest{PageSize: 2, Filter: `state=ACTIVE`} }, platformKey},
	{"UpdateOrg", func(w *world) proto.Message {
		return &controlv1.UpdateOrgRequest{Org: &controlv1.Org{Name: w.org, DisplayName: w.slug()}}
	}, nil},

	{"CreateBlueprint", func(w *world) proto.Message {
		return &controlv1.CreateBlueprintRequest{Parent: w.org, BlueprintId: w.slug(), Blueprint: &controlv1.Blueprint{}}
	}, nil},
	{"GetBlueprint", func(w *world) proto.Message { return &controlv1.GetBlueprintRequest{Name: w.blueprint} }, nil},
	{"ListBlueprints", func(w *world) proto.Message {
		return &controlv1.ListBlueprintsRequest{Parent: w.org, OrderBy: "slug desc"}
	}, nil},
	{"UpdateBlueprint", func(w *world) proto.Message {
		return &controlv1.UpdateBlueprintRequest{Blueprint: &controlv1.Blueprint{Name: w.blueprint, Description: w.slug()}}
	}, nil},
	{"PublishBlueprint", func(w *world) proto.Message { return &controlv1.PublishBlueprintRequest{Name: w.blueprint} }, nil},
	{"GetBlueprintRevision", func(w *world) proto.Message {
		return &controlv1.GetBlueprintRevisionRequest{Name: w.blueprint + "/revisions/1"}
	}, nil},
	{"ListBlueprintRevisions", func(w *world) proto.Message { return &controlv1.ListBlueprintRevisionsRequest{Parent: w.blueprint} }, nil},

	{"ProvisionTenant", func(w *world) proto.Message {
		return &controlv1.ProvisionTenantRequest{
			Parent: w.org, TenantId: w.slug(), Blueprint: w.blueprint + "/revisions/1", WaitFor: controlv1.ProvisionTenantRequest_COMMITTED,
		}
	}, nil},
	{"GetTenant", func(w *world) proto.Message { return &controlv1.GetTenantRequest{Name: w.tenant} }, nil},
	{"ListTenants", func(w *world) proto.Message { return &controlv1.ListTenantsRequest{Parent: w.org, ShowDeleted: true} }, nil},
	{"UpdateTenant", func(w *world) proto.Message {
		return &controlv1.UpdateTenantRequest{Tenant: &controlv1.Tenant{Name: w.tenant, Labels: map[string]string{"run": w.slug()}}}
	}, nil},
	{"SuspendTenant", func(w *world) proto.Message {
		return &controlv1.SuspendTenantRequest{Name: w.newTenant(), Reason: "unpaid"}
	}, nil},
	{"ResumeTenant", func(w *world) proto.Message { return &controlv1.ResumeTenantRequest{Name: w.newTenant()} }, nil},
	{"DeleteTenant", func(w *world) proto.Message { return &controlv1.DeleteTenantRequest{Name: w.newTenant()} }, nil},
	{"UndeleteTenant", func(w *world) proto.Message {
		name := w.newTenant()
		w.must(w.owner, &controlv1.DeleteTenantRequest{Name: name}, &controlv1.Tenant{})
		return &controlv1.UndeleteTenantRequest{Name: name}
	}, nil},
	{"CheckHostname", func(w *world) proto.Message {
		return &controlv1.CheckHostnameRequest{Parent: w.org, Address: &controlv1.CheckHostnameRequest_Label{Label: w.slug()}}
	}, nil},

	{"CreateClient", func(w *world) proto.Message {
		return &controlv1.CreateClientRequest{Parent: w.tenant, ClientId: w.slug(), Client: &controlv1.Client{
			Kind: controlv1.Client_SPA, RedirectUris: []string{"https://app.example.com/callback"},
		}}
	}, nil},
	{"GetClient", func(w *world) proto.Message {
		return &controlv1.GetClientRequest{Name: w.newClient(w.tenant).GetName()}
	}, nil},
	{"ListClients", func(w *world) proto.Message { return &controlv1.ListClientsRequest{Parent: w.tenant} }, nil},
	{"UpdateClient", func(w *world) proto.Message {
		return &controlv1.UpdateClientRequest{Client: &controlv1.Client{Name: w.newClient(w.tenant).GetName(), DisplayName: "Changed", IdTokenAlg: "ES256"}}
	}, nil},
	{"DeleteClient", func(w *world) proto.Message {
		return &controlv1.DeleteClientRequest{Name: w.newClient(w.tenant).GetName()}
	}, nil},
	{"AddClientSecret", func(w *world) proto.Message {
		return &controlv1.AddClientSecretRequest{Name: w.newClient(w.tenant).GetName()}
	}, nil},
	{"RetireClientSecret", func(w *world) proto.Message {
		c := w.newClient(w.tenant)
		var s controlv1.ClientCredentials
		w.must(w.owner, &controlv1.AddClientSecretRequest{Name: c.GetName()}, &s)
		return &controlv1.RetireClientSecretRequest{Name: c.GetName(), SecretId: s.GetSecretId(), Grace: durationpb.New(0)}
	}, nil},

	{"MintApiKey", func(w *world) proto.Message {
		return &controlv1.MintApiKeyRequest{Parent: w.tenant, ApiKeyId: w.slug(), ApiKey: &controlv1.ApiKey{Permissions: []string{"users.get"}}}
	}, nil},
	{"GetApiKey", func(w *world) proto.Message {
		return &controlv1.GetApiKeyRequest{Name: w.newKey().GetApiKey().GetName()}
	}, nil},
	{"ListApiKeys", func(w *world) proto.Message { return &controlv1.ListApiKeysRequest{Parent: w.tenant, PageSize: 1} }, nil},
	{"RotateApiKey", func(w *world) proto.Message {
		return &controlv1.RotateApiKeyRequest{Name: w.newKey().GetApiKey().GetName()}
	}, nil},
	{"RevokeApiKey", func(w *world) proto.Message {
		return &controlv1.RevokeApiKeyRequest{Name: w.newKey().GetApiKey().GetName()}
	}, nil},

	{"ListSigningKeys", func(w *world) proto.Message { return &controlv1.ListSigningKeysRequest{Parent: w.tenant} }, nil},
	{"RotateSigningKey", func(w *world) proto.Message {
		return &controlv1.RotateSigningKeyRequest{Name: w.signingKey(w.newTenant())}
	}, nil},
	{"RevokeSigningKeyNow", func(w *world) proto.Message {
		return &controlv1.RevokeSigningKeyNowRequest{Name: w.signingKey(w.newTenant()), Reason: "leaked"}
	}, nil},

	{"CreateUser", func(w *world) proto.Message {
		return &controlv1.CreateUserRequest{Parent: w.tenant, User: &controlv1.User{
			Emails: []*controlv1.UserEmail{{Address: w.slug() + "@hooli.example"}}, Password: "correct horse battery",
		}}
	}, nil},
	{"GetUser", func(w *world) proto.Message { return &controlv1.GetUserRequest{Name: w.newUser().GetName()} }, nil},
	{"ListUsers", func(w *world) proto.Message {
		return &controlv1.ListUsersRequest{Parent: w.tenant, Filter: "state=ACTIVE"}
	}, nil},
	{"SearchUsers", func(w *world) proto.Message { return &controlv1.SearchUsersRequest{Parent: w.tenant, Q: "gav"} }, nil},
	{"UpdateUser", func(w *world) proto.Message {
		return &controlv1.UpdateUserRequest{User: &controlv1.User{Name: w.newUser().GetName(), Locale: "pt-BR", Profile: &controlv1.UserProfile{GivenName: "G"}}}
	}, nil},
	{"DeleteUser", func(w *world) proto.Message { return &controlv1.DeleteUserRequest{Name: w.newUser().GetName()} }, nil},

	{"ListAuditEvents", func(w *world) proto.Message { return &controlv1.ListAuditEventsRequest{Parent: w.tenant, PageSize: 5} }, nil},
	{"GetOperation", func(w *world) proto.Message { return &controlv1.GetOperationRequest{Name: w.operation} }, nil},
	{"WaitOperation", func(w *world) proto.Message {
		return &controlv1.WaitOperationRequest{Name: w.operation, Timeout: durationpb.New(0)}
	}, nil},
}

func (o one) caller(w *world) string {
	if o.key == nil {
		return w.owner
	}
	return o.key(w)
}

func authzOf(req proto.Message) *controlv1.Authz {
	return proto.GetExtension(methodOf(req).Options(), controlv1.E_Authz).(*controlv1.Authz)
}

// rest sends a request as REST; edit may change it first.
func (w *world) sendREST(key string, req proto.Message, edit ...func(*rested)) reply {
	w.t.Helper()
	r, err := restOf(req)
	if err != nil {
		w.t.Fatalf("%s: %v", methodOf(req).Name(), err)
	}
	for _, f := range edit {
		f(&r)
	}
	return w.http(key, r.method, r.url(), r.bytes())
}

func TestTableHasEveryMethod(t *testing.T) {
	have := map[string]bool{}
	for _, o := range table {
		have[o.name] = true
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("tenantry.control.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				if m := f.Services().Get(i).Methods().Get(j); !have[string(m.Name())] {
					t.Errorf("%s is not in the table", m.FullName())
				}
			}
		}
		return true
	})
}

func TestEveryMethod(t *testing.T) {
	w := newWorld(t)
	for _, o := range table {
		t.Run(o.name, func(t *testing.T) {
			w.t = t
			req := o.make(w)
			if name := string(methodOf(req).Name()); name != o.name {
				t.Fatalf("the row is for %s", name)
			}
			t.Run("succeeds", func(t *testing.T) {
				if err := w.call(o.caller(w), req, answerOf(req)); err != nil {
					t.Errorf("gRPC: %v %v", err, status.Convert(err).Details())
				}
				r := w.sendREST(o.caller(w), o.make(w))
				if r.code != http.StatusOK {
					t.Errorf("REST: %d %s", r.code, r.body)
				}
				if r.header.Get("X-Request-Id") == "" || r.header.Get("Cache-Control") != "no-store" {
					t.Errorf("headers: %v", r.header)
				}
			})
			t.Run("refuses a call without a key", func(t *testing.T) {
				req := o.make(w)
				for _, key := range []string{"", "tnk_nonsense", w.owner[:len(w.owner)-1] + "x"} {
					err := w.call(key, req, answerOf(req))
					if status.Code(err) != codes.Unauthenticated {
						t.Errorf("gRPC with key %.8q: %v", key, err)
					}
					r := w.sendREST(key, req)
					if r.code != http.StatusUnauthorized || r.header.Get("WWW-Authenticate") == "" {
						t.Errorf("REST with key %.8q: %d %v", key, r.code, r.header)
					}
				}
			})
			t.Run("refuses a key of another org", func(t *testing.T) { w.outside(t, w.stranger, o) })
			t.Run("refuses a key of the neighbouring tenant", func(t *testing.T) {
				if a := authzOf(req); a.GetScope() == controlv1.Authz_RESOURCE {
					w.outside(t, w.neighbourKey, o)
				}
			})
			t.Run("refuses a key without the permission", func(t *testing.T) {
				key := w.auditor
				if o.name == "ListAuditEvents" {
					key = w.nobody
				}
				req := o.make(w)
				err := w.call(key, req, answerOf(req))
				if got := reason(status.Convert(err)); got != "PERMISSION_DENIED" {
					t.Errorf("gRPC: %v (%s)", err, got)
				}
				if r := w.sendREST(key, req); r.code != http.StatusForbidden || reason(r.status()) != "PERMISSION_DENIED" {
					t.Errorf("REST: %d %s", r.code, r.body)
				}
			})
			t.Run("refuses what it does not know", func(t *testing.T) {
				req := o.make(w)
				r := w.sendREST(o.caller(w), req, func(r *rested) { r.query = map[string][]string{"valdateOnly": {"true"}} })
				if r.code != http.StatusBadRequest || reason(r.status()) != "REQUEST_MALFORMED" {
					t.Errorf("query: %d %s", r.code, r.body)
				}
				r = w.sendREST(o.caller(w), req, func(r *rested) {
					if r.body == nil {
						r.body = map[string]any{}
					}
					r.body["displayNmae"] = "x"
				})
				if r.code != http.StatusBadRequest || reason(r.status()) != "REQUEST_MALFORMED" {
					t.Errorf("body: %d %s", r.code, r.body)
				}
			})
		})
	}
}

// outside sends a request with a key that must not know that its resource exists: the answer has the bytes of a resource that does not.
func (w *world) outside(t *testing.T, key string, o one) {
	t.Helper()
	req := o.make(w)
	a := authzOf(req)
	err := w.call(key, req, answerOf(req))
	switch {
	case o.name == "ListOrgs":
		var l controlv1.ListOrgsResponse
		if err := w.call(key, req, &l); err != nil || len(l.GetOrgs()) != 1 || l.GetOrgs()[0].GetName() != w.other {
			t.Errorf("gRPC: %v %v", err, &l)
		}
		return
	case a.GetScope() == controlv1.Authz_PLATFORM:
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("gRPC: %v", err)
		}
		return
	case key == w.neighbourKey && (o.name == "GetBlueprint" || o.name == "GetBlueprintRevision" || o.name == "ListTenants"):
		return // attached to its tenant too; lists only what is its own
	}
	missing := proto.Clone(req)
	if a.GetResource() != "" {
		rename(missing, a, "orgs/org_00000000000000000000000000")
	} else {
		missing = &controlv1.GetOperationRequest{Name: "operations/op_00000000000000000000000000"}
		if o.name == "WaitOperation" {
			missing = &controlv1.WaitOperationRequest{Name: "operations/op_00000000000000000000000000"}
		}
	}
	none := w.call(key, missing, answerOf(missing))
	if got, want := shape(status.Convert(err)), shape(status.Convert(none)); got != want || status.Code(err) != codes.NotFound {
		t.Errorf("the answer differs from that of nothing:\n%s\n%s", got, want)
	}
	if r := w.sendREST(key, req); r.code != http.StatusNotFound || shape(r.status()) != shape(status.Convert(none)) {
		t.Errorf("REST: %d %s", r.code, r.body)
	}
}

// rename puts the resource of a request under another org.
func rename(req proto.Message, a *controlv1.Authz, org string) {
	visit(req, a, func(m protoreflect.Message, f protoreflect.FieldDescriptor) {
		seg := strings.SplitN(m.Get(f).String(), "/", 3)
		name := org
		if len(seg) == 3 {
			name += "/" + seg[2]
		}
		m.Set(f, protoreflect.ValueOfString(name))
	})
}

func visit(req proto.Message, a *controlv1.Authz, f func(protoreflect.Message, protoreflect.FieldDescriptor)) {
	m := req.ProtoReflect()
	path := strings.Split(a.GetResource(), ".")
	for i, p := range path {
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(p))
		if i == len(path)-1 {
			f(m, fd)
			return
		}
		m = m.Mutable(fd).Message()
	}
}

// Also the additional bindings, which the table does not reach, are behind the same interceptors.
func TestEveryRouteNeedsAKey(t *testing.T) {
	w := newWorld(t)
	n := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("tenantry.control.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				rule := proto.GetExtension(f.Services().Get(i).Methods().Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
				for _, b := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
					for method, pattern := range map[string]string{"GET": b.GetGet(), "POST": b.GetPost(), "PATCH": b.GetPatch(), "DELETE": b.GetDelete()} {
						if pattern == "" {
							continue
						}
						n++
						path := pattern
						if at := strings.IndexByte(path, '='); at >= 0 {
							path = path[:strings.IndexByte(path, '{')] + strings.ReplaceAll(path[at+1:], "}", "")
						}
						path = strings.ReplaceAll(path, "*", "x")
						var body []byte
						if b.GetBody() != "" {
							body = []byte("{}")
						}
						if r := w.http("", method, path, body); r.code != http.StatusUnauthorized || reason(r.status()) != "API_KEY_MISSING" {
							t.Errorf("%s %s: %d %s", method, path, r.code, r.body)
						}
					}
				}
			}
		}
		return true
	})
	if n < 45 {
		t.Errorf("%d routes were tried", n)
	}
}
