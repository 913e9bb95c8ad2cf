#!/bin/sh
# gotest.sh FLAG... tests every package. With AGAIN set, a few tests that
# failed are run once more, alone, and must pass then; they are named at the end.
# A panic, a data race, a timeout and a build error stay failures. CI sets it:
# its machine is shared, and one of 3,000 tests that met a pause of seconds should
# not hold back a change, while a fault that is there fails again.
set -eu

[ -n "${AGAIN:-}" ] || exec go test "$@" ./...

report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
go tool -modfile=tools/tools.mod gotestsum --format=pkgname \
	--rerun-fails=1 --rerun-fails-max-failures=6 --rerun-fails-run-root-test \
	--rerun-fails-abort-on-data-race --rerun-fails-report="$report" \
	--packages=./... -- "$@" || status=$?
[ ! -s "$report" ] || { echo "== run again"; cat "$report"; }
exit $status
