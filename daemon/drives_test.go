package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine/drive"
)

// tree makes files below dir; a name that ends in "/" is a directory.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLocate(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		fresh bool
		want  string // in the error
	}{
		"absent":               {nil, true, ""},
		"empty":                {map[string]string{"d/": ""}, true, ""},
		"new ext4":             {map[string]string{"d/lost+found/": ""}, true, ""},
		"metadata made first":  {map[string]string{"d/meta/CURRENT": "x"}, true, ""},
		"data cut short":       {map[string]string{"d/data": "", "d/meta/x": ""}, true, ""},
		"formatted":            {map[string]string{"d/data": "x"}, false, ""},
		"formatted and others": {map[string]string{"d/data": "x", "d/notes": ""}, false, ""},
		"somebody else's":      {map[string]string{"d/thesis.tex": ""}, false, `it holds "thesis.tex"`},
		"a file":               {map[string]string{"d": "x"}, false, "neither a directory nor a block device"},
		"data is a directory":  {map[string]string{"d/data/": ""}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tree(t, dir, c.files)
			path := filepath.Join(dir, "d")
			loc, err := locate(path)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil || loc.fresh != c.fresh || loc.block || loc.path != path || loc.file != filepath.Join(path, "data") {
				t.Errorf("%+v, %v", loc, err)
			}
		})
	}
	if _, err := locate("/dev/null"); err == nil {
		t.Error("a character device was taken for a drive")
	}
	dir := t.TempDir()
	tree(t, dir, map[string]string{"x": ""})
	if _, err := locate(dir); !errors.Is(err, drive.ErrForeign) {
		t.Errorf("%v is not ErrForeign", err)
	}
	if _, err := locate(filepath.Join(dir, "x", "below")); err == nil {
		t.Error("a path below a file")
	}
}

func TestBlankDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dev")
	for name, c := range map[string]struct {
		data  []byte
		blank bool
	}{
		"zeros": {make([]byte, 1<<20), true}, "short": {make([]byte, 4096), true},
		"last byte": {append(make([]byte, 1<<20-1), 1), false}, "first byte": {append([]byte{1}, make([]byte, 4096)...), false},
	} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if blank, err := blankDevice(path); err != nil || blank != c.blank {
			t.Errorf("%s: %v, %v", name, blank, err)
		}
	}
	os.Truncate(path, 0)
	for _, path := range []string{path, path + "-absent"} {
		if _, err := blankDevice(path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

func TestLoopCPU(t *testing.T) {
	drives := func(n int) config.Config { return config.Config{PinCPUs: true, Drives: make([]string, n)} }
	upTo := func(n int) (cpus []int) {
		for i := range n {
			cpus = append(cpus, i)
		}
		return cpus
	}
	for name, c := range map[string]struct {
		cfg     config.Config
		allowed []int
		want    []int
	}{
		"one each, from the end":         {drives(2), upTo(8), []int{7, 6}},
		"only CPUs that are allowed":     {drives(2), []int{3, 5, 9, 12}, []int{12, 9}},
		"as many CPUs as drives":         {drives(2), upTo(2), []int{-1, -1}},
		"none left besides the server's": {drives(2), upTo(3), []int{-1, -1}},
		"unknown":                        {drives(1), nil, []int{-1}},
		"switched off":                   {config.Config{Drives: make([]string, 1)}, upTo(8), []int{-1}},
	} {
		for n, want := range c.want {
			if got := loopCPU(&c.cfg, c.allowed, n); got != want {
				t.Errorf("%s: drive %d on CPU %d, want %d", name, n, got, want)
			}
		}
	}
	if cpus := allowedCPUs(); len(cpus) != runtime.NumCPU() {
		t.Errorf("allowed CPUs %v, of %d", cpus, runtime.NumCPU())
	}
}

func TestLoopAlone(t *testing.T) {
	alone, copied := config.Config{}, config.Config{MetadataDirs: []string{"/copy"}}
	if !loopAlone(&alone, 1) || loopAlone(&alone, 2) || loopAlone(&copied, 1) {
		t.Error("not for a drive alone, or not only")
	}
}

func TestReserveOf(t *testing.T) {
	dir := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	tenth := int64(st.Blocks) * st.Bsize / 10
	if got := reserveOf(&config.Config{Reserve: 4096}, dir); got != 4096 {
		t.Errorf("%d", got)
	}
	if got := reserveOf(&config.Config{Reserve: 1 << 60}, dir); got != tenth {
		t.Errorf("%d, want a tenth of the file system, %d", got, tenth)
	}
	if got := reserveOf(&config.Config{Reserve: 7}, filepath.Join(dir, "absent")); got != 7 {
		t.Errorf("%d", got)
	}
	if free, err := freeBytes(dir); err != nil || free <= 0 || free > tenth*10 {
		t.Errorf("%d, %v", free, err)
	}
	if _, err := freeBytes(filepath.Join(dir, "absent")); err == nil {
		t.Error("no error for an absent directory")
	}
}

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	f, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), "another daemon uses it") {
		t.Errorf("%v", err)
	}
	f.Close()
	if f, err = lockDir(dir); err != nil {
		t.Errorf("after it was released: %v", err)
	}
	f.Close()
	if _, err := lockDir(filepath.Join(dir, "absent")); err == nil {
		t.Error("no error for an absent directory")
	}
}
