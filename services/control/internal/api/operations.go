// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tenantry/tenantry/pkg/id"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"

	longrunning "cloud.google.com/go/longrunning/autogen/longrunningpb"
)

// GetOperation implements OperationService.
func (s *Server) GetOperation(ctx context.Context, req *controlv1.GetOperationRequest) (*longrunning.Operation, error) {
	return s.operation(req.GetName(), func(op id.Operation) (provision.OperationState, error) {
		return s.control.GetOperation(ctx, callOf(ctx).caller, op)
	})
}

// defaultWait is how long WaitOperation waits when nothing is said. Other than for an absent one, a timeout of zero asks and does not
// wait.
const defaultWait = 30 * time.Second

// WaitOperation implements OperationService.
func (s *Server) WaitOperation(ctx context.Context, req *controlv1.WaitOperationRequest) (*longrunning.Operation, error) {
	wait := defaultWait
	if req.GetTimeout() != nil {
		wait = max(span(req.GetTimeout()), time.Millisecond)
	}
	if at, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(at)-500*time.Millisecond, time.Millisecond))
	}
	return s.operation(req.GetName(), func(op id.Operation) (provision.OperationState, error) {
		return s.control.WaitOperation(ctx, callOf(ctx).caller, op, wait)
	})
}

func (s *Server) operation(name string, find func(id.Operation) (provision.OperationState, error)) (*longrunning.Operation, error) {
	op, err := id.ParseOperation(name[len("operations/"):])
	if err != nil {
		return nil, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	st, err := find(op)
	if err != nil {
		return nil, err
	}
	st.Result.Reached = st.Done
	return operationOf(st, s.now())
}

// operationOf is always done: what it made is committed before anybody knows of it. How far the change has come since is in the
// propagation and the steps.
func operationOf(st provision.OperationState, now time.Time) (*longrunning.Operation, error) {
	meta := &controlv1.OperationMetadata{
		Method: st.Method, CreateTime: timestamp(st.Result.CreateTime), Propagation: propagation(st.Done),
	}
	if !st.Tenant.IsZero() {
		meta.Target = tenantName(st.Org, st.Tenant)
	}
	if st.Done {
		meta.EndTime = timestamp(now)
	}
	for _, step := range []struct {
		id   string
		done bool
	}{{"commit", true}, {"publish", st.Published}, {"identity", st.Seeded}} {
		x := &controlv1.OperationStep{Id: step.id, State: controlv1.OperationStep_WAITING}
		if step.done {
			x.State = controlv1.OperationStep_DONE
			meta.Done++
		}
		meta.Steps = append(meta.Steps, x)
		meta.Total++
	}
	m, err := anypb.New(meta)
	if err != nil {
		return nil, fmt.Errorf("operation: %w", err)
	}
	result, err := anypb.New(provisionOut(&st.Result, now))
	if err != nil {
		return nil, fmt.Errorf("operation: %w", err)
	}
	op := &longrunning.Operation{Metadata: m, Done: true, Result: &longrunning.Operation_Response{Response: result}}
	if !st.Operation.IsZero() {
		op.Name = "operations/" + st.Operation.String()
	}
	return op, nil
}
