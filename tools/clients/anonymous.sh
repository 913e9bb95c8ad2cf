#!/bin/sh
# curl without credentials: what each preset of a bucket's policy lets anyone do.
set -eu
cd "$WORK"
ctl bucket create anonymous
export AWS_ENDPOINT_URL="$ENDPOINT" AWS_CA_BUNDLE="$CA"
head -c 70000 /dev/urandom >mine
aws s3 cp --no-progress mine s3://anonymous/mine
head -c 70000 /dev/urandom >theirs

# status WANT CURL-ARGUMENT...: the request is answered with this status.
status() {
	want=$1
	shift
	got=$(curl -sS --cacert "$CA" -o body -w '%{http_code}' "$@")
	[ "$got" = "$want" ] || { echo "curl $*: $got instead of $want" && cat body && exit 1; }
}
url=$ENDPOINT/anonymous

# preset NAME GET LIST PUT DELETE: the statuses that a preset leads to.
preset() {
	ctl bucket policy set anonymous "$1"
	status "$2" "$url/mine"
	[ "$2" != 200 ] || cmp body mine
	status "$3" "$url?list-type=2"
	status "$4" -T theirs "$url/theirs"
	[ "$4" != 200 ] || aws s3 cp --no-progress s3://anonymous/theirs - | cmp - theirs
	status "$5" -X DELETE "$url/theirs"
	status 403 "$url?policy"
	status 403 -X PUT "$url-else"
}
preset none 403 403 403 403
preset download 200 200 403 403
preset upload 403 403 200 204
preset public 200 200 200 204
ctl bucket policy reset anonymous
status 403 "$url/mine"
status 403 "$ENDPOINT/"
aws s3 rb --force s3://anonymous >/dev/null
rm -f mine theirs body
