package seal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSealOpen(t *testing.T) {
	key, other := NewKey([32]byte{1}), NewKey([32]byte{2})
	for _, plain := range []string{"", "x", strings.Repeat("secret", 100)} {
		box := key.Seal("user/alice/secret", []byte(plain))
		if len(box) != len(plain)+overhead {
			t.Fatalf("box of %d bytes for %d", len(box), len(plain))
		}
		got, err := key.Open("user/alice/secret", box)
		if err != nil || string(got) != plain {
			t.Fatalf("Open = %q, %v", got, err)
		}
		if _, err := key.Open("user/bob/secret", box); !errors.Is(err, ErrOpen) {
			t.Errorf("other context: %v", err)
		}
		if _, err := other.Open("user/alice/secret", box); !errors.Is(err, ErrOpen) {
			t.Errorf("other key: %v", err)
		}
		for i := range box {
			bad := bytes.Clone(box)
			bad[i] ^= 1
			if _, err := key.Open("user/alice/secret", bad); !errors.Is(err, ErrOpen) {
				t.Fatalf("byte %d flipped: %v", i, err)
			}
			if _, err := key.Open("user/alice/secret", box[:i]); !errors.Is(err, ErrOpen) {
				t.Fatalf("cut to %d: %v", i, err)
			}
		}
		if bytes.Equal(box, key.Seal("user/alice/secret", []byte(plain))) {
			t.Error("two boxes are equal")
		}
	}
}

// A box of version 1 opens forever, and the fingerprint of a key never changes.
func TestFixture(t *testing.T) {
	key := NewKey([32]byte{0: 7, 31: 9})
	if got, want := key.Fingerprint(), fixtureFingerprint; got != want {
		t.Errorf("Fingerprint = %s, want %s", got, want)
	}
	plain, err := key.Open("fixture", []byte(fixtureBox))
	if err != nil || string(plain) != "hello" {
		t.Errorf("Open = %q, %v", plain, err)
	}
	if NewKey([32]byte{1}).Fingerprint() == key.Fingerprint() {
		t.Error("keys share a fingerprint")
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cluster.key")
	if _, err := LoadOrCreate(path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("absent: %v", err)
	}
	if _, err := LoadOrCreate(filepath.Join(dir, "no", "key"), true); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no directory: %v", err)
	}
	key, err := LoadOrCreate(path, true)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, err := LoadOrCreate(path, true)
	if err != nil || again.Fingerprint() != key.Fingerprint() {
		t.Fatalf("second load: %v", err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreate(path, true); !errors.Is(err, ErrKeyMode) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := LoadOrCreate(dir, true); !errors.Is(err, ErrKeyFile) {
		t.Errorf("directory: %v", err)
	}
}

func TestKeyFileText(t *testing.T) {
	digits := strings.Repeat("0f", 32)
	for text, ok := range map[string]bool{
		keyPrefix + digits:                         true,
		"# c\n\n  " + keyPrefix + digits + " \r\n": true,
		keyPrefix + strings.ToUpper(digits) + "\n": true,
		"":                            false,
		"# only a comment\n":          false,
		digits:                        false,
		keyPrefix + digits[:62]:       false,
		keyPrefix + digits + "00":     false,
		keyPrefix + "zz" + digits[2:]: false,
		keyPrefix + digits + "\n" + keyPrefix + digits:        false,
		keyPrefix + digits + strings.Repeat("\n", keyFileMax): false,
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreate(path, true)
		if ok != (err == nil) || !ok && !errors.Is(err, ErrKeyFile) {
			t.Errorf("%q: %v", text[:min(len(text), 90)], err)
		}
		if err != nil && strings.Contains(err.Error(), "0f0f") {
			t.Errorf("error tells the key: %v", err)
		}
		if now, _ := os.ReadFile(path); string(now) != text {
			t.Errorf("%q: file was changed", text[:min(len(text), 90)])
		}
	}
}

func TestCreateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var wg sync.WaitGroup
	prints := make([]string, 8)
	for i := range prints {
		wg.Go(func() {
			key, err := LoadOrCreate(path, true)
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = key.Fingerprint()
		})
	}
	wg.Wait()
	for _, p := range prints {
		if p != prints[0] {
			t.Fatalf("different keys: %v", prints)
		}
	}
}

func FuzzOpen(f *testing.F) {
	key := NewKey([32]byte{3})
	f.Add("c", key.Seal("c", []byte("plain")))
	f.Add("", []byte{1})
	f.Fuzz(func(t *testing.T, context string, box []byte) {
		if plain, err := key.Open(context, box); err == nil && len(plain)+overhead != len(box) {
			t.Fatal("length")
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(formatKey([32]byte{1, 2}))
	f.Add([]byte("#\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		raw, err := parseKey(text)
		if err != nil {
			return
		}
		if again, err := parseKey(formatKey(raw)); err != nil || again != raw {
			t.Fatalf("round trip: %v", err)
		}
	})
}
