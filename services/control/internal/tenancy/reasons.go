// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"errors"
	"strings"
)

// Reason is the stable word for why a call was refused; programs switch on it, and it is one entry of Reasons.
type Reason string

// The reasons, in the order of the table.
const (
	ReasonNotFound              Reason = "NOT_FOUND"
	ReasonPermissionDenied      Reason = "PERMISSION_DENIED"
	ReasonSupportAccessRequired Reason = "SUPPORT_ACCESS_REQUIRED"
	ReasonKeyInvalid            Reason = "API_KEY_INVALID"
	ReasonKeyExpired            Reason = "API_KEY_EXPIRED"
	ReasonInvalidArgument       Reason = "INVALID_ARGUMENT"
	ReasonFilterUnsupported     Reason = "FILTER_UNSUPPORTED"
	ReasonPageTokenInvalid      Reason = "PAGE_TOKEN_INVALID"
	ReasonSlugTaken             Reason = "SLUG_TAKEN"
	ReasonHostnameUnavailable   Reason = "HOSTNAME_UNAVAILABLE"
	ReasonBaseDomainConflict    Reason = "BASE_DOMAIN_CONFLICT"
	ReasonBaseDomainMissing     Reason = "BASE_DOMAIN_MISSING"
	ReasonHostOutsideBaseDomain Reason = "HOST_OUTSIDE_BASE_DOMAIN"
	ReasonRequestIDReused       Reason = "REQUEST_ID_REUSED"
	ReasonEtagMismatch          Reason = "ETAG_MISMATCH"
	ReasonConcurrentChange      Reason = "CONCURRENT_CHANGE"
	ReasonOrgSuspended          Reason = "ORG_SUSPENDED"
	ReasonTenantState           Reason = "TENANT_STATE"
	ReasonFieldImmutable        Reason = "FIELD_IMMUTABLE"
	ReasonRegionNotAllowed      Reason = "REGION_NOT_ALLOWED"
	ReasonBlueprintUnpublished  Reason = "BLUEPRINT_UNPUBLISHED"
	ReasonParameterInvalid      Reason = "PARAMETER_INVALID"
	ReasonPolicyLocked          Reason = "POLICY_LOCKED"
	ReasonConfigRejected        Reason = "CONFIG_REJECTED"
	ReasonClientPolicy          Reason = "CLIENT_POLICY"
	ReasonMintExceedsMinter     Reason = "MINT_EXCEEDS_MINTER"
	ReasonSecretLimit           Reason = "SECRET_LIMIT"
	ReasonKeyState              Reason = "SIGNING_KEY_STATE"
	ReasonTenantMismatch        Reason = "TENANT_MISMATCH"
	ReasonUnavailable           Reason = "UNAVAILABLE"
	ReasonInternal              Reason = "INTERNAL"
)

// Class groups reasons by what a caller can do about them; each wire has one table from class to its own codes.
type Class int

// The classes.
const (
	ClassInternal        Class = iota // nobody but the operators
	ClassUnauthenticated              // present another credential
	ClassDenied                       // ask for the right
	ClassNotFound                     // nothing there, or nothing the caller may know of
	ClassArgument                     // change the request
	ClassExists                       // choose another name
	ClassConflict                     // read again, then repeat
	ClassPrecondition                 // change the state first
	ClassExhausted                    // free something first
	ClassUnavailable                  // repeat later
)

// ReasonInfo is what people are told about a reason.
type ReasonInfo struct {
	Reason Reason
	Class  Class
	Text   string // one sentence, used when the error has no better one
	Cause  string // why this happens
	Cure   string // what to do next; every reason has one
	Retry  bool   // the same request may succeed later without change
}

// Reasons is the one table of reasons; docs/errors is generated from it.
var Reasons = []ReasonInfo{
	{ReasonNotFound, ClassNotFound, "there is no such resource", "The name is wrong, the resource was deleted, or it belongs to somebody else: these are not told apart.", "List the parent to see what there is, and check which API key is in use.", false},
	{ReasonPermissionDenied, ClassDenied, "this key may not do that", "The resource is within the key's reach, but the method's permission is not among the key's permissions.", "Use a key with the permission that the error names, or have one minted.", false},
	{ReasonSupportAccessRequired, ClassDenied, "a platform key does not read personal data", "People's records belong to the tenant; platform keys administer orgs.", "Use a key of the org or of the tenant.", false},
	{ReasonKeyInvalid, ClassUnauthenticated, "this API key is not known", "The text is no API key, was mistyped, rotated or revoked.", "Send `Authorization: Bearer tnk_…` with a current key.", false},
	{ReasonKeyExpired, ClassUnauthenticated, "this API key has expired or is not yet valid", "The present time lies outside the key's validity.", "Mint a new key, or rotate this one with a later expiry.", false},
	{ReasonInvalidArgument, ClassArgument, "the request does not fit the schema", "One or more fields break a rule; each is named with its rule.", "Correct the named fields; nothing was changed.", false},
	{ReasonFilterUnsupported, ClassArgument, "this filter cannot be answered", "Filters are restricted to what an index answers.", "Use the fields and operators that the error lists, joined by AND.", false},
	{ReasonPageTokenInvalid, ClassArgument, "this page token does not belong to this request", "A page token is bound to the caller, the parent, the filter and the order.", "Start again without a page token, or repeat the request that gave it.", false},
	{ReasonSlugTaken, ClassExists, "this id is already in use", "Another resource of the same parent has it; deleted ones keep theirs.", "Choose another id.", false},
	{ReasonHostnameUnavailable, ClassExists, "this address is not free", "The name is in use, reserved, or held after a release; these are not told apart.", "Choose another name; nothing was created.", false},
	{ReasonBaseDomainConflict, ClassExists, "this base domain is not free", "It equals, contains or lies under a domain that is already claimed.", "Choose a domain of your own.", false},
	{ReasonBaseDomainMissing, ClassPrecondition, "the org has no base domain", "A label becomes a hostname only under the org's base domain.", "Set base_domain of the org with a platform key.", false},
	{ReasonHostOutsideBaseDomain, ClassArgument, "this hostname is not directly under the org's base domain", "A tenant's hostname is one label in front of the org's base domain.", "Send the label alone, for example hooli.", false},
	{ReasonRequestIDReused, ClassExists, "this request id was used for another request", "A request id names one body for 24 hours.", "Draw a new UUID for a new request.", false},
	{ReasonEtagMismatch, ClassConflict, "the resource has changed since it was read", "The etag sent is not the current one.", "Read the resource again and repeat the change on top of it.", false},
	{ReasonConcurrentChange, ClassConflict, "something that this call builds on changed meanwhile", "Another call changed the same resource at the same moment.", "Repeat the call.", true},
	{ReasonOrgSuspended, ClassPrecondition, "the org is not active", "Its hosts are closed and nothing can be created in it.", "Resume the org with a platform key.", false},
	{ReasonTenantState, ClassPrecondition, "the tenant's state does not allow that", "For example, a deleted tenant is first undeleted.", "Bring the tenant into the state that the error names.", false},
	{ReasonFieldImmutable, ClassArgument, "this field is fixed at creation", "Others rely on it never changing.", "Leave it out of the update mask.", false},
	{ReasonRegionNotAllowed, ClassArgument, "the org may not place tenants in this region", "The org lists its allowed regions.", "Choose one of the regions that the error names.", false},
	{ReasonBlueprintUnpublished, ClassPrecondition, "the blueprint has no published revision", "Tenants are made from published revisions only.", "Publish the blueprint's draft.", false},
	{ReasonParameterInvalid, ClassArgument, "a blueprint parameter is missing or does not fit", "The blueprint declares its parameters; each violation is named.", "Send the parameters that the blueprint declares.", false},
	{ReasonPolicyLocked, ClassPrecondition, "the blueprint locks this setting", "A locked setting may only become stricter.", "Leave the field out, or choose a stricter value.", false},
	{ReasonConfigRejected, ClassPrecondition, "this configuration cannot be served", "It was compiled as the data plane would and refused; nothing was changed.", "Correct what the error names.", false},
	{ReasonClientPolicy, ClassPrecondition, "the tenant's policy does not allow this client", "A client may be stricter than the security profile, response types and algorithms of its tenant, never looser.", "Change the named fields of the client, or the tenant's policy first.", false},
	{ReasonMintExceedsMinter, ClassDenied, "a key cannot mint a stronger key", "A minted key's rights lie inside its minter's rights and ceiling.", "Ask for fewer permissions, a narrower scope or a shorter life, or use a stronger key.", false},
	{ReasonSecretLimit, ClassExhausted, "the client has two valid secrets already", "Two secrets are valid at once, so that a rotation needs no gap.", "Retire one secret first.", false},
	{ReasonKeyState, ClassPrecondition, "the signing key's state does not allow that", "For example, a removed key stays removed.", "List the signing keys to see their states.", false},
	{ReasonTenantMismatch, ClassArgument, "the header names another tenant than the resource", "X-Tenantry-Tenant must equal the tenant in the resource name.", "Leave the header out.", false},
	{ReasonUnavailable, ClassUnavailable, "the service cannot answer at the moment", "A database or another part is out of reach or overloaded.", "Repeat the same request, with the same request id, a little later.", true},
	{ReasonInternal, ClassInternal, "something failed here", "A fault of the service.", "Repeat the request; give the request id to the operators when it stays.", true},
}

var reasonIndex = func() map[Reason]ReasonInfo {
	m := make(map[Reason]ReasonInfo, len(Reasons))
	for _, r := range Reasons {
		m[r.Reason] = r
	}
	return m
}()

// Info finds a reason's entry; an unknown one is treated as INTERNAL.
func (r Reason) Info() ReasonInfo {
	if i, ok := reasonIndex[r]; ok {
		return i
	}
	return reasonIndex[ReasonInternal]
}

// Error makes every Reason a sentinel: errors.Is(err, tenancy.ReasonNotFound) holds for each Error with that reason.
func (r Reason) Error() string { return r.Info().Text }

// Violation is one broken rule of a request.
type Violation struct {
	Field string // path in the request, such as hosts[0].label
	Text  string // what the field must be
}

// Error is a refusal that the caller is told about. The cause is for the log and is never sent.
type Error struct {
	Reason     Reason
	Text       string            // sentence about this very case; empty means the table's
	Field      string            // path of the field that the refusal is about, when there is one
	Meta       map[string]string // facts that a program can use; nothing secret
	Violations []Violation       // all of them at once
	Cause      error
}

// Refuse makes an Error without further facts.
func Refuse(r Reason) *Error { return &Error{Reason: r} }

// RefuseField makes an Error about one field.
func RefuseField(r Reason, field, text string) *Error {
	e := &Error{Reason: r, Field: field, Text: text}
	if r.Info().Class == ClassArgument {
		e.Violations = []Violation{{Field: field, Text: text}}
	}
	return e
}

// Violated makes an INVALID_ARGUMENT out of violations, or nil when there is none.
func Violated(r Reason, vs []Violation) error {
	if len(vs) == 0 {
		return nil
	}
	return &Error{Reason: r, Violations: vs, Field: vs[0].Field}
}

// Because adds the cause for the log.
func (e *Error) Because(cause error) *Error { e.Cause = cause; return e }

// Message is the sentence for people, without the cause.
func (e *Error) Message() string {
	if e.Text != "" {
		return e.Text
	}
	return e.Reason.Info().Text
}

// Error is the sentence, the violations and the cause: the log's form.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Reason))
	b.WriteString(": ")
	b.WriteString(e.Message())
	for _, v := range e.Violations {
		b.WriteString("; ")
		b.WriteString(v.Field)
		b.WriteString(": ")
		b.WriteString(v.Text)
	}
	if e.Cause != nil {
		b.WriteString(": ")
		b.WriteString(e.Cause.Error())
	}
	return b.String()
}

// Is reports whether target is this error's reason.
func (e *Error) Is(target error) bool {
	r, ok := target.(Reason)
	return ok && r == e.Reason
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// ReasonOf finds the reason of an error, INTERNAL for one that carries none.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	var r Reason
	if errors.As(err, &r) {
		return r
	}
	return ReasonInternal
}
