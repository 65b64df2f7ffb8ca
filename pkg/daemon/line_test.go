// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"
)

// values are attributes of every kind, those that are formatted here and those that are left to the library.
func values(text string, n int64) []slog.Attr {
	return []slog.Attr{
		slog.String("text", text), slog.String(text, "key"), slog.Int64("n", n), slog.Uint64("u", uint64(n)), slog.Duration("took", time.Duration(n)),
		slog.Bool("yes", n%2 == 0), slog.Float64("f", float64(n)/3), slog.Time("at", time.Unix(n%1e9, 0)), slog.Any("err", errors.New(text)), slog.Any("nil", nil),
		slog.Group("g", slog.String("in", text)), slog.Any("valuer", valuer(text)),
		{},
	}
}

type valuer string

func (v valuer) LogValue() slog.Value { return slog.StringValue("resolved " + string(v)) }

// FuzzLine: whatever is logged, the bytes are those of the library's handler.
func FuzzLine(f *testing.F) {
	for _, text := range []string{"", "plain", `quote " and \`, "line\nbreak", "ümlaut", "\xff", "\u2028", "<&>", "\x7f"} {
		f.Add(text, int64(7), uint16(0xffff))
		f.Add(text, int64(math.MinInt64), uint16(1))
		f.Add("plain", int64(1), uint16(0b11101))
	}
	f.Fuzz(func(t *testing.T, text string, n int64, which uint16) {
		var chosen []slog.Attr
		for i, a := range values(text, n) {
			if which&(1<<i) != 0 {
				chosen = append(chosen, a)
			}
		}
		var fast, library bytes.Buffer
		h, want := slog.Handler(newLineHandler(&fast, slog.LevelInfo)), slog.Handler(slog.NewJSONHandler(&library, nil))
		if which&(1<<14) != 0 {
			h, want = h.WithAttrs(chosen), want.WithAttrs(chosen)
		}
		if which&(1<<15) != 0 {
			h, want = h.WithGroup("group"), want.WithGroup("group")
		}
		at := time.Unix(n%1e10, n%1e9)
		for _, to := range []slog.Handler{h, want} {
			r := slog.NewRecord(at, slog.Level(n%9), text, 0)
			r.AddAttrs(chosen...)
			if err := to.Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
		}
		if fast.String() != library.String() {
			t.Errorf("wrote   %q\nlibrary %q", fast.String(), library.String())
		}
	})
}

func TestLineLevelsAndTime(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(newLineHandler(&b, slog.LevelWarn))
	log.Info("not this")
	log.Warn("this")
	if err := log.Handler().Handle(t.Context(), slog.NewRecord(time.Time{}, slog.LevelError, "no time", 0)); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b.Bytes(), []byte("\n")); n != 2 || bytes.Contains(b.Bytes(), []byte("not this")) || !bytes.Contains(b.Bytes(), []byte(`{"level":"ERROR","msg":"no time"}`)) {
		t.Errorf("%s", b.String())
	}
}

// wholeLines fails when it is given anything but one line, or two at a time.
type wholeLines struct {
	t    *testing.T
	busy bool
	n    int
}

func (w *wholeLines) Write(p []byte) (int, error) {
	if w.busy || bytes.Count(p, []byte("\n")) != 1 || p[len(p)-1] != '\n' {
		w.t.Errorf("wrote %q", p)
	}
	w.busy = true
	w.n++
	w.busy = false
	return len(p), nil
}

func TestLinesOfManyDoNotMix(t *testing.T) {
	out := &wholeLines{t: t}
	log := slog.New(newLineHandler(out, slog.LevelInfo))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				if j%2 == 0 {
					log.Info("fast", "i", i)
				} else {
					log.Info("slow", "err", fmt.Errorf("%d", j))
				}
			}
		})
	}
	wg.Wait()
	if out.n != 8*200 {
		t.Errorf("%d lines", out.n)
	}
}

// request logs what a service logs for each request.
func request(h slog.Handler) func() {
	h = h.WithAttrs([]slog.Attr{slog.String("component", "token"), slog.String("route", "/oauth2/token")})
	ctx := context.Background()
	at := time.Now()
	attrs := []slog.Attr{
		slog.String("method", "POST"), slog.Int("status", 200), slog.Duration("took", 71234), slog.Int64("bytes", 812),
		slog.String("request_id", "req_0123456789abcdef0000000001"), slog.String("client_ip", "203.0.113.9"), slog.String("tenant", "tnt_01ky9s5xjkf6t9zq4v2m8c0a1b"),
		slog.String("grant_type", "client_credentials"),
	}
	return func() {
		r := slog.NewRecord(at, slog.LevelInfo, "request", 0)
		r.AddAttrs(attrs...)
		_ = h.Handle(ctx, r)
	}
}

func BenchmarkLine(b *testing.B) {
	for name, h := range map[string]slog.Handler{"ours": newLineHandler(io.Discard, slog.LevelInfo), "library": slog.NewJSONHandler(io.Discard, nil)} {
		b.Run(name, func(b *testing.B) {
			log := request(h)
			b.ReportAllocs()
			for b.Loop() {
				log()
			}
		})
	}
}

func TestLineAllocations(t *testing.T) {
	log := request(newLineHandler(io.Discard, slog.LevelInfo))
	// One is the record's own, for attributes beyond its array.
	if n := testing.AllocsPerRun(200, log); n > 1 {
		t.Errorf("%v allocations for a line", n)
	}
}
