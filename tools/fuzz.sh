#!/bin/sh
# Runs every fuzz target of the project for $FUZZTIME (default 10s) each. The
# first run of a package builds it and what it needs with coverage counters,
# which takes minutes; a run that is not over long after that is repeated.
set -eu
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-10s}

# Minimizing is bounded: by default Go spends a minute on every input that finds something
# new, and targets with large seeds then run a dozen inputs in 20 s instead of 100,000s.
fuzz() { # DIR TARGET
	timeout -k 10 "${FUZZLIMIT:-600}" go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime" -fuzzminimizetime 100x
}

grep -rlE '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do
	dir=$(dirname "$file")
	go test -c -o /dev/null "$dir" # build errors are not fuzzing's
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r target; do
		echo "== $dir $target"
		for attempt in 1 2 3; do
			status=0
			fuzz "$dir" "$target" || status=$?
			# Go's fuzzer sometimes reports its own deadline as a failure, without an input.
			[ $status != 0 ] && { [ $status = 124 ] || [ ! -d "$dir/testdata/fuzz/$target" ]; } || break
			echo "== $dir $target did not end as it should, attempt $attempt of 3"
		done
		[ $status = 0 ] || exit 1
	done || exit 1
done
