package smart

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxStack bounds how deep devices stand on one another (partition, LVM, RAID).
const maxStack = 8

// errNoDevice: the path is on no block device.
var errNoDevice = errors.New("smart: no block device")

// system is where the kernel shows itself; tests show their own.
type system struct {
	sys, proc, dev string
	readLog        func(path string) ([]byte, error)
}

func linux() *system {
	return &system{sys: "/sys", proc: "/proc", dev: "/dev", readLog: readLog}
}

// read asks the devices behind path, a file, directory or block device. Of several,
// as in a RAID, the worst counts.
func (s *system) read(path string) (Info, error) {
	major, minor, err := s.number(path)
	if err != nil {
		return Info{}, err
	}
	names, err := s.disks(fmt.Sprintf("%d:%d", major, minor), 0)
	if err != nil {
		return Info{}, err
	}
	var all Info
	for i, name := range names {
		if in := s.disk(name); i == 0 {
			all = in
		} else {
			all.join(in)
		}
	}
	return all, nil
}

// number returns the number of the device that path is, or is on.
func (s *system) number(path string) (major, minor uint32, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, fmt.Errorf("smart: %s: %w", path, err)
	}
	dev := uint64(st.Dev)
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		dev = uint64(st.Rdev)
	}
	major, minor = unix.Major(dev), unix.Minor(dev)
	if major != 0 {
		return major, minor, nil
	}
	// A file system such as btrfs has a number of its own; the table of mounts names
	// the device.
	text, err := os.ReadFile(filepath.Join(s.proc, "self/mountinfo"))
	if err != nil {
		return 0, 0, err
	}
	source := mountSource(text, fmt.Sprintf("%d:%d", major, minor))
	if err := unix.Stat(source, &st); source == "" || err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, 0, errNoDevice
	}
	return unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)), nil
}

// mountSource finds the device of the file system with the number "MAJOR:MINOR" in a
// table as proc_pid_mountinfo(5) describes it; "": there is none.
func mountSource(table []byte, number string) string {
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if ok && len(fields) > 2 && fields[2] == number && len(rest) > 1 && strings.HasPrefix(rest[1], "/") {
			return rest[1]
		}
	}
	return ""
}

// disks returns the names of the disks below the device "MAJOR:MINOR".
func (s *system) disks(number string, depth int) ([]string, error) {
	if depth > maxStack {
		return nil, errNoDevice
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(s.sys, "dev/block", number))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoDevice, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	below, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil || len(below) == 0 {
		return []string{filepath.Base(dir)}, nil
	}
	var out []string
	for _, e := range below {
		number, err := os.ReadFile(filepath.Join(dir, "slaves", e.Name(), "dev"))
		if err != nil {
			continue
		}
		found, err := s.disks(strings.TrimSpace(string(number)), depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// disk asks one disk.
func (s *system) disk(name string) Info {
	dir := filepath.Join(s.sys, "class/block", name)
	in := Info{}
	if strings.HasPrefix(name, "nvme") {
		if log, err := s.readLog(filepath.Join(s.dev, name)); err == nil {
			if found, err := decodeLog(log); err == nil {
				in = found
			}
		}
	}
	in.Device = name
	in.Model = s.text(dir, "device/model")
	in.Serial = s.text(dir, "device/serial")
	if in.Temperature == nil {
		in.Temperature = s.hwmon(dir)
	}
	if state := s.text(dir, "device/state"); state == "offline" || state == "blocked" || state == "dead" {
		in.Critical = append(in.Critical, "the kernel has it "+state)
	}
	return in
}

// text reads a file of one line; "": there is none.
func (s *system) text(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || len(text) > 4096 {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(text), ""))
}

// hwmon reads the temperature as drivers show it (Documentation/hwmon/sysfs-interface,
// temp[1-*]_input, thousandths of a degree Celsius): drivetemp of SATA disks, and
// that of NVMe, whose hwmon is the controller's.
func (s *system) hwmon(dir string) *int64 {
	for _, pattern := range []string{"device/hwmon/hwmon*/temp1_input", "device/hwmon*/temp1_input", "device/device/hwmon/hwmon*/temp1_input"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) == 0 {
			continue
		}
		if milli, err := strconv.ParseInt(s.text(filepath.Dir(found[0]), filepath.Base(found[0])), 10, 64); err == nil {
			return number(milli / 1000)
		}
	}
	return nil
}
