#!/bin/sh
# The project's Go micro-benchmarks, as benchstat reads them.
#
#   tools/bench/microbench.sh          the working tree, into $OUT (bin/microbench.txt)
#   tools/bench/microbench.sh REV      the working tree against revision REV, compared
#
# COUNT rounds (10) of BENCHTIME (300ms) each. BENCH, a regular expression, and
# PKGS, folders, take the place of the list below. Two revisions take turns, package
# by package, each first in every other round: what else the machine does meanwhile
# hits both.
set -eu
cd "$(dirname "$0")/../.."
export CGO_ENABLED="${CGO_ENABLED:-0}" GOFLAGS="${GOFLAGS:--buildvcs=false -ldflags=-checklinkname=0}"
old=${1:-}
out=${OUT:-bin/microbench.txt}
mkdir -p "$(dirname "$out")"

# What takes long to set up (a million keys) or does not say much is left out.
list='
ioring                   ^BenchmarkIO$/^(ring|pread)$/./^depth(1|16)$
ioring                   ^BenchmarkArena
engine/checksum          .
engine/checksum/md5lanes .
engine/seal              .
engine/erasure           .
engine/drive             ^Benchmark(Write|Read|StartWrite|StartRead|Take|Observe)$
engine/meta              .
engine/meta/pebblemeta   ^Benchmark(PutInline|GetObject|Commit|Crypt)$
engine/meta/pebblemeta   ^BenchmarkList$/^1000$
engine                   ^Benchmark(Put|Inline|Get)$
s3fast/sigv4             .
s3fast/s3xml             .
s3fast/body              .
s3fast/policy            .
s3fast/iam               ^Benchmark(Lookup|Session)$
s3fast                   ^Benchmark(Prepare|Authorize|SmallGet|Serve)$
'
if [ -n "${PKGS:-}${BENCH:-}" ]; then
	folders=${PKGS:-$(echo "$list" | awk 'NF {print $1}' | sort -u)}
	list=$(for folder in $folders; do echo "$folder ${BENCH:-.}"; done)
fi

tmp=$(mktemp -d)
finish() {
	[ -z "$old" ] || git worktree remove --force "$tmp/old.tree" 2>/dev/null || true
	rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' HUP INT TERM

# compile TREE NAME builds each package's tests once.
compile() {
	mkdir "$tmp/$2"
	echo "$list" | awk 'NF {print $1}' | sort -u | while read -r folder; do
		ls "$1/$folder"/*_test.go >/dev/null 2>&1 || continue # REV may not have it yet
		(cd "$1" && go test -c -o "$tmp/$2/$(echo "$folder" | tr / .)" "./$folder") || exit 1
	done
}
# run TREE NAME FOLDER REGEXP appends what the benchmarks print to NAME's file.
run() {
	binary=$tmp/$2/$(echo "$3" | tr / .)
	[ -x "$binary" ] || return 0
	(cd "$1/$3" && "$binary" -test.run '^$' -test.bench "$4" -test.benchmem \
		-test.benchtime "${BENCHTIME:-300ms}" </dev/null) >"$tmp/one" || { tail -n 20 "$tmp/one" >&2 && exit 1; }
	grep -q '^Benchmark' "$tmp/one" || [ "$2" = old ] || echo "$3 has no benchmark $4" >&2
	cat "$tmp/one" >>"$tmp/$2.txt"
}

compile . new
if [ -n "$old" ]; then
	git worktree add --quiet --detach "$tmp/old.tree" "$old"
	compile "$tmp/old.tree" old
fi
for n in $(seq "${COUNT:-10}"); do
	echo "round $n" >&2
	echo "$list" | while read -r folder regexp; do
		[ -n "$folder" ] || continue
		[ -z "$old" ] || [ $((n % 2)) = 0 ] || run "$tmp/old.tree" old "$folder" "$regexp"
		run . new "$folder" "$regexp"
		[ -z "$old" ] || [ $((n % 2)) = 1 ] || run "$tmp/old.tree" old "$folder" "$regexp"
	done || exit 1
done
cp "$tmp/new.txt" "$out"
[ -n "$old" ] || exit 0
cp "$tmp/old.txt" "$out.old"
go tool -modfile=tools/tools.mod benchstat "old=$out.old" "new=$out"
