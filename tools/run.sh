#!/bin/sh
# Starts a daemon on ./var with a cluster, a bucket and an S3 user, prints how to
# use it, and serves until Ctrl-C. Running it again keeps the data and the user.
set -eu

var=${SLUICE_VAR:-./var}
listen=${SLUICE_RUN_LISTEN:-:9000}
port=${listen##*:}
bucket=mybucket
user=S3_user
mkdir -p "$var/state"
chmod 700 "$var" "$var/state"
var=$(cd "$var" && pwd)
socket=$var/state/sluiced.sock
creds=$var/state/credentials
ctl() { bin/ctl --socket "$socket" "$@"; }

bin/sluiced --drive "$var/drive" --state-dir "$var/state" --admin-socket "$socket" --listen "$listen" &
daemon=$!
trap 'kill -TERM $daemon 2>/dev/null || true' INT TERM

tries=0
until ctl cluster status >/dev/null 2>&1; do
	kill -0 $daemon 2>/dev/null || { wait $daemon; exit 1; }
	tries=$((tries + 1))
	[ $tries -lt 600 ] || { echo "the daemon did not start" >&2; kill $daemon; exit 1; }
	sleep 0.1
done

ctl s3 cluster create default .config_fs --all-servers >/dev/null
ctl s3 bucket create $bucket >/dev/null 2>&1 || true
if [ ! -s "$creds" ]; then
	# A run that was cut short may have left a user whose secret nobody knows.
	ctl user delete $user >/dev/null 2>&1 || true
	secret=$(ctl user add $user S3 --generate --json | sed -n 's/.*"password": "\(.*\)".*/\1/p')
	(umask 077 && printf '%s\n' "$secret" >"$creds.tmp")
	mv "$creds.tmp" "$creds"
fi
secret=$(cat "$creds")
ctl s3 policy attach readwrite $user >/dev/null
ctl security tls download "$var/ca.pem" >/dev/null

cat <<EOF

Sluice is ready.

  Endpoint     https://localhost:$port   (plain HTTP on the same port)
  Certificate  $var/ca.pem
  Access key   $user
  Secret key   $secret
  Bucket       $bucket
  Admin        bin/ctl --socket $socket cluster status

The aws CLI:

  export AWS_ACCESS_KEY_ID=$user AWS_SECRET_ACCESS_KEY='$secret' AWS_DEFAULT_REGION=us-east-1
  export AWS_ENDPOINT_URL=https://localhost:$port AWS_CA_BUNDLE=$var/ca.pem
  aws s3 cp README.md s3://$bucket/ && aws s3 cp s3://$bucket/README.md -

boto3:

  import boto3
  s3 = boto3.client("s3", endpoint_url="https://localhost:$port", verify="$var/ca.pem",
                    aws_access_key_id="$user", aws_secret_access_key="$secret", region_name="us-east-1")
  s3.upload_file("README.md", "$bucket", "README.md")
  s3.download_file("$bucket", "README.md", "/tmp/README.md")

Ctrl-C stops it; the data stays in $var.

EOF
# wait returns early when a signal comes: the daemon then still finishes.
status=0
wait $daemon || status=$?
while kill -0 $daemon 2>/dev/null; do
	status=0
	wait $daemon || status=$?
done
# 130 and 143 are this shell's own signals, not the daemon's failure.
case $status in 130 | 143) status=0 ;; esac
exit $status
