// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package bootstrap_test

import (
	"os"
	"testing"

	"github.com/tenantry/tenantry/services/internal/cli/bootstrap"
)

func TestTheFileOfMakeRunCanBeRead(t *testing.T) {
	const file = "../../../../deploy/dev/bootstrap.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := bootstrap.Parse(file, text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range docs {
		if d.Org != "piedpiper" {
			t.Errorf("%s is in %q", d, d.Org)
		}
		got = append(got, d.String())
	}
	if want := "org piedpiper, blueprint ppvc-standard, client chat, apiKey key-manager, apiKey portal"; join(got) != want {
		t.Errorf("documents %s", join(got))
	}
}

func join(list []string) string {
	out := ""
	for i, s := range list {
		if i > 0 {
			out += ", "
		}
		out += s
	}
	return out
}
