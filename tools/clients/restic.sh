#!/bin/sh
# restic: a repository, two snapshots, a full check that reads all data, a restore.
set -eu
cd "$WORK"
export RESTIC_PASSWORD=restic RESTIC_REPOSITORY="s3:$ENDPOINT/${RESTIC_BUCKET:-restic}" RESTIC_CACHE_DIR="$WORK/restic-cache"
r() { restic --quiet --cacert "$CA" "$@"; }

mkdir -p src/deep
head -c 20000000 /dev/urandom >src/blob
i=0
while [ $i -lt 100 ]; do
	echo "file $i" >"src/deep/$i"
	i=$((i + 1))
done
r init
r backup src
echo more >src/deep/more
r backup src
r check --read-data
r restore latest --target out
diff -r src out/src 2>/dev/null || diff -r src "out$WORK/src"
[ "$(r snapshots --json | tr '{' '\n' | grep -c short_id)" = 2 ]
rm -rf src out restic-cache
