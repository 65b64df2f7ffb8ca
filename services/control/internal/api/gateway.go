// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenantry/tenantry/pkg/id"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
)

// MaxMessageBytes bounds a request, on REST and on gRPC.
const MaxMessageBytes = 1 << 20

// maxAnswerBytes bounds an answer on its way through the gateway: a page of 1,000 items is larger than a request.
const maxAnswerBytes = 64 << 20

// Gateway is REST: each request becomes a call of the real gRPC server over a connection inside the process, so that every
// interceptor runs. A handler registered directly would be called without them.
type Gateway struct {
	api      *Server
	noQuery  queryless
	mux      *runtime.ServeMux
	conn     *grpc.ClientConn
	listener *bufconn.Listener
}

// NewGateway makes the gateway for a gRPC server that the services are registered on. The caller serves the gateway's Listener with
// that server, and closes the gateway in the end.
func (s *Server) NewGateway(ctx context.Context) (*Gateway, error) {
	g := &Gateway{api: s, noQuery: newQueryless(), listener: bufconn.Listen(256 << 10)}
	var err error
	g.conn, err = grpc.NewClient(
		"passthrough:///control", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return g.listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)), grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, fmt.Errorf("api: gateway: %w", err)
	}
	marshaler := &strictJSON{runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: false}}}
	g.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, marshaler),
		// Nothing of the caller's headers becomes metadata; Authorization goes its own way, the rest is named in metadata below.
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingHeaderMatcher(outgoingHeader),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithMetadata(g.metadata),
		runtime.SetQueryParameterParser(strictQuery{}),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithErrorHandler(g.handleError),
		runtime.WithRoutingErrorHandler(g.handleRoutingError),
		runtime.WithForwardResponseOption(forwardEtag),
	)
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		controlv1.RegisterOrgServiceHandler, controlv1.RegisterBlueprintServiceHandler, controlv1.RegisterTenantServiceHandler,
		controlv1.RegisterClientServiceHandler, controlv1.RegisterApiKeyServiceHandler, controlv1.RegisterSigningKeyServiceHandler,
		controlv1.RegisterUserServiceHandler, controlv1.RegisterHostnameServiceHandler, controlv1.RegisterAuditServiceHandler,
		controlv1.RegisterOperationServiceHandler,
	} {
		if err := register(ctx, g.mux, g.conn); err != nil {
			g.Close()
			return nil, fmt.Errorf("api: gateway: %w", err)
		}
	}
	return g, nil
}

// Listener is where the gRPC server accepts the gateway's connection. Nothing outside the process can reach it.
func (g *Gateway) Listener() net.Listener { return gatewayListener{g.listener} }

// Close ends the connection.
func (g *Gateway) Close() {
	g.conn.Close()
	g.listener.Close()
}

// gatewayListener names its connections so that the server can tell them from all others.
type gatewayListener struct{ net.Listener }

// Accept implements net.Listener.
func (l gatewayListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return gatewayConn{c}, nil
}

type gatewayConn struct{ net.Conn }

type gatewayAddr struct{}

func (gatewayAddr) Network() string { return gatewayNetwork }
func (gatewayAddr) String() string  { return "gateway" }

// RemoteAddr implements net.Conn.
func (gatewayConn) RemoteAddr() net.Addr { return gatewayAddr{} }

// metadata tells the server about the caller, under names that no header of the caller's can have here.
func (g *Gateway) metadata(_ context.Context, r *http.Request) metadata.MD {
	md := metadata.Pairs(mdRESTSource, g.api.source(r), mdRESTAgent, r.UserAgent())
	for header, name := range map[string]string{"Idempotency-Key": mdRESTIdempotent, "If-Match": mdRESTIfMatch, "X-Tenantry-Tenant": mdTenant} {
		md.Append(name, r.Header.Values(header)...)
	}
	return md
}

// source is the network address of a caller: the peer, or what the nearest trusted proxies say who asked them.
func (s *Server) source(r *http.Request) string {
	addr := peerAddr(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !slices.ContainsFunc(s.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}

func peerAddr(remote string) netip.Addr {
	if a, err := netip.ParseAddrPort(remote); err == nil {
		return a.Addr().Unmap()
	}
	return netip.Addr{}
}

// outgoingHeader names the metadata of answers that becomes HTTP headers.
func outgoingHeader(name string) (string, bool) {
	switch name {
	case mdRequestID, mdConfigVersion:
		return textproto.CanonicalMIMEHeaderKey(name), true
	}
	return "", false
}

// forwardEtag copies the etag of a resource into the header of that name.
func forwardEtag(_ context.Context, w http.ResponseWriter, m proto.Message) error {
	if e, ok := m.(interface{ GetEtag() string }); ok && e.GetEtag() != "" {
		w.Header().Set("Etag", e.GetEtag())
	}
	return nil
}

// strictJSON is proto3 JSON of which nothing is ignored: no unknown field, and nothing behind the value.
type strictJSON struct{ runtime.JSONPb }

// NewDecoder implements runtime.Marshaler.
func (m *strictJSON) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return m.Unmarshal(text, v)
	})
}

// Unmarshal implements runtime.Marshaler.
func (m *strictJSON) Unmarshal(text []byte, v any) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return io.EOF // no body at all: the generated code takes it for an empty message
	}
	if p, ok := v.(proto.Message); ok {
		return protojson.Unmarshal(text, p)
	}
	return m.JSONPb.Unmarshal(text, v)
}

// strictQuery reads query parameters and refuses what the method does not take: the default parser logs it and goes on, so that
// `?valdate_only=true` would write.
type strictQuery struct{}

// Parse implements runtime.QueryParameterParser. What the filter holds comes from the path or the body.
func (strictQuery) Parse(m proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	seen := map[string]bool{}
	for key, list := range values {
		path, f, err := queryField(m.ProtoReflect().Descriptor(), key)
		if err != nil {
			return err
		}
		name := strings.Join(path, ".")
		if seen[name] {
			return fmt.Errorf("the query parameter %q stands in it under two names", key)
		}
		seen[name] = true
		if filter.HasCommonPrefix(path) {
			return fmt.Errorf("the query parameter %q is already given by the path or the body", key)
		}
		if len(list) > 1 && !f.IsList() {
			return fmt.Errorf("the query parameter %q stands in it twice", key)
		}
	}
	return (&runtime.DefaultQueryParser{}).Parse(m, values, filter)
}

// queryField finds the field of a query parameter by its proto or JSON names.
func queryField(d protoreflect.MessageDescriptor, key string) (path []string, f protoreflect.FieldDescriptor, err error) {
	for _, part := range strings.Split(key, ".") {
		if d == nil || f != nil && (f.IsList() || f.IsMap()) {
			return nil, nil, fmt.Errorf("there is no query parameter %q", key)
		}
		if f = fieldNamed(d, part); f == nil {
			return nil, nil, fmt.Errorf("there is no query parameter %q", key)
		}
		path, d = append(path, string(f.Name())), f.Message()
	}
	if f.IsMap() {
		return nil, nil, fmt.Errorf("the query parameter %q cannot be a map", key)
	}
	return path, f, nil
}

// ServeHTTP checks what must hold before a request can be one of the API.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Answers are about one caller and may hold secrets.
	w.Header().Set("Cache-Control", "no-store")
	if !utf8.ValidString(r.URL.Path) || !validQuery(r.URL.RawQuery) {
		g.refuse(w, r, statusOf(refuse(reasonMalformed, "the address is not UTF-8"), newRequestID(), g.api.docsURL, 0))
		return
	}
	if r.URL.RawQuery != "" && g.noQuery.match(r.Method, r.URL.Path) {
		g.refuse(w, r, statusOf(refuse(reasonMalformed, "this path takes no query: send the fields in the body"), newRequestID(), g.api.docsURL, 0))
		return
	}
	for _, name := range []string{"Authorization", "Idempotency-Key", "If-Match"} {
		if len(r.Header.Values(name)) > 1 {
			g.refuse(w, r, statusOf(refuse(reasonMalformed, "the header "+name+" stands in it twice"), newRequestID(), g.api.docsURL, 0))
			return
		}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxMessageBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		g.refuse(w, r, statusOf(refuse(reasonTooLarge, ""), newRequestID(), g.api.docsURL, 0))
		return
	case err != nil:
		g.refuse(w, r, statusOf(refuse(reasonMalformed, "the body ended early"), newRequestID(), g.api.docsURL, 0))
		return
	case len(text) > 0:
		if reason, why := badBody(r, text); reason != "" {
			g.refuse(w, r, statusOf(refuse(reason, why), newRequestID(), g.api.docsURL, 0))
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	g.mux.ServeHTTP(w, r)
}

func validQuery(raw string) bool {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return false
	}
	for k, list := range values {
		if !utf8.ValidString(k) || slices.ContainsFunc(list, func(v string) bool { return !utf8.ValidString(v) }) {
			return false
		}
	}
	return true
}

func newRequestID() string { return id.New[requestKind]().String() }

// handleError writes an error of a call, and turns those that the gateway itself has found into ours.
func (g *Gateway) handleError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	st := status.Convert(err)
	if reasonOf(st) == "" {
		// Not from our table: the request could not be read, or the server is ending.
		requestID := newRequestID()
		switch st.Code() {
		case codes.InvalidArgument:
			st = statusOf(refuse(reasonMalformed, "the request cannot be read: "+plain(st.Message())), requestID, g.api.docsURL, 0)
		case codes.ResourceExhausted:
			st = statusOf(refuse(reasonTooLarge, ""), requestID, g.api.docsURL, 0)
		case codes.DeadlineExceeded:
			st = statusOf(refuse(reasonDeadline, ""), requestID, g.api.docsURL, 0)
		case codes.Canceled:
		default:
			st = statusOf(refuse("UNAVAILABLE", ""), requestID, g.api.docsURL, time.Second)
		}
	}
	if md, ok := runtime.ServerMetadataFromContext(ctx); ok {
		for name, list := range md.HeaderMD {
			if h, ok := outgoingHeader(name); ok {
				w.Header()[h] = list
			}
		}
	}
	g.refuse(w, r, st)
}

// unparsed is how strconv says that a text is no number or truth value.
var unparsed = regexp.MustCompile(`strconv\.Parse(Bool)?\w*: parsing ("(?:[^"\\]|\\.)*"): [a-z ]+`)

// plain is a text of the JSON library or the query parser in words for people: without the space that the former varies between
// builds so that nobody relies on it, and without the names of Go's functions.
func plain(text string) string {
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\u00a0", " "), "proto: ")
	return unparsed.ReplaceAllStringFunc(text, func(found string) string {
		m := unparsed.FindStringSubmatch(found)
		if m[1] != "" {
			return m[2] + " is neither true nor false"
		}
		return m[2] + " is not a number in range"
	})
}

func (g *Gateway) handleRoutingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	e := refuse(reasonRouteUnknown, "")
	switch code {
	case http.StatusMethodNotAllowed:
		e = refuse(reasonMethodNotHere, "")
	case http.StatusBadRequest:
		e = refuse(reasonMalformed, "the address cannot be read")
	}
	g.refuse(w, r, statusOf(e, newRequestID(), g.api.docsURL, 0))
}

// refuse writes a status as a google.rpc.Status in JSON.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, st *status.Status) {
	code := httpStatus(st)
	if code == 0 {
		code = runtime.HTTPStatusFromCode(st.Code())
	}
	h := w.Header()
	if reasonOf(st) == "ETAG_MISMATCH" && r.Header.Get("If-Match") != "" {
		code = http.StatusPreconditionFailed // RFC 9110 section 13.1.1
	}
	if st.Code() == codes.Unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="tenantry"`)
	}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.RetryInfo:
			h.Set("Retry-After", itoa(int64(math.Ceil(max(1, d.GetRetryDelay().AsDuration().Seconds())))))
		case *errdetails.RequestInfo:
			h.Set("X-Request-Id", d.GetRequestId())
		}
	}
	h.Set("Content-Type", "application/json")
	body, err := protojson.Marshal(st.Proto())
	if err != nil {
		code, body = http.StatusInternalServerError, []byte(`{"code":13,"message":"something failed here"}`)
	}
	w.WriteHeader(code)
	w.Write(body) //nolint:errcheck,gosec // the reader may have gone; it is JSON with its type and nosniff
}
