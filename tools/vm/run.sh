#!/bin/sh
# Boots a Debian kernel under qemu, with seven NVMe drives that the kernel polls and
# device-mapper below six of them, and runs guest.sh in it: what the machine at hand may
# not have. Needs Debian, and root to install qemu. Without KVM (ACCEL=kvm) it takes
# two minutes and 40 s per round of tools/crash, whose options the arguments are.
#
#	sh tools/vm/run.sh [-rounds 10] [-seed N]
set -eu
cd "$(dirname "$0")/../.."

sh tools/install.sh qemu-system-x86_64=qemu-system-x86 busybox=busybox-static modinfo=kmod cpio \
	mkfs.ext4=e2fsprogs dmsetup

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== kernel"
package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg-deb -x "$package"_*.deb kernel)
kernel=$(echo "$work"/kernel/boot/vmlinuz-*)
modules=$(echo "$work"/kernel/lib/modules/*)

echo "== programs"
root=$work/root
mkdir -p "$root/bin" "$root/lib/modules" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/mnt"
cp "$(command -v busybox)" "$root/bin/busybox"
cp /sbin/dmsetup "$root/bin/"
ldd /sbin/dmsetup | grep -o '/[^ ]*' | while read -r lib; do
	mkdir -p "$root$(dirname "$lib")"
	cp -L "$lib" "$root$lib"
done
export CGO_ENABLED=0 GOFLAGS=${GOFLAGS:--ldflags=-checklinkname=0}
go test -c -o "$root/bin/ioring.test" ./ioring
go test -c -o "$root/bin/smart.test" ./daemon/smart
for program in daemon:sluiced ctl:ctl tools/crash:crash; do
	go build -trimpath -o "$root/bin/${program#*:}" "./${program%:*}"
done
cp tools/vm/guest.sh "$root/init"
cp tools/vm/mapper.sh "$root/bin/mapper"
chmod +x "$root/init" "$root/bin/mapper"

# insert NAME: the modules that it needs, then itself, in the order of loading.
insert() {
	file=$(find "$modules" -name "$1.ko*" | head -n 1)
	[ -n "$file" ] || return 0 # built in
	for need in $(/sbin/modinfo -F depends "$file" | tr ',' ' '); do (insert "$need"); done
	grep -qx "$1.ko" "$root/lib/modules/order" 2>/dev/null && return 0
	cp "$file" "$root/lib/modules/"
	echo "$1.ko" >>"$root/lib/modules/order"
}
for module in crc64_rocksoft_generic crct10dif_generic crc32c_generic nvme ext4 dm-mod dm-flakey; do (insert $module); done
(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd"

echo "== guest"
drives=
for n in 0 1 2 3 4 5 6; do
	truncate -s 2G "$work/$n.img"
	mkfs.ext4 -q "$work/$n.img"
	drives="$drives -drive file=$work/$n.img,if=none,id=d$n,format=raw,cache=unsafe -device nvme,drive=d$n,serial=vm$n"
done
# shellcheck disable=SC2086 # a list of words
timeout "${LIMIT:-3600}" qemu-system-x86_64 -accel "${ACCEL:-tcg,thread=multi}" -cpu max -smp 2 -m 4096 \
	-kernel "$kernel" -initrd "$work/initrd" -nographic -no-reboot -nic none $drives \
	-append "console=ttyS0 quiet panic=-1 -- $*" </dev/null 2>&1 | tee "$work/log"
grep -q '^VM: everything passed' "$work/log"
