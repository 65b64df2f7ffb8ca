// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package proto holds Tenantry's contracts: the .proto files below tenantry/, the code generated from them in gen/, and
// the REST description of the control plane.
//
// It owns no behaviour. The OpenAPI file is embedded here, so that the service which answers REST and the page which
// documents it can never be of two versions.
package proto

import _ "embed"

//go:embed gen/openapi/tenantry.swagger.json
var openAPI []byte

// OpenAPI returns the Swagger 2.0 description of the control plane's REST interface as JSON. The caller must not change
// the bytes.
func OpenAPI() []byte { return openAPI }
