// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// logouts reads the messages to clients that wait to be sent.
func logouts(t *testing.T, db dbtest.DB) (all []identity.BackchannelLogout) {
	t.Helper()
	rows, err := admin(t, db).Query(context.Background(), `SELECT args::text FROM river_job WHERE kind = 'backchannel_logout' AND queue = 'logout' ORDER BY id`)
	ok(t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	ok(t, err)
	for _, text := range texts {
		var job identity.BackchannelLogout
		ok(t, json.Unmarshal([]byte(text), &job))
		all = append(all, job)
	}
	return all
}

func TestEveryEndOfASessionTellsItsClients(t *testing.T) {
	ends := map[string]func(context.Context, *identity.Store, identity.TenantRef, identity.User, identity.Session) (identity.Ended, error){
		"logout": func(ctx context.Context, s *identity.Store, ref identity.TenantRef, _ identity.User, v identity.Session) (identity.Ended, error) {
			return s.EndSession(ctx, ref, at(noon), v.ID)
		},
		"suspension": func(ctx context.Context, s *identity.Store, ref identity.TenantRef, u identity.User, _ identity.Session) (identity.Ended, error) {
			state := identity.UserSuspended
			_, ended, err := s.UpdateUser(ctx, ref, at(noon), u.ID, identity.UserChange{State: &state}, "")
			return ended, err
		},
		"deletion": func(ctx context.Context, s *identity.Store, ref identity.TenantRef, u identity.User, _ identity.Session) (identity.Ended, error) {
			return s.DeleteUser(ctx, ref, at(noon), u.ID, "")
		},
		"new password": func(ctx context.Context, s *identity.Store, ref identity.TenantRef, u identity.User, _ identity.Session) (identity.Ended, error) {
			return s.SetPassword(ctx, ref, at(noon), u.ID, goodPassword+"!", policy, id.Session{})
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			db := dbtest.New(t, "identity", identity.Migrate)
			s, ctx, ref := openAt(t, db), context.Background(), newTenant()
			u := register(t, s, ref)
			session, _ := login(t, s, ref, u)
			chat, photos := id.NewClient(), id.NewClient()
			for _, client := range []id.Client{chat, photos, chat} {
				ok(t, s.NoteClient(ctx, ref, session.ID, client, noon))
			}
			ended, err := end(ctx, s, ref, u, session)
			ok(t, err)
			if len(ended.Clients) != 2 {
				t.Errorf("clients %v", ended.Clients)
			}
			jobs := logouts(t, db)
			if len(jobs) != 2 {
				t.Fatalf("%d messages", len(jobs))
			}
			told := map[id.Client]bool{}
			for _, j := range jobs {
				told[j.Client] = true
				if j.TenantRef != ref || j.Session != session.ID || j.User != u.ID || j.Message.IsZero() || !j.Time.Equal(noon) {
					t.Errorf("message %+v", j)
				}
			}
			if !told[chat] || !told[photos] || jobs[0].Message == jobs[1].Message {
				t.Errorf("messages %+v", jobs)
			}
			want(t, s.NoteClient(ctx, ref, session.ID, chat, noon), identity.ErrNotFound)
		})
	}
}

// A client is noted before its code exists. Whatever the order, no client gets a code in a session whose end it will not hear of.
func TestAClientIsToldOrGetsNoCode(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx, ref := openAt(t, db), context.Background(), newTenant()
	u := register(t, s, ref)
	for range 20 {
		session, _ := login(t, s, ref, u)
		var (
			wg    sync.WaitGroup
			mu    sync.Mutex
			noted = map[id.Client]bool{}
		)
		for range 4 {
			wg.Go(func() {
				client := id.NewClient()
				err := s.NoteClient(ctx, ref, session.ID, client, noon)
				if err != nil && !errors.Is(err, identity.ErrNotFound) {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				noted[client] = err == nil
			})
		}
		ended, err := s.EndSession(ctx, ref, at(noon), session.ID)
		ok(t, err)
		wg.Wait()
		told := map[id.Client]bool{}
		for _, c := range ended.Clients {
			told[c.Client] = true
		}
		for client, knows := range noted {
			if knows != told[client] {
				t.Fatalf("a client got a code %v and is told %v", knows, told[client])
			}
		}
	}
}

// The sweep goes by the database's own clock, so here now is now.
func TestUnusedSessionsEndByThemselves(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx, ref := openAt(t, db), context.Background(), newTenant()
	u := register(t, s, ref)
	now := time.Now()
	const idle, life = time.Hour, 24 * time.Hour
	make := func(age time.Duration, offline bool) (identity.Session, identity.Family) {
		began := at(now.Add(-age))
		v, _, err := s.CreateSession(ctx, ref, began, identity.NewSession{User: u.ID, Life: life, Idle: idle})
		ok(t, err)
		client := id.NewClient()
		ok(t, s.NoteClient(ctx, ref, v.ID, client, began.Now))
		f, err := s.CreateFamily(ctx, ref, began, identity.NewFamily{Grant: id.NewGrant(), User: u.ID, Client: client, Session: v.ID, Offline: offline, Life: life * 9})
		ok(t, err)
		return v, f
	}
	fresh, _ := make(time.Minute, false)
	unused, dead := make(2*time.Hour, false)
	_, alive := make(3*time.Hour, true) // its session ends, an offline grant does not
	inUse, used := make(4*time.Hour, false)
	over, _ := make(25*time.Hour, false)
	_, err := s.Rotate(ctx, ref, at(now.Add(-time.Minute)), rotation(used, 1))
	ok(t, err)

	n, err := s.Sweep(ctx, 100)
	ok(t, err)
	if n != 4 { // three sessions, and the family that expired with its session
		t.Errorf("%d rows removed", n)
	}
	left, err := s.ListSessions(ctx, ref, u.ID, now)
	ok(t, err)
	if len(left) != 2 || left[0].ID != inUse.ID && left[1].ID != inUse.ID || left[0].ID != fresh.ID && left[1].ID != fresh.ID {
		t.Errorf("sessions left: %v", left)
	}
	if f, err := s.Family(ctx, ref, dead.Grant); err != nil || f.RevokeTime.IsZero() {
		t.Errorf("the online family of an unused session: %v %v", f.RevokeTime, err)
	}
	if f, err := s.Family(ctx, ref, alive.Grant); err != nil || !f.RevokeTime.IsZero() {
		t.Errorf("the offline family of an unused session: %v %v", f.RevokeTime, err)
	}
	told := map[id.Session]bool{}
	for _, j := range logouts(t, db) {
		told[j.Session] = true
	}
	if len(told) != 3 || !told[unused.ID] || !told[over.ID] {
		t.Errorf("told of %v", told)
	}
	if n, err := s.Sweep(ctx, 100); err != nil || n != 0 {
		t.Errorf("the second sweep: %d %v", n, err)
	}
}
