package kms

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLocalFile(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	path := filepath.Join(dir, "kek.keys")
	if _, err := OpenLocal(path, "main", false); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), path) {
		t.Fatalf("absent: %v", err)
	}
	if _, err := OpenLocal(filepath.Join(dir, "no", "kek"), "main", true); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no directory: %v", err)
	}
	l, err := OpenLocal(path, "main", true)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	wrapped, err := l.Wrap(ctx, "main", []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocal(path, "second", false); !errors.Is(err, ErrNoKey) {
		t.Errorf("another name: %v", err)
	}
	if _, err := OpenLocal(path, "second", true); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Rotate(ctx, "main"); err != nil { // keeps what the other added
		t.Fatal(err)
	}
	again, err := OpenLocal(path, "second", false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Unwrap(ctx, "main", wrapped, nil); err != nil || string(got) != "secret" {
		t.Errorf("after reopening: %q, %v", got, err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLocal(path, "main", true); !errors.Is(err, ErrKeyMode) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := OpenLocal(dir, "main", true); !errors.Is(err, ErrKeyFile) {
		t.Errorf("directory: %v", err)
	}
}

// TestLocalLost moves the file away under a Local that is in use.
func TestLocalLost(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kek.keys")
	l, err := OpenLocal(path, "main", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if st := l.Status(ctx); st.Healthy || !strings.Contains(st.Error, "missing") {
		t.Errorf("status without the file: %+v", st)
	}
	if _, err := l.Wrap(ctx, "main", []byte("x"), nil); err != nil {
		t.Errorf("the keys in memory still work: %v", err)
	}
	if _, err := l.Rotate(ctx, "main"); !errors.Is(err, ErrNoKey) {
		t.Errorf("rotate without the file: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a new file took the lost one's place")
	}
	if _, err := OpenLocal(path, "main", true); err != nil { // somebody makes another
		t.Fatal(err)
	}
	if _, err := l.Rotate(ctx, "main"); !errors.Is(err, ErrNoKey) {
		t.Errorf("rotate in another file: %v", err)
	}
	if st := l.Status(ctx); st.Healthy {
		t.Errorf("status with another file: %+v", st)
	}
}

func TestLocalSymlink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "stick", "kek"), filepath.Join(dir, "kek")
	if err := os.Mkdir(filepath.Dir(real), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocal(real, "main", true); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLocal(link, "main", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Rotate(context.Background(), "main"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
	}
	if keys, err := readKeyFile(real); err != nil || len(keys["main"]) != 2 {
		t.Errorf("%d versions: %v", len(keys["main"]), err)
	}
}

func TestLocalAtOnce(t *testing.T) {
	ctx := context.Background()
	l, err := OpenLocal(filepath.Join(t.TempDir(), "kek"), "main", true)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				w, err := l.Wrap(ctx, "main", []byte("x"), nil)
				if err != nil {
					t.Error(err)
				}
				if _, err := l.Rotate(ctx, "main"); err != nil {
					t.Error(err)
				}
				if _, err := l.Unwrap(ctx, "main", w, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if st := l.Status(ctx); st.Version != 21 || !st.Healthy {
		t.Errorf("%+v", st)
	}
}

func TestKeyFileText(t *testing.T) {
	digits := strings.Repeat("0f", 32)
	good := kekPrefix + "a:1:" + digits
	for text, ok := range map[string]bool{
		good: true,
		"# c\n\n  " + kekPrefix + "a:2:" + digits + " \r\n" + good: true,
		good + "\n" + kekPrefix + "b.c_d-e:4294967295:" + digits:   true,
		"":                                       false,
		"# only a comment\n":                     false,
		digits:                                   false,
		good + "\n" + good:                       false,
		kekPrefix + "a:0:" + digits:              false,
		kekPrefix + "a:01:" + digits:             false,
		kekPrefix + "a:+1:" + digits:             false,
		kekPrefix + "a:4294967296:" + digits:     false,
		kekPrefix + "a:1:" + digits[2:]:          false,
		kekPrefix + "a:1:" + digits + "00":       false,
		kekPrefix + "a:1:zz" + digits[2:]:        false,
		kekPrefix + ":1:" + digits:               false,
		kekPrefix + "-a:1:" + digits:             false,
		kekPrefix + "a b:1:" + digits:            false,
		kekPrefix + "a:1:x:" + digits:            false,
		good + strings.Repeat("\n", maxKeyFile):  false,
		strings.Repeat("n", 65) + ":1:" + digits: false,
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readKeyFile(path)
		if ok != (err == nil) || !ok && !errors.Is(err, ErrKeyFile) {
			t.Errorf("%q: %v", text[:min(len(text), 90)], err)
		}
		if err != nil && strings.Contains(err.Error(), "0f0f") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

// A key wrapped by version 1 of the format opens forever.
func TestLocalFixture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	text := fmt.Sprintf("%smain:3:%x\n", kekPrefix, bytes.Repeat([]byte{0x42}, 32))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLocal(path, "main", false)
	if err != nil {
		t.Fatal(err)
	}
	box, err := hex.DecodeString(localFixture)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.Unwrap(context.Background(), "main", box, []byte("use")); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add((keySet{"a": {{1, [32]byte{1}}, {7, [32]byte{2}}}, "b": {{2, [32]byte{}}}}).format())
	f.Add([]byte(kekPrefix + "a:1:00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text)
		if err != nil {
			return
		}
		again, err := parseKeys(keys.format())
		if err != nil || again.holds(keys) != nil || keys.holds(again) != nil {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	l := &Local{name: "k", keys: keySet{"k": {{1, [32]byte{1}}}}, lost: map[string]uint32{}}
	box, err := l.Wrap(context.Background(), "k", []byte("plain"), []byte("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(box, []byte("a"))
	f.Add([]byte{1}, []byte{})
	f.Fuzz(func(t *testing.T, box, aad []byte) {
		if plain, err := l.Unwrap(context.Background(), "k", box, aad); err == nil && len(plain)+localBox != len(box) {
			t.Fatal("length")
		}
	})
}

// TestKeysAreNotPrinted prints what holds keys.
func TestKeysAreNotPrinted(t *testing.T) {
	l, err := OpenLocal(filepath.Join(t.TempDir(), "k"), "a", true)
	if err != nil {
		t.Fatal(err)
	}
	key := l.keys["a"][0].key
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, v := range []any{l, *l.keys["a"].find(1), l.keys} {
			s := fmt.Sprintf(format, v)
			if strings.Contains(s, fmt.Sprintf("%x", key[:4])) || strings.Contains(s, fmt.Sprintf("%d %d %d", key[0], key[1], key[2])) ||
				strings.Contains(s, fmt.Sprintf("0x%x, 0x%x, 0x%x", key[0], key[1], key[2])) {
				t.Errorf("%s of %T tells the key", format, v)
			}
		}
	}
}

// TestLocalOlderFile puts an older key file back: versions that something was
// wrapped by are missed, and no new key takes their numbers, so that the two files
// can be put together.
func TestLocalOlderFile(t *testing.T) {
	ctx, plain, aad := context.Background(), make([]byte, 32), []byte("use")
	path := filepath.Join(t.TempDir(), "keys")
	open := func() *Local {
		t.Helper()
		l, err := OpenLocal(path, "a", true)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	older, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Rotate(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := l.Create(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	boxes := map[string][]byte{}
	wrap := func(l *Local, id, name string) {
		t.Helper()
		if boxes[id], err = l.Wrap(ctx, name, plain, aad); err != nil {
			t.Fatal(err)
		}
	}
	wrap(l, "a2", "a")
	wrap(l, "b1", "b")
	newer, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, older, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	l = open()
	for _, id := range []string{"a2", "b1"} {
		if _, err := l.Unwrap(ctx, id[:1], boxes[id], aad); !errors.Is(err, ErrNoKey) {
			t.Errorf("%s: %v", id, err)
		}
	}
	far := bytes.Clone(boxes["a2"])
	copy(far[1:], "\xff\xff\xff\xff") // damaged
	if _, err := l.Unwrap(ctx, "a", far, aad); !errors.Is(err, ErrNoKey) {
		t.Errorf("a version far ahead: %v", err)
	}
	if v, err := l.Rotate(ctx, "a"); err != nil || v != 3 {
		t.Errorf("rotated to version %d, %v", v, err)
	}
	if err := l.Create(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	wrap(l, "a3", "a")
	wrap(l, "b2", "b")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(newer) {
		if !bytes.Contains(text, line) {
			text = append(text, line...)
		}
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	l = open()
	for id, box := range boxes {
		if got, err := l.Unwrap(ctx, id[:1], box, aad); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s from both files: %v", id, err)
		}
	}
}
