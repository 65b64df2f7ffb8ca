// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// merge applies the fields of patch that the mask names to current, and answers the names of the top-level fields that are different
// now. Without a mask it takes the fields that are set; `*` stands for all. Fields that only the server writes are passed over
// (AIP-203), so that what was read can be sent back; one that is fixed at creation may be sent as it is.
func merge(current, patch proto.Message, mask *fieldmaskpb.FieldMask, resource string) (changed []string, err error) {
	before := proto.Clone(current).ProtoReflect()
	dst, src := current.ProtoReflect(), patch.ProtoReflect()
	paths := mask.GetPaths()
	switch {
	case len(paths) == 0:
		src.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			paths = append(paths, string(f.Name()))
			return true
		})
	case slices.Equal(paths, []string{"*"}):
		paths = nil
		for i := range src.Descriptor().Fields().Len() {
			f := src.Descriptor().Fields().Get(i)
			if !behaves(f, annotations.FieldBehavior_IMMUTABLE) && !behaves(f, annotations.FieldBehavior_INPUT_ONLY) {
				paths = append(paths, string(f.Name()))
			}
		}
	}
	for _, path := range paths {
		segments := strings.Split(path, ".")
		top := fieldNamed(src.Descriptor(), segments[0])
		if top == nil {
			return nil, unknownPath(resource, path)
		}
		if top.Name() == "name" || top.Name() == "etag" || behaves(top, annotations.FieldBehavior_OUTPUT_ONLY) {
			continue
		}
		if behaves(top, annotations.FieldBehavior_IMMUTABLE) {
			if !src.Get(top).Equal(dst.Get(top)) || src.Has(top) != dst.Has(top) {
				return nil, tenancy.RefuseField(tenancy.ReasonFieldImmutable, resource+"."+path, "it is fixed at creation")
			}
			continue
		}
		if !copyPath(dst, src, segments) {
			return nil, unknownPath(resource, path)
		}
	}
	for i := range dst.Descriptor().Fields().Len() {
		f := dst.Descriptor().Fields().Get(i)
		if dst.Has(f) != before.Has(f) || !dst.Get(f).Equal(before.Get(f)) {
			changed = append(changed, string(f.Name()))
		}
	}
	return changed, nil
}

func unknownPath(resource, path string) error {
	return tenancy.RefuseField(tenancy.ReasonInvalidArgument, "update_mask", resource+" has no field "+path)
}

// fieldNamed finds a field by its proto or JSON name.
func fieldNamed(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := d.Fields().ByName(protoreflect.Name(name)); f != nil {
		return f
	}
	return d.Fields().ByJSONName(name)
}

func behaves(f protoreflect.FieldDescriptor, b annotations.FieldBehavior) bool {
	all, _ := proto.GetExtension(f.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return slices.Contains(all, b)
}

// copyPath sets the field at a path of dst to that of src, or clears it where src does not have it. The last segment may be the key of
// a map. It is false when there is no such path.
func copyPath(dst, src protoreflect.Message, path []string) bool {
	f := fieldNamed(dst.Descriptor(), path[0])
	switch {
	case f == nil:
		return false
	case len(path) == 1:
		if src.Has(f) {
			dst.Set(f, src.Get(f))
		} else {
			dst.Clear(f)
		}
		return true
	case f.IsMap():
		if len(path) != 2 || f.MapKey().Kind() != protoreflect.StringKind {
			return false
		}
		key := protoreflect.ValueOfString(path[1]).MapKey()
		if v := src.Get(f).Map().Get(key); v.IsValid() {
			dst.Mutable(f).Map().Set(key, v)
		} else if dst.Has(f) {
			dst.Mutable(f).Map().Clear(key)
		}
		return true
	case f.Message() == nil || f.IsList():
		return false
	}
	if !src.Has(f) && !dst.Has(f) {
		// Nothing to clear, but the path must exist all the same.
		return copyPath(src.NewField(f).Message(), src.NewField(f).Message(), path[1:])
	}
	sub := src.Get(f).Message()
	return copyPath(dst.Mutable(f).Message(), sub, path[1:])
}

// update reads a resource, merges the patch into it and writes what has changed. Without an etag of the caller's it writes on top of
// what it read, and begins again when somebody was faster.
func update[M proto.Message](patch M, mask *fieldmaskpb.FieldMask, resource, etag, requestID string, read func() (M, string, error),
	write func(merged M, changed []string, etag string) (M, error),
) (zero M, err error) {
	for try := 0; ; try++ {
		current, at, err := read()
		if err != nil {
			return zero, err
		}
		changed, err := merge(current, patch, mask, resource)
		if err != nil {
			return zero, err
		}
		sent := etag
		if sent == "" || sent == "*" {
			sent = at
		}
		// A repeated request finds its own change done, and its etag outdated: then the kept answer decides.
		if len(changed) == 0 && (sent == at || requestID == "") {
			if sent != at {
				return zero, tenancy.RefuseField(tenancy.ReasonEtagMismatch, "etag", "")
			}
			return current, nil
		}
		answer, err := write(current, changed, sent)
		if err != nil && (etag == "" || etag == "*") && try < 3 && errors.Is(err, tenancy.ReasonEtagMismatch) {
			continue
		}
		return answer, err
	}
}

// oneEtag is the etag of an update, which may stand in the request or in the resource.
func oneEtag(request, resource string) (string, error) {
	if request != "" && resource != "" && request != resource {
		return "", tenancy.RefuseField(tenancy.ReasonInvalidArgument, "etag", "the etags of the request and of the resource differ")
	}
	if request == "" {
		return resource, nil
	}
	return request, nil
}
