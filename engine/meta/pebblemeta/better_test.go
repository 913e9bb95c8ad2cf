package pebblemeta

import (
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// numberedLog calls a function whose parameter's type cannot be named here.
func numberedLog[N ~uint64](fn func(io.Writer, N, record.LogWriterConfig) *record.LogWriter, f vfs.File, n uint64, cfg record.LogWriterConfig) *record.LogWriter {
	return fn(f, N(n), cfg)
}

// writeLog makes a log of n records that was closed, and returns its size.
func writeLog(t *testing.T, fs vfs.FS, name string, n int) int64 {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	w := numberedLog(record.NewLogWriter, f, 4, record.LogWriterConfig{WriteWALSyncOffsets: func() bool { return true }})
	for i := range n {
		if _, err := w.WriteRecord(fmt.Appendf(nil, "record %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := fs.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// countLog returns how many records a log has, and how it ends: io.EOF if cleanly.
func countLog(t *testing.T, fs vfs.FS, name string) (n int, end error) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := numbered64(record.NewReader, f, 4)
	for ; ; n++ {
		rec, err := r.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, rec)
		}
		if err != nil {
			return n, err
		}
	}
}

// TestBetter: of two logs one is taken that has every record and a clean end,
// whichever comes first, also where the other lost nothing but the mark of its end.
func TestBetter(t *testing.T) {
	const name = "000004.log"
	for _, records := range []int{0, 1, 30} {
		whole := vfs.NewMem()
		size := writeLog(t, whole, name, records)
		for off := range size {
			for _, cut := range []bool{false, true} {
				fs := vfs.NewMem()
				writeLog(t, fs, name, records)
				damage(t, fs, name, off, cut)
				s := newStore("", slog.New(slog.DiscardHandler))
				s.crypt = newCryptFS(fs, nil)
				for _, views := range [][]vfs.FS{{fs, whole}, {whole, fs}} {
					if n, end := countLog(t, views[s.better(name, views)], name); n != records || end != io.EOF {
						t.Errorf("%d records, damaged at %d of %d, cut %v: %d are left, then %v", records, off, size, cut, n, end)
					}
				}
			}
		}
	}
}

// damage changes the byte at off, or cuts the file off there.
func damage(t *testing.T, fs vfs.FS, name string, off int64, cut bool) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if cut {
		text = text[:off]
	} else {
		text[off] ^= 0x40
	}
	f, err = fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
