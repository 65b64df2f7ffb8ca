// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Metrics counts requests by service, route and class of status, and their durations in fixed buckets. There is no label whose
// values a caller or a tenant chooses: paths are those mounted, tenants are not counted apart (their number is unbounded; the
// request events have them). Counting is a few atomic additions.
type Metrics struct {
	mu     sync.Mutex
	routes []*routeCounts
}

// NewMetrics makes an empty set.
func NewMetrics() *Metrics { return new(Metrics) }

// bucketBounds are the upper bounds of the duration histogram.
var bucketBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 10 * time.Second,
}

// routeCounts are the counters of one route.
type routeCounts struct {
	service, path string
	class         [6]atomic.Uint64 // by first digit of the status; [0] is 499, the caller gone
	buckets       [len(bucketBounds) + 1]atomic.Uint64
	nanos         atomic.Int64
}

func (m *Metrics) route(service, path string) *routeCounts {
	c := &routeCounts{service: service, path: path}
	m.mu.Lock()
	m.routes = append(m.routes, c)
	m.mu.Unlock()
	return c
}

func (c *routeCounts) add(status int, took time.Duration) {
	class := status / 100
	if class > 5 || class < 0 || status == statusClientClosed {
		class = 0
	}
	c.class[class].Add(1)
	i := 0
	for i < len(bucketBounds) && took > bucketBounds[i] {
		i++
	}
	c.buckets[i].Add(1)
	c.nanos.Add(int64(took))
}

// Count is the number of requests of a service that ended in a class of status (2 for 2xx, 0 for callers who went away).
func (m *Metrics) Count(service string, class int) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n uint64
	for _, c := range m.routes {
		if c.service == service {
			n += c.class[class].Load()
		}
	}
	return n
}

// WriteTo writes the Prometheus text exposition format (version 0.0.4), for the admin listener.
func (m *Metrics) WriteTo(w io.Writer) (int64, error) {
	m.mu.Lock()
	routes := slices.Clone(m.routes)
	m.mu.Unlock()
	var b strings.Builder
	b.WriteString("# HELP tenantry_http_requests_total Requests by service, route and class of status.\n# TYPE tenantry_http_requests_total counter\n")
	for _, c := range routes {
		for class := range c.class {
			if n := c.class[class].Load(); n > 0 {
				fmt.Fprintf(&b, "tenantry_http_requests_total{service=%q,route=%q,class=%q} %d\n", c.service, c.path, className(class), n)
			}
		}
	}
	b.WriteString("# HELP tenantry_http_request_duration_seconds Time from the first byte read to the last written.\n# TYPE tenantry_http_request_duration_seconds histogram\n")
	for _, c := range routes {
		var sum uint64
		labels := fmt.Sprintf("service=%q,route=%q", c.service, c.path)
		for i := range c.buckets {
			sum += c.buckets[i].Load()
			le := "+Inf"
			if i < len(bucketBounds) {
				le = fmt.Sprintf("%g", bucketBounds[i].Seconds())
			}
			fmt.Fprintf(&b, "tenantry_http_request_duration_seconds_bucket{%s,le=%q} %d\n", labels, le, sum)
		}
		fmt.Fprintf(&b, "tenantry_http_request_duration_seconds_sum{%s} %g\n", labels, time.Duration(c.nanos.Load()).Seconds())
		fmt.Fprintf(&b, "tenantry_http_request_duration_seconds_count{%s} %d\n", labels, sum)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func className(class int) string {
	if class == 0 {
		return "gone"
	}
	return strconv.Itoa(class) + "xx"
}
