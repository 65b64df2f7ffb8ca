// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxFresh bounds what a stranger's Cache-Control can make us keep.
const maxFresh = 24 * time.Hour

// expires is until when an answer of now is fresh (RFC 9111 section 4.2.1), zero when it does not say. What cannot be read counts as stale, as
// the standard advises.
func expires(h http.Header, now time.Time) time.Time {
	var maxAge string
	stated := false
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return now
			case "max-age":
				if !stated { // of two, the first counts
					stated, maxAge = true, strings.Trim(value, `"`)
				}
			}
		}
	}
	if stated {
		seconds, err := strconv.ParseUint(maxAge, 10, 31)
		if err != nil {
			return now
		}
		age, err := strconv.ParseUint(h.Get("Age"), 10, 31)
		if err != nil {
			age = 0
		}
		return bounded(now, now.Add(time.Duration(seconds)*time.Second-time.Duration(age)*time.Second))
	}
	if e := h.Get("Expires"); e != "" {
		at, err := http.ParseTime(e)
		if err != nil {
			return now
		}
		// By the server's own clock, where it tells it.
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			return bounded(now, now.Add(at.Sub(date)))
		}
		return bounded(now, at)
	}
	return time.Time{}
}

func bounded(now, at time.Time) time.Time {
	switch {
	case at.Before(now):
		return now
	case at.After(now.Add(maxFresh)):
		return now.Add(maxFresh)
	}
	return at
}
