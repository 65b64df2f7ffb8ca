// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tenantry/tenantry/pkg/oauth2"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// protocolIn is nil for metadata that sets nothing.
func protocolIn(m *controlv1.ClientProtocol) *tenancy.Protocol {
	if m == nil {
		return nil
	}
	p := &snapshotv1.ClientProtocol{}
	sameNames(p.ProtoReflect(), m.ProtoReflect())
	p.Sector = "" // the server's to say
	if proto.Size(p) == 0 {
		return nil
	}
	return &tenancy.Protocol{ClientProtocol: p}
}

// protocolOut is the inverse of protocolIn.
func protocolOut(p *tenancy.Protocol) *controlv1.ClientProtocol {
	if p == nil || p.ClientProtocol == nil {
		return nil
	}
	m := &controlv1.ClientProtocol{}
	sameNames(m.ProtoReflect(), p.ProtoReflect())
	return m
}

// sameNames copies fields between the API's message and the snapshot's, which have the same names: JWK Sets are objects in the one and
// their bytes in the other. A test demands the same fields on both sides.
func sameNames(dst, src protoreflect.Message) {
	src.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to := dst.Descriptor().Fields().ByName(f.Name())
		switch {
		case to == nil:
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				sameNames(dst.Mutable(to).List().AppendMutable().Message(), v.List().Get(i).Message())
			}
		case f.IsList():
			for i := range v.List().Len() {
				dst.Mutable(to).List().Append(v.List().Get(i))
			}
		case f.Kind() == protoreflect.BytesKind:
			if s := object(v.Bytes()); s != nil {
				dst.Set(to, protoreflect.ValueOfMessage(s.ProtoReflect()))
			}
		case to.Kind() == protoreflect.BytesKind:
			if s, ok := v.Message().Interface().(*structpb.Struct); ok {
				dst.Set(to, protoreflect.ValueOfBytes(rawObject(s)))
			}
		default:
			dst.Set(to, v)
		}
		return true
	})
}

// oauthIn is nil for a section that sets nothing. Alone, `code` says that there are no other response types.
func oauthIn(x *controlv1.OAuthPolicy) *snapshotv1.OAuthPolicy {
	if x == nil {
		return nil
	}
	p := &snapshotv1.OAuthPolicy{
		SecurityProfile: x.SecurityProfile, DynamicRegistration: x.DynamicRegistration, ClientIdMetadataDocuments: x.ClientIdMetadataDocuments,
		LegacyAssertionAudience: x.LegacyAssertionAudience, SessionManagement: x.SessionManagement,
	}
	if l := x.GetResponseTypes(); len(l) > 0 {
		others := slices.DeleteFunc(slices.Clone(l), func(r string) bool { return r == oauth2.ResponseTypeCode })
		p.ResponseTypes = &snapshotv1.StringList{Values: others}
	}
	for _, t := range x.GetAuthorizationDetailsTypes() {
		text, err := json.Marshal(oauth2.DetailType{Type: t.GetType(), Title: t.GetTitle(), Fields: detailFieldsIn(t.GetFields())})
		if err != nil {
			continue // strings and lists of them have a JSON form
		}
		if p.AuthorizationDetailsTypes == nil {
			p.AuthorizationDetailsTypes = &snapshotv1.StringList{}
		}
		p.AuthorizationDetailsTypes.Values = append(p.AuthorizationDetailsTypes.Values, string(text))
	}
	if proto.Size(p) == 0 {
		return nil
	}
	return p
}

func detailFieldsIn(fields []*controlv1.AuthorizationDetailsField) (out []oauth2.DetailField) {
	for _, f := range fields {
		out = append(out, oauth2.DetailField{
			Name: f.GetName(), Kind: f.GetKind(), Label: f.GetLabel(), Required: f.GetRequired(), Enum: f.GetEnum(), Fields: detailFieldsIn(f.GetFields()),
		})
	}
	return out
}

// oauthOut is the inverse of oauthIn.
func oauthOut(p *snapshotv1.OAuthPolicy) *controlv1.OAuthPolicy {
	if p == nil {
		return nil
	}
	x := &controlv1.OAuthPolicy{
		SecurityProfile: p.SecurityProfile, DynamicRegistration: p.DynamicRegistration, ClientIdMetadataDocuments: p.ClientIdMetadataDocuments,
		LegacyAssertionAudience: p.LegacyAssertionAudience, SessionManagement: p.SessionManagement, ResponseTypes: p.GetResponseTypes().GetValues(),
	}
	if p.GetResponseTypes() != nil && len(x.GetResponseTypes()) == 0 {
		x.ResponseTypes = []string{oauth2.ResponseTypeCode}
	}
	for _, text := range p.GetAuthorizationDetailsTypes().GetValues() {
		t, err := oauth2.ParseDetailType(text)
		if err != nil {
			continue // refused when it was written
		}
		x.AuthorizationDetailsTypes = append(x.AuthorizationDetailsTypes, &controlv1.AuthorizationDetailsType{
			Type: t.Type, Title: t.Title, Fields: detailFieldsOut(t.Fields),
		})
	}
	return x
}

func detailFieldsOut(fields []oauth2.DetailField) []*controlv1.AuthorizationDetailsField {
	return each(fields, func(f *oauth2.DetailField) *controlv1.AuthorizationDetailsField {
		return &controlv1.AuthorizationDetailsField{
			Name: f.Name, Kind: f.Kind, Label: f.Label, Required: f.Required, Enum: f.Enum, Fields: detailFieldsOut(f.Fields),
		}
	})
}

func warningOut(w *tenancy.Warning) *controlv1.Warning {
	return &controlv1.Warning{Reason: w.Reason, Field: w.Field, Text: w.Text, Resource: w.Resource}
}
