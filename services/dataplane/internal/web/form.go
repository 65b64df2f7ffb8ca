// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// MaxFormBytes bounds the body of a form.
const MaxFormBytes = 64 << 10

// MediaTypeForm is the one content type that OAuth endpoints read (RFC 6749 appendix B).
const MediaTypeForm = "application/x-www-form-urlencoded"

// Errors of ReadForm.
var (
	errMediaType = oauth2.NewError(oauth2.CodeInvalidRequest, http.StatusUnsupportedMediaType,
		"send the parameters as "+MediaTypeForm)
	errTooLarge = oauth2.NewError(oauth2.CodeInvalidRequest, http.StatusRequestEntityTooLarge, "the request body is too large")
)

// bodies are buffers of the usual size; larger forms are read into memory of their own.
var bodies = sync.Pool{New: func() any { return new([usualForm]byte) }}

const usualForm = 2 << 10

// ReadForm reads and parses a form body: application/x-www-form-urlencoded in UTF-8, at most MaxFormBytes, not compressed. Errors
// are *oauth2.Error: 415 for another media type, 413 for too many bytes, invalid_request for anything malformed.
func ReadForm(w http.ResponseWriter, r *http.Request) (oauth2.Params, error) {
	if !isForm(r.Header["Content-Type"]) || len(r.Header["Content-Encoding"]) > 0 {
		return oauth2.Params{}, errMediaType
	}
	if r.ContentLength > MaxFormBytes {
		return oauth2.Params{}, tooLarge(w)
	}
	raw, err := readBody(r)
	if err != nil {
		return oauth2.Params{}, oauth2.InvalidRequest("the request body could not be read").WithCause(err)
	}
	if len(raw) > MaxFormBytes {
		return oauth2.Params{}, tooLarge(w)
	}
	return oauth2.ParseParams(raw)
}

// tooLarge closes the connection after the answer: reading the rest would be the very work that the bound saves.
func tooLarge(w http.ResponseWriter) error {
	w.Header().Set("Connection", "close")
	return errTooLarge
}

// readBody reads at most one byte more than allowed. The string is the only allocation for a form of the usual size.
func readBody(r *http.Request) (string, error) {
	small := bodies.Get().(*[usualForm]byte)
	defer bodies.Put(small)
	n, err := io.ReadFull(r.Body, small[:])
	switch err { // io.ReadFull returns these two unwrapped
	case io.EOF, io.ErrUnexpectedEOF:
		return string(small[:n]), nil
	case nil:
	default:
		return "", err
	}
	var b strings.Builder
	b.Write(small[:])
	if _, err := io.Copy(&b, io.LimitReader(r.Body, MaxFormBytes-usualForm+1)); err != nil {
		return "", err
	}
	return b.String(), nil
}

// isForm accepts the form media type with no parameter but charset=utf-8, in any case.
func isForm(values []string) bool {
	if len(values) != 1 {
		return false
	}
	v := values[0]
	if v == MediaTypeForm {
		return true
	}
	media, param, _ := strings.Cut(v, ";")
	if !strings.EqualFold(strings.TrimSpace(media), MediaTypeForm) {
		return false
	}
	param = strings.TrimSpace(param)
	return param == "" || strings.EqualFold(param, "charset=utf-8") || strings.EqualFold(param, `charset="utf-8"`)
}
