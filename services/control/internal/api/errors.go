// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
	"github.com/tenantry/tenantry/services/identity"
)

// errorDomain is the domain of every reason.
const errorDomain = "tenantry.dev"

// The reasons that only this wire has, beside those of the domain.
const (
	reasonKeyMissing      tenancy.Reason = "API_KEY_MISSING"
	reasonMalformed       tenancy.Reason = "REQUEST_MALFORMED"
	reasonTooLarge        tenancy.Reason = "REQUEST_TOO_LARGE"
	reasonMediaType       tenancy.Reason = "MEDIA_TYPE_UNSUPPORTED"
	reasonRouteUnknown    tenancy.Reason = "ROUTE_UNKNOWN"
	reasonMethodNotHere   tenancy.Reason = "METHOD_NOT_ALLOWED"
	reasonRateLimited     tenancy.Reason = "RATE_LIMITED"
	reasonDeadline        tenancy.Reason = "DEADLINE_EXCEEDED"
	reasonEmailTaken      tenancy.Reason = "EMAIL_TAKEN"
	reasonPasswordRefused tenancy.Reason = "PASSWORD_REFUSED"
	reasonTenantHasUsers  tenancy.Reason = "TENANT_HAS_USERS"
)

// wireReason is a reason with what the wire makes of it.
type wireReason struct {
	tenancy.ReasonInfo

	Code codes.Code
	HTTP int // 0: what the code stands for
}

// codeOf is the table from the classes of the domain to this wire's codes.
var codeOf = map[tenancy.Class]codes.Code{
	tenancy.ClassInternal:        codes.Internal,
	tenancy.ClassUnauthenticated: codes.Unauthenticated,
	tenancy.ClassDenied:          codes.PermissionDenied,
	tenancy.ClassNotFound:        codes.NotFound,
	tenancy.ClassArgument:        codes.InvalidArgument,
	tenancy.ClassExists:          codes.AlreadyExists,
	tenancy.ClassConflict:        codes.Aborted,
	tenancy.ClassPrecondition:    codes.FailedPrecondition,
	tenancy.ClassExhausted:       codes.ResourceExhausted,
	tenancy.ClassUnavailable:     codes.Unavailable,
}

// ofThisWire are the entries for the reasons above.
var ofThisWire = []wireReason{
	{tenancy.ReasonInfo{
		Reason: reasonKeyMissing, Class: tenancy.ClassUnauthenticated, Text: "the call carries no API key",
		Cause: "There is no Authorization header, or it is not written as Bearer and a key.", Cure: "Send `Authorization: Bearer tnk_…`.",
	}, codes.Unauthenticated, 0},
	{tenancy.ReasonInfo{
		Reason: reasonMalformed, Class: tenancy.ClassArgument, Text: "the request cannot be read",
		Cause: "The body is not the JSON of this method, a query parameter is not known, or the text is not UTF-8.",
		Cure:  "Compare the request with the reference at /docs; unknown names are refused, so that a typing error is noticed.",
	}, codes.InvalidArgument, 0},
	{tenancy.ReasonInfo{
		Reason: reasonTooLarge, Class: tenancy.ClassArgument, Text: "the request is larger than 1 MiB",
		Cause: "Bodies and messages are bounded.", Cure: "Send less at once.",
	}, codes.ResourceExhausted, http.StatusRequestEntityTooLarge},
	{tenancy.ReasonInfo{
		Reason: reasonMediaType, Class: tenancy.ClassArgument, Text: "the body is not declared to be JSON",
		Cause: "A body needs Content-Type: application/json in UTF-8.", Cure: "Add `Content-Type: application/json`.",
	}, codes.InvalidArgument, http.StatusUnsupportedMediaType},
	{tenancy.ReasonInfo{
		Reason: reasonRouteUnknown, Class: tenancy.ClassNotFound, Text: "there is no such path",
		Cause: "No method of the API has this path.", Cure: "See /docs for the paths.",
	}, codes.NotFound, 0},
	{tenancy.ReasonInfo{
		Reason: reasonMethodNotHere, Class: tenancy.ClassArgument, Text: "this path does not take this HTTP method",
		Cause: "The path exists for another HTTP method.", Cure: "See /docs for the methods of the path.",
	}, codes.Unimplemented, http.StatusMethodNotAllowed},
	{tenancy.ReasonInfo{
		Reason: reasonRateLimited, Class: tenancy.ClassExhausted, Text: "this key asks too often",
		Cause: "Checks of hostnames are limited for each key, so that nobody lists who our customers are.",
		Cure:  "Wait as long as RetryInfo says, then repeat.", Retry: true,
	}, codes.ResourceExhausted, 0},
	{tenancy.ReasonInfo{
		Reason: reasonDeadline, Class: tenancy.ClassUnavailable, Text: "the call took longer than its deadline",
		Cause: "The deadline of the caller or of the method was over.", Cure: "Repeat the same request with the same request id: it is done once.", Retry: true,
	}, codes.DeadlineExceeded, 0},
	{tenancy.ReasonInfo{
		Reason: reasonEmailTaken, Class: tenancy.ClassExists, Text: "another user has this e-mail address",
		Cause: "E-mail addresses are unique in a user pool, in any spelling that means the same.", Cure: "Find the user with filter=email=\"…\", or choose another address.",
	}, codes.AlreadyExists, 0},
	{tenancy.ReasonInfo{
		Reason: reasonPasswordRefused, Class: tenancy.ClassArgument, Text: "the password does not fit the tenant's policy",
		Cause: "The violations name each rule that it breaks.", Cure: "Choose another password.",
	}, codes.InvalidArgument, 0},
	{tenancy.ReasonInfo{
		Reason: reasonTenantHasUsers, Class: tenancy.ClassPrecondition, Text: "the tenant has users",
		Cause: "Deleting a tenant takes the login away from its users.", Cure: "Send force=true when that is meant; the tenant can be undeleted until its purge time.",
	}, codes.FailedPrecondition, 0},
}

// reasons is the one table: the domain's reasons, then this wire's, in the order in which /docs/errors shows them.
var reasons = func() []wireReason {
	all := make([]wireReason, 0, len(tenancy.Reasons)+len(ofThisWire))
	for _, r := range tenancy.Reasons {
		all = append(all, wireReason{ReasonInfo: r, Code: codeOf[r.Class]})
	}
	return append(all, ofThisWire...)
}()

var reasonIndex = func() map[tenancy.Reason]wireReason {
	m := make(map[tenancy.Reason]wireReason, len(reasons))
	for _, r := range reasons {
		m[r.Reason] = r
	}
	return m
}()

func infoOf(r tenancy.Reason) wireReason {
	if i, ok := reasonIndex[r]; ok {
		return i
	}
	return reasonIndex[tenancy.ReasonInternal]
}

// refuse makes an error with a reason of either table.
func refuse(r tenancy.Reason, text string) *tenancy.Error {
	if text == "" {
		text = infoOf(r).Text
	}
	return &tenancy.Error{Reason: r, Text: text}
}

// retryAfter is an error that says how long to wait.
type retryAfter struct {
	cause *tenancy.Error
	wait  time.Duration
}

// Error is the cause's.
func (e *retryAfter) Error() string { return e.cause.Error() }

// Unwrap gives the cause to errors.As.
func (e *retryAfter) Unwrap() error { return e.cause }

// refusal brings any error of a call to one with a reason. What is not known is INTERNAL outside and whole in the log.
func refusal(ctx context.Context, err error) *tenancy.Error {
	var known *tenancy.Error
	if errors.As(err, &known) {
		return known
	}
	var reason tenancy.Reason
	if errors.As(err, &reason) {
		return tenancy.Refuse(reason).Because(err)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return refuse(reasonDeadline, "").Because(err)
	case errors.Is(err, secret.ErrBusy):
		return tenancy.Refuse(tenancy.ReasonUnavailable).Because(err)
	}
	if e := identityRefusal(err); e != nil {
		return e.Because(err)
	}
	return tenancy.Refuse(tenancy.ReasonInternal).Because(err)
}

// identityRefusal is the table for the user store; nil for what it does not name.
func identityRefusal(err error) *tenancy.Error {
	var invalid *identity.InvalidError
	var password *identity.PasswordError
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return tenancy.Refuse(tenancy.ReasonNotFound)
	case errors.Is(err, identity.ErrEmailTaken):
		e := refuse(reasonEmailTaken, "")
		e.Field = "user.emails[0].address"
		return e
	case errors.Is(err, identity.ErrEtag):
		return tenancy.RefuseField(tenancy.ReasonEtagMismatch, "etag", "")
	case errors.As(err, &password):
		e := refuse(reasonPasswordRefused, "")
		e.Field = "user.password"
		for _, v := range password.Violations {
			e.Violations = append(e.Violations, tenancy.Violation{Field: "user.password", Text: passwordText(v, password.MinLength)})
		}
		return e
	case errors.As(err, &invalid):
		return tenancy.RefuseField(tenancy.ReasonInvalidArgument, userField(invalid.Field), invalid.Reason)
	}
	return nil
}

// statusOf is the wire form of a refusal.
func statusOf(e *tenancy.Error, requestID, docs string, wait time.Duration) *status.Status {
	info := infoOf(e.Reason)
	text := e.Text
	if text == "" {
		text = info.Text
	}
	s := status.New(info.Code, text)
	meta := map[string]string{}
	for k, v := range e.Meta {
		meta[k] = v
	}
	if e.Field != "" {
		meta["field"] = policyField(e.Field)
	}
	details := []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: string(e.Reason), Domain: errorDomain, Metadata: meta},
	}
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: policyField(v.Field), Description: v.Text})
		}
		details = append(details, bad)
	}
	if info.Class == tenancy.ClassPrecondition {
		details = append(details, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: string(e.Reason), Subject: e.Field, Description: text},
		}})
	}
	if info.Class == tenancy.ClassExhausted {
		details = append(details, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
			{Subject: e.Field, Description: text},
		}})
	}
	if wait == 0 && info.Class == tenancy.ClassUnavailable {
		wait = time.Second
	}
	if wait > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	}
	details = append(
		details, &errdetails.RequestInfo{RequestId: requestID},
		&errdetails.Help{Links: []*errdetails.Help_Link{{Description: info.Cure, Url: docs + "/docs/errors#" + string(e.Reason)}}},
	)
	if with, err := s.WithDetails(details...); err == nil {
		return with
	}
	return s
}

// httpStatus is the HTTP status of a status made by statusOf; 0 stands for what its code stands for.
func httpStatus(s *status.Status) int {
	return infoOf(reasonOf(s)).HTTP
}

// reasonOf reads the reason of a status; empty for one that did not come from the table.
func reasonOf(s *status.Status) tenancy.Reason {
	for _, d := range s.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && i.GetDomain() == errorDomain {
			return tenancy.Reason(i.GetReason())
		}
	}
	return ""
}

// userField is the path in a request of a field that the user store names.
func userField(field string) string {
	switch field {
	case "email":
		return "user.emails[0].address"
	case "name":
		return "user.display_name"
	case "locale", "roles", "app_metadata", "user_metadata", "password", "state":
		return "user." + field
	case "invitation":
		return "invite"
	}
	if strings.HasPrefix(field, "roles") {
		return "user." + field
	}
	return "user.profile." + field
}
