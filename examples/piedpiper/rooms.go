// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// team is whom rooms belong to. Both halves come from checked tokens, so one
// team can never be spelled like another.
type team struct{ Issuer, Tenant string }

func (s session) team() team { return team{s.Issuer, s.Tenant} }

// message is one line of a room.
type message struct {
	From, Subject, Text string
	Time                time.Time
}

// Clock is the time of day for people.
func (m message) Clock() string { return m.Time.Format("15:04") }

// Bounds of what is kept in memory.
const (
	maxTeams       = 10_000
	maxRooms       = 100
	maxMessages    = 200
	maxText        = 2_000
	maxSubscribers = 1_000
)

// trouble is an error whose text is a sentence for the person who caused it.
type trouble string

func (t trouble) Error() string { return string(t) }

var errNoRoom = errors.New("there is no such room")

// hub holds the rooms of all teams in memory: a sample app forgets when it ends.
type hub struct {
	mu    sync.Mutex
	teams map[team]map[string]*room
}

type room struct {
	messages    []message
	subscribers map[chan message]struct{}
}

func newHub() *hub { return &hub{teams: map[team]map[string]*room{}} }

// rooms returns a team's rooms, made with its first visit. The caller holds mu.
func (h *hub) rooms(t team) map[string]*room {
	rooms := h.teams[t]
	if rooms == nil {
		if len(h.teams) >= maxTeams {
			return nil
		}
		rooms = map[string]*room{"general": newRoom(), "random": newRoom()}
		h.teams[t] = rooms
	}
	return rooms
}

func newRoom() *room { return &room{subscribers: map[chan message]struct{}{}} }

func (h *hub) list(t team) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for name := range h.rooms(t) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (h *hub) messages(t team, name string) ([]message, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms(t)[name]
	if r == nil {
		return nil, errNoRoom
	}
	return slices.Clone(r.messages), nil
}

// create opens a room; its errors are trouble.
func (h *hub) create(t team, name string) error {
	if !validLabel(name) {
		return trouble("Room name may contain only letters a to z, digits and hyphens")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	rooms := h.rooms(t)
	switch {
	case rooms == nil || len(rooms) >= maxRooms:
		return trouble(fmt.Sprintf("Your team has %d rooms, which is as many as there can be", maxRooms))
	case rooms[name] != nil:
		return trouble("There is a room " + name + " already")
	}
	rooms[name] = newRoom()
	return nil
}

// post adds a message and hands it to who is listening; its errors are
// trouble, or errNoRoom.
func (h *hub) post(t team, name string, m message) error {
	switch n := utf8.RuneCountInString(m.Text); {
	case n == 0:
		return trouble("Enter a message")
	case n > maxText:
		return trouble(fmt.Sprintf("Message must be %d characters or fewer", maxText))
	case !utf8.ValidString(m.Text):
		return trouble("Message must be text")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms(t)[name]
	if r == nil {
		return errNoRoom
	}
	if len(r.messages) == maxMessages {
		r.messages = slices.Delete(r.messages, 0, 1)
	}
	r.messages = append(r.messages, m)
	for s := range r.subscribers {
		select {
		case s <- m:
		default: // a reader that cannot keep up is cut off rather than waited for
			delete(r.subscribers, s)
			close(s)
		}
	}
	return nil
}

// subscribe returns new messages of a room until stop is called; a closed
// channel means that the reader was too slow.
func (h *hub) subscribe(t team, name string) (<-chan message, func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms(t)[name]
	if r == nil {
		return nil, nil, errNoRoom
	}
	if len(r.subscribers) >= maxSubscribers {
		return nil, nil, errors.New("too many readers in this room")
	}
	feed := make(chan message, 16)
	r.subscribers[feed] = struct{}{}
	return feed, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(r.subscribers, feed)
	}, nil
}
