#!/bin/bash
# Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0
#
# go mod tidy for each module of the workspace. The siblings are required at the coming release, which nobody can download
# yet, and go.mod files hold no replace directives: each module is tidied in a copy of its go.mod that has them.
# With --check nothing is changed; it fails and shows the difference where something would be.
set -eu

cd "$(dirname "$0")/.."
root=$PWD
check=false
[ "${1:-}" = --check ] && check=true
siblings="proto pkg"
failed=false

tidy() {
	local module=$1 work=$root/.build/tidy/$1 sibling
	rm -rf "$work" && mkdir -p "$work"
	cp "$module/go.mod" "$work/go.mod"
	[ ! -f "$module/go.sum" ] || cp "$module/go.sum" "$work/go.sum"
	for sibling in $siblings; do
		[ "$sibling" = "$module" ] ||
			go mod edit -replace "github.com/tenantry/tenantry/$sibling=../$sibling" "$work/go.mod"
	done
	(cd "$module" && GOWORK=off GOFLAGS=-mod=mod go mod tidy -modfile "$work/go.mod")
	for sibling in $siblings; do
		go mod edit -dropreplace "github.com/tenantry/tenantry/$sibling" "$work/go.mod"
	done
	local file
	for file in go.mod go.sum; do
		[ -f "$work/$file" ] || continue
		if $check; then
			diff -u "$module/$file" "$work/$file" || failed=true
		else
			cmp -s "$module/$file" "$work/$file" || cp "$work/$file" "$module/$file"
		fi
	done
}

modules="proto pkg services examples"
for module in $modules tools; do
	tidy $module
done
if $check; then
	! $failed || { echo "make tidy would change the files above" >&2; exit 1; }
	exit 0
fi
# Every module asks for the versions that the workspace builds with; what that leaves untidy is tidied again.
go work sync
for module in $modules; do
	tidy $module
done
