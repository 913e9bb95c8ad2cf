package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
	foreign.fails(1, "not blank, and no metadata store is in")
	if out, err := exec.Command("mkfs.ext4", "-q", other).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v %s", err, out)
	}
	foreign.args[1] = other
	foreign.fails(1, "not blank.*anything else is not overwritten")
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
