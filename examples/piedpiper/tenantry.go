// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// controlPlane calls the two methods of Tenantry's REST API that a sign-up needs.
type controlPlane struct {
	base, key string
	client    *http.Client
}

// provisioned is what the portal shows of a new tenant.
type provisioned struct {
	Tenant struct {
		Name, Slug, DisplayName string
	}
	Issuer  string
	Clients []struct{ ID, ClientID, Secret string }
	APIKeys []struct{ ID, Secret string } `json:"apiKeys"`
	URLs    map[string]string             `json:"urls"`
	// ConsistencyToken makes the first request to the new host work on every replica.
	ConsistencyToken      string
	SecretAlreadyReturned bool
}

// apiError is a refusal of the API: a google.rpc.Status with its reason and the
// fields that were wrong.
type apiError struct {
	Status  int
	Message string
	Reason  string
	// Fields maps a field's path to what is wrong with it.
	Fields map[string]string
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%s)", e.Message, e.Reason) }

// checkHostname says whether the label can be claimed under the org's base domain.
func (c *controlPlane) checkHostname(ctx context.Context, org, label string) (available bool, host string, err error) {
	var answer struct{ Availability, Host string }
	err = c.post(ctx, "/v1/"+org+"/hostnameClaims:check", map[string]any{"label": label}, &answer)
	return answer.Availability == "AVAILABLE", answer.Host, err
}

// signUp is what a company typed into the portal.
type signUp struct {
	RequestID, Company, Label, Color, Email, Name string
}

// provision makes the tenant; the same request id twice makes it once.
func (c *controlPlane) provision(ctx context.Context, org, blueprint string, in signUp) (*provisioned, error) {
	request := map[string]any{
		"tenantId":   in.Label,
		"requestId":  in.RequestID,
		"blueprint":  blueprint,
		"parameters": map[string]any{"brandColor": in.Color},
		"tenant":     map[string]any{"displayName": in.Company},
		"owner":      map[string]any{"email": in.Email, "displayName": in.Name},
		"waitFor":    "LOGIN_READY",
	}
	var operation struct {
		Done     bool
		Response *provisioned
	}
	if err := c.post(ctx, "/v1/"+org+"/tenants:provision", request, &operation); err != nil {
		return nil, err
	}
	if !operation.Done || operation.Response == nil {
		return nil, fmt.Errorf("the operation is not done")
	}
	return operation.Response, nil
}

// post sends one call and decodes its answer or its refusal.
func (c *controlPlane) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.key)
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return refusal(res.StatusCode, raw)
	}
	return json.Unmarshal(raw, out)
}

// refusal reads a google.rpc.Status.
func refusal(status int, raw []byte) error {
	var body struct {
		Message string
		Details []struct {
			Type            string `json:"@type"`
			Reason          string
			FieldViolations []struct{ Field, Description string }
		}
	}
	e := &apiError{Status: status, Message: http.StatusText(status), Fields: map[string]string{}}
	if json.Unmarshal(raw, &body) != nil {
		return e
	}
	if body.Message != "" {
		e.Message = body.Message
	}
	for _, d := range body.Details {
		if strings.HasSuffix(d.Type, "ErrorInfo") {
			e.Reason = d.Reason
		}
		for _, v := range d.FieldViolations {
			e.Fields[v.Field] = v.Description
		}
	}
	return e
}
