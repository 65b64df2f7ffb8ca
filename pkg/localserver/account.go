// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that a server runs as. The zero value is this program's own user.
type account struct {
	name     string
	home     string
	uid, gid uint32
	dropped  bool // differs from this program's user
}

// unprivileged is the account for servers that refuse to run as root: postgres or nobody for root, else the caller's own.
func unprivileged() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil || uid == 0 {
			continue
		}
		return account{name: name, home: u.HomeDir, uid: uint32(uid), gid: uint32(gid), dropped: true}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root, and neither user postgres nor nobody exists")
}

func (a account) credential() *syscall.Credential {
	if !a.dropped {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// environment keeps what locates things and leaves out the rest, so that a PGDATA or PGOPTIONS of the caller's shell, or a
// secret in it, does not reach the server.
func (a account) environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	home, user := os.Getenv("HOME"), os.Getenv("USER")
	if a.dropped {
		home, user = a.home, a.name
	}
	return append(env, "HOME="+home, "USER="+user, "LOGNAME="+user)
}

// own hands a directory to the account.
func (a account) own(dir string) error {
	if !a.dropped {
		return nil
	}
	return os.Lchown(dir, int(a.uid), int(a.gid))
}

// canReach reports whether the account may enter dir and each of its parents. Group memberships beyond the main one are
// not looked at: too strict only means that the data is kept elsewhere.
func (a account) canReach(dir string) (bool, error) {
	if !a.dropped {
		return true, nil
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return false, err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return false, fmt.Errorf("no owner known of %s", dir)
		}
		enter := info.Mode().Perm() & 0o001
		switch {
		case st.Uid == a.uid:
			enter = info.Mode().Perm() & 0o100
		case st.Gid == a.gid:
			enter = info.Mode().Perm() & 0o010
		}
		if enter == 0 {
			return false, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true, nil
		}
		dir = parent
	}
}
