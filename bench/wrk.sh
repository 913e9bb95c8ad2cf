#!/bin/sh
# The figures once more, by a public generator: wrk (Debian's package) sends
# presigned URLs to a daemon of its own. Prints a row for each measurement, of
# what wrk reports and what the kernel counts for the daemon's process.
#   DIR=folder      on the file system to measure (default: the temporary one)
#   SECONDS_EACH=5  for each measurement, five times as long for 16MiB
#   SIZES="4KiB 1MiB 16MiB"  CONCURRENCY="1 16 64"  SCHEMES="http https"
set -eu
cd "$(dirname "$0")/.."

export GOFLAGS="-buildvcs=false -ldflags=-checklinkname=0"
BIN=${BIN:-bin}
[ -x "$BIN/sluiced" ] || make -s build
sh tools/install.sh wrk

work=$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/sluice-wrk.XXXXXX")
export SLUICE_SOCKET="$work/state/sluiced.sock"
go build -o "$work/bench" ./bench
"$BIN/sluiced" --drive "$work/drive" --state-dir "$work/state" --admin-socket "$SLUICE_SOCKET" \
	--listen 127.0.0.1:0 2>"$work/log" &
daemon=$!
finish() {
	code=$?
	kill -TERM $daemon 2>/dev/null || true
	wait $daemon || code=$?
	[ $code = 0 ] || tail -n 20 "$work/log"
	rm -rf "$work"
	exit $code
}
trap finish EXIT
tries=0
until "$BIN/ctl" cluster status >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 300 ] || { echo "the daemon did not start"; exit 1; }
	sleep 0.1
done
"$BIN/ctl" s3 cluster create default .config_fs --all-servers >/dev/null
export AWS_ACCESS_KEY_ID=bench_user AWS_SECRET_ACCESS_KEY=Bench-Secret-1
"$BIN/ctl" user add $AWS_ACCESS_KEY_ID S3 $AWS_SECRET_ACCESS_KEY >/dev/null
"$BIN/ctl" s3 policy attach readwrite $AWS_ACCESS_KEY_ID >/dev/null
address=$("$BIN/ctl" --json cluster status | grep -o '127\.0\.0\.1:[0-9]*' | head -n 1)

ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' /proc/$daemon/stat; }

# measure SCHEME METHOD SIZE BYTES CONCURRENCY
measure() {
	threads=2
	[ "$5" -ge 2 ] || threads=1
	seconds=${SECONDS_EACH:-5}
	[ "$4" -lt 16777216 ] || seconds=$((seconds * 5)) # else few or none end in it
	before=$(ticks)
	wrk -t $threads -c "$5" -d "${seconds}s" --timeout 60s --latency -s bench/wrk/urls.lua \
		"$1://$address" -- "$work/urls" "$2" "$4" >"$work/out"
	after=$(ticks)
	if grep -Eq 'Non-2xx|Socket errors' "$work/out"; then
		cat "$work/out"
		exit 1
	fi
	awk -v scheme="$1" -v method="$2" -v size="$3" -v bytes="$4" -v at="$5" -v cpu=$((after - before)) '
		/requests in/ { n = $1 }
		/Requests\/sec/ { rate = $2 }
		$1 == "50%" { p50 = $2 }
		$1 == "99%" { p99 = $2 }
		END {
			if (n == 0) { print "no request ended"; exit 1 }
			printf "| %s | %s %s | %d | %.0f | %.1f | %s | %s | %.0f µs | %.2f |\n", scheme, method, size, at, rate,
				rate * bytes / 1048576, p50, p99, cpu * 10000 / n, cpu / 100 / (n * bytes / 1073741824)
		}' "$work/out"
}

echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
echo "| | operation | at once | ops/s | MiB/s | p50 | p99 | CPU/op | CPU s/GiB |"
echo "|---|---|--:|--:|--:|--:|--:|--:|--:|"
for scheme in ${SCHEMES:-http https}; do
	for size in ${SIZES:-4KiB 1MiB 16MiB}; do
		case $size in
		4KiB) bytes=4096 count=16384 ;;
		64KiB) bytes=65536 count=4096 ;;
		1MiB) bytes=1048576 count=1024 ;;
		16MiB) bytes=16777216 count=64 ;;
		*) echo "no size $size"; exit 2 ;;
		esac
		for method in PUT GET; do
			# Signatures do not cover the scheme, so plain HTTP will do for storing.
			"$work/bench" urls -endpoint "http://$address" -method $method -sizes $size -n $count >"$work/urls"
			for at in ${CONCURRENCY:-1 16 64}; do
				measure "$scheme" $method $size $bytes "$at"
			done
		done
	done
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)"
