package smart

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// adminCommand is struct nvme_admin_cmd of linux/nvme_ioctl.h, 72 bytes.
type adminCommand struct {
	opcode      uint8
	flags       uint8
	_           uint16
	namespace   uint32
	_, _        uint32
	metadata    uint64
	addr        uint64
	metadataLen uint32
	dataLen     uint32
	cdw10       uint32
	_           [5]uint32
	timeoutMs   uint32
	result      uint32
}

const (
	adminIoctl = 0xC0484E41 // _IOWR('N', 0x41, struct nvme_admin_cmd)

	getLogPage    = 0x02
	healthLog     = 0x02
	allNamespaces = 0xFFFFFFFF
	adminTimeout  = 5000 // ms
)

// readLog asks the NVMe device at path for its health log (NVM Express Base
// Specification, "Get Log Page command"). It needs CAP_SYS_ADMIN.
func readLog(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, logSize)
	var pin runtime.Pinner // the kernel writes to it by its address
	defer pin.Unpin()
	pin.Pin(&buf[0])
	cmd := adminCommand{
		opcode: getLogPage, namespace: allNamespaces, addr: uint64(uintptr(unsafe.Pointer(&buf[0]))), dataLen: logSize,
		cdw10: healthLog | (logSize/4-1)<<16, timeoutMs: adminTimeout,
	}
	status, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), adminIoctl, uintptr(unsafe.Pointer(&cmd)))
	runtime.KeepAlive(&cmd)
	if errno != 0 {
		return nil, fmt.Errorf("smart: health log of %s: %w", path, errno)
	}
	if status != 0 {
		return nil, fmt.Errorf("smart: health log of %s: the device answers status %#x", path, status)
	}
	return buf, nil
}
