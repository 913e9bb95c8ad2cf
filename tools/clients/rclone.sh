#!/bin/sh
# rclone: copy up, check against the remote's hashes, copy down, sync deletions.
set -eu
cd "$WORK"
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_S_TYPE=s3 RCLONE_CONFIG_S_PROVIDER=Other \
	RCLONE_CONFIG_S_ENV_AUTH=true RCLONE_CONFIG_S_ENDPOINT="$ENDPOINT" RCLONE_CA_CERT="$CA" \
	RCLONE_CONFIG_S_REGION=us-east-1 RCLONE_S3_CHUNK_SIZE=5Mi RCLONE_S3_UPLOAD_CUTOFF=8Mi

mkdir -p r/a/b
i=0
while [ $i -lt 40 ]; do
	head -c $((i * 977)) /dev/urandom >"r/a/b/file $i"
	i=$((i + 1))
done
head -c 31457283 /dev/urandom >r/big
rclone -q copy r s:rclone/r
rclone -q check r s:rclone/r
rclone -q copy s:rclone/r r.back
diff -r r r.back
rm "r/a/b/file 7"
rclone -q sync r s:rclone/r
[ "$(rclone lsf -R --files-only s:rclone/r | wc -l)" = 40 ]

# By a key of the client's own (SSE-C), in one part and in several.
ssec() {
	rclone -q --s3-sse-customer-algorithm AES256 --s3-sse-customer-key 0123456789abcdef0123456789abcdef "$@"
}
ssec copy r/big s:rclone/c
ssec copy "r/a/b/file 39" s:rclone/c
ssec copy s:rclone/c c.back
cmp r/big c.back/big
cmp "r/a/b/file 39" "c.back/file 39"
if rclone -q --retries 1 cat s:rclone/c/big 2>/dev/null | cmp -s - r/big; then
	echo "an object was read without the customer's key"
	exit 1
fi
rclone -q purge s:rclone
rm -rf r r.back c.back
