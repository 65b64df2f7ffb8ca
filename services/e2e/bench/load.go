// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// conn is a keep-alive connection that sends requests which are bytes already and reads as little of an answer as it must. A client
// of net/http costs about as much as the servers that are measured here, on the same cores.
type conn struct {
	addr string
	c    net.Conn
	r    *bufio.Reader
	head []byte
	body []byte
}

// answer is valid until the connection's next request.
type answer struct {
	status     int
	head, body []byte
}

// do sends a request and reads its answer. It dials when there is no connection.
func (c *conn) do(request []byte) (answer, error) {
	if c.c == nil {
		var err error
		if c.c, err = dial(c.addr); err != nil {
			return answer{}, err
		}
		c.r = bufio.NewReaderSize(c.c, 16<<10)
		// One bound for the life of the connection: setting it for each request would cost.
		if err := c.c.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
			return answer{}, err
		}
	}
	if _, err := c.c.Write(request); err != nil {
		c.close()
		return answer{}, err
	}
	a, err := c.read()
	if err != nil {
		c.close()
	}
	return a, err
}

func (c *conn) close() {
	if c.c != nil {
		_ = c.c.Close() // nothing is lost with it
		c.c = nil
	}
}

var (
	contentLength = []byte("Content-Length: ")
	chunked       = []byte("Transfer-Encoding: chunked")
)

func (c *conn) read() (a answer, err error) {
	c.head, c.body = c.head[:0], c.body[:0]
	length, inChunks := -1, false
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return a, err
		}
		if first {
			if len(line) < 12 {
				return a, fmt.Errorf("status line %q", line)
			}
			if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return a, err
			}
		}
		if len(line) <= 2 {
			break
		}
		c.head = append(c.head, line...)
		if n, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(n))); err != nil {
				return a, err
			}
		} else if bytes.HasPrefix(line, chunked) {
			inChunks = true
		}
	}
	switch {
	case inChunks:
		err = c.readChunks()
	case length > 0:
		err = c.readBody(length)
	case length < 0 && a.status != 204:
		err = errors.New("an answer without a length")
	}
	a.head, a.body = c.head, c.body
	return a, err
}

func (c *conn) readBody(n int) error {
	at := len(c.body)
	c.body = slices.Grow(c.body, n)[:at+n]
	_, err := io.ReadFull(c.r, c.body[at:])
	return err
}

func (c *conn) readChunks() error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		if err := c.readBody(int(n)); err != nil {
			return err
		}
		if _, err := c.r.Discard(2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// header finds the values of a header that the servers write with this spelling.
func (a answer) header(name string) (values []string) {
	for line := range bytes.SplitSeq(a.head, []byte("\r\n")) {
		if v, ok := bytes.CutPrefix(line, []byte(name+": ")); ok {
			values = append(values, string(v))
		}
	}
	return values
}

// side is one of the two things that a row compares: workers that do the same step again and again.
type side struct {
	name    string
	workers int
	step    func(worker int) error
	cpu     func() time.Duration // of the processes that serve it; nil when nobody asks
	cleanup func()
}

// slice is what one stretch of time gave.
type slice struct {
	n, failed int
	first     error
	took, cpu time.Duration
	postgres  time.Duration   // processor time of the database server
	latency   []time.Duration // sorted
}

func (s slice) rate() float64 { return float64(s.n) / s.took.Seconds() }

func (s slice) at(p float64) time.Duration {
	if len(s.latency) == 0 {
		return 0
	}
	return s.latency[min(len(s.latency)-1, int(p*float64(len(s.latency))))]
}

// run lets the workers work for d.
func (s *side) run(d time.Duration) slice {
	parts := make([]slice, s.workers)
	var cpu time.Duration
	if s.cpu != nil {
		cpu = s.cpu()
	}
	postgres := postgresCPU()
	start := time.Now()
	end := start.Add(d)
	var wg sync.WaitGroup
	for w := range parts {
		wg.Go(func() {
			p := &parts[w]
			for now := start; now.Before(end); {
				err := s.step(w)
				next := time.Now()
				if err != nil {
					if p.failed++; p.first == nil {
						p.first = err
					}
					time.Sleep(time.Millisecond) // what fails at once must not spin
				} else {
					p.n++
					p.latency = append(p.latency, next.Sub(now))
				}
				now = next
			}
		})
	}
	wg.Wait()
	sum := slice{took: time.Since(start)}
	if s.cpu != nil {
		sum.cpu = s.cpu() - cpu
	}
	sum.postgres = max(0, postgresCPU()-postgres)
	for _, p := range parts {
		sum.n += p.n
		sum.failed += p.failed
		sum.latency = append(sum.latency, p.latency...)
		if sum.first == nil {
			sum.first = p.first
		}
	}
	slices.Sort(sum.latency)
	return sum
}

// result is what all slices of a side gave.
type result struct {
	rate, p50, p99 float64 // medians of the slices; per second and in milliseconds
	cpu, postgres  float64 // microseconds each, of all slices
	n, failed      int
	first          error
	slices         []slice
}

// rounds is into how many slices the time of a side is cut. The sides take turns, so that what else the machine does meets all.
const rounds = 8

// interleave runs the sides A B B A A B … and takes medians.
func interleave(each time.Duration, sides ...*side) []result {
	d := each / rounds
	for _, s := range sides {
		s.run(min(d, time.Second)) // connections, caches, heap
	}
	all := make([]result, len(sides))
	for round := range rounds {
		for i := range sides {
			if round%2 == 1 {
				i = len(sides) - 1 - i
			}
			all[i].slices = append(all[i].slices, sides[i].run(d))
		}
	}
	for i, side := range sides {
		r := &all[i]
		var rates, p50, p99 []float64
		var cpu, postgres time.Duration
		for _, s := range r.slices {
			rates, p50, p99 = append(rates, s.rate()), append(p50, ms(s.at(0.5))), append(p99, ms(s.at(0.99)))
			cpu += s.cpu
			postgres += s.postgres
			r.n += s.n
			r.failed += s.failed
			if r.first == nil {
				r.first = s.first
			}
		}
		r.rate, r.p50, r.p99 = median(rates), median(p50), median(p99)
		if r.n > 0 {
			r.cpu, r.postgres = float64(cpu.Microseconds())/float64(r.n), float64(postgres.Microseconds())/float64(r.n)
		}
		progress("  %-34s %9.0f/s  p50 %.3f ms  p99 %.3f ms  %.1f µs CPU each, %.0f µs of PostgreSQL  %d failed", side.name, r.rate, r.p50, r.p99, r.cpu, r.postgres, r.failed)
		if r.first != nil {
			progress("    first failure: %v", r.first)
		}
		if side.cleanup != nil {
			side.cleanup()
		}
	}
	return all
}

// ratio is the median over the rounds of a figure of a divided by that of b.
func ratio(a, b result, figure func(slice) float64) float64 {
	var all []float64
	for i := range a.slices {
		if d := figure(b.slices[i]); d > 0 {
			all = append(all, figure(a.slices[i])/d)
		}
	}
	return median(all)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
