#!/bin/bash
# Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0
#
# Finds, or else installs, the programs that Tenantry runs on a developer's machine: PostgreSQL 15 or later and Redis 7 or
# later (or Valkey), and with --browser a Chromium for the tests. It says nothing when all are there. Where it may not
# install, it prints the line to run instead.
set -u

browser=false
[ "${1:-}" = --browser ] && browser=true

# newest_major PATTERN-OUTPUT...: reads versions from stdin, succeeds if one is at least $1.
at_least() {
	local want=$1 major
	while read -r major; do
		[ "${major:-0}" -ge "$want" ] && return 0
	done
	return 1
}

# The places are those of pkg/localserver, which has the last word.
has_postgres() {
	local dir
	for dir in "${TENANTRY_PG_BIN:-}" "$(dirname "$(command -v postgres 2>/dev/null || echo /nowhere/x)")" \
		/usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /usr/pgsql-*/bin \
		/Library/PostgreSQL/*/bin /Applications/Postgres.app/*/*/bin; do
		[ -x "$dir/initdb" ] && "$dir/postgres" --version 2>/dev/null
	done | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p' | at_least 15
}

has_redis() {
	local server
	for server in "${TENANTRY_REDIS_SERVER:-}" redis-server valkey-server /opt/homebrew/bin/valkey-server /usr/local/bin/valkey-server; do
		[ -n "$server" ] && "$server" --version 2>/dev/null
	done | sed -n 's/.*[ ]v=\([0-9]*\).*/\1/p' | at_least 7
}

has_chromium() {
	local name
	for name in "${TENANTRY_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable \
		"/Applications/Chromium.app/Contents/MacOS/Chromium" "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
		[ -n "$name" ] && command -v "$name" >/dev/null 2>&1 && return 0
	done
	return 1
}

missing() {
	has_postgres || echo "$1"
	has_redis || echo "$2"
	$browser && { has_chromium || echo "$3"; }
	return 0
}

if [ "$(uname -s)" = Darwin ]; then
	packages=$(missing postgresql@17 valkey chromium)
	install="brew install"
else
	packages=$(missing postgresql redis-server chromium)
	install="apt-get install -y --no-install-recommends"
fi
packages=$(echo $packages) # one line
[ -z "$packages" ] && exit 0

give_up() {
	echo "Tenantry needs: $packages" >&2
	echo "  Install with:  $1" >&2
	echo "  Or name what you have: TENANTRY_PG_BIN (directory of initdb), TENANTRY_REDIS_SERVER, TENANTRY_CHROMIUM" >&2
	exit 1
}

if [ "$(uname -s)" = Darwin ]; then
	command -v brew >/dev/null || give_up "$install $packages   (Homebrew: https://brew.sh)"
	echo "Installing $packages with Homebrew ..."
	brew install $packages || give_up "$install $packages"
	exit 0
fi

command -v apt-get >/dev/null || give_up "the package manager of this system"
as_root=
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
		as_root=sudo
	else
		give_up "sudo $install $packages"
	fi
fi
echo "Installing $packages with apt ..."
case " $packages " in
*" postgresql "*)
	# Debian's package would make and start a cluster of its own on port 5432, which nobody asked for.
	$as_root mkdir -p /etc/postgresql-common/createcluster.d &&
		echo "create_main_cluster = false" | $as_root tee /etc/postgresql-common/createcluster.d/tenantry.conf >/dev/null
	;;
esac
$as_root env DEBIAN_FRONTEND=noninteractive sh -c "apt-get update -q && $install $packages" || give_up "sudo $install $packages"
left=$(missing postgresql redis-server chromium)
[ -z "$left" ] || {
	packages=$(echo $left)
	give_up "a newer system or its backports: what apt has is too old"
}
