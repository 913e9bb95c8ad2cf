#!/bin/sh
# The aws CLI: single and multipart copies, sync, listings, presigned URLs.
set -eu
cd "$WORK"
export AWS_ENDPOINT_URL="$ENDPOINT" AWS_CA_BUNDLE="$CA"

aws s3 mb s3://awscli
mkdir -p tree/sub
for n in 0 1 4096 70000 1048577; do head -c $n /dev/urandom >"tree/f$n"; done
cp tree/f70000 "tree/sub/name with spaces+and%20ümlaut"
head -c 41943041 /dev/urandom >big # several parts of 8 MiB

aws s3 cp --no-progress big s3://awscli/big
aws s3 cp --no-progress s3://awscli/big big.back
cmp big big.back
aws s3 sync --no-progress tree s3://awscli/tree
aws s3 sync --no-progress s3://awscli/tree tree.back
diff -r tree tree.back
aws s3 cp --no-progress s3://awscli/big s3://awscli/copy
aws s3 cp --no-progress s3://awscli/copy - | cmp - big
[ "$(aws s3 ls --recursive s3://awscli/ | wc -l)" = 8 ]

url=$(aws s3 presign s3://awscli/big --expires-in 60)
curl -sS --fail --cacert "$CA" "$url" | cmp - big

aws s3api put-object --bucket awscli --key once --if-none-match '*' --body tree/f4096 >/dev/null
if aws s3api put-object --bucket awscli --key once --if-none-match '*' --body tree/f1 2>err; then
	echo "a second conditional put succeeded"
	exit 1
fi
grep -q PreconditionFailed err
aws s3api get-object --bucket awscli --key once --range bytes=10-19 range >/dev/null
tail -c +11 tree/f4096 | head -c 10 | cmp - range

# Encryption: by the server's keys, by a named key, and by one of the client's own.
said() { aws s3api head-object --bucket awscli --key "$@" --output text; }
aws s3 cp --no-progress --sse AES256 big s3://awscli/sse
said sse --query ServerSideEncryption | grep -qx AES256
aws s3 cp --no-progress --sse aws:kms --sse-kms-key-id alias/clients big s3://awscli/kms
said kms --query '[ServerSideEncryption, SSEKMSKeyId]' | grep -q 'aws:kms.*clients'
head -c 32 /dev/urandom >key
aws s3 cp --no-progress --sse-c AES256 --sse-c-key fileb://key big s3://awscli/ssec
aws s3 cp --no-progress --sse-c AES256 --sse-c-key fileb://key s3://awscli/ssec big.back
cmp big big.back
if aws s3 cp --no-progress s3://awscli/ssec big.back 2>err; then
	echo "an object was read without the customer's key"
	exit 1
fi
aws s3 cp --no-progress --sse-c-copy-source AES256 --sse-c-copy-source-key fileb://key --sse AES256 \
	s3://awscli/ssec s3://awscli/sse2
for key in sse kms sse2; do aws s3 cp --no-progress "s3://awscli/$key" - | cmp - big; done

aws s3 rm --quiet --recursive s3://awscli/
aws s3 rb s3://awscli
rm -rf tree tree.back big big.back key
