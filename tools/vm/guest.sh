#!/bin/busybox sh
# The guest's first process: runs what tools/vm/run.sh is for and powers off.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
ip link set lo up
while read -r module; do
	case $module in
	nvme.ko) insmod /lib/modules/nvme.ko poll_queues=2 ;;
	*) insmod "/lib/modules/$module" ;;
	esac || echo "VM: no $module"
done </lib/modules/order

echo "$*" >/tmp/options
run() {
	echo "VM: == $*"
	"$@" && return
	echo w >/proc/sysrq-trigger
	echo "VM: FAILED $*"
	dmesg | tail -n 60
	poweroff -f
}

uname -r
cat /sys/block/nvme0n1/queue/io_poll

# The polled loop on a file system and on a bare drive.
mkdir -p /mnt/0 && mount /dev/nvme0n1 /mnt/0
run env SLUICE_TEST_POLLED=/mnt/0 SLUICE_TEST_BLOCKDEV=/dev/nvme1n1 ioring.test -test.run 'TestPolledDrive|TestBlockDevice' -test.v -test.timeout 5m

# What an NVMe drive says of itself.
run env TMPDIR=/mnt/0 SLUICE_TEST_NVME=1 smart.test -test.run TestHere -test.v

# A daemon that polls, killed over and over.
mkdir -p /mnt/0/polled
run env SLUICE_IO=polled crash -sluiced /bin/sluiced -ctl /bin/ctl -dir /mnt/0/polled -drives 4 -parity 2 \
	-workers 4 -keys 12 -max-bytes 100000000 -load 5s -ready-within 60s -rounds 4
run sh -c '! grep "cannot be polled" /mnt/0/polled/sluiced.log'
run rm -r /mnt/0/polled
umount /mnt/0

# Any two of six drives break under load, by device-mapper.
mkdir -p /tmp/drives /mnt/crash/state
for n in 1 2 3 4 5 6; do
	ln -s "/dev/nvme${n}n1" "/tmp/drives/d$n"
	run mapper make "/mnt/crash/d$n"
done
# shellcheck disable=SC2046 # the kernel's command line: options of crash
run crash -sluiced /bin/sluiced -ctl /bin/ctl -dir /mnt/crash -drives 6 -parity 2 -mapper mapper \
	-workers 4 -keys 12 -max-bytes 150000000 -load 20s -ready-within 60s $(cat /tmp/options)

echo "VM: everything passed"
poweroff -f
