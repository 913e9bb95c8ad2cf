package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
)

// payload is the content of an object, a function of its key and size.
func payload(key string, size int) []byte {
	sum := sha256.Sum256([]byte(key))
	rnd := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(sum[:]), uint64(size)))
	out := make([]byte, (size+7)&^7)
	for i := 0; i < len(out); i += 8 {
		binary.LittleEndian.PutUint64(out[i:], rnd.Uint64())
	}
	return out[:size]
}

// fill stores objects of mixed sizes until the drive is full and returns them.
// Every refusal must be 507 InsufficientStorage.
func (n *node) fill(round int, most int64) map[string]int {
	n.t.Helper()
	stored := map[string]int{}
	sizes := []int{1 << 20, 100, 200 << 10, 5 << 20, 20 << 10, 3<<20 + 7, 64 << 10, 8 << 20}
	refused, total := 0, int64(0)
	for i := 0; refused < 12; i++ {
		size := sizes[i%len(sizes)]
		if refused >= len(sizes)/2 { // large ones no longer fit: small ones fill the gaps
			size = min(size, 1<<20)
		}
		key := fmt.Sprintf("r%d/%05d", round, i)
		status, text := n.s3("PUT", "/"+nodeBucket+"/"+key, "", payload(key, size))
		switch {
		case status == http.StatusOK:
			stored[key] = size
			total += int64(size)
		case status == http.StatusInsufficientStorage && bytes.Contains(text, []byte("<Code>InsufficientStorage</Code>")):
			if size >= 20<<10 {
				refused++
			}
		default:
			n.t.Fatalf("PUT of %d bytes on a drive that fills up: %d %s", size, status, text)
		}
		if total > most {
			n.t.Fatalf("%d bytes stored, more than the %d there are", total, most)
		}
	}
	n.t.Logf("round %d: %d objects, %d MiB stored until full", round, len(stored), total>>20)
	return stored
}

// verify reads every object back and compares it.
func (n *node) verify(stored map[string]int) {
	n.t.Helper()
	for key, size := range stored {
		status, text := n.s3("GET", "/"+nodeBucket+"/"+key, "", nil)
		if status != http.StatusOK || !bytes.Equal(text, payload(key, size)) {
			n.t.Fatalf("GET %s: %d, %d of %d bytes or other content", key, status, len(text), size)
		}
	}
}

// fullRounds fills and empties the drive, and checks what must work when full.
func (n *node) fullRounds(rounds int, most int64) {
	t := n.t
	var first int64
	for round := range rounds {
		stored := n.fill(round, most)
		var bytesStored int64
		for _, size := range stored {
			bytesStored += int64(size)
		}
		if round == 0 {
			first = bytesStored
		} else if bytesStored < first*9/10 {
			t.Errorf("round %d stored %d bytes, the first one %d: space was lost", round, bytesStored, first)
		}
		n.verify(stored)
		if len(n.keys()) == 0 {
			t.Error("a full drive lists nothing")
		}
		if st, err := n.admin.Status(context.Background()); err != nil || st.Drives[0].State != api.StateActive {
			t.Errorf("status of a full drive: %+v, %v", st.Drives, err)
		}
		if status, _, _ := n.page("/-/ready"); status != http.StatusOK {
			t.Errorf("ready while full: %d", status)
		}
		if round == 1 { // a full drive starts again
			n.stop()
			n.start()
			n.up("/-/ready")
			n.verify(stored)
		}
		for key := range stored {
			if status, text := n.s3("DELETE", "/"+nodeBucket+"/"+key, "", nil); status != http.StatusNoContent {
				t.Fatalf("DELETE on a full drive: %d %s", status, text)
			}
		}
		await(t, 40*time.Second, func() error {
			st, err := n.admin.Status(context.Background())
			if err == nil && (st.Drives[0].Used > 0 || st.Garbage > 0) {
				err = fmt.Errorf("%d bytes still used, %d blobs waiting", st.Drives[0].Used, st.Garbage)
			}
			return err
		})
	}
}

// TestFullDriveSize fills a drive that --drive-size bounds.
func TestFullDriveSize(t *testing.T) {
	t.Parallel()
	rounds := 2
	if long() {
		rounds = 3
	}
	n := newNode(t, "--drive-size", "64MiB").serve()
	n.fullRounds(rounds, 64<<20)
	n.stop()
}

// mountImage mounts a new file system of size bytes at the node's drive, or
// skips the test where that cannot be done.
func mountImage(t *testing.T, at string, size int64) {
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
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
}

// TestFullFileSystem fills a small file system of its own.
func TestFullFileSystem(t *testing.T) {
	at := filepath.Join(t.TempDir(), "mnt")
	mountImage(t, at, 300<<20)
	n := newNode(t, "--drive-size", "0")
	n.args[1] = at
	n.args[9] = "1GiB" // --reserve: a tenth of the file system, as it is small
	n.serve()
	n.fullRounds(3, 300<<20)
	n.stop()
}

// TestFileSystemFilledByOthers takes the space below the reserve away: writes
// are refused, reads work, and deletes as long as a little is left; a restart
// works, and when the space is back, so are writes.
func TestFileSystemFilledByOthers(t *testing.T) {
	at := filepath.Join(t.TempDir(), "mnt")
	mountImage(t, at, 300<<20)
	n := newNode(t, "--drive-size", "0")
	n.args[1] = at
	n.serve()
	stored := map[string]int{}
	for i := range 20 {
		key := fmt.Sprintf("k%02d", i)
		stored[key] = 1 + i*50000
		if status, text := n.s3("PUT", "/"+nodeBucket+"/"+key, "", payload(key, stored[key])); status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
	}
	for _, left := range []int64{2 << 20, 0} {
		hog := filepath.Join(at, "lost+found", "hog")
		hogFile(t, hog, left)
		time.Sleep(300 * time.Millisecond)
		for _, size := range []int{100, 100 << 10, 3 << 20} {
			status, text := n.s3("PUT", "/"+nodeBucket+"/more", "", payload("more", size))
			if status != http.StatusInsufficientStorage {
				t.Errorf("PUT of %d bytes with %d bytes left to all: %d %s", size, left, status, text)
			}
		}
		n.verify(stored)
		want := http.StatusNoContent
		if left == 0 { // below the floor nothing is written, see floorStore
			want = http.StatusInsufficientStorage
		}
		for i := range 3 {
			key := fmt.Sprintf("k%02d", i)
			if status, text := n.s3("DELETE", "/"+nodeBucket+"/"+key, "", nil); status != want {
				t.Errorf("DELETE with %d bytes left: %d %s", left, status, text)
			}
			if left > 0 {
				delete(stored, key)
			}
		}
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
		await(t, 20*time.Second, func() error {
			status, text := n.s3("PUT", "/"+nodeBucket+"/back", "", payload("back", 2<<20))
			if status != http.StatusOK {
				return fmt.Errorf("PUT with the space back: %d %s", status, text)
			}
			return nil
		})
		stored["back"] = 2 << 20
		n.verify(stored)
	}
	hogFile(t, filepath.Join(at, "lost+found", "hog"), 1<<20)
	n.stop()
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	n.stop()
	if strings.Contains(n.log.String(), "out of service") {
		t.Error("the metadata store went out of service")
	}
}

// hogFile fills the file system of path but for left bytes.
func hogFile(t *testing.T, path string, left int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for {
		free, err := freeBytes(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if free <= left {
			return
		}
		if _, err := f.Write(chunk[:min(int64(len(chunk)), free-left)]); err != nil {
			return
		}
		f.Sync()
	}
}
