#!/bin/sh
# Round trips of real S3 clients against a daemon of its own: boto3 and the aws
# CLI over verified HTTPS, rclone, s3cmd, restic and, without credentials, curl.
# Whatever is stored is read back and compared byte for byte; some do it again with
# ETags that are unique ids and with checksums ignored. LONG=1 adds a multi-gigabyte
# multipart object.
set -eu
cd "$(dirname "$0")/../.."

make -s build
sh tools/install.sh rclone s3cmd restic python3 curl
if ! command -v aws >/dev/null 2>&1; then sh tools/install.sh aws=awscli; fi
if ! python3 -c 'import boto3' 2>/dev/null; then
	sh tools/install.sh boto3-is-a-module=python3-boto3
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-clients.XXXXXX")
log=$work/sluiced.log
socket=$work/state/sluiced.sock
bin/sluiced --drive "$work/d1,$work/d2" --state-dir "$work/state" --admin-socket "$socket" \
	--listen 127.0.0.1:0 --reserve 64MiB 2>"$log" &
daemon=$!
finish() {
	code=$?
	kill -TERM $daemon 2>/dev/null || true
	wait $daemon || code=$?
	[ $code = 0 ] || { echo "--- the daemon's log"; tail -n 40 "$log"; }
	rm -rf "$work"
	exit $code
}
trap finish EXIT
export SLUICE_SOCKET="$socket"

tries=0
until bin/ctl cluster status >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 300 ] || { echo "the daemon did not start"; exit 1; }
	sleep 0.1
done

# Certificates of the surroundings must not stand in for the one under test.
unset AWS_CA_BUNDLE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR

# The workflow as WEKA's page has it, weka replaced by ctl.
PATH=$PWD/bin:$PATH
ctl s3 cluster create default .config_fs --all-servers
ctl s3 bucket create mybucket
ctl s3 bucket add uid-bucket --type PERFORMANCE
ctl s3 bucket add off-bucket --type PERFORMANCE --integrity-mode disabled
ctl user add S3_user S3 Sluice-Secret-1
ctl s3 policy attach readwrite S3_user
ctl security tls download "$work/ca.pem"
ctl security kms create-key clients

port=$(ctl --json cluster status | sed -n 's/.*127\.0\.0\.1:\([0-9]*\)".*/\1/p' | head -n 1)
export ENDPOINT="https://localhost:$port" PLAIN="http://127.0.0.1:$port" CA="$work/ca.pem" WORK="$work"
export AWS_ACCESS_KEY_ID=S3_user AWS_SECRET_ACCESS_KEY=Sluice-Secret-1 AWS_DEFAULT_REGION=us-east-1
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

passed=0
clients() {
	for client; do
		echo "-- $client"
		case $client in
		*.py) python3 "tools/clients/$client" ;;
		*) sh "tools/clients/$client" ;;
		esac
		passed=$((passed + 1))
	done
}
clients sdk.py performance.py access.py encryption.py aws.sh rclone.sh s3cmd.sh restic.sh anonymous.sh

# Those that compare ETags, or send checksums, once more where neither means what it
# does in S3.
echo "-- with --etag-alg uid --integrity-mode disabled"
ctl cluster update --etag-alg uid --integrity-mode disabled
export RESTIC_BUCKET=restic-uid # restic leaves its repository
clients aws.sh rclone.sh s3cmd.sh restic.sh
echo "$passed passed, 0 failed"
