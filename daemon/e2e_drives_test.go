package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/seal/keyring"
)

// newDrives prepares a daemon on so many directory drives, d0, d1, …
func newDrives(t *testing.T, drives int, args ...string) *node {
	t.Helper()
	n := newNode(t, args...)
	var paths []string
	for i := range drives {
		paths = append(paths, n.drivePath(i))
	}
	n.args[1] = strings.Join(paths, ",")
	return n
}

func (n *node) drivePath(i int) string { return filepath.Join(n.dir, fmt.Sprintf("d%d", i)) }

// keep stores objects of all kinds: with the metadata, mirrored, striped.
func (n *node) keep(stored map[string]int, prefix string) {
	n.t.Helper()
	for i, size := range []int{10, 60 << 10, 200 << 10, 1 << 20, 3<<20 + 7, 7 << 20} {
		key := fmt.Sprintf("%s/%d", prefix, i)
		if status, text := n.s3("PUT", "/"+nodeBucket+"/"+key, "", payload(key, size)); status != http.StatusOK {
			n.t.Fatalf("PUT %s: %d %s", key, status, text)
		}
		stored[key] = size
	}
}

// drive returns what the daemon tells of the drive at path; State "" when it tells
// nothing.
func (n *node) drive(path string) api.Drive {
	n.t.Helper()
	drives, err := n.admin.Drives(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	for _, d := range drives {
		if d.Path == path {
			return d
		}
	}
	return api.Drive{}
}

// awaitDrive waits for a drive's state; "": it is no longer of the cluster.
func (n *node) awaitDrive(path string, states ...string) api.Drive {
	n.t.Helper()
	var d api.Drive
	await(n.t, 40*time.Second, func() error {
		if d = n.drive(path); slices.Contains(states, d.State) {
			return nil
		}
		return fmt.Errorf("drive %s is %q (%s), not %v", path, d.State, d.Error, states)
	})
	return d
}

// healed waits until nothing is left to be repaired or moved.
func (n *node) healed() {
	n.t.Helper()
	await(n.t, 60*time.Second, func() error {
		h, err := n.admin.Heal(context.Background())
		if err == nil && (h.Queue > 0 || h.Degraded > 0 || len(h.Tasks) > 0) {
			err = fmt.Errorf("%+v", h)
		}
		return err
	})
}

// clean runs a deep check, which must find nothing wrong and nothing degraded.
func (n *node) clean() {
	n.t.Helper()
	c := n.check()
	if c.Error != "" || c.Count > 0 || c.Unreadable > 0 || c.Degraded > 0 || c.Objects == 0 || c.Blobs == 0 {
		n.t.Errorf("check: %+v", c)
	}
}

func (n *node) check() (c api.Check) {
	n.t.Helper()
	c, err := n.admin.StartCheck(context.Background(), api.StartCheck{Deep: true})
	if err != nil {
		n.t.Fatal(err)
	}
	await(n.t, 30*time.Second, func() error {
		if c, err = n.admin.Check(context.Background()); err == nil && c.Running {
			err = errors.New("the check runs")
		}
		return err
	})
	return c
}

// copies waits until the metadata has so many copies and returns their directories,
// the primary first.
func (n *node) copies(want int) []string {
	n.t.Helper()
	var dirs []string
	await(n.t, 30*time.Second, func() error {
		st, err := n.admin.Status(context.Background())
		if err != nil {
			return err
		}
		dirs = nil
		for _, c := range st.MetaCopies {
			switch {
			case c.Filling:
				return fmt.Errorf("%+v", c)
			case c.Primary:
				dirs = append([]string{c.Dir}, dirs...)
			default:
				dirs = append(dirs, c.Dir)
			}
		}
		if len(dirs) != want || st.MetaWanted < want {
			return fmt.Errorf("copies of the metadata: %+v", st.MetaCopies)
		}
		return nil
	})
	return dirs
}

// warned reports whether the status warns of text.
func (n *node) warned(text string) bool {
	n.t.Helper()
	st, err := n.admin.Status(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	return slices.ContainsFunc(st.Warnings, func(w string) bool { return strings.Contains(w, text) })
}

func (n *node) restart() {
	n.t.Helper()
	n.stop()
	n.start()
	n.up("/-/ready")
}

// TestDriveRemovedUnderneath takes the directory of one of four drives away while
// the daemon serves; its blank path is not taken for a new drive, at a restart
// neither; a replacement at the same path is rebuilt.
func TestDriveRemovedUnderneath(t *testing.T) {
	t.Parallel()
	n := newDrives(t, 4).serve()
	stored := map[string]int{}
	n.keep(stored, "before")
	lost := n.drivePath(2)
	id := n.drive(lost).ID
	if err := os.RemoveAll(lost); err != nil {
		t.Fatal(err)
	}
	n.verify(stored)
	n.awaitDrive(lost, "failed")
	n.keep(stored, "without")
	n.verify(stored)
	if !n.warned("degraded: 1 drive is out; 1 more may fail") {
		t.Error("no warning of the degraded state")
	}
	if err := os.Mkdir(lost, 0o700); err != nil { // as an empty mount point
		t.Fatal(err)
	}
	n.restart()
	if d := n.drive(lost); d.State != "absent" || d.ID != id || !strings.Contains(d.Error, "ctl drive replace") {
		t.Errorf("%+v", d)
	}
	if entries, err := os.ReadDir(lost); err != nil || len(entries) > 0 {
		t.Errorf("the blank path was written to: %v, %v", entries, err)
	}
	n.verify(stored)
	n.copies(3)
	if _, err := n.admin.AddDrive(t.Context(), api.AddDrive{Path: lost}); err == nil || !strings.Contains(err.Error(), "ctl drive replace "+id[:8]) {
		t.Errorf("a blank path where a drive is missed was added: %v", err)
	}
	fresh, err := n.admin.ReplaceDrive(t.Context(), id[:6], api.ReplaceDrive{Path: lost})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.admin.ReplaceDrive(t.Context(), id, api.ReplaceDrive{Path: lost}); err == nil {
		t.Error("a drive was replaced twice")
	}
	n.restart() // the rebuild goes on
	await(t, 60*time.Second, func() error {
		if d, err := n.admin.Drive(context.Background(), id); err == nil {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	n.healed()
	if d := n.drive(lost); d.ID != fresh.ID || d.State != api.StateActive || d.Used == 0 {
		t.Errorf("%+v", d)
	}
	n.clean()
	n.verify(stored)
	n.stop()
}

// TestDriveAddAndRemove grows a cluster from one drive to four and shrinks it again.
func TestDriveAddAndRemove(t *testing.T) {
	t.Parallel()
	n := newDrives(t, 1).serve()
	stored := map[string]int{}
	n.keep(stored, "one")
	if !n.warned("one drive: no redundancy") {
		t.Error("no warning of the one drive")
	}
	if _, err := n.admin.RemoveDrive(t.Context(), n.drivePath(0), api.RemoveDrive{Force: true}); err == nil || !strings.Contains(err.Error(), "only one") {
		t.Errorf("the only drive was removed: %v", err)
	}
	add := func(i int) {
		t.Helper()
		if err := n.takeBack(n.drivePath(i)); err != nil {
			t.Fatal(err)
		}
	}
	add(1)
	n.keep(stored, "two") // mirrored
	add(2)
	add(3)
	if _, err := n.admin.AddDrive(t.Context(), api.AddDrive{Path: n.drivePath(2)}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a drive was added twice: %v", err)
	}
	tree(t, n.dir, map[string]string{"thesis/a.tex": "x", "file": "x"})
	for path, want := range map[string]string{"thesis": "not empty", "file": "neither a directory"} {
		if _, err := n.admin.AddDrive(t.Context(), api.AddDrive{Path: filepath.Join(n.dir, path)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s was added: %v", path, err)
		}
	}
	n.copies(3)
	n.restart() // --drive names one of them
	n.copies(3)
	n.verify(stored)
	gone := n.drivePath(1)
	if _, err := n.admin.RemoveDrive(t.Context(), gone, api.RemoveDrive{}); err != nil {
		t.Fatal(err)
	}
	n.awaitDrive(gone, "")
	n.healed()
	n.clean()
	n.verify(stored)
	for _, dir := range n.copies(2) {
		if strings.HasPrefix(dir, gone) {
			t.Errorf("a copy of the metadata is still in %s", dir)
		}
	}
	n.restart()
	n.verify(stored)
	if err := n.takeBack(gone); err != nil {
		t.Errorf("a drive that was removed is not taken back: %v", err)
	}
	n.keep(stored, "four")
	// What is spread over all four is spread over the other three.
	if _, err := n.admin.RemoveDrive(t.Context(), gone, api.RemoveDrive{}); err != nil {
		t.Fatal(err)
	}
	n.awaitDrive(gone, "")
	n.healed()
	n.clean()
	n.verify(stored)
	n.stop()
}

// TestFullWidthDriveRemoved removes two drives of six, all of which hold a share of every
// large object: the objects are spread over the others.
func TestFullWidthDriveRemoved(t *testing.T) {
	t.Parallel()
	n := newDrives(t, 6).serve()
	stored := map[string]int{}
	n.keep(stored, "six")
	for _, i := range []int{4, 1} {
		gone := n.drivePath(i)
		if _, err := n.admin.RemoveDrive(t.Context(), gone, api.RemoveDrive{}); err != nil {
			t.Fatal(err)
		}
		n.awaitDrive(gone, "")
		n.healed()
		n.clean()
		n.verify(stored)
	}
	n.restart()
	n.verify(stored)
	n.clean()
	n.stop()
}

// takeBack adds a drive.
func (n *node) takeBack(path string) error {
	d, err := n.admin.AddDrive(context.Background(), api.AddDrive{Path: path})
	if err == nil && d.State != api.StateActive {
		err = fmt.Errorf("%+v", d)
	}
	return err
}

// TestMetadataDriveGone takes away the drive with the copy of the metadata that is
// read; service goes on, and what comes back is out of date and not believed.
func TestMetadataDriveGone(t *testing.T) {
	t.Parallel()
	n := newDrives(t, 4).serve()
	stored := map[string]int{}
	n.keep(stored, "before")
	primary := filepath.Dir(n.copies(3)[0])
	aside := filepath.Join(n.dir, "aside")
	if err := os.Rename(primary, aside); err != nil {
		t.Fatal(err)
	}
	n.awaitDrive(primary, "failed", "absent")
	for i := range 3 {
		n.keep(stored, fmt.Sprintf("without%d", i))
	}
	if status, text := n.s3("DELETE", "/"+nodeBucket+"/before/5", "", nil); status != http.StatusNoContent {
		t.Fatalf("%d %s", status, text)
	}
	delete(stored, "before/5")
	n.verify(stored)
	n.copies(3)
	n.kill()
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	n.stop()
	if err := os.Rename(aside, primary); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	if status, _ := n.s3("GET", "/"+nodeBucket+"/before/5", "", nil); status != http.StatusNotFound {
		t.Errorf("a deleted object is back: %d", status)
	}
	n.awaitDrive(primary, api.StateActive)
	n.healed()
	n.clean()
	n.stop()
}

// TestBitFlips damages the data files of two of four drives.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	n := newDrives(t, 4).serve()
	stored := map[string]int{}
	n.keep(stored, "a")
	n.keep(stored, "b")
	for _, i := range []int{0, 3} {
		flip(t, filepath.Join(n.drivePath(i), "data"), 6)
	}
	n.verify(stored)
	n.restart()
	n.verify(stored)
	// A table that a compaction removes before it is read is not repaired.
	end := time.Now().Add(time.Minute)
	for repaired := int64(0); repaired == 0; time.Sleep(time.Second) {
		damageTable(t, n.copies(3)[1])
		begun := time.Now().Truncate(time.Second) // as the daemon tells times
		if _, err := n.admin.StartScrub(t.Context(), api.StartScrub{}); err != nil {
			t.Fatal(err)
		}
		await(t, 60*time.Second, func() error {
			s, err := n.admin.Scrub(context.Background())
			if err == nil && (s.Running || s.Finished.Before(begun) || s.Metadata.Finished.Before(begun)) {
				err = fmt.Errorf("%+v", s)
			}
			repaired = s.Metadata.Repaired
			return err
		})
		if repaired == 0 && begun.After(end) {
			t.Fatal("a damaged table is not repaired")
		}
	}
	n.healed()
	n.clean()
	n.verify(stored)
	for i := range 4 {
		if d := n.drive(n.drivePath(i)); d.State != api.StateActive {
			t.Errorf("%+v", d)
		}
	}
	n.stop()
}

// damageTable changes a byte of one table of a copy of the metadata.
func damageTable(t *testing.T, dir string) {
	t.Helper()
	var f *os.File
	await(t, 10*time.Second, func() error { // a compaction may remove tables
		tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		if err != nil || len(tables) == 0 {
			return fmt.Errorf("no table in %s: %w", dir, err)
		}
		f, err = os.OpenFile(tables[0], os.O_RDWR, 0)
		return err
	})
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 20); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, 20); err != nil {
		t.Fatal(err)
	}
}

// flip changes bytes of a drive's data, count of them, far apart.
func flip(t *testing.T, path string, count int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const from = 2 << 20 // behind the superblocks
	var used []int64
	buf := make([]byte, 64<<10)
	for at := int64(from); ; at += int64(len(buf)) {
		if k, err := f.ReadAt(buf, at); k == 0 || err != nil {
			break
		}
		if len(bytes.Trim(buf, "\x00")) > 0 {
			used = append(used, at)
		}
	}
	if int64(len(used)) < count {
		t.Fatalf("%s has %d places with data", path, len(used))
	}
	for i := range count {
		at := used[i*int64(len(used))/count] + 40<<10
		if _, err := f.ReadAt(buf[:1], at); err != nil {
			t.Fatal(err)
		}
		buf[0] ^= 0x10
		if _, err := f.WriteAt(buf[:1], at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestTooManyDrivesGone takes three of four drives away: the start is refused with
// the names of the missing; where the administrator insists, what needs them is
// refused and the rest served; when drives return, everything is there.
func TestTooManyDrivesGone(t *testing.T) {
	t.Parallel()
	n := newDrives(t, 4).serve()
	stored := map[string]int{}
	n.keep(stored, "a")
	holder := filepath.Dir(n.copies(3)[0])
	n.stop()
	var away []string
	for i := range 4 {
		if path := n.drivePath(i); path != holder {
			if err := os.Rename(path, path+"-away"); err != nil {
				t.Fatal(err)
			}
			away = append(away, path)
		}
	}
	n.fails(1, "too few drives are there")
	n.args = append(n.args, "--trust-metadata")
	n.start()
	n.up("/-/live")
	if status, text := n.s3("GET", "/"+nodeBucket+"/a/5", "", nil); status != http.StatusServiceUnavailable {
		t.Errorf("GET of what is on missing drives: %d %.200s", status, text)
	}
	if status, _ := n.s3("GET", "/"+nodeBucket+"/a/0", "", nil); status != http.StatusOK {
		t.Errorf("GET of what is with the metadata: %d", status)
	}
	if status, _, _ := n.page("/-/ready"); status != http.StatusServiceUnavailable {
		t.Errorf("ready with three of four drives gone: %d", status)
	}
	if !n.warned("some objects cannot be read") {
		t.Error("no warning")
	}
	if err := os.Rename(away[0]+"-away", away[0]); err != nil {
		t.Fatal(err)
	}
	n.awaitDrive(away[0], api.StateActive)
	n.verify(stored)
	for _, path := range away[1:] {
		if err := os.Rename(path+"-away", path); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range away[1:] {
		n.awaitDrive(path, api.StateActive)
	}
	n.keep(stored, "b")
	n.healed()
	n.args = n.args[:len(n.args)-1]
	n.restart()
	n.copies(3)
	n.clean()
	n.verify(stored)
	n.stop()
}

// TestEncryptedCopies: every copy of encrypted metadata has the wrapped key beside
// it, one that is made later, too; each of them is enough to start.
func TestEncryptedCopies(t *testing.T) {
	t.Parallel()
	n := newDrives(t, 3)
	n.start()
	n.up("/-/live")
	if _, err := n.admin.CreateCluster(t.Context(), api.CreateCluster{Name: "default", ConfigFS: configFS, Encrypted: true}); err != nil {
		t.Fatal(err)
	}
	if err := n.firstCommands(time.Minute); err != nil {
		t.Fatal(err)
	}
	n.up("/-/ready")
	stored := map[string]int{}
	n.keep(stored, "a")
	first := n.copies(2)
	if err := os.RemoveAll(filepath.Dir(first[0])); err != nil {
		t.Fatal(err)
	}
	n.awaitDrive(filepath.Dir(first[0]), "failed")
	var second []string
	await(t, 30*time.Second, func() error {
		if second = n.copies(2); slices.Contains(second, first[0]) {
			return fmt.Errorf("%v", second)
		}
		return nil
	})
	for _, dir := range second {
		if _, err := os.Stat(filepath.Join(dir, keyring.StoreKeyFile)); err != nil {
			t.Error(err)
		}
	}
	n.stop()
	for _, dir := range []string{second[0], filepath.Join(n.dir, "state")} {
		if err := os.Remove(filepath.Join(dir, keyring.StoreKeyFile)); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	n.stop()
}
