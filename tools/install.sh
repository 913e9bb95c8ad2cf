#!/bin/sh
# install.sh PROGRAM[=PACKAGE]... installs the Debian packages of programs that
# are not there. Where it cannot (no root, no apt), it says so and fails.
set -eu

missing=
for want in "$@"; do
	program=${want%%=*}
	package=${want#*=}
	command -v "$program" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "please install:$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work, and a mirror may fail once.
apt() {
	for attempt in 1 2 3; do
		apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" && return 0
		echo "apt-get $1 failed, attempt $attempt of 3" >&2
		sleep $((5 * attempt))
	done
	return 1
}
apt update
# shellcheck disable=SC2086 # a list of words
apt install -y --no-install-recommends $missing >/dev/null
