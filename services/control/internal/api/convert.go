// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// timestamp is nil for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// instant is the zero time for nil.
func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// span is 0 for nil.
func span(d *durationpb.Duration) time.Duration { return d.AsDuration() }

// object is a JSON object as a message; nil for none or an empty one.
func object(raw []byte) *structpb.Struct {
	s := &structpb.Struct{}
	if len(raw) == 0 || protojson.Unmarshal(raw, s) != nil || len(s.GetFields()) == 0 {
		return nil
	}
	return s
}

// rawObject is a message as a JSON object; nil for none.
func rawObject(s *structpb.Struct) json.RawMessage {
	if s == nil {
		return nil
	}
	b, err := json.Marshal(s.AsMap())
	if err != nil {
		return nil
	}
	return b
}

// values are free values as Go has them.
func values(in map[string]*structpb.Value) map[string]any {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]any, len(in))
	for k, v := range in {
		out[k] = v.AsInterface()
	}
	return out
}

// freeValues is the inverse of values; what JSON does not have is left out.
func freeValues(in map[string]any) map[string]*structpb.Value {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]*structpb.Value, len(in))
	for k, v := range in {
		if n, ok := v.(json.Number); ok {
			v, _ = n.Float64()
		}
		if x, err := structpb.NewValue(v); err == nil {
			out[k] = x
		}
	}
	return out
}

// changing is what every changing request carries beside its content.
func changing(ctx context.Context, requestID, etag string, validateOnly bool) provision.Call {
	return provision.Call{RequestID: requestID, BodyHash: callOf(ctx).body, ValidateOnly: validateOnly, Etag: etag}
}

// listing is what every list request asks for.
func listing(req interface {
	GetPageSize() int32
	GetPageToken() string
},
) tenancy.Page {
	p := tenancy.Page{Size: int(req.GetPageSize()), Token: req.GetPageToken()}
	if f, ok := req.(interface{ GetFilter() string }); ok {
		p.Filter = f.GetFilter()
	}
	if o, ok := req.(interface{ GetOrderBy() string }); ok {
		p.OrderBy = o.GetOrderBy()
	}
	return p
}

// each converts a list.
func each[A, B any](in []A, f func(*A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i := range in {
		out[i] = f(&in[i])
	}
	return out
}
