// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package mailsink

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

// Mail is one received message, taken apart for people and tests.
type Mail struct {
	// Number counts received mails, from 1.
	Number int `json:"number"`
	// Time of receipt.
	Time time.Time `json:"time"`
	// From and Subject as in the header, decoded.
	From    string `json:"from"`
	Subject string `json:"subject"`
	// To are the addresses of the envelope, or of the header for mails read from disk.
	To []string `json:"to"`
	// Text and HTML are the bodies; either may be empty.
	Text string `json:"text"`
	HTML string `json:"html"`
}

// parse takes a message apart as far as it can be; what it cannot read, it
// shows as text.
func parse(number int, at time.Time, to []string, raw []byte) *Mail {
	m := &Mail{Number: number, Time: at, To: to}
	message, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		m.Text = string(raw)
		return m
	}
	decode := new(mime.WordDecoder).DecodeHeader
	m.Subject, _ = decode(message.Header.Get("Subject"))
	m.From, _ = decode(message.Header.Get("From"))
	if len(m.To) == 0 {
		if list, err := message.Header.AddressList("To"); err == nil {
			for _, a := range list {
				m.To = append(m.To, a.Address)
			}
		}
	}
	m.body(message.Header.Get("Content-Type"), message.Header.Get("Content-Transfer-Encoding"), message.Body, 0)
	return m
}

// body fills Text and HTML from a part and the parts inside it.
func (m *Mail) body(contentType, encoding string, r io.Reader, depth int) {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType = "text/plain"
	}
	if strings.HasPrefix(mediaType, "multipart/") && depth < 5 {
		parts := multipart.NewReader(r, parameters["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err != nil {
				return
			}
			m.body(part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part, depth+1)
		}
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	text, _ := io.ReadAll(r)
	switch {
	case mediaType == "text/html" && m.HTML == "":
		m.HTML = string(text)
	case mediaType == "text/plain" && m.Text == "":
		m.Text = string(text)
	}
}
