#!/bin/sh
# Scans a daemon's TLS with sslscan and fails on anything weak: a protocol below
# TLS 1.2, a suite without forward secrecy or AEAD, a small key or group, a weak
# signature, compression, Heartbleed, renegotiation. It starts the daemon itself,
# on 127.0.0.1. BIN is the folder of sluiced; OUT keeps the scan.
set -eu
cd "$(dirname "$0")/.."
sh tools/install.sh sslscan xmllint=libxml2-utils
bin=${BIN:-bin}
dir=$(mktemp -d)
log=$dir/log
"$bin/sluiced" --drive "$dir/drive" --state-dir "$dir/state" --admin-socket "$dir/s.sock" --listen 127.0.0.1:0 \
	--reserve 16MiB --drive-size 64MiB --buffer-memory 32MiB --tls required >"$log" 2>&1 &
daemon=$!
trap 'kill $daemon 2>/dev/null || true; wait $daemon 2>/dev/null || true; rm -rf "$dir"' EXIT
addr=
tries=0
while [ -z "$addr" ]; do
	tries=$((tries + 1))
	[ $tries -lt 600 ] || { cat "$log"; echo "the daemon did not start" >&2; exit 1; }
	sleep 0.1
	addr=$(sed -n 's/.*msg=serving.*listen=\[\{0,1\}"\{0,1\}\[\{0,1\}\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$log")
done

xml=$dir/scan.xml
sslscan --show-sigs --xml="$xml" "$addr" >"${OUT:-$dir/scan.txt}"
cat "${OUT:-$dir/scan.txt}"
fails=0
weak() {
	echo "WEAK: $*" >&2
	fails=$((fails + 1))
}
count() { xmllint --xpath "count($1)" "$xml"; }
[ "$(count '//protocol[@enabled="1"]')" = 2 ] || weak "protocols other than TLS 1.2 and 1.3"
for v in 1.2 1.3; do
	[ "$(count "//protocol[@type='tls'][@version='$v'][@enabled='1']")" = 1 ] || weak "TLS $v is not spoken"
done
[ "$(count '//cipher')" -gt 3 ] || weak "sslscan found no suites"
for suite in $(xmllint --xpath '//cipher/@cipher' "$xml" | sed 's/.*="\(.*\)"/\1/'); do
	case $suite in
	TLS_AES_128_GCM_SHA256 | TLS_AES_256_GCM_SHA384 | TLS_CHACHA20_POLY1305_SHA256) ;;
	ECDHE-ECDSA-AES*-GCM-SHA* | ECDHE-RSA-AES*-GCM-SHA* | ECDHE-ECDSA-CHACHA20-POLY1305 | ECDHE-RSA-CHACHA20-POLY1305) ;;
	*) weak "suite $suite" ;;
	esac
done
[ "$(count '//compression[@supported="1"]')" = 0 ] || weak "compression"
[ "$(count '//heartbleed[@vulnerable="1"]')" = 0 ] || weak "Heartbleed"
[ "$(count '//renegotiation[@supported="1"][@secure="0"]')" = 0 ] || weak "insecure renegotiation"
[ "$(count '//group[@bits<128]')" = 0 ] || weak "a group below 128 bits"
for sig in $(xmllint --xpath '//connection-signature-algorithm/@name' "$xml" 2>/dev/null | sed 's/.*="\(.*\)"/\1/'); do
	case $sig in
	*sha1* | *SHA1* | *md5* | *MD5* | *dsa_sha224* | *SHA224*) weak "signature $sig" ;;
	esac
done
sigalg=$(xmllint --xpath 'string(//certificate/signature-algorithm)' "$xml")
case $sigalg in
ecdsa-with-SHA256 | ecdsa-with-SHA384 | sha256WithRSAEncryption | sha384WithRSAEncryption) ;;
*) weak "the certificate is signed with '$sigalg'" ;;
esac
[ "$(xmllint --xpath 'string(//certificate/expired)' "$xml")" = false ] || weak "the certificate has expired"
[ $fails = 0 ] || exit 1
echo "nothing weak"
