// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The kernel's limit for a unix socket path is 107 bytes on Linux and 103 on macOS.
const maxSocketPath = 103

// home is the directory of one server, locked for this program.
type home struct {
	dir  string // as the caller named it
	base string // where the server's own files are: dir, or elsewhere when the server's user cannot enter dir
	sock string // directory of the socket, with a path short enough
	temp bool   // made here, and removed by close

	lock *os.File
}

// link is the name, inside a directory that the server's user cannot enter, of the pointer to where its files are instead.
const link = "elsewhere"

// openHome makes and locks the directory. An empty dir means a temporary one, removed by close.
func openHome(dir string, owner account) (_ *home, err error) {
	h := &home{dir: dir}
	if dir == "" {
		if h.dir, err = tempDir(owner); err != nil {
			return nil, err
		}
		h.temp = true
	}
	if h.dir, err = filepath.Abs(h.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(h.dir, 0o711); err != nil {
		return nil, err
	}
	if h.lock, err = lockFile(filepath.Join(h.dir, "lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if h.base, err = h.findBase(owner); err != nil {
		return nil, err
	}
	h.sock = filepath.Join(h.base, "run")
	if len(h.sock) > maxSocketPath-len("/.s.PGSQL.5432") {
		// The name follows from the directory, so that it is the same in the next run and nothing piles up.
		if h.sock, err = stableDir(socketParent(owner), h.dir, socketDir); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(h.sock, 0o700); err != nil {
		return nil, err
	}
	return h, owner.own(h.sock)
}

// close gives the directory up, and removes it when it was a temporary one.
func (h *home) close() {
	if h.temp {
		_ = removeAll(h.dir)
	}
	if h.lock != nil {
		_ = h.lock.Close() // closing unlocks
	}
}

// findBase is dir itself if the server's user can enter it. Otherwise, as for a root user whose checkout lies in a home of
// mode 0700, it is a directory under /var/tmp with a link to it in dir. Without that link (a new checkout, or a removed
// data directory) what lies there is of an earlier life, and is removed.
func (h *home) findBase(owner account) (string, error) {
	ok, err := owner.canReach(h.dir)
	if err != nil || ok {
		return h.dir, err
	}
	base, err := stableDir("/var/tmp", h.dir, dataDir)
	if err != nil {
		return "", err
	}
	name := filepath.Join(h.dir, link)
	if target, err := os.Readlink(name); err == nil && target == base {
		return base, nil
	}
	if err := os.RemoveAll(base); err != nil {
		return "", err
	}
	if _, err := stableDir("/var/tmp", h.dir, dataDir); err != nil {
		return "", err
	}
	_ = os.Remove(name)
	return base, os.Symlink(base, name)
}

// Remove deletes the directory of a stopped server with all its data, wherever that was put. It refuses with [ErrInUse]
// while a program runs a server there. A directory that does not exist is no error.
func Remove(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	return removeAll(dir)
}

// removeAll is Remove for the holder of the lock.
func removeAll(dir string) error {
	for _, d := range []string{
		stablePath("/var/tmp", dir, dataDir),
		stablePath(os.TempDir(), dir, socketDir),
		stablePath("/tmp", dir, socketDir),
	} {
		if _, err := os.Lstat(d); err == nil {
			if err := os.RemoveAll(d); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// What a stable directory is for; part of its name.
const (
	dataDir   = "data"
	socketDir = "run"
)

// stablePath is the name, under a directory that everybody may write, of the one that stands in for dir.
func stablePath(parent, dir, purpose string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(parent, "tenantry-"+hex.EncodeToString(sum[:6])+"-"+purpose)
}

// stableDir makes the directory of stablePath. Its name can be foretold, so one that somebody else made is refused.
func stableDir(parent, dir, purpose string) (string, error) {
	path := stablePath(parent, dir, purpose)
	if err := os.Mkdir(path, 0o711); err == nil {
		return path, os.Chmod(path, 0o711) //nolint:gosec // a directory; whatever the umask took away
	} else if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a directory that only its owner may write", path)
	}
	if uid := int(st.Uid); uid != os.Geteuid() && !ownedByServer(uid) {
		return "", fmt.Errorf("%s belongs to user %d", path, uid)
	}
	return path, nil
}

// ownedByServer reports whether a directory's owner is the account that root's servers run as.
func ownedByServer(uid int) bool {
	owner, err := unprivileged()
	return err == nil && owner.dropped && int(owner.uid) == uid
}

// socketParent is the temporary directory, or /tmp where that is too long for a socket or closed to the server's user.
func socketParent(owner account) string {
	if parent := os.TempDir(); len(parent) < 60 {
		if ok, err := owner.canReach(parent); err == nil && ok {
			return parent
		}
	}
	return "/tmp"
}

// tempDir makes a fresh directory with a short name that the server's user can enter.
func tempDir(owner account) (string, error) {
	dir, err := os.MkdirTemp(socketParent(owner), "t")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711) //nolint:gosec // MkdirTemp's 0700 would shut the server's user out
}

// lockFile takes the lock that makes a directory this program's, until the file is closed or the program dies.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, filepath.Dir(path))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
