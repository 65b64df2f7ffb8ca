// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

const (
	// maxFrames bounds the applications that one logout page loads.
	maxFrames = 32
	// frontchannelWait is for how long the page waits for them before it goes on, where no script can see that they are done.
	frontchannelWait = 4 * time.Second
)

// frame is a client's page that ends its own login (OpenID Connect Front-Channel Logout section 2).
type frame struct{ URL, Name string }

// frames are the front-channel logout pages of the clients that knew the session. iss and sid go with each, asked for or not: a client
// that looks at them cannot be logged out by a stranger's link.
func frames(q *web.Request, clients []identity.SessionClient) (list []frame, origins []string) {
	for _, known := range clients {
		c, ok := q.Tenant.Client(known.Client.String())
		if !ok || !c.Enabled || c.FrontchannelLogoutURI == "" || len(list) == maxFrames {
			continue
		}
		u, err := url.Parse(c.FrontchannelLogoutURI)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsFunc(u.Host, notInHost) {
			continue
		}
		query := url.Values{oauth2.ParamIssuer: {q.Tenant.Issuer}, "sid": {known.Session.String()}}.Encode()
		if u.RawQuery != "" {
			query = u.RawQuery + "&" + query
		}
		u.RawQuery, u.Fragment = query, ""
		list = append(list, frame{URL: u.String(), Name: c.Name})
		if origin := u.Scheme + "://" + u.Host; !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	return list, origins
}

// notInHost are the characters that a URL's host may have by its grammar and no real one has: a semicolon or a comma would end the directive
// of the page's policy that names the host.
func notInHost(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-.:[]", r))
}

// showFrames is the page that lets applications end their logins in this browser, and then goes on to next. Without a script the
// browser goes on by itself after a moment; with neither, by the link.
func (s *Service) showFrames(w http.ResponseWriter, r *http.Request, q *web.Request, list []frame, origins []string, outcome oidc.Logout, req oidc.LogoutRequest) error {
	v := s.view(w, r, q, &oidc.AuthorizationRequest{UILocales: req.UILocales}, outcome.Client)
	v.Step, v.Heading = v.T("logout.step"), v.T("logout.done")
	v.Frames, v.frames = list, origins
	next := outcome.RedirectURI
	if next == "" {
		next = loggedOutPage(outcome)
	}
	v.Paragraphs = []string{v.T("logout.frames")}
	v.Links = []link{{URL: next, Text: v.T("post.button"), Class: "primary"}}
	v.Script = s.assets.script
	w.Header().Set("Refresh", strconv.Itoa(int(frontchannelWait/time.Second))+"; url="+next)
	return s.render(w, v, "frontchannel")
}

// loggedOutPage is the address of the page that says that the person is logged out.
func loggedOutPage(outcome oidc.Logout) string {
	if outcome.Client == nil {
		return oidc.PathLogout
	}
	return oidc.PathLogout + "?" + url.Values{oauth2.ParamClientID: {outcome.Client.ID}}.Encode()
}

// hearsLogouts says whether a client wants to be told when a session ends.
func hearsLogouts(c *oauth2.Client) bool {
	return c.BackchannelLogoutURI != "" || c.FrontchannelLogoutURI != ""
}

// noteClient remembers that a client is about to get a code in the session. identity.ErrNotFound: the session has ended meanwhile.
func (s *Service) noteClient(ctx context.Context, q *web.Request, c *oauth2.Client, session id.Session) error {
	if !hearsLogouts(c) {
		return nil
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return s.identity.NoteClient(ctx, ref(q.Tenant), session, c.UID, q.Start)
}
