package pebblemeta

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/meta"
)

// readAll reads a file; one that Pebble has removed since it was listed is empty.
func readAll(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// plainFiles names the files of a store that show what they hold.
func plainFiles(t testing.TB, fs vfs.FS, dir string) (found []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data := readAll(t, fs, fs.PathJoin(dir, name))
		if len(data) > 0 && !bytes.HasPrefix(data, []byte(cryptMagic)) {
			found = append(found, fmt.Sprintf("%s (%d bytes)", name, len(data)))
		}
	}
	return found
}

// TestCryptFile compares a file of an encrypted file system with the bytes that
// were written to it: whatever the pieces, and read from anywhere.
func TestCryptFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewMem()
		fs := newCryptFS(mem, newStoreKey(&testKey))
		defer fs.close()
		w, err := fs.Create("000001.sst", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 20_000), 0, 8).Draw(t, "pieces") {
			piece := make([]byte, n)
			for i := range piece {
				piece[i] = byte(rand.Uint32())
			}
			want = append(want, piece...)
			if m, err := w.Write(piece); m != n || err != nil { // spoils piece
				t.Fatal(m, err)
			}
		}
		if info, err := w.Stat(); err != nil || info.Size() != int64(len(want)) {
			t.Fatalf("size %d, want %d: %v", info.Size(), len(want), err)
		}
		if err := errors.Join(w.SyncData(), w.Close()); err != nil {
			t.Fatal(err)
		}
		r, err := fs.Open("000001.sst", vfs.RandomReadsOption)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, info := range []func() (vfs.FileInfo, error){r.Stat, func() (vfs.FileInfo, error) { return fs.Stat("000001.sst") }} {
			if info, err := info(); err != nil || info.Size() != int64(len(want)) {
				t.Fatalf("size %d, want %d: %v", info.Size(), len(want), err)
			}
		}
		for range 8 {
			off := rapid.IntRange(0, len(want)).Draw(t, "off")
			p := make([]byte, rapid.IntRange(0, 9000).Draw(t, "len"))
			n, err := r.ReadAt(p, int64(off))
			if !bytes.Equal(p[:n], want[off:min(off+len(p), len(want))]) {
				t.Fatalf("ReadAt(%d, %d) differs", off, len(p))
			}
			if (err == io.EOF) != (off+len(p) > len(want)) && len(p) > 0 && off < len(want) || err != nil && err != io.EOF {
				t.Fatalf("ReadAt(%d of %d, %d): %v", off, len(want), len(p), err)
			}
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read through: %v", err)
		}
	})
}

// TestReuse writes a log's file anew: its old bytes are neither shown by the file
// system nor kept where the old file was plain.
func TestReuse(t *testing.T) {
	old := bytes.Repeat([]byte("old record "), 5000)
	anew := []byte("what is new") // too long to be in the cipher text by chance
	for _, encrypted := range []bool{false, true} {
		mem := vfs.NewMem()
		fs := newCryptFS(mem, nil)
		if encrypted {
			fs = newCryptFS(mem, newStoreKey(&testKey))
		}
		write := func(f vfs.File, err error, data []byte) {
			t.Helper()
			if err == nil {
				_, err = f.Write(bytes.Clone(data))
			}
			if err == nil {
				err = errors.Join(f.Sync(), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		f, err := fs.Create("1.log", vfs.WriteCategoryUnspecified)
		write(f, err, old)
		before := readAll(t, mem, "1.log")
		fs = newCryptFS(mem, newStoreKey(&testKey))
		f, err = fs.ReuseForWrite("1.log", "2.log", vfs.WriteCategoryUnspecified)
		write(f, err, anew)
		got, raw := readAll(t, fs, "2.log"), readAll(t, mem, "2.log")
		if !bytes.HasPrefix(got, anew) || bytes.Contains(got, []byte("old record")) {
			t.Errorf("encrypted %v: reads %.40q", encrypted, got)
		}
		if bytes.Contains(raw, []byte("old record")) || bytes.Contains(raw, anew) {
			t.Errorf("encrypted %v: plain text on the drive", encrypted)
		}
		if encrypted && (len(raw) != len(before) || bytes.Equal(raw[:headerUsed], before[:headerUsed])) {
			t.Error("the blocks were not used again, or the header was")
		}
		if _, err := mem.Stat("1.log"); err == nil {
			t.Error("the old name is still there")
		}
	}
}

// TestReuseDamaged: damage of a log that holds nothing any more does not end the
// service.
func TestReuseDamaged(t *testing.T) {
	mem := vfs.NewMem()
	fs := newCryptFS(mem, newStoreKey(&testKey))
	f, err := fs.Create("1.log", vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write([]byte("old record"))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	raw := readAll(t, mem, "1.log")
	raw[headerMACed] ^= 1
	f, err = mem.Create("1.log", vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(raw)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	f, err = fs.ReuseForWrite("1.log", "2.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte("new"))
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, fs, "2.log"); string(got) != "new" {
		t.Errorf("reads %q", got)
	}
}

func TestWhatIsNotSupported(t *testing.T) {
	fs := newCryptFS(vfs.NewMem(), newStoreKey(&testKey))
	w, err := fs.Create("1.sst", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	r, err := fs.Open("1.sst")
	if err != nil {
		t.Fatal(err)
	}
	_, e1 := fs.OpenReadWrite("2", vfs.WriteCategoryUnspecified)
	_, e2 := w.WriteAt([]byte("x"), 0)
	_, e3 := w.ReadAt([]byte("x"), 0)
	_, e4 := w.Read([]byte("x"))
	_, e5 := r.Write([]byte("x"))
	_, e6 := r.WriteAt([]byte("x"), 0)
	_, e7 := r.SyncTo(0)
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7, r.Preallocate(0, 1)} {
		if !errors.Is(err, vfs.ErrUnsupported) {
			t.Errorf("%d: %v", i+1, err)
		}
	}
}

// shortFile writes less than it is given.
type shortFile struct {
	vfs.File
	room int
}

func (f *shortFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p[:min(f.room, len(p))])
	f.room -= n
	return n, err
}

// TestFailedWrite: behind a write that failed nothing is written, since the key
// stream would pass the same place twice.
func TestFailedWrite(t *testing.T) {
	for _, room := range []int{0, 50, cryptHeader, cryptHeader + 3} {
		fs := newCryptFS(vfs.NewMem(), newStoreKey(&testKey))
		inner, err := fs.FS.Create("1.log", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		short := &shortFile{inner, room}
		w := fs.writer("1.log", short)
		if _, err := w.Write([]byte("hello")); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d: %v", room, err)
		}
		short.room = 1 << 20
		if n, err := w.Write([]byte("again")); n != 0 || !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d: wrote %d bytes more: %v", room, n, err)
		}
	}
}

// TestBlindFd: what Pebble gets as descriptor shows and takes nothing.
func TestBlindFd(t *testing.T) {
	fs := newCryptFS(vfs.Default, newStoreKey(&testKey))
	defer fs.close()
	path := t.TempDir() + "/1.log"
	w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Preallocate(0, 1<<20); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SyncTo(5); err != nil {
		t.Error(err)
	}
	r, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		t.Fatal(err)
	}
	if w.Fd() != fs.null.Fd() || r.Fd() != fs.null.Fd() {
		t.Errorf("descriptors %d and %d, want that of the null device, %d", w.Fd(), r.Fd(), fs.null.Fd())
	}
	_ = r.Prefetch(0, 5) // Pebble's own returns the errno 0 as an error
	if got, err := io.ReadAll(r); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if err := errors.Join(w.Close(), r.Close()); err != nil {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	mem := vfs.NewMem()
	open := func(key *[32]byte) (*Store, error) { return Open("m", Options{FS: mem, Key: key}) }
	s, err := open(&testKey)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Encrypted() {
		t.Error("not encrypted")
	}
	b := createBucket(t, s)
	if err := s.Encrypt(context.Background(), &testKey); err != nil {
		t.Errorf("encrypting again: %v", err)
	}
	other := [32]byte{5}
	if err := s.Encrypt(context.Background(), &other); !errors.Is(err, ErrWrongKey) {
		t.Errorf("encrypting with another key: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Encrypt(context.Background(), &testKey); !errors.Is(err, meta.ErrClosed) {
		t.Errorf("encrypting a closed store: %v", err)
	}
	if _, err := open(nil); !errors.Is(err, ErrEncrypted) {
		t.Errorf("no key: %v", err)
	}
	if _, err := open(&other); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	if s, err = open(&testKey); err != nil { // the failures left no lock
		t.Fatal(err)
	}
	if _, err := meta.GetBucket(s, b.Name); err != nil {
		t.Error(err)
	}
	if _, err := open(&testKey); err == nil {
		t.Error("opened twice")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestHeader damages each byte of a header in use.
func TestHeader(t *testing.T) {
	k := newStoreKey(&testKey)
	h, _ := k.newHeader()
	if got, _, err := k.parseHeader(h[:headerUsed]); got != kindEncrypted || err != nil {
		t.Fatal(got, err)
	}
	for i := range headerUsed {
		bad := bytes.Clone(h)
		bad[i] ^= 1
		_, _, err := k.parseHeader(bad)
		if !errors.Is(err, ErrBadHeader) && !errors.Is(err, ErrWrongKey) && !errors.Is(err, meta.ErrNewer) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for n := range headerUsed {
		want := kindCut
		if n < len(cryptMagic) {
			want = kindPlain
		}
		if got, _, err := k.parseHeader(h[:n]); got != want || err != nil {
			t.Errorf("%d bytes: %v %v", n, got, err)
		}
	}
}

// A file that was made with version 1 opens forever.
func TestCryptFixture(t *testing.T) {
	raw, err := hex.DecodeString(strings.ReplaceAll(cryptFixture, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	mem := vfs.NewMem()
	f, err := mem.Create("f", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw[:headerUsed:headerUsed], append(make([]byte, cryptHeader-headerUsed), raw[headerUsed:]...)...)
	if _, err := f.Write(raw); err != nil {
		t.Fatal(err)
	}
	fs := newCryptFS(mem, newStoreKey(&testKey))
	if got := readAll(t, fs, "f"); string(got) != "The quick brown fox jumps over the lazy dog" {
		t.Errorf("%q", got)
	}
}

func FuzzHeader(f *testing.F) {
	k := newStoreKey(&testKey)
	h, _ := k.newHeader()
	f.Add(h[:headerUsed])
	f.Add([]byte(cryptMagic))
	f.Fuzz(func(t *testing.T, h []byte) {
		got, block, err := k.parseHeader(h)
		if (block != nil) != (err == nil && got == kindEncrypted) {
			t.Fatal(got, err)
		}
		if _, _, err := (*storeKey)(nil).parseHeader(h); err != nil && !errors.Is(err, ErrEncrypted) {
			t.Fatal(err)
		}
	})
}
