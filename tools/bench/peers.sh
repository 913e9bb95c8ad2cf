#!/bin/sh
# Starts the peers of a comparison whose programs are found, each with its
# documented defaults on a folder of DIR, and prints them as bench takes them:
#
#   tools/bench/peers.sh start DIR [PORT] >peers.toml   ports from PORT (9400) on
#   bin/bench compare -endpoints peers.toml             (bench/PEERS.md)
#   tools/bench/peers.sh stop DIR
#
# minio, versitygw and weed are looked for in $PEERS_BIN, then in $PATH; PEERS, a
# list, names those to start. CPUS, as taskset takes it, is where they may run.
# They listen on 127.0.0.1. stop ends them; what they stored stays in DIR.
set -eu
usage() {
	sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
	exit 2
}
[ $# -ge 2 ] || usage
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
port=${3:-9400}
failed=0
access=benchuser
secret=benchsecret0123456789

find_program() { # NAME
	if [ -n "${PEERS_BIN:-}" ] && [ -x "$PEERS_BIN/$1" ]; then
		echo "$PEERS_BIN/$1"
	else
		command -v "$1" || true
	fi
}

# version PROGRAM: the module it was built from, else what it says of itself.
version() {
	module=$(go version -m "$1" 2>/dev/null | awk '$1 == "mod" {print $3; exit}')
	case $module in
	v*) echo "$module" ;;
	*) case $1 in */weed) "$1" version | awk '{print $3; exit}' ;; *) "$1" --version | sed -n 1p ;; esac 2>/dev/null ;;
	esac
}

# alive NAME: the process of the pid file runs, and is not another that got its number.
alive() {
	[ -s "$dir/$1.pid" ] && [ "$(readlink "/proc/$(cat "$dir/$1.pid")/exe" 2>/dev/null)" = "$(cat "$dir/$1.exe")" ]
}

# launch NAME PORT SYNC PROGRAM ARGS… starts a peer, waits for an answer, prints it.
launch() {
	name=$1 at=$2 sync=$3
	shift 3
	if alive "$name"; then
		echo "$name runs already on $dir" >&2
		exit 1
	fi
	readlink -f "$1" >"$dir/$name.exe"
	${CPUS:+taskset -c "$CPUS"} "$@" >"$dir/$name.log" 2>&1 </dev/null &
	echo $! >"$dir/$name.pid"
	tries=0
	# Any answer of HTTP will do: most are "access denied" to a request unsigned.
	until curl -s -o "$dir/$name.answer" "http://127.0.0.1:$at/"; do
		tries=$((tries + 1))
		if [ $tries -ge 300 ] || ! kill -0 "$(cat "$dir/$name.pid")" 2>/dev/null; then
			echo "$name did not start; the end of $dir/$name.log:" >&2
			tail -n 5 "$dir/$name.log" >&2
			stop "$name"
			failed=1
			return 0 # the others may do
		fi
		sleep 0.2
	done
	cat <<END
[[endpoint]]
name = "$name"
url = "http://127.0.0.1:$at"
access_key = "$access"
secret_key = "$secret"
pid_file = "$dir/$name.pid"
sync = "$sync"
version = "$(version "$1")"

END
}

stop() { # NAME
	if alive "$1"; then
		kill "$(cat "$dir/$1.pid")"
		tries=0
		while alive "$1" && [ $tries -lt 150 ]; do
			tries=$((tries + 1))
			sleep 0.2
		done
		! alive "$1" || kill -9 "$(cat "$dir/$1.pid")"
	fi
	rm -f "$dir/$1.pid" "$dir/$1.exe" "$dir/$1.answer"
}

start_minio() { # PROGRAM
	mkdir -p "$dir/minio"
	MINIO_ROOT_USER=$access MINIO_ROOT_PASSWORD=$secret MINIO_BROWSER=off MINIO_UPDATE=off launch minio "$port" \
		"data and metadata fdatasynced (or O_DSYNC) before the answer; renames are not synced" \
		"$1" server --quiet --address "127.0.0.1:$port" "$dir/minio"
}

start_versitygw() { # PROGRAM
	mkdir -p "$dir/versitygw"
	ROOT_ACCESS_KEY=$access ROOT_SECRET_KEY=$secret launch versitygw $((port + 1)) \
		"nothing synced: the kernel writes later" \
		"$1" --quiet --port "127.0.0.1:$((port + 1))" posix "$dir/versitygw"
}

# SeaweedFS takes five more ports, and each again plus 10,000 for gRPC. A bucket is
# a collection of seven volumes: the default of eight leaves no room for a second.
start_weed() { # PROGRAM
	mkdir -p "$dir/seaweedfs" "$dir/seaweedfs.logs"
	cat >"$dir/seaweedfs.json" <<END
{"identities": [{"name": "bench", "credentials": [{"accessKey": "$access", "secretKey": "$secret"}],
 "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
END
	launch seaweedfs $((port + 2)) "nothing synced: the kernel writes later" \
		"$1" -logdir="$dir/seaweedfs.logs" server -s3 -dir="$dir/seaweedfs" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false \
		-volume.max=100 -s3.config="$dir/seaweedfs.json" -s3.port=$((port + 2)) -s3.port.iceberg=0 -s3.port.lance=0 \
		-master.port=$((port + 3)) -volume.port=$((port + 4)) -filer.port=$((port + 5))
}

case $action in
start)
	command -v curl >/dev/null || { echo "curl is needed" >&2 && exit 1; }
	for peer in ${PEERS:-minio versitygw weed}; do
		case $peer in minio | versitygw | weed) ;; *) usage ;; esac
		program=$(find_program "$peer")
		if [ -n "$program" ]; then
			"start_$peer" "$program"
		else
			echo "$peer is not installed" >&2
		fi
	done
	;;
stop) for name in minio versitygw seaweedfs; do stop $name; done ;;
*) usage ;;
esac
exit $failed
