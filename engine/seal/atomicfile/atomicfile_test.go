package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestCreateAndReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	check := func(want string) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	if made, err := Create(path, []byte("one")); !made || err != nil {
		t.Fatalf("Create: %v, %v", made, err)
	}
	check("one")
	if made, err := Create(path, []byte("two")); made || err != nil {
		t.Fatalf("Create again: %v, %v", made, err)
	}
	check("one")
	if err := Replace(path, []byte("three")); err != nil {
		t.Fatal(err)
	}
	check("three")
	absent := filepath.Join(dir, "no", "f")
	if made, err := Create(absent, nil); made || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create without a directory: %v, %v", made, err)
	}
	if err := Replace(absent, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Replace without a directory: %v", err)
	}
}
