package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/seal/keyring"
)

func testID(text string) (id layout.DriveID) {
	copy(id[:], text)
	return id
}

func TestClusterOf(t *testing.T) {
	a, b := [16]byte{1}, [16]byte{2}
	at := func(cluster [16]byte) location {
		return location{path: "/" + string('a'+rune(cluster[0])), id: &drive.Identity{Cluster: cluster}}
	}
	list := func(cluster string) *driveList { return &driveList{Cluster: cluster} }
	inA := "01000000000000000000000000000000"
	for name, c := range map[string]struct {
		locs []location
		list *driveList
		want [16]byte
		err  string
	}{
		"nothing":                     {nil, list(""), [16]byte{}, ""},
		"blank ones":                  {[]location{{}, {fresh: true}}, list(inA), [16]byte{}, ""},
		"one":                         {[]location{{}, at(a)}, list(""), a, ""},
		"two":                         {[]location{at(a), at(a)}, list(inA), a, ""},
		"of two clusters":             {[]location{at(a), at(b)}, list(""), a, "different clusters"},
		"of two, one is the list's":   {[]location{at(b), at(a)}, list(inA), a, ""},
		"of another than the list's":  {[]location{at(b)}, list(inA), b, "the state directory to 01"},
		"of others than the list's":   {[]location{at(b), at([16]byte{3})}, list(inA), b, "different clusters"},
		"one that could not be asked": {[]location{{err: errSilent}, at(b)}, list(""), b, ""},
	} {
		got, err := clusterOf(c.locs, c.list)
		if c.err != "" {
			if err == nil || !errors.Is(err, drive.ErrCluster) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func FuzzDriveList(f *testing.F) {
	id := strings.Repeat("0a", 16)
	f.Add([]byte(`{"v":1,"cluster":"` + id + `","drives":[{"id":"` + id + `","path":"/d"}]}`))
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{"v":1,"cluster":"` + id + `","drives":[{"id":"x","path":"d"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := decodeDriveList(text)
		if err != nil {
			if l.V != 0 || len(l.Drives) > 0 {
				t.Fatalf("%+v, %v", l, err)
			}
			return
		}
		for _, s := range l.Drives {
			if _, err := parseDriveID(s.ID); err != nil || !filepath.IsAbs(s.Path) {
				t.Fatalf("%+v", s)
			}
		}
	})
}

// TestDriveList writes a list and reads it, and what is no list.
func TestDriveList(t *testing.T) {
	dir := t.TempDir()
	if l, err := readDriveList(dir); err != nil || l.V != 0 {
		t.Fatalf("%+v, %v", l, err)
	}
	d := &daemon{cfg: &config.Config{StateDir: dir}, roster: newRoster(), clusterID: [16]byte{7}}
	d.roster.put(bay{id: testID("one"), doc: driveDoc{Path: "/mnt/1"}})
	d.roster.put(bay{id: testID("two"), doc: driveDoc{Path: "/mnt/2"}})
	if err := d.writeDriveList(); err != nil {
		t.Fatal(err)
	}
	l, err := readDriveList(dir)
	if err != nil || l.cluster() != d.clusterID || len(l.Drives) != 2 || l.Drives[1] != (driveSpot{testID("two").String(), "/mnt/2"}) {
		t.Fatalf("%+v, %v", l, err)
	}
	if err := os.WriteFile(filepath.Join(dir, driveListFile), []byte(strings.Repeat("x", maxDriveList+10)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readDriveList(dir); err == nil {
		t.Error("no error for a file that is too large")
	}
}

func TestRosterFind(t *testing.T) {
	r := newRoster()
	r.put(bay{id: testID("aa1"), doc: driveDoc{Path: "/mnt/1"}})
	r.put(bay{id: testID("aa2"), doc: driveDoc{Path: "/mnt/2", State: docReplaced}})
	r.put(bay{id: testID("b"), doc: driveDoc{Path: "/mnt/2", State: docActive}})
	for name, want := range map[string]string{
		"/mnt/1": "aa1", "/mnt/2": "b", testID("aa2").String(): "aa2", testID("aa2").String()[:6]: "aa2",
		"62": "b", strings.ToUpper(testID("aa1").String()[:6]): "aa1",
	} {
		if b, err := r.find(name); err != nil || b.id != testID(want) {
			t.Errorf("%s: %s, %v", name, b.id, err)
		}
	}
	for name, want := range map[string]string{"": "no drive", "zz": "no drive", "61": "begins the ids of 2 drives", "/mnt/3": "no drive"} {
		if _, err := r.find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	r.out(testID("b"), errDataGone, true)
	if b, _ := r.get(testID("b")); !errors.Is(b.err, errDataGone) || b.since.IsZero() {
		t.Errorf("%+v", b)
	}
	r.drop(testID("b"))
	if b, ok := r.at("/mnt/2"); !ok || b.id != testID("aa2") {
		t.Errorf("%+v", b)
	}
	if err := r.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.lock(ctx); err == nil {
		t.Error("locked twice")
	}
	r.unlock()
}

func TestStillThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "drive", "data")
	tree(t, dir, map[string]string{"drive/data": "x"})
	ino, err := inodeOf(file)
	if err != nil {
		t.Fatal(err)
	}
	b := &bay{loc: location{path: filepath.Dir(file), file: file}, inode: ino}
	if err := stillThere(b); err != nil {
		t.Error(err)
	}
	tree(t, dir, map[string]string{"drive/new": "y"})
	if err := os.Rename(filepath.Join(dir, "drive", "new"), file); err != nil {
		t.Fatal(err)
	}
	if err := stillThere(b); !errors.Is(err, errDataGone) {
		t.Errorf("replaced: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	if err := stillThere(b); !errors.Is(err, errDataGone) {
		t.Errorf("removed: %v", err)
	}
	tree(t, dir, map[string]string{"drive": "a file"})
	if err := stillThere(b); !errors.Is(err, errDataGone) {
		t.Errorf("a file in the directory's place: %v", err)
	}
	gone := &bay{loc: location{path: "/dev/none", file: "/dev/none", block: true}, inode: inode{dev: 1<<40 | 0xfff00}}
	if err := stillThere(gone); !errors.Is(err, errDeviceGone) {
		t.Errorf("a device that is not there: %v", err)
	}
}

// TestSilentPath: a path that does not answer costs its time once, and one goroutine.
func TestSilentPath(t *testing.T) {
	s := newSupervisor(&daemon{})
	let, calls := make(chan struct{}), 0
	look := func() error { calls++; <-let; return errDataGone }
	if err := s.ask("p", time.Millisecond, look); !errors.Is(err, errSilent) {
		t.Errorf("%v", err)
	}
	begun := time.Now()
	if err := s.ask("p", time.Minute, look); !errors.Is(err, errSilent) || time.Since(begun) > 10*time.Second {
		t.Errorf("%v", err)
	}
	close(let)
	await(t, 5*time.Second, func() error {
		if err := s.ask("p", time.Second, func() error { return errReadOnlyFS }); !errors.Is(err, errReadOnlyFS) {
			return errors.New("the path is asked no more")
		}
		return nil
	})
	if calls != 1 {
		t.Errorf("looked %d times", calls)
	}
}

func TestRetries(t *testing.T) {
	s := newSupervisor(&daemon{})
	if !s.due("x") {
		t.Error("not due at first")
	}
	want := retryLeast
	for range 12 {
		s.later("x")
		if got := s.retries["x"].wait; got != min(want, retryMost) || s.due("x") {
			t.Errorf("waits %s, want %s", got, want)
		}
		want *= 2
	}
	s.retries["x"].at = time.Now().Add(-3 * retryMost)
	if s.later("x"); s.retries["x"].wait != retryLeast {
		t.Errorf("after a good time: %s", s.retries["x"].wait)
	}
}

func TestOutWarnings(t *testing.T) {
	dr := func(state string) api.Drive {
		return api.Drive{ID: testID(state).String(), Path: "/mnt/" + state, State: state, Error: "why"}
	}
	for want, drives := range map[string][]api.Drive{
		"":                                     {{State: "active"}, {State: "draining"}},
		"degraded: 1 drive is out; 1 more may": {dr("failed"), {State: "active"}},
		"degraded: 2 drives are out; no other": {dr("failed"), dr("absent")},
		"degraded: 3 drives are out; some objects": {dr("failed"), dr("absent"), dr("attaching")},
		"/mnt/suspect) is suspect: why":            {dr("suspect")},
		"/mnt/active): why":                        {dr("active")},
	} {
		got := outWarnings(drives, 2)
		if want == "" && len(got) > 0 || want != "" && (len(got) == 0 || !strings.Contains(got[0], want)) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTasksLeft(t *testing.T) {
	a, b := testID("a"), testID("b")
	tasks := []engine.HealTask{{Drive: a, Kind: "drain", Total: 10, Done: 10}, {Drive: b, Fragments: 1}}
	if left(tasks, a) || !left(tasks, b) || left(tasks, testID("c")) {
		t.Error("left")
	}
}

// TestKeyFiles: the wrapped key is beside every copy of the store, also beside one
// that comes later, and is found wherever one of them is left.
func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	k, err := openKeys(at("state"), []string{at("a"), at("b")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.openBackends(true); err != nil {
		t.Fatal(err)
	}
	f := k.files
	if _, err := f.read(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := f.join(at("plain")); err != nil || len(f.dirs()) != 3 {
		t.Errorf("%v, %v", f.dirs(), err)
	}
	f.leave(at("plain"))
	wrapped, _, err := keyring.NewStoreKey(t.Context(), k.current, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.write(wrapped); err != nil {
		t.Fatal(err)
	}
	if err := f.join(at("c")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.Remove(filepath.Join(at(name), keyring.StoreKeyFile)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(at("a"), keyring.StoreKeyFile), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := f.read(); err != nil || !found.Equal(wrapped) {
		t.Errorf("%v", err)
	}
	f.keep(wrapped, k.log)
	for _, name := range []string{"a", "b", "c", "state"} {
		if found, err := keyring.ReadStoreKey(at(name)); err != nil || !found.Equal(wrapped) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		f.leave(at(name))
	}
	if dirs := f.dirs(); !slices.Equal(dirs, []string{at("c")}) {
		t.Errorf("%v: the last home stays", dirs)
	}
}

// TestKeyFilesHang: a drive that hangs while the key is wrapped anew does not hold up
// who gives that drive up, for everything waits for that.
func TestKeyFilesHang(t *testing.T) {
	hang, hung := make(chan struct{}), make(chan struct{})
	f := &keyFiles{stateDir: t.TempDir(), homes: []string{"bad", "good"}}
	var once sync.Once
	f.put = func(dir string, _ keyring.StoreKey) error {
		if dir == "bad" {
			once.Do(func() { close(hung) })
			<-hang
		}
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- f.write(keyring.StoreKey{}) }()
	<-hung
	left := make(chan struct{})
	go func() { f.leave("bad"); close(left) }()
	select {
	case <-left:
	case <-time.After(2 * time.Second):
		t.Error("waits for the drive that hangs")
	}
	if err := f.writeOne("bad", keyring.StoreKey{}); !errors.Is(err, errSilent) {
		t.Errorf("a second write: %v", err)
	}
	close(hang)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
