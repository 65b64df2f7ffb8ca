// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package registration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// StatementIssuer is somebody whose software statements are believed (RFC 7591 section 2.3): what they say of a client counts more than what
// the client says of itself.
type StatementIssuer struct {
	// Issuer is the value of `iss`.
	Issuer string
	// Keys are their public keys.
	Keys *jose.ForeignSet
}

// LoadStatementIssuer reads the keys of an issuer from a file with a JWK Set.
func LoadStatementIssuer(issuer, file string) (StatementIssuer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return StatementIssuer{}, err
	}
	set, err := jose.ParseForeignSet(data)
	if err != nil {
		return StatementIssuer{}, fmt.Errorf("%s: %w", file, err)
	}
	if set.Len() == 0 {
		return StatementIssuer{}, fmt.Errorf("%s has no usable key", file)
	}
	return StatementIssuer{Issuer: issuer, Keys: set}, nil
}

// statementAlgorithms may sign software statements.
var statementAlgorithms = []jose.Algorithm{jose.ES256, jose.ES384, jose.PS256, jose.RS256, jose.EdDSA}

// statementTypes are accepted `typ` headers; RFC 7591 defines none.
var statementTypes = []string{"", "JWT"}

const (
	maxStatement  = 16 << 10
	statementSkew = time.Minute
)

func invalidStatement(why string) *oauth2.Error {
	return oauth2.NewError(oauth2.CodeInvalidSoftwareStatement, http.StatusBadRequest, "software_statement: "+why)
}

// statementOf verifies a software statement and gives the metadata in it. One of an issuer that is not trusted is
// unapproved_software_statement, every other fault invalid_software_statement.
func statementOf(token string, issuers []StatementIssuer, now time.Time) (*oauth2.ClientMetadata, error) {
	unapproved := oauth2.NewError(oauth2.CodeUnapprovedSoftwareStatement, http.StatusBadRequest, "software_statement: its issuer is not trusted here")
	if len(issuers) == 0 {
		return nil, unapproved
	}
	// The issuer decides whose keys are tried: a key of one never vouches for another. So each is tried for itself, and what the statement
	// says must be the one whose key fits.
	var refused error = unapproved
	for _, i := range issuers {
		payload, _, err := i.Keys.Verify(token, jose.VerifyOptions{Typ: statementTypes, Algorithms: statementAlgorithms, MaxBytes: maxStatement})
		if err != nil {
			refused = invalidStatement("its signature is not one of a trusted issuer")
			continue
		}
		var claims struct {
			Issuer    string `json:"iss"`
			Expires   *int64 `json:"exp"`
			NotBefore *int64 `json:"nbf"`
		}
		if json.Unmarshal(payload, &claims) != nil || claims.Issuer != i.Issuer {
			refused = invalidStatement("it is not one of the issuer whose key signed it")
			continue
		}
		if claims.Expires != nil && !now.Add(-statementSkew).Before(time.Unix(*claims.Expires, 0)) ||
			claims.NotBefore != nil && now.Add(statementSkew).Before(time.Unix(*claims.NotBefore, 0)) {
			return nil, invalidStatement("it is not valid now")
		}
		m, err := oauth2.ParseClientMetadata(payload)
		if err != nil {
			return nil, invalidStatement("its claims are no client metadata")
		}
		m.SoftwareStatement, m.ClientID, m.ClientSecret = "", "", ""
		return m, nil
	}
	return nil, refused
}
