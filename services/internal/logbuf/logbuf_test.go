// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package logbuf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// slow counts writes and keeps what was written.
type slow struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes int
	err    error
}

func (s *slow) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.err != nil {
		return 0, s.err
	}
	return s.b.Write(p)
}

func (s *slow) state() (string, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String(), s.writes
}

func TestLinesComeLateButWholeAndInOrder(t *testing.T) {
	to := new(slow)
	w := New(to)
	log := slog.New(slog.NewJSONHandler(w, nil))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				log.Info("request", "g", g, "i", i)
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, writes := to.state()
	next := map[int]int{}
	n := 0
	for line := range strings.Lines(text) {
		var g, i int
		if _, err := fmt.Sscanf(line[strings.Index(line, `"g":`):], `"g":%d,"i":%d}`, &g, &i); err != nil || next[g] != i {
			t.Fatalf("line %q: want %d of %d (%v)", line, next[g], g, err)
		}
		next[g]++
		n++
	}
	if n != 8000 || writes > 200 {
		t.Errorf("%d lines in %d writes", n, writes)
	}
}

func TestALoneLineArrives(t *testing.T) {
	to := new(slow)
	w := New(to)
	for round := range 2 { // the timer runs again after a flush
		fmt.Fprintln(w, "line", round)
		if _, writes := to.state(); writes != round {
			t.Fatalf("round %d: written at once", round)
		}
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, writes := to.state(); writes == round+1 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("never written")
			}
		}
	}
}

func TestWarningsAndErrorsAreNotKept(t *testing.T) {
	for _, handler := range []func(io.Writer) slog.Handler{
		func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
		func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
	} {
		to := new(slow)
		log := slog.New(handler(New(to)))
		log.Info("first")
		log.Warn("second")
		if text, _ := to.state(); !strings.Contains(text, "first") || !strings.Contains(text, "second") {
			t.Errorf("written: %q", text)
		}
		log.Error("third")
		if text, _ := to.state(); !strings.Contains(text, "third") {
			t.Errorf("written: %q", text)
		}
	}
}

func TestAfterCloseNothingIsKept(t *testing.T) {
	to := new(slow)
	w := New(to)
	w.Close()
	fmt.Fprintln(w, "last words")
	if text, _ := to.state(); text != "last words\n" {
		t.Errorf("%q", text)
	}
}

func TestErrorsAreReported(t *testing.T) {
	to := &slow{err: errors.New("no space")}
	w := New(to)
	fmt.Fprint(w, "x")
	if err := w.Close(); err == nil {
		t.Error("no error")
	}
}

func BenchmarkLine(b *testing.B) {
	line := []byte(strings.Repeat("x", 300) + "\n")
	for name, wrap := range map[string]func(io.Writer) io.Writer{
		"buffered": func(w io.Writer) io.Writer { return New(w) },
		"direct":   func(w io.Writer) io.Writer { return w },
	} {
		b.Run(name, func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "log"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			w := wrap(f)
			for b.Loop() {
				w.Write(line)
			}
		})
	}
}
