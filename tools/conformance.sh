#!/bin/sh
# Runs the functional tests of ceph/s3-tests (S3TESTS=/path/to/its/checkout, which
# is no part of this repository) against a daemon of its own. Every test must pass
# but those listed with a reason in conformance.skip; the exit code tells.
# Arguments go to conformance.py: --all runs the listed ones too, -k NAME selects.
# ENCRYPTED=1 makes the cluster one that encrypts everything.
set -eu
cd "$(dirname "$0")/.."

if [ ! -f "${S3TESTS:-}/s3tests/functional/test_s3.py" ]; then
	echo "set S3TESTS to a checkout of https://github.com/ceph/s3-tests" >&2
	exit 2
fi
S3TESTS=$(cd "$S3TESTS" && pwd)
bin=${BIN:-$PWD/bin} # BIN=/directory: programs built already
[ -n "${BIN:-}" ] || make -s build
sh tools/install.sh python3
packages=
# conformance.py looks among Debian's modules as well as the interpreter's own.
for want in boto3 dateutil httplib2 isodate lxml munch pytest pytest_timeout:pytest-timeout \
	pytz:tz requests yaml; do
	python3 -c "import sys; sys.path.append('/usr/lib/python3/dist-packages'); import ${want%%:*}" 2>/dev/null ||
		packages="$packages ${want%%:*}-module=python3-${want#*:}"
done
# shellcheck disable=SC2086 # a list of words
[ -z "$packages" ] || sh tools/install.sh $packages

work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-conformance.XXXXXX")
log=$work/sluiced.log
export SLUICE_SOCKET="$work/state/sluiced.sock"
"$bin/sluiced" --drive "$work/d1" --state-dir "$work/state" --admin-socket "$SLUICE_SOCKET" \
	--listen 127.0.0.1:0 --reserve 64MiB 2>"$log" &
daemon=$!
finish() {
	code=$?
	kill -TERM $daemon 2>/dev/null || true
	wait $daemon || { echo "the daemon failed" >&2 && tail -n 40 "$log" >&2 && code=1; }
	rm -rf "$work"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

tries=0
until "$bin/ctl" cluster status >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 300 ] || { echo "the daemon did not start" >&2 && exit 1; }
	sleep 0.1
done
"$bin/ctl" s3 cluster create default .config_fs --all-servers ${ENCRYPTED:+--encrypted}
for key in conformance-1 conformance-2; do "$bin/ctl" security kms create-key $key; done
port=$("$bin/ctl" --json cluster status | sed -n 's/.*127\.0\.0\.1:\([0-9]*\)".*/\1/p' | head -n 1)

# The suite wants six users. Here they are of one account: conformance.skip tells
# which tests mean them to be strangers. Keys of clients (SSE-C) take HTTPS.
cat >"$work/s3tests.conf" <<EOC
[DEFAULT]
host = 127.0.0.1
port = $port
is_secure = True
ssl_verify = False
[fixtures]
bucket prefix = conf-{random}-
EOC
for section in "s3 main" "s3 alt" "s3 tenant" iam "iam root" "iam alt root"; do
	user=$(echo "${section}_user" | tr ' ' _)
	"$bin/ctl" user add "$user" S3 Sluice-Secret-1 >/dev/null
	"$bin/ctl" s3 policy attach readwrite "$user" >/dev/null
	cat >>"$work/s3tests.conf" <<EOC
[$section]
display_name = $user
user_id = $user
email = $user@example.com
tenant = tenant
access_key = $user
secret_key = Sluice-Secret-1
kms_keyid = conformance-1
kms_keyid2 = conformance-2
EOC
done

unset AWS_CA_BUNDLE REQUESTS_CA_BUNDLE AWS_PROFILE AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
"$bin/ctl" security tls download "$work/ca.pem" >/dev/null
export REQUESTS_CA_BUNDLE="$work/ca.pem" SSL_CERT_FILE="$work/ca.pem" CTL="$bin/ctl" S3TEST_CONF="$work/s3tests.conf" PYTHONDONTWRITEBYTECODE=1
python3 tools/conformance.py "$S3TESTS" "$PWD/tools/conformance.skip" --timeout=120 --tb=short "$@"
