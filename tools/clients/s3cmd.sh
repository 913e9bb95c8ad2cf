#!/bin/sh
# s3cmd: put, get, multipart, sync, info, delete.
set -eu
cd "$WORK"
port=${PLAIN##*:}
s3() {
	s3cmd --config=/dev/null --quiet --access_key="$AWS_ACCESS_KEY_ID" --secret_key="$AWS_SECRET_ACCESS_KEY" \
		--host="127.0.0.1:$port" --host-bucket="127.0.0.1:$port" --no-ssl --region=us-east-1 "$@"
}

s3 mb s3://s3cmd
head -c 12345 /dev/urandom >small
head -c 16000000 /dev/urandom >large
s3 put small s3://s3cmd/dir/small
s3 --multipart-chunk-size-mb=5 put large s3://s3cmd/large
s3 get --force s3://s3cmd/dir/small small.back
s3 get --force s3://s3cmd/large large.back
cmp small small.back
cmp large large.back
s3 cp s3://s3cmd/large s3://s3cmd/large2
s3 get --force s3://s3cmd/large2 large.back
cmp large large.back
s3 info s3://s3cmd/dir/small >/dev/null
s3 del --recursive --force s3://s3cmd/
s3 rb s3://s3cmd
rm -f small large small.back large.back
