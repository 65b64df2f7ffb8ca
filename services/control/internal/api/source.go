// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import "net/http"

// Source is the network address of whoever sent a request to the REST listener, behind trusted proxies. Other handlers of that listener
// ask it, so that there is one answer.
func (s *Server) Source(r *http.Request) string { return s.source(r) }
