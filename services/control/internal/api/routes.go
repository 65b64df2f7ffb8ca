// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"regexp"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// queryless are the routes that take no query at all: their fields are all in the path and the body. The generated gateway does not
// even look at their query, so `POST …:suspend?validateOnly=true` would suspend.
type queryless []route

type route struct {
	method string
	path   *regexp.Regexp
}

// match reports whether a request goes to one of the routes.
func (q queryless) match(method, path string) bool {
	for i := range q {
		if q[i].method == method && q[i].path.MatchString(path) {
			return true
		}
	}
	return false
}

func newQueryless() (all queryless) {
	protoregistry.GlobalFiles.RangeFilesByPackage("tenantry.control.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				m := f.Services().Get(i).Methods().Get(j)
				rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
				for _, b := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
					if r, ok := querylessRoute(m, b); ok {
						all = append(all, r)
					}
				}
			}
		}
		return true
	})
	return all
}

var patternVariable = regexp.MustCompile(`\{([^=}]+)=([^}]+)\}`)

// querylessRoute is the route of a binding when it leaves no field of the request to the query.
func querylessRoute(m protoreflect.MethodDescriptor, b *annotations.HttpRule) (r route, ok bool) {
	var pattern string
	for method, p := range map[string]string{"GET": b.GetGet(), "POST": b.GetPost(), "PATCH": b.GetPatch(), "DELETE": b.GetDelete()} {
		if p != "" {
			r.method, pattern = method, p
		}
	}
	bound := map[string]bool{b.GetBody(): true}
	for _, v := range patternVariable.FindAllStringSubmatch(pattern, -1) {
		bound[v[1]] = true
	}
	for i := range m.Input().Fields().Len() {
		if b.GetBody() != "*" && !bound[string(m.Input().Fields().Get(i).Name())] {
			return r, false
		}
	}
	text := regexp.QuoteMeta(patternVariable.ReplaceAllString(pattern, "$2"))
	r.path = regexp.MustCompile("^" + strings.ReplaceAll(text, `\*`, "[^/]+") + "$")
	return r, true
}
