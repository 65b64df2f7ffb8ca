// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
)

// policy is what the interceptors know of one method.
type policy struct {
	open       bool // no caller is needed: health checks, and reflection where it is switched on
	name       string
	permission string
	scope      controlv1.Authz_Scope
	resource   []protoreflect.FieldDescriptor // path of the field that names the resource
	attached   bool
	reads      bool
	timeout    time.Duration

	requestID protoreflect.FieldDescriptor // of the request; nil when the method has none
	etag      protoreflect.FieldDescriptor
}

const (
	callTimeout = 15 * time.Second
	// waitTimeout leaves WaitOperation its minute.
	waitTimeout = 65 * time.Second
)

// policies makes the table of all methods of the API from their options. A method without a permission is an error: the server is
// not built.
func policies() (map[string]*policy, error) {
	all := map[string]*policy{}
	var err error
	protoregistry.GlobalFiles.RangeFilesByPackage("tenantry.control.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				p, perr := policyOf(m)
				if perr != nil {
					err = fmt.Errorf("api: %s: %w", m.FullName(), perr)
					return false
				}
				all["/"+string(s.FullName())+"/"+string(m.Name())] = p
			}
		}
		return true
	})
	return all, err
}

func policyOf(m protoreflect.MethodDescriptor) (*policy, error) {
	a, _ := proto.GetExtension(m.Options(), controlv1.E_Authz).(*controlv1.Authz)
	if a.GetPermission() == "" || a.GetScope() == controlv1.Authz_SCOPE_UNSPECIFIED {
		return nil, fmt.Errorf("the method declares no permission")
	}
	if m.IsStreamingClient() || m.IsStreamingServer() {
		return nil, fmt.Errorf("the method streams, and no interceptor checks the messages of a stream")
	}
	p := &policy{
		name: string(m.Name()), permission: a.GetPermission(), scope: a.GetScope(), attached: a.GetAttached(), timeout: callTimeout,
		requestID: m.Input().Fields().ByName("request_id"), etag: m.Input().Fields().ByName("etag"),
	}
	if o, ok := m.Options().(*descriptorpb.MethodOptions); ok {
		p.reads = o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
	}
	if p.name == "WaitOperation" {
		p.timeout = waitTimeout
	}
	if p.scope == controlv1.Authz_RESOURCE {
		in := m.Input()
		for _, part := range strings.Split(a.GetResource(), ".") {
			if in == nil || in.Fields().ByName(protoreflect.Name(part)) == nil {
				return nil, fmt.Errorf("there is no field %s", a.GetResource())
			}
			f := in.Fields().ByName(protoreflect.Name(part))
			p.resource, in = append(p.resource, f), f.Message()
		}
		if last := p.resource[len(p.resource)-1]; last.Kind() != protoreflect.StringKind || last.IsList() {
			return nil, fmt.Errorf("the field %s is no name", a.GetResource())
		}
	}
	return p, nil
}

// resourceName reads the field of a request that names the resource.
func (p *policy) resourceName(req proto.Message) string {
	m := req.ProtoReflect()
	for i, f := range p.resource {
		if i == len(p.resource)-1 {
			return m.Get(f).String()
		}
		m = m.Get(f).Message()
	}
	return ""
}
