// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package proto_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/proto"
)

func TestOpenAPIDescribesTheRESTInterface(t *testing.T) {
	var doc struct {
		Swagger string                     `json:"swagger"`
		Paths   map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(proto.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Swagger != "2.0" || len(doc.Paths) < 20 {
		t.Errorf("swagger %q with %d paths", doc.Swagger, len(doc.Paths))
	}
	for path := range doc.Paths {
		if !strings.HasPrefix(path, "/v1/") {
			t.Errorf("%s is not of version 1", path)
		}
	}
}
