#!/bin/busybox sh
# What tools/crash -mapper calls: breaks and mends drives by device-mapper. The drive of
# DIR is /dev/mapper/NAME, NAME being DIR's last element, on what /tmp/drives/NAME is a
# link to.
#
#	mapper make DIR | break DIR KIND | mend DIR
set -eu
export PATH=/bin
dir=$2
name=${dir##*/}
below=$(readlink -f "/tmp/drives/$name")
sectors=$(cat "/sys/block/${below##*/}/size")

table() { # KIND
	case $1 in
	works) echo "0 $sectors linear $below 0" ;;
	error) echo "0 $sectors error" ;;
	error-writes) echo "0 $sectors flakey $below 0 0 3600 1 error_writes" ;;
	corrupt-reads) echo "0 $sectors flakey $below 0 0 3600 5 corrupt_bio_byte 1000 r 77 0" ;;
	flaky) echo "0 $sectors flakey $below 0 1 1" ;;
	*) echo "no such kind: $1" >&2; exit 2 ;;
	esac
}

change() { # KIND
	table "$1" | dmsetup load "$name"
	dmsetup suspend --nolockfs --noflush "$name" # if it is not already
	dmsetup resume "$name"
}

case $1 in
make)
	table works | dmsetup create --noudevsync "$name"
	dmsetup mknodes "$name"
	mkdir -p "$dir"
	mount -t ext4 "/dev/mapper/$name" "$dir"
	rmdir "$dir/lost+found"
	;;
break)
	case $3 in
	hang) dmsetup suspend --nolockfs --noflush "$name" ;;
	*) change "$3" ;;
	esac
	;;
mend)
	change error # what waits for the drive is answered
	umount "$dir"
	change works
	mount -t ext4 "/dev/mapper/$name" "$dir"
	;;
esac
