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
	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

func newSeed() identity.Seed {
	return identity.Seed{
		TenantRef: newTenant(), Time: noon, Actor: "key_x", RequestID: "req-9",
		Users: []identity.SeedUser{
			{
				ID: id.NewUser(), Membership: id.NewMembership(), Email: "Owner@Hooli.example", Profile: identity.Profile{Name: "Gavin Belson", Locale: "en"},
				Roles: []string{"admin", "member"}, Invitation: &identity.NewInvitation{ID: id.NewInvitation(), ExpireTime: noon.Add(7 * 24 * time.Hour), Client: id.NewClient()},
			},
			{ID: id.NewUser(), Membership: id.NewMembership(), Email: "first@hooli.example", EmailVerified: true, Roles: []string{"member"}},
		},
	}
}

func jobs(t *testing.T, db dbtest.DB) (out []identity.InvitationMail) {
	t.Helper()
	rows, err := admin(t, db).Query(context.Background(), `SELECT args::text FROM river_job WHERE kind = 'invitation_mail' AND queue = 'mail' ORDER BY id`)
	ok(t, err)
	defer rows.Close()
	for rows.Next() {
		var (
			text string
			m    identity.InvitationMail
		)
		ok(t, rows.Scan(&text))
		ok(t, json.Unmarshal([]byte(text), &m))
		out = append(out, m)
	}
	ok(t, rows.Err())
	return out
}

func TestSeedToLogin(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx, seed := openAt(t, db), context.Background(), newSeed()
	ref, owner := seed.TenantRef, seed.Users[0]

	// The control plane stores it as JSON.
	raw, err := json.Marshal(seed)
	ok(t, err)
	var stored identity.Seed
	ok(t, json.Unmarshal(raw, &stored))
	if d := cmp.Diff(seed, stored, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".EmailKey" || p.Last().String() == ".NameKey" }, cmp.Ignore())); d != "" {
		t.Fatalf("JSON (-want +got):\n%s", d)
	}
	ok(t, s.ApplySeeds(ctx, []identity.Seed{stored}))
	ok(t, s.ApplySeeds(ctx, []identity.Seed{stored, newSeed()}))

	list, err := s.ListUsers(ctx, ref, identity.UserPage{})
	ok(t, err)
	if len(list) != 2 || list[0].ID != owner.ID || list[0].State != identity.UserInvited || list[0].EmailVerified || !slices.Equal(list[0].Roles, owner.Roles) ||
		list[1].State != identity.UserActive || !list[1].EmailVerified || list[0].Membership != owner.Membership {
		t.Fatalf("%+v", list)
	}
	if a := actions(t, s, ref); !slices.Equal(a, []string{identity.ActionUserCreated, identity.ActionInvitationCreated, identity.ActionUserCreated}) {
		t.Fatal(a)
	}
	wantJob := identity.InvitationMail{TenantRef: ref, Invitation: owner.Invitation.ID}
	if got := jobs(t, db); len(got) != 2 || got[0] != wantJob {
		t.Fatalf("jobs %+v", got)
	}

	// The mail, and a second one because the first job failed after sending: both links work, once.
	invitation, first, err := s.IssueInvitationToken(ctx, ref, owner.Invitation.ID, noon)
	ok(t, err)
	wanted := identity.Invitation{
		ID: owner.Invitation.ID, User: owner.ID, Email: "Owner@hooli.example", Name: "Gavin Belson", Locale: "en", Roles: owner.Roles, Groups: []string{},
		Client: owner.Invitation.Client, State: identity.InvitationPending, CreateTime: noon, ExpireTime: owner.Invitation.ExpireTime,
	}
	if d := cmp.Diff(wanted, invitation); d != "" {
		t.Fatal(d)
	}
	_, second, err := s.IssueInvitationToken(ctx, ref, owner.Invitation.ID, noon)
	ok(t, err)
	for _, link := range []string{first, second} {
		got, err := s.Invitation(ctx, ref, link, noon)
		ok(t, err)
		if d := cmp.Diff(wanted, got); d != "" {
			t.Fatal(d)
		}
		if found := mentions(t, admin(t, db), link); len(found) != 0 {
			t.Fatalf("the link is stored: %v", found)
		}
	}
	_, _, err = s.AcceptInvitation(ctx, ref, at(noon), first, "short", "", policy)
	var refused *identity.PasswordError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	u, ended, err := s.AcceptInvitation(ctx, ref, at(noon.Add(time.Hour)), first, goodPassword, "Gavin B.", policy)
	ok(t, err)
	if u.ID != owner.ID || !u.CanLogIn() || !u.EmailVerified || u.Name != "Gavin B." || !u.HasPassword || len(ended.Revocations) != 0 || !slices.Equal(u.Roles, owner.Roles) {
		t.Fatalf("%+v", u)
	}
	_, err = s.Authenticate(ctx, ref, at(noon), "owner@hooli.example", goodPassword)
	ok(t, err)
	for _, link := range []string{first, second} {
		_, err := s.Invitation(ctx, ref, link, noon)
		want(t, err, identity.ErrInvitation)
		_, _, err = s.AcceptInvitation(ctx, ref, at(noon), link, "other horse 99 battery", "", policy)
		want(t, err, identity.ErrInvitation)
	}
	_, _, err = s.IssueInvitationToken(ctx, ref, owner.Invitation.ID, noon)
	want(t, err, identity.ErrNotFound)
}

func TestInvitationRefusals(t *testing.T) {
	s, ctx, seed := open(t), context.Background(), newSeed()
	ref := seed.TenantRef
	ok(t, s.ApplySeeds(ctx, []identity.Seed{seed}))
	_, link, err := s.IssueInvitationToken(ctx, ref, seed.Users[0].Invitation.ID, noon)
	ok(t, err)
	for name, bad := range map[string]string{
		"empty": "", "cut": link[:60], "longer": link + "A", "another secret": link[:30] + strings.Repeat("A", len(link)-30),
		"another id": strings.Repeat("A", 21) + link[21:], "other base64": strings.Replace(link, link[:1], "+", 1), "spaces": " " + link[1:],
		"huge": strings.Repeat("A", 1<<20),
	} {
		if _, err := s.Invitation(ctx, ref, bad, noon); !errors.Is(err, identity.ErrInvitation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	late := seed.Users[0].Invitation.ExpireTime
	_, err = s.Invitation(ctx, ref, link, late)
	want(t, err, identity.ErrInvitation)
	_, _, err = s.AcceptInvitation(ctx, ref, at(late), link, goodPassword, "", policy)
	want(t, err, identity.ErrInvitation)
	_, _, err = s.UpdateUser(ctx, ref, at(noon), seed.Users[0].ID, identity.UserChange{State: new(identity.UserSuspended)}, "")
	ok(t, err)
	_, _, err = s.AcceptInvitation(ctx, ref, at(noon), link, goodPassword, "", policy)
	want(t, err, identity.ErrInvitation)
}

func TestInvitationIsSingleUse(t *testing.T) {
	s, ctx, seed := open(t), context.Background(), newSeed()
	ok(t, s.ApplySeeds(ctx, []identity.Seed{seed}))
	_, link, err := s.IssueInvitationToken(ctx, seed.TenantRef, seed.Users[0].Invitation.ID, noon)
	ok(t, err)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		wins []string
	)
	for i := range 16 {
		wg.Go(func() {
			password := fmt.Sprintf("%s %d", goodPassword, i)
			_, _, err := s.AcceptInvitation(ctx, seed.TenantRef, at(noon), link, password, "", policy)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins = append(wins, password)
			} else if !errors.Is(err, identity.ErrInvitation) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(wins) != 1 {
		t.Fatalf("%d winners", len(wins))
	}
	_, err = s.Authenticate(ctx, seed.TenantRef, at(noon), "owner@hooli.example", wins[0])
	ok(t, err)
}

// Somebody registers the owner's address on the new host before the seed arrives: they must not become the owner.
func TestSquatterOnTheOwnersAddress(t *testing.T) {
	s, ctx, seed := open(t), context.Background(), newSeed()
	ref := seed.TenantRef
	squatter, err := s.Register(ctx, ref, at(noon), identity.Registration{Email: "owner@hooli.example", Password: "squatter horse 11 battery", Roles: []string{"member"}}, policy)
	ok(t, err)
	session, token := login(t, s, ref, squatter)
	f := family(t, s, ref, squatter, session.ID, true)
	ok(t, s.ApplySeeds(ctx, []identity.Seed{seed}))
	u, err := s.GetUser(ctx, ref, squatter.ID)
	ok(t, err)
	if slices.Contains(u.Roles, "admin") || u.EmailVerified {
		t.Fatalf("the squatter got %v", u.Roles)
	}
	// The mail reaches the owner; accepting it throws the squatter out.
	_, link, err := s.IssueInvitationToken(ctx, ref, seed.Users[0].Invitation.ID, noon)
	ok(t, err)
	owner, ended, err := s.AcceptInvitation(ctx, ref, at(noon), link, goodPassword, "", policy)
	ok(t, err)
	if !slices.Equal(owner.Roles, []string{"admin", "member"}) || len(ended.Revocations) != 2 {
		t.Fatalf("%+v %+v", owner, ended)
	}
	_, err = s.Authenticate(ctx, ref, at(noon), "owner@hooli.example", "squatter horse 11 battery")
	want(t, err, identity.ErrBadCredentials)
	_, _, err = s.Session(ctx, ref, token, noon, identity.SessionLimits{})
	want(t, err, identity.ErrNotFound)
	_, err = s.Rotate(ctx, ref, at(noon), rotation(f, 1))
	want(t, err, identity.ErrNotFound)
}

func TestSeedDoesNotResurrect(t *testing.T) {
	s, ctx, seed := open(t), context.Background(), newSeed()
	ok(t, s.ApplySeeds(ctx, []identity.Seed{seed}))
	_, err := s.DeleteUser(ctx, seed.TenantRef, at(noon), seed.Users[1].ID, "")
	ok(t, err)
	ok(t, s.ApplySeeds(ctx, []identity.Seed{seed})) // the worker died before it removed its row
	_, err = s.GetUser(ctx, seed.TenantRef, seed.Users[1].ID)
	want(t, err, identity.ErrNotFound)
}

func TestSeedsByManyWorkers(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx := openAt(t, db), context.Background()
	seeds := make([]identity.Seed, 60)
	for i := range seeds {
		seeds[i] = newSeed()
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			mine := slices.Clone(seeds[w*4 : w*4+32])
			if w%2 == 1 {
				slices.Reverse(mine)
			}
			if err := s.ApplySeeds(ctx, mine); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, seed := range seeds[:60] {
		if a := actions(t, s, seed.TenantRef); len(a) != 3 {
			t.Fatalf("%v", a)
		}
	}
	if n := len(jobs(t, db)); n != 60 {
		t.Fatalf("%d mails for 60 invitations", n)
	}
}

func TestImpossibleSeedIsNamed(t *testing.T) {
	s, ctx := open(t), context.Background()
	for name, spoil := range map[string]func(*identity.Seed){
		"address":     func(s *identity.Seed) { s.Users[1].Email = "nobody" },
		"no tenant":   func(s *identity.Seed) { s.Tenant = id.Tenant{} },
		"no user id":  func(s *identity.Seed) { s.Users[0].ID = id.User{} },
		"expired":     func(s *identity.Seed) { s.Users[0].Invitation.ExpireTime = noon },
		"bad role":    func(s *identity.Seed) { s.Users[0].Roles = []string{"\x00"} },
		"bad profile": func(s *identity.Seed) { s.Users[0].Profile.Picture = "data:x" },
	} {
		good, bad := newSeed(), newSeed()
		spoil(&bad)
		err := s.ApplySeeds(ctx, []identity.Seed{good, bad})
		var named *identity.SeedError
		if !errors.As(err, &named) || named.Index != 1 || !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if list, err := s.ListUsers(ctx, good.TenantRef, identity.UserPage{}); err != nil || len(list) != 0 {
			t.Errorf("%s: the good seed was applied alone", name)
		}
	}
	// Two users of one seed with one address: the second invitation goes to the same person.
	twice := newSeed()
	twice.Users[1].Email, twice.Users[1].Invitation = "OWNER@hooli.example", &identity.NewInvitation{ID: id.NewInvitation(), ExpireTime: noon.Add(time.Hour)}
	ok(t, s.ApplySeeds(ctx, []identity.Seed{twice}))
	list, err := s.ListUsers(ctx, twice.TenantRef, identity.UserPage{})
	ok(t, err)
	if len(list) != 1 {
		t.Fatalf("%d users", len(list))
	}
}

func TestCreateUserWithInvitationIsOneTransaction(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx, ref := openAt(t, db), context.Background(), newTenant()
	n := identity.NewUser{Email: "a@x.example", Invitation: &identity.NewInvitation{ExpireTime: noon.Add(time.Hour)}}
	_, err := s.CreateUser(ctx, ref, at(noon), n, policy)
	ok(t, err)
	_, err = s.CreateUser(ctx, ref, at(noon), n, policy)
	want(t, err, identity.ErrEmailTaken)
	if n := len(jobs(t, db)); n != 1 {
		t.Fatalf("%d mails", n)
	}
	n.Email, n.Password = "b@x.example", goodPassword
	_, err = s.CreateUser(ctx, ref, at(noon), n, policy)
	want(t, err, identity.ErrInvalid)
}

type mailWorker struct {
	river.WorkerDefaults[identity.InvitationMail]
	store *identity.Store
	links chan string
}

func (w *mailWorker) Work(ctx context.Context, job *river.Job[identity.InvitationMail]) error {
	_, link, err := w.store.IssueInvitationToken(ctx, job.Args.TenantRef, job.Args.Invitation, noon)
	if err == nil {
		w.links <- link
	}
	return err
}

func TestJobsAreWorked(t *testing.T) {
	for _, poll := range []bool{false, true} {
		t.Run(fmt.Sprintf("poll only %v", poll), func(t *testing.T) {
			s, ctx, seed := open(t), context.Background(), newSeed()
			w := &mailWorker{store: s, links: make(chan string, 1)}
			workers := river.NewWorkers()
			river.AddWorker(workers, w)
			j, err := s.NewJobs(identity.JobsConfig{Workers: workers, PollOnly: poll})
			ok(t, err)
			ok(t, j.Start(ctx))
			ok(t, s.ApplySeeds(ctx, []identity.Seed{seed}))
			select {
			case link := <-w.links:
				_, err := s.Invitation(ctx, seed.TenantRef, link, noon)
				ok(t, err)
			case <-time.After(20 * time.Second):
				t.Fatal("no job was worked")
			}
			stop, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			ok(t, j.Stop(stop))
			ok(t, j.Stop(stop))
		})
	}
}
