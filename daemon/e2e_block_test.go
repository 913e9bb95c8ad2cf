package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/daemon/api"
)

// loopDevice makes a block device of size bytes, or skips where that cannot be.
func loopDevice(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 || !long() {
		t.Skip("needs root and LONG=1")
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "-f", "--show", image).Output()
	if err != nil {
		t.Skipf("losetup: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v %s", err, out)
		}
	})
	return dev
}

// TestBlockDevices runs on two raw devices, with the metadata below the state
// directory: restarts in any order keep everything, and devices that hold
// something else are refused untouched.
func TestBlockDevices(t *testing.T) {
	one, two, other := loopDevice(t, 64<<20), loopDevice(t, 64<<20), loopDevice(t, 64<<20)
	n := newNode(t)
	n.args[1] = one + "," + two
	n.serve()
	stored := map[string]int{"a": 10, "b": 100 << 10, "c": 9 << 20, "d": 5 << 20}
	put := func() {
		for key, size := range stored {
			if status, text := n.s3("PUT", "/"+nodeBucket+"/"+key, "", payload(key, size)); status != http.StatusOK {
				t.Fatalf("%d %s", status, text)
			}
		}
	}
	put()
	n.stop()
	n.args[1] = two + "," + one
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	n.kill()
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	for key := range stored {
		n.s3("DELETE", "/"+nodeBucket+"/"+key, "", nil)
	}
	n.fullRounds(2, 128<<20)
	put()

	foreign := newNode(t)
	foreign.args[1] = one
	foreign.fails(1, "not blank|in use|another")
	n.stop()
	foreign.fails(1, "no current copy of the metadata is there.*--metadata-dir and --state-dir")
	if out, err := exec.Command("mkfs.ext4", "-q", other).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v %s", err, out)
	}
	foreign.args[1] = other
	foreign.fails(1, "not blank, and anything else .* is not overwritten")
	n.args[1] = one + "," + two + "," + other
	n.fails(1, "superblock belongs lies something else|neither zero")
	if out, err := exec.Command("e2fsck", "-fn", other).CombinedOutput(); err != nil {
		t.Errorf("the file system was touched: %v %s", err, out)
	}
	n.args[1] = one + "," + two
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	n.stop()
}

// TestBlockDevicesDegraded runs on four raw devices as a user who may not open them,
// with copies of the metadata in directories of their own: a device goes away while
// it serves, the start works without it, it comes back, and it is replaced.
func TestBlockDevicesDegraded(t *testing.T) {
	n := asUser(t)
	var devices []string
	for range 5 {
		devices = append(devices, loopDevice(t, 64<<20))
	}
	n.args[1] = strings.Join(devices[:4], ",")
	for i := range 3 {
		n.args = append(n.args, "--metadata-dir", filepath.Join(n.dir, fmt.Sprintf("m%d", i)))
	}
	n.serve()
	noRights(t, n, 65534, 65534)
	stored := map[string]int{}
	n.keep(stored, "a")
	for _, dir := range n.copies(3) {
		if filepath.Dir(dir) != n.dir {
			t.Errorf("a copy of the metadata is in %s", dir)
		}
	}
	if _, err := n.admin.AddDrive(t.Context(), api.AddDrive{Path: devices[4]}); err == nil || !strings.Contains(err.Error(), "name it in --drive and restart") {
		t.Errorf("a device that only root may open was added: %v", err)
	}
	n.stop()
	n.args[1] = strings.Join(devices[:3], ",") // the fourth cannot be opened without root
	n.start()
	n.up("/-/ready")
	if d := n.drive(devices[3]); d.State != "absent" || d.Kind != "block device" {
		t.Errorf("%+v", d)
	}
	n.verify(stored)
	n.keep(stored, "b")
	n.stop()
	n.args[1] = strings.Join(devices, ",") // the fifth is new
	n.start()
	n.up("/-/ready")
	n.awaitDrive(devices[3], api.StateActive)
	n.awaitDrive(devices[4], api.StateActive)
	n.healed()
	n.clean()
	if _, err := n.admin.ReplaceDrive(t.Context(), devices[1], api.ReplaceDrive{Path: devices[4]}); err != nil {
		t.Fatal(err)
	}
	n.awaitDrive(devices[1], "")
	n.healed()
	n.clean()
	n.verify(stored)
	n.stop()
}
