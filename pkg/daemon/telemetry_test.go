// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// collector is a stand-in for an OTLP collector: it takes any call and keeps what it was sent.
func collector(t *testing.T) (addr string, received chan []byte) {
	t.Helper()
	received = make(chan []byte, 10)
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var m emptypb.Empty // every field is unknown to it, and kept
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		received <- m.ProtoReflect().GetUnknown()
		return stream.SendMsg(&emptypb.Empty{})
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String(), received
}

func TestTracesReachTheCollectorBeforeTheEnd(t *testing.T) {
	addr, received := collector(t)
	all := 1.0
	p, log := newProcess(t, Config{Telemetry: TelemetryConfig{OTLPEndpoint: addr, OTLPInsecure: true, SampleRatio: &all}})
	s := p.NewHTTPServer("web", HTTPConfig{ListenConfig: local}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p.Log.InfoContext(r.Context(), "served")
	}))
	signals, wait := running(t, p, s.Component())
	get(t, "http://"+s.Addr())
	signals <- syscall.SIGTERM
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	select {
	case sent := <-received:
		for _, want := range []string{"service.name", "test", "GET"} {
			if !bytes.Contains(sent, []byte(want)) {
				t.Errorf("the trace does not name %q", want)
			}
		}
	default:
		t.Error("the process ended with its trace unsent")
	}
	if !strings.Contains(log.String(), `"trace_id":`) {
		t.Errorf("log of a traced request has no trace_id: %s", log)
	}
}

func TestMissingCollectorDoesNotFailTheEnd(t *testing.T) {
	p, _ := newProcess(t, Config{Telemetry: TelemetryConfig{OTLPEndpoint: "127.0.0.1:1", OTLPInsecure: true}})
	signals, wait := running(t, p)
	signals <- syscall.SIGTERM
	if err := wait(); err != nil {
		t.Error(err)
	}
}
