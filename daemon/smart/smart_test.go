package smart

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// golden reads the health log of testdata: of a device near its end.
func golden(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/health.hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeLog(t *testing.T) {
	in, err := decodeLog(golden(t))
	want := Info{
		Temperature: number(41), Wear: number(103), Spare: number(97), PowerOnHours: number(26301), MediaErrors: number(3),
		Critical: []string{"spare below its threshold", "reliability degraded by errors", "read-only"},
	}
	if err != nil || !reflect.DeepEqual(in, want) {
		t.Errorf("%+v, %v", in, err)
	}
	if _, err := decodeLog(golden(t)[:511]); !errors.Is(err, errShortLog) {
		t.Errorf("%v", err)
	}
	blank, err := decodeLog(make([]byte, logSize))
	if err != nil || blank.Temperature != nil || len(blank.Critical) > 0 || *blank.Wear != 0 {
		t.Errorf("%+v, %v", blank, err)
	}
	most := make([]byte, logSize)
	for i := range most {
		most[i] = 0xff
	}
	full, err := decodeLog(most)
	if err != nil || *full.PowerOnHours != math.MaxInt64 || *full.Temperature != 65535-273 || len(full.Critical) != len(warnings) {
		t.Errorf("%+v, %v", full, err)
	}
}

func FuzzDecodeLog(f *testing.F) {
	f.Add(golden(f))
	f.Add(make([]byte, logSize))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := decodeLog(b)
		if (err != nil) != (len(b) < logSize) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err == nil && (*in.Wear > 255 || *in.Wear < 0 || *in.PowerOnHours < 0 || *in.MediaErrors < 0) {
			t.Fatalf("%+v", in)
		}
	})
}

// machine makes a tree as sysfs has it; a value that begins with "->" is a symbolic
// link.
func machine(t *testing.T, files map[string]string) *system {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(text, "->"); link {
			err = os.Symlink(filepath.Join(root, to), path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &system{
		sys: filepath.Join(root, "sys"), proc: filepath.Join(root, "proc"), dev: filepath.Join(root, "dev"),
		readLog: func(path string) ([]byte, error) {
			if filepath.Base(path) == "nvme0n1" {
				return golden(t), nil
			}
			return nil, os.ErrPermission
		},
	}
}

func TestDisks(t *testing.T) {
	s := machine(t, map[string]string{
		"sys/devices/nvme0n1/dev":                         "259:0\n",
		"sys/devices/nvme0n1/nvme0n1p2/partition":         "2\n",
		"sys/devices/nvme0n1/nvme0n1p2/dev":               "259:2\n",
		"sys/devices/nvme0n1/device/model":                "Quick 1 TB  \n",
		"sys/devices/nvme0n1/device/serial":               "S1\n",
		"sys/devices/sda/dev":                             "8:0\n",
		"sys/devices/sda/device/model":                    "SLOW\n",
		"sys/devices/sda/device/state":                    "offline\n",
		"sys/devices/sda/device/hwmon/hwmon3/temp1_input": "48500\n",
		"sys/devices/vda/dev":                             "252:0\n",
		"sys/devices/nvme1n1/device/hwmon1/temp1_input":   "37000\n",
		"sys/devices/dm-0/slaves/nvme0n1p2":               "->sys/devices/nvme0n1/nvme0n1p2",
		"sys/devices/dm-0/slaves/sda":                     "->sys/devices/sda",
		"sys/devices/loop/slaves/loop":                    "->sys/devices/loop",
		"sys/devices/loop/dev":                            "7:9\n",
		"sys/dev/block/259:0":                             "->sys/devices/nvme0n1",
		"sys/dev/block/259:2":                             "->sys/devices/nvme0n1/nvme0n1p2",
		"sys/dev/block/259:9":                             "->sys/devices/nvme1n1",
		"sys/dev/block/8:0":                               "->sys/devices/sda",
		"sys/dev/block/252:0":                             "->sys/devices/vda",
		"sys/dev/block/253:0":                             "->sys/devices/dm-0",
		"sys/dev/block/7:9":                               "->sys/devices/loop",
		"sys/class/block/nvme0n1":                         "->sys/devices/nvme0n1",
		"sys/class/block/nvme1n1":                         "->sys/devices/nvme1n1",
		"sys/class/block/sda":                             "->sys/devices/sda",
		"sys/class/block/vda":                             "->sys/devices/vda",
	})
	of := func(number string) (all Info, err error) {
		names, err := s.disks(number, 0)
		for i, name := range names {
			if in := s.disk(name); i == 0 {
				all = in
			} else {
				all.join(in)
			}
		}
		return all, err
	}
	if in, err := of("259:2"); err != nil || in.Device != "nvme0n1" || in.Model != "Quick 1 TB" || in.Serial != "S1" || *in.Wear != 103 || *in.Temperature != 41 {
		t.Errorf("a partition: %+v, %v", in, err)
	}
	if in, err := of("8:0"); err != nil || *in.Temperature != 48 || in.Wear != nil || !reflect.DeepEqual(in.Critical, []string{"the kernel has it offline"}) {
		t.Errorf("SATA: %+v, %v", in, err)
	}
	if in, err := of("259:9"); err != nil || *in.Temperature != 37 || in.Wear != nil || in.MediaErrors != nil {
		t.Errorf("NVMe without rights: %+v, %v", in, err)
	}
	if in, err := of("252:0"); err != nil || !reflect.DeepEqual(in, Info{Device: "vda"}) {
		t.Errorf("virtio: %+v, %v", in, err)
	}
	in, err := of("253:0")
	if err != nil || in.Device != "nvme0n1,sda" || *in.Temperature != 48 || *in.Wear != 103 || *in.Spare != 97 || len(in.Critical) != 4 || in.Serial != "S1" {
		t.Errorf("two disks: %+v, %v", in, err)
	}
	for _, number := range []string{"1:1", "7:9"} { // absent; on itself
		if _, err := of(number); !errors.Is(err, errNoDevice) {
			t.Errorf("%s: %v", number, err)
		}
	}
}

func TestMountSource(t *testing.T) {
	table := "22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n" +
		"30 22 0:47 /sub /mnt/b rw shared:9 master:2 - btrfs /dev/sdb rw,ssd\n" +
		"31 22 0:48 / /tmp rw - tmpfs tmpfs rw\nshort\n32 22 0:49 / /x rw -\n"
	for number, want := range map[string]string{"0:47": "/dev/sdb", "252:1": "/dev/vda1", "0:48": "", "0:49": "", "9:9": ""} {
		if got := mountSource([]byte(table), number); got != want {
			t.Errorf("%s: %q, want %q", number, got, want)
		}
	}
}

func FuzzMountSource(f *testing.F) {
	f.Add([]byte("30 22 0:47 /sub /mnt/b rw shared:9 - btrfs /dev/sdb rw\n"), "0:47")
	f.Add([]byte(" - "), "")
	f.Fuzz(func(t *testing.T, table []byte, number string) {
		if got := mountSource(table, number); got != "" && got[0] != '/' {
			t.Fatalf("%q", got)
		}
	})
}

// TestHere asks this machine, whatever it is made of. With SLUICE_TEST_NVME, temporary
// files are on an NVMe drive, which must answer.
func TestHere(t *testing.T) {
	dir := t.TempDir()
	in, err := linux().read(dir)
	t.Logf("%s: %+v, %v", dir, in, err)
	if err == nil && in.Device == "" {
		t.Error("no device and no error")
	}
	if os.Getenv("SLUICE_TEST_NVME") != "" && (err != nil || in.Temperature == nil || in.Wear == nil || in.PowerOnHours == nil || in.Model == "") {
		t.Errorf("an NVMe drive says %+v, %v", in, err)
	}
	if _, err := linux().read(filepath.Join(dir, "absent")); err == nil {
		t.Error("no error for an absent path")
	}
	if _, err := linux().read("/proc"); !errors.Is(err, errNoDevice) {
		t.Errorf("a file system without a device: %v", err)
	}
	if _, err := readLog("/dev/null"); err == nil {
		t.Error("a character device has a health log")
	}
}

// TestCache: Get never waits, asks one device once at a time, and forgets what it
// cannot read any more.
func TestCache(t *testing.T) {
	var calls atomic.Int64
	let := make(chan error)
	c := NewCache()
	c.read = func(path string) (Info, error) {
		calls.Add(1)
		err := <-let
		return Info{Device: path}, err
	}
	for range 100 {
		if in := c.Get("a"); in.Device != "" {
			t.Fatalf("%+v", in)
		}
	}
	let <- nil
	wait(t, func() bool { return c.Get("a").Device == "a" })
	if n := calls.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	c.mu.Lock()
	c.entries["a"].at = time.Now().Add(-2 * maxAge)
	c.mu.Unlock()
	if c.Get("a").Device != "a" {
		t.Error("an old answer is given while the device is asked again")
	}
	let <- fmt.Errorf("gone")
	wait(t, func() bool { return c.Get("a").Device == "" })
	c.Forget("a")
	if c.Get("a"); calls.Load() < 2 {
		t.Error("not asked again")
	}
	let <- nil
}

func wait(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}
