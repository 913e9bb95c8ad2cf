#!/bin/sh
# Runs every fuzz target of the project for $FUZZTIME (default 10s) each. The
# first run of a package builds it and what it needs with coverage counters,
# which takes minutes; a run that is not over long after that is repeated once.
set -eu
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-10s}

fuzz() { # DIR TARGET
	timeout -k 10 "${FUZZLIMIT:-900}" go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime"
}

grep -rlE '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do
	dir=$(dirname "$file")
	go test -c -o /dev/null "$dir" # build errors are not fuzzing's
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r target; do
		echo "== $dir $target"
		status=0
		fuzz "$dir" "$target" || status=$?
		if [ $status = 124 ]; then
			echo "== $dir $target did not end: once more"
			status=0
			fuzz "$dir" "$target" || status=$?
		fi
		[ $status = 0 ] || exit 1
	done || exit 1
done
