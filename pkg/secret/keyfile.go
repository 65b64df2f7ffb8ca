// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrKeyFile is wrapped by every complaint about a key file's mode or content; the message names the file and what is wrong with
// it, and never quotes it.
var ErrKeyFile = errors.New("secret: unusable key file")

// Mode bits that make a file unusable. Reading by the group is allowed: mounted secrets of a container are often owned by root
// with the process's group. Anything for everybody, or writing by the group, is not.
const (
	privateMode fs.FileMode = 0o027
	anyMode     fs.FileMode = 0
)

const maxKeyFile = 64 << 10

func keyFileError(path, what string) error { return fmt.Errorf("%w: %s: %s", ErrKeyFile, path, what) }

// readKeyFile decodes a JSON file strictly: no unknown member, nothing after the value.
func readKeyFile(path string, into any, refused fs.FileMode) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	if !info.Mode().IsRegular() {
		return keyFileError(path, "not a regular file")
	}
	if mode := info.Mode().Perm(); mode&refused != 0 {
		return keyFileError(path, fmt.Sprintf("mode %#o lets others read or change it; run: chmod 0600 %s", mode, path))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	defer clear(data)
	if len(data) > maxKeyFile {
		return keyFileError(path, "larger than 64 KiB")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		// Not wrapped: encoding/json quotes the input in some of its errors.
		return keyFileError(path, "not the JSON of a key file")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return keyFileError(path, "something follows the JSON value")
	}
	return nil
}

// writeKeyFile writes JSON so that path holds the whole file or is untouched, also after a crash.
func writeKeyFile(path string, v any, mode fs.FileMode, replace bool) (err error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	defer clear(data)
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	defer os.Remove(tmp.Name()) // gone already when the rename succeeded
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return fmt.Errorf("secret: write %s: %w", path, err)
	}
	if replace {
		err = os.Rename(tmp.Name(), path)
	} else {
		err = os.Link(tmp.Name(), path) // fails where the name exists, which Rename would not
	}
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
