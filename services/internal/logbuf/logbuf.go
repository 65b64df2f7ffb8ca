// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package logbuf puts a buffer between a logger and the file or pipe that it writes to. A data plane writes one line for each
// request; a system call for each line, made under the logger's lock, costs a tenth of what a small request costs altogether.
//
// What is lost is promptness, not lines: they reach the writer in order, a tenth of a second late at most, and at once when
// somebody should look (warnings, errors). A process that is killed loses the lines of that tenth of a second; one that ends calls
// Close. When the writer stalls, so does logging once the buffer is full, as it would without a buffer.
package logbuf

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	flushEvery = 100 * time.Millisecond
	flushAt    = 64 << 10
)

// Writer is a buffered io.Writer of whole lines. It is safe for concurrent use.
type Writer struct {
	to io.Writer

	mu     sync.Mutex // guards buf, timer and closed
	buf    []byte
	timer  *time.Timer // runs while buf holds something
	armed  bool
	closed bool

	out   sync.Mutex // held while writing, so that lines stay in order; taken before mu
	spare []byte
}

// New makes a Writer in front of to.
func New(to io.Writer) *Writer {
	w := &Writer{to: to, buf: make([]byte, 0, flushAt), spare: make([]byte, 0, flushAt)}
	w.timer = time.AfterFunc(time.Hour, func() { w.Flush() }) // the next Write or Close meets the same error
	w.timer.Stop()
	return w
}

// urgent are what slog's handlers write for levels that should be seen at once.
var urgent = [][]byte{[]byte(`"level":"WARN`), []byte(`"level":"ERROR`), []byte("level=WARN"), []byte("level=ERROR")}

// Write takes one or more whole lines. Errors of the underlying writer are those of the write that flushed.
func (w *Writer) Write(line []byte) (int, error) {
	now := false
	head := line[:min(len(line), 80)] // time and level come first
	for _, u := range urgent {
		now = now || bytes.Contains(head, u)
	}
	w.mu.Lock()
	w.buf = append(w.buf, line...)
	now = now || len(w.buf) >= flushAt || w.closed
	if !now && !w.armed {
		w.armed = true
		w.timer.Reset(flushEvery)
	}
	w.mu.Unlock()
	if !now {
		return len(line), nil
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return len(line), nil
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	w.out.Lock()
	defer w.out.Unlock()
	w.mu.Lock()
	full := w.buf
	w.buf = w.spare[:0]
	w.armed = false
	w.timer.Stop()
	w.mu.Unlock()
	w.spare = full
	if len(full) == 0 {
		return nil
	}
	_, err := w.to.Write(full)
	return err
}

// Close flushes and makes later writes go straight through. It does not close the underlying writer.
func (w *Writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	return w.Flush()
}
