// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span in a configuration file: what [time.ParseDuration] reads, and whole days, as in "90s", "1h30m",
// "30d".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 31)
		if err != nil || n > 36500 {
			return fmt.Errorf("%q is not a number of days", s)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 90s, 1h30m or 30d", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the form of [time.Duration].
func (d Duration) String() string { return time.Duration(d).String() }

// Bytes is a size in a configuration file: "512", "64KiB", "256MiB", "2GiB", or with powers of ten "64KB", "256MB", "2GB".
type Bytes int64

var byteUnits = []struct {
	suffix string
	size   int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, size := string(text), int64(1)
	for _, u := range byteUnits {
		if n, ok := strings.CutSuffix(number, u.suffix); ok {
			number, size = strings.TrimRight(n, " "), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/size {
		return fmt.Errorf("%q is not a size such as 512, 64KiB or 256MiB", text)
	}
	*b = Bytes(n * size)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String is the shortest exact form in powers of two.
func (b Bytes) String() string {
	for _, u := range []int{3, 2, 1, 0} {
		if size := byteUnits[u].size; b != 0 && int64(b)%size == 0 {
			return strconv.FormatInt(int64(b)/size, 10) + byteUnits[u].suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Path is the path of a file or directory. A relative one in a configuration file is relative to that file, wherever the
// process was started.
type Path string

func (p *Path) resolve(dir string) error {
	if *p != "" && !filepath.IsAbs(string(*p)) {
		*p = Path(filepath.Join(dir, string(*p)))
	}
	return nil
}

// maxSecretFile bounds a file of a [Secret], so that a wrong path (a log, a device) is noticed.
const maxSecretFile = 64 << 10

// Secret is a value that stands in a file of its own; the configuration has the path. It is read when the configuration is
// loaded. It never shows its value in logs, errors or encoded configurations.
type Secret struct {
	path  string
	value string
}

// SecretOf is a secret without a file, for processes that configure themselves.
func SecretOf(value string) Secret { return Secret{value: value} }

// Value is the file's content without a final newline, "" when no file is configured.
func (s Secret) Value() string { return s.value }

// IsZero reports whether no secret is configured.
func (s Secret) IsZero() bool { return s.path == "" && s.value == "" }

// UnmarshalText implements encoding.TextUnmarshaler: the text is the path.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret{path: string(text)}
	return nil
}

// MarshalText implements encoding.TextMarshaler with the path.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String tells the path, never the value.
func (s Secret) String() string {
	if s.path == "" && s.value != "" {
		return "(secret)"
	}
	return s.path
}

// GoString is String, so that %#v shows no more.
func (s Secret) GoString() string { return s.String() }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

func (s *Secret) resolve(dir string) error {
	if s.path == "" {
		return nil
	}
	if !filepath.IsAbs(s.path) {
		s.path = filepath.Join(dir, s.path)
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecretFile {
		return fmt.Errorf("%s is no file of at most %v", s.path, Bytes(maxSecretFile))
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		return errors.New(s.path + " is empty")
	}
	s.value = string(text)
	return nil
}
