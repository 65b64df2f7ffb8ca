// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

func TestRegisterAndAuthenticate(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	made, err := s.Register(ctx, ref, identity.Op{Now: noon}, identity.Registration{
		Email: " Gavin.Belson@HOOLI.example ", Password: goodPassword, Profile: identity.Profile{Name: "  Gavin Belson ", Locale: "en-US"}, Roles: []string{"member"},
	}, policy)
	ok(t, err)
	wanted := identity.User{
		ID: made.ID, Email: "Gavin.Belson@hooli.example", Profile: identity.Profile{Name: "Gavin Belson", Locale: "en-US"}, State: identity.UserActive,
		Membership: made.Membership, Roles: []string{"member"}, Groups: []string{}, HasPassword: true, AppMetadata: json.RawMessage(`{}`),
		UserMetadata: json.RawMessage(`{}`), CreateTime: noon, UpdateTime: noon, Etag: "1",
	}
	if d := cmp.Diff(wanted, made); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	if !made.CanLogIn() {
		t.Fatal("a registered person cannot log in")
	}
	for _, spelling := range []string{"Gavin.Belson@hooli.example", "gavin.belson@hooli.EXAMPLE", "GAVIN.BELSON@HOOLI.EXAMPLE"} {
		u, err := s.Authenticate(ctx, ref, at(noon), spelling, goodPassword)
		ok(t, err)
		if d := cmp.Diff(made, u); d != "" {
			t.Fatal(d)
		}
	}
	events, err := s.ListAuditEvents(ctx, ref, identity.AuditPage{})
	ok(t, err)
	if len(events) != 1 || events[0].Actor != made.ID.String() || events[0].Resource != made.ID.String() {
		t.Fatalf("who registers is the actor: %+v", events)
	}
}

func TestPasswordTypedOnTwoKeyboards(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	const composed, decomposed = "Zugspitze \u00fcber 2962 m", "Zugspitze u\u0308ber 2962 m"
	_, err := s.Register(ctx, ref, at(noon), identity.Registration{Email: "a@x.example", Password: composed}, policy)
	ok(t, err)
	_, err = s.Authenticate(ctx, ref, at(noon), "a@x.example", decomposed)
	ok(t, err)
}

func TestEmailIsUniqueInThePoolOnly(t *testing.T) {
	s, ctx, ref, other := open(t), context.Background(), newTenant(), newTenant()
	first, err := s.Register(ctx, ref, at(noon), identity.Registration{Email: "stra\u00dfe@hooli.example", Password: goodPassword}, policy)
	ok(t, err)
	for _, same := range []string{"stra\u00dfe@hooli.example", "STRASSE@hooli.example", "Strasse@HOOLI.example"} {
		_, err := s.Register(ctx, ref, at(noon), identity.Registration{Email: same, Password: goodPassword}, policy)
		want(t, err, identity.ErrEmailTaken)
	}
	if a := actions(t, s, ref); len(a) != 1 {
		t.Fatalf("a refused registration left events: %v", a)
	}
	second, err := s.Register(ctx, other, at(noon), identity.Registration{Email: "stra\u00dfe@hooli.example", Password: "quite another 49 horse"}, policy)
	ok(t, err)
	if first.ID == second.ID {
		t.Fatal("two people share a sub")
	}
	_, err = s.Authenticate(ctx, other, at(noon), "stra\u00dfe@hooli.example", goodPassword)
	want(t, err, identity.ErrBadCredentials)
}

func TestRegistrationRaceForOneAddress(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		made int
	)
	for i := range 16 {
		wg.Go(func() {
			email := "dinesh@hooli.example"
			if i%2 == 0 {
				email = "DINESH@hooli.example"
			}
			_, err := s.Register(ctx, ref, at(noon), identity.Registration{Email: email, Password: goodPassword}, policy)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case !errors.Is(err, identity.ErrEmailTaken):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Fatalf("%d users with one address", made)
	}
}

// Whatever is wrong, the answer and the work are the same.
func TestAuthenticateTellsNothing(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	register(t, s, ref)
	known := register(t, s, ref)
	suspended := register(t, s, ref)
	_, _, err := s.UpdateUser(ctx, ref, at(noon), suspended.ID, identity.UserChange{State: new(identity.UserSuspended)}, "")
	ok(t, err)
	invited, err := s.CreateUser(ctx, ref, at(noon), identity.NewUser{Email: "invited@hooli.example", Invitation: &identity.NewInvitation{ExpireTime: noon.Add(time.Hour)}}, policy)
	ok(t, err)
	for _, tc := range []struct{ name, email, password string }{
		{"unknown user", "nobody@hooli.example", goodPassword},
		{"no address", "nobody", goodPassword},
		{"SQL for an address", "' OR 1=1 --@x", goodPassword},
		{"wrong password", known.Email, "wrong horse 47 battery"},
		{"empty password", known.Email, ""},
		{"password of a megabyte", known.Email, strings.Repeat("a", 1<<20)},
		{"password that is no text", known.Email, "\xff\xfe"},
		{"password with NUL", known.Email, goodPassword + "\x00"},
		{"suspended", suspended.Email, goodPassword},
		{"not yet accepted", invited.Email, goodPassword},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, err := s.Authenticate(ctx, ref, at(noon), tc.email, tc.password)
			want(t, err, identity.ErrBadCredentials)
			if d := cmp.Diff(identity.User{}, u); d != "" {
				t.Fatalf("a refused login answered %s", d)
			}
		})
	}
}

func TestLockout(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	now := noon
	fail := func(n int) {
		for range n {
			_, err := s.Authenticate(ctx, ref, at(now), u.Email, "wrong horse 47 battery")
			want(t, err, identity.ErrBadCredentials)
		}
	}
	right := func(wanted error) {
		t.Helper()
		_, err := s.Authenticate(ctx, ref, at(now), u.Email, goodPassword)
		if !errors.Is(err, wanted) {
			t.Fatalf("the right password at %s: %v, want %v", now.Sub(noon), err, wanted)
		}
	}
	fail(9)
	right(nil) // forgets the nine
	fail(9)
	right(nil)
	fail(10)
	right(identity.ErrBadCredentials)
	// Attempts while it is locked do not extend it.
	now = now.Add(59 * time.Second)
	fail(20)
	right(identity.ErrBadCredentials)
	now = now.Add(2 * time.Second)
	// The next failure doubles it: 2, 4, 8 minutes, then 15 each.
	for _, wait := range []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		fail(1)
		now = now.Add(wait - time.Second)
		right(identity.ErrBadCredentials)
		now = now.Add(2 * time.Second)
	}
	right(nil)
	// Failures that are days apart are somebody with a bad memory.
	for range 15 {
		fail(1)
		now = now.Add(25 * time.Hour)
	}
	right(nil)
}

// Parallel guesses cannot outrun the counter: once ten of them are recorded, not even the right one counts.
func TestLockoutHoldsAgainstParallelGuesses(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := s.Authenticate(ctx, ref, at(noon), u.Email, "wrong horse 47 battery"); !errors.Is(err, identity.ErrBadCredentials) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, err := s.Authenticate(ctx, ref, at(noon), u.Email, goodPassword)
	want(t, err, identity.ErrBadCredentials)
	_, err = s.Authenticate(ctx, ref, at(noon.Add(61*time.Second)), u.Email, goodPassword)
	ok(t, err)
}

func TestRehashOnLogin(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx, ref := openAt(t, db), context.Background(), newTenant()
	u := register(t, s, ref)
	stronger := secret.NewHasher(secret.Argon2Params{MemoryKiB: 128, Time: 2, Threads: 1}, 2, 10)
	s2, err := identity.Open(ctx, identity.Config{DatabaseURL: db.URL(identity.Role)}, stronger)
	ok(t, err)
	defer s2.Close()
	for range 2 {
		_, err := s2.Authenticate(ctx, ref, at(noon), u.Email, goodPassword)
		ok(t, err)
	}
	if phc := passwordOf(t, db, u.ID); !strings.Contains(phc, "m=128,t=2,p=1") {
		t.Fatalf("stored %s", phc)
	}
}

func TestListAndSearchUsers(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	var all []identity.User
	for i := range 25 {
		n := identity.NewUser{Email: fmt.Sprintf("user%02d@raviga.example", i), Profile: identity.Profile{Name: fmt.Sprintf("Person %02d \u00c4hre", i)}, Roles: []string{"member"}}
		if i%5 == 0 {
			n.Roles = []string{"admin", "member"}
		}
		u, err := s.CreateUser(ctx, ref, at(noon.Add(time.Duration(i)*time.Second)), n, policy)
		ok(t, err)
		all = append(all, u)
	}
	_, _, err := s.UpdateUser(ctx, ref, at(noon), all[3].ID, identity.UserChange{State: new(identity.UserSuspended)}, "")
	ok(t, err)
	all[3], err = s.GetUser(ctx, ref, all[3].ID)
	ok(t, err)

	var paged []identity.User
	for page := (identity.UserPage{Limit: 7}); ; page.After = paged[len(paged)-1].ID {
		got, err := s.ListUsers(ctx, ref, page)
		ok(t, err)
		paged = append(paged, got...)
		if len(got) < 7 {
			break
		}
	}
	if d := cmp.Diff(all, paged); d != "" {
		t.Fatalf("pages (-want +got):\n%s", d)
	}
	names := func(list []identity.User, err error) (out []string) {
		t.Helper()
		ok(t, err)
		for _, u := range list {
			out = append(out, strings.TrimSuffix(u.Email, "@raviga.example"))
		}
		return out
	}
	list := func(p identity.UserPage) []string {
		t.Helper()
		return names(s.ListUsers(ctx, ref, p))
	}
	search := func(prefix string, after id.User, limit int) []string {
		t.Helper()
		return names(s.SearchUsers(ctx, ref, prefix, after, limit))
	}
	for _, tc := range []struct {
		name      string
		got, want []string
	}{
		{"newest first", list(identity.UserPage{Limit: 2, Descending: true}), []string{"user24", "user23"}},
		{"newest first, next page", list(identity.UserPage{Limit: 2, Descending: true, After: all[23].ID}), []string{"user22", "user21"}},
		{"by address", list(identity.UserPage{Filter: identity.UserFilter{Email: "USER07@Raviga.example"}}), []string{"user07"}},
		{"by what is no address", list(identity.UserPage{Filter: identity.UserFilter{Email: "user07"}}), nil},
		{"by state", list(identity.UserPage{Filter: identity.UserFilter{State: identity.UserSuspended}}), []string{"user03"}},
		{"by role", list(identity.UserPage{Filter: identity.UserFilter{Role: "admin"}}), []string{"user00", "user05", "user10", "user15", "user20"}},
		{"search by address", search("USER1", id.User{}, 3), []string{"user10", "user11", "user12"}},
		{"search, next page", search("USER1", all[12].ID, 2), []string{"user13", "user14"}},
		{"search by name", search("person 07 \u00e4H", id.User{}, 3), []string{"user07"}},
		{"search for wildcards", search("%", id.User{}, 3), nil},
		{"search for nothing", search("  ", id.User{}, 3), nil},
	} {
		if !slices.Equal(tc.got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

func TestUpdateUser(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	other := register(t, s, ref)
	u, err := s.CreateUser(ctx, ref, at(noon), identity.NewUser{Email: "a@x.example", EmailVerified: true, Profile: identity.Profile{Name: "A", Picture: "https://x.example/a.png"}}, policy)
	ok(t, err)
	later := noon.Add(time.Hour)
	metadata := json.RawMessage(`{"plan":"gold"}`)
	got, ended, err := s.UpdateUser(ctx, ref, at(later), u.ID, identity.UserChange{
		Name: new("B"), Zoneinfo: new("Europe/Paris"), Roles: &[]string{"admin"}, Groups: &[]string{"eng"}, AppMetadata: &metadata,
	}, u.Etag)
	ok(t, err)
	if len(ended.Revocations) != 0 {
		t.Fatal("a change of name ended something")
	}
	wanted := u
	wanted.Name, wanted.Zoneinfo, wanted.Roles, wanted.Groups, wanted.AppMetadata = "B", "Europe/Paris", []string{"admin"}, []string{"eng"}, json.RawMessage(`{"plan": "gold"}`)
	wanted.UpdateTime, wanted.Etag = later, "2"
	if d := cmp.Diff(wanted, got); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	_, _, err = s.UpdateUser(ctx, ref, at(later), u.ID, identity.UserChange{Name: new("C")}, u.Etag)
	want(t, err, identity.ErrEtag)
	_, err = s.DeleteUser(ctx, ref, at(later), u.ID, u.Etag)
	want(t, err, identity.ErrEtag)
	_, _, err = s.UpdateUser(ctx, ref, at(later), u.ID, identity.UserChange{Email: new(strings.ToUpper(other.Email))}, "")
	want(t, err, identity.ErrEmailTaken)

	// Another spelling of the same address stays verified; another address does not.
	got, _, err = s.UpdateUser(ctx, ref, at(later), u.ID, identity.UserChange{Email: new("A@x.example")}, "")
	ok(t, err)
	if got.Email != "A@x.example" || !got.EmailVerified {
		t.Fatalf("%+v", got)
	}
	got, _, err = s.UpdateUser(ctx, ref, at(later), u.ID, identity.UserChange{Email: new("b@x.example")}, "")
	ok(t, err)
	if got.EmailVerified {
		t.Fatal("nobody proved the new address")
	}
	got, _, err = s.UpdateUser(ctx, ref, at(later), u.ID, identity.UserChange{Email: new("c@x.example"), EmailVerified: new(true)}, "")
	ok(t, err)
	if !got.EmailVerified {
		t.Fatal("the caller vouched for the new address")
	}
	events, err := s.ListAuditEvents(ctx, ref, identity.AuditPage{Action: identity.ActionUserUpdated})
	ok(t, err)
	if len(events) != 4 || strings.Contains(events[0].Details, "c@x.example") {
		t.Fatalf("events of 4 changes, without personal data: %+v", events)
	}
	_, err = s.VerifyAudit(ctx, ref)
	ok(t, err)
}

func TestUpdateUserRefusesBadValues(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	long := strings.Repeat("x", 300)
	bad := json.RawMessage(`[1]`)
	nul := json.RawMessage(`{"a":"\u0000"}`)
	huge := json.RawMessage(`{"a":"` + strings.Repeat("x", 17<<10) + `"}`)
	for field, c := range map[string]identity.UserChange{
		"email":              {Email: new("nobody")},
		"name":               {Name: &long},
		"given_name":         {GivenName: new("a\nb")},
		"family_name":        {FamilyName: new("\xff")},
		"nickname":           {Nickname: new("a\u202eb")},
		"preferred_username": {PreferredUsername: new("a\x00")},
		"picture":            {Picture: new("javascript:alert(1)")},
		"website":            {Website: new("https://x.example/\"onload=")},
		"locale":             {Locale: new("en US")},
		"zoneinfo":           {Zoneinfo: new("../etc\u00e9")},
		"state":              {State: new(identity.UserInvited)},
		"roles":              {Roles: &[]string{"ok", ""}},
		"groups":             {Groups: new(strings.Split(strings.Repeat("g,", 101), ","))},
		"app_metadata":       {AppMetadata: &bad},
		"user_metadata":      {UserMetadata: &nul},
		"user_metadata ":     {UserMetadata: &huge},
	} {
		_, _, err := s.UpdateUser(ctx, ref, at(noon), u.ID, c, "")
		var invalid *identity.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != strings.TrimSpace(field) || !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s: %v", field, err)
		}
	}
	after, err := s.GetUser(ctx, ref, u.ID)
	ok(t, err)
	if d := cmp.Diff(u, after); d != "" {
		t.Fatal(d)
	}
}

func TestSuspendEndsEverythingAndResumeBringsNothingBack(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u, bystander := register(t, s, ref), register(t, s, ref)
	session, token := login(t, s, ref, u)
	_, otherToken := login(t, s, ref, bystander)
	online, offline := family(t, s, ref, u, session.ID, false), family(t, s, ref, u, session.ID, true)
	_, ended, err := s.UpdateUser(ctx, ref, at(noon), u.ID, identity.UserChange{State: new(identity.UserSuspended)}, "")
	ok(t, err)
	wanted := []string{"gnt " + online.Grant.String(), "gnt " + offline.Grant.String(), "sid " + session.ID.String()}
	slices.Sort(wanted)
	if d := cmp.Diff(wanted, subjects(ended)); d != "" {
		t.Fatal(d)
	}
	dead := func(state string) {
		t.Helper()
		_, _, err := s.Session(ctx, ref, token, noon, identity.SessionLimits{})
		want(t, err, identity.ErrNotFound)
		for _, f := range []identity.Family{online, offline} {
			_, err := s.Rotate(ctx, ref, at(noon), rotation(f, 1))
			want(t, err, identity.ErrNotFound)
		}
	}
	dead("suspended")
	_, _, err = s.CreateSession(ctx, ref, at(noon), identity.NewSession{User: u.ID})
	want(t, err, identity.ErrNotFound)
	_, err = s.CreateFamily(ctx, ref, at(noon), identity.NewFamily{Grant: id.NewGrant(), User: u.ID, Client: id.NewClient(), Offline: true})
	want(t, err, identity.ErrNotFound)
	_, err = s.GrantConsent(ctx, ref, at(noon), u.ID, id.NewClient(), []string{"openid"})
	want(t, err, identity.ErrNotFound)

	_, _, err = s.UpdateUser(ctx, ref, at(noon), u.ID, identity.UserChange{State: new(identity.UserActive)}, "")
	ok(t, err)
	dead("resumed")
	_, err = s.Authenticate(ctx, ref, at(noon), u.Email, goodPassword)
	ok(t, err)
	_, _, err = s.Session(ctx, ref, otherToken, noon, identity.SessionLimits{})
	ok(t, err)
}

func TestResumedInvitationStaysAnInvitation(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u, err := s.CreateUser(ctx, ref, at(noon), identity.NewUser{Email: "a@x.example", Invitation: &identity.NewInvitation{ExpireTime: noon.Add(time.Hour)}}, policy)
	ok(t, err)
	for _, state := range []identity.UserState{identity.UserSuspended, identity.UserActive} {
		u, _, err = s.UpdateUser(ctx, ref, at(noon), u.ID, identity.UserChange{State: &state}, "")
		ok(t, err)
	}
	if u.State != identity.UserInvited {
		t.Fatalf("state %s", u.State)
	}
}

func TestSetPassword(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	kept, keptToken := login(t, s, ref, u)
	gone, goneToken := login(t, s, ref, u)
	mine, stolen, offline := family(t, s, ref, u, kept.ID, false), family(t, s, ref, u, gone.ID, false), family(t, s, ref, u, kept.ID, true)
	const next = "staple orbit 52 lantern"
	_, err := s.SetPassword(ctx, ref, at(noon), u.ID, "short", policy, kept.ID)
	var refused *identity.PasswordError
	if !errors.As(err, &refused) {
		t.Fatalf("%v", err)
	}
	_, err = s.SetPassword(ctx, ref, at(noon), u.ID, next, policy, kept.ID)
	ok(t, err)
	_, err = s.Authenticate(ctx, ref, at(noon), u.Email, goodPassword)
	want(t, err, identity.ErrBadCredentials)
	_, err = s.Authenticate(ctx, ref, at(noon), u.Email, next)
	ok(t, err)
	_, _, err = s.Session(ctx, ref, keptToken, noon, identity.SessionLimits{})
	ok(t, err)
	_, _, err = s.Session(ctx, ref, goneToken, noon, identity.SessionLimits{})
	want(t, err, identity.ErrNotFound)
	_, err = s.Rotate(ctx, ref, at(noon), rotation(mine, 1))
	ok(t, err)
	for _, f := range []identity.Family{stolen, offline} {
		_, err = s.Rotate(ctx, ref, at(noon), rotation(f, 1))
		want(t, err, identity.ErrNotFound)
	}
	if a := actions(t, s, ref); a[len(a)-1] != identity.ActionPasswordChanged {
		t.Fatal(a)
	}
}

func TestDeleteUserRacesWithLogin(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	for range 30 {
		u := register(t, s, ref)
		var wg sync.WaitGroup
		var grants [6]id.Grant
		for i := range grants {
			grants[i] = id.NewGrant()
			wg.Go(func() {
				if _, _, err := s.CreateSession(ctx, ref, at(noon), identity.NewSession{User: u.ID}); err != nil && !errors.Is(err, identity.ErrNotFound) {
					t.Error(err)
				}
			})
			wg.Go(func() {
				_, err := s.CreateFamily(ctx, ref, at(noon), identity.NewFamily{Grant: grants[i], User: u.ID, Client: id.NewClient(), Offline: true})
				if err != nil && !errors.Is(err, identity.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if _, err := s.DeleteUser(ctx, ref, at(noon), u.ID, ""); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if left, err := s.ListSessions(ctx, ref, u.ID, noon); err != nil || len(left) != 0 {
			t.Fatalf("%d sessions of a deleted user, %v", len(left), err)
		}
		for _, g := range grants {
			_, err := s.Family(ctx, ref, g)
			want(t, err, identity.ErrNotFound)
		}
	}
}
