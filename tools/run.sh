#!/bin/sh
# Starts a daemon on ./var with a cluster, a bucket and an S3 user, prints how to
# use it, and serves until Ctrl-C. Running it again keeps the data and the user.
# RUN_VAR is another directory, RUN_LISTEN another HOST:PORT.
set -eu

var=${RUN_VAR:-./var}
listen=${RUN_LISTEN:-:9000}
port=${listen##*:}
host=${listen%:*}
case $host in '' | 0.0.0.0 | '[::]') host=localhost ;; esac
bucket=mybucket
user=S3_user
mkdir -p "$var/state"
chmod 700 "$var" "$var/state"
var=$(cd "$var" && pwd)
socket=$var/state/sluiced.sock
creds=$var/state/credentials
ctl() { bin/ctl --socket "$socket" "$@"; }
if ctl cluster status >/dev/null 2>&1; then
	echo "a daemon runs on $var already (bin/ctl --socket \"$socket\" cluster status)" >&2
	exit 1
fi

bin/sluiced --drive "$var/drive" --state-dir "$var/state" --admin-socket "$socket" --listen "$listen" &
daemon=$!
# finish tells the daemon to stop, waits until it has, and ends with its status.
# wait returns early when another signal comes: the daemon then still finishes.
finish() {
	trap : HUP INT TERM
	kill -TERM $daemon 2>/dev/null || true
	status=0
	wait $daemon || status=$?
	while kill -0 $daemon 2>/dev/null; do
		status=0
		wait $daemon || status=$?
	done
	[ $status != 143 ] || status=0 # stopped before it had begun
	exit $status
}
trap finish HUP INT TERM
# give_up ends the daemon after a step that failed.
give_up() {
	echo "$*" >&2
	trap : HUP INT TERM
	kill -TERM $daemon 2>/dev/null || true
	wait $daemon || true
	exit 1
}

tries=0
until ctl cluster status >/dev/null 2>&1; do
	if ! kill -0 $daemon 2>/dev/null; then
		wait $daemon || true
		exit 1
	fi
	tries=$((tries + 1))
	[ $tries -lt 600 ] || give_up "the daemon did not start"
	sleep 0.1
done

ctl s3 cluster create default .config_fs --all-servers >/dev/null || give_up "cannot create the cluster"
ctl s3 bucket list --json | grep -q "\"name\": \"$bucket\"" ||
	ctl s3 bucket create $bucket >/dev/null || give_up "cannot create the bucket"
if [ ! -s "$creds" ]; then
	# A run that was cut short may have left a user whose secret nobody knows.
	ctl user delete $user >/dev/null 2>&1 || true
	secret=$(ctl user add $user S3 --generate --json | sed -n 's/.*"password": "\(.*\)".*/\1/p')
	[ -n "$secret" ] || give_up "cannot create the user"
	(umask 077 && printf '%s\n' "$secret" >"$creds.tmp")
	mv "$creds.tmp" "$creds"
fi
secret=$(cat "$creds")
ctl s3 policy attach readwrite $user >/dev/null || give_up "cannot attach the policy"
ctl security tls download "$var/ca.pem" >/dev/null || give_up "cannot read the certificate"

cat <<END

Sluice is ready.

  Endpoint     https://$host:$port   (plain HTTP on the same port)
  Certificate  $var/ca.pem
  Access key   $user
  Secret key   $secret
  Bucket       $bucket
  Admin        bin/ctl --socket "$socket" cluster status

The aws CLI:

  export AWS_ACCESS_KEY_ID=$user AWS_SECRET_ACCESS_KEY='$secret' AWS_DEFAULT_REGION=us-east-1
  export AWS_ENDPOINT_URL=https://$host:$port AWS_CA_BUNDLE="$var/ca.pem"
  aws s3 cp README.md s3://$bucket/ && aws s3 cp s3://$bucket/README.md -

boto3:

  import boto3
  s3 = boto3.client("s3", endpoint_url="https://$host:$port", verify="$var/ca.pem",
                    aws_access_key_id="$user", aws_secret_access_key="$secret", region_name="us-east-1")
  s3.upload_file("README.md", "$bucket", "README.md")
  s3.download_file("$bucket", "README.md", "/tmp/README.md")

Ctrl-C stops it; the data stays in $var.

END
status=0
wait $daemon || status=$?
exit $status
