package s3fast

import (
	"errors"
	"testing"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

// isCode reports whether err is the S3 error code.
func isCode(err error, code *s3err.Code) bool {
	var e *s3err.Error
	return errors.As(err, &e) && e.Code == code
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		header      string
		size        int64
		parsed      bool
		off, n      int64
		satisfiable bool
	}{
		{"bytes=0-0", 10, true, 0, 1, true},
		{"bytes=0-9", 10, true, 0, 10, true},
		{"bytes=0-10", 10, true, 0, 10, true},
		{"bytes=9-", 10, true, 9, 1, true},
		{"bytes=10-", 10, true, 0, 0, false},
		{"bytes=-3", 10, true, 7, 3, true},
		{"bytes=-30", 10, true, 0, 10, true},
		{"bytes=-0", 10, true, 0, 0, false},
		{"bytes=0-", 0, true, 0, 0, false},
		{"bytes=-1", 0, true, 0, 0, false},
		{"Bytes = 2-4", 10, true, 2, 3, true},
		{"bytes=2-99999999999999999999999", 10, true, 2, 8, true},
		{"bytes=99999999999999999999999-", 10, true, 0, 0, false},
		{"bytes=-99999999999999999999999", 10, true, 0, 10, true},
		// Ignored: the whole object is answered.
		{"bytes=5-2", 10, false, 0, 0, false},
		{"bytes=0-1,3-4", 10, false, 0, 0, false},
		{"bytes=-", 10, false, 0, 0, false},
		{"bytes=a-b", 10, false, 0, 0, false},
		{"bytes=+1-2", 10, false, 0, 0, false},
		{"bytes=1--2", 10, false, 0, 0, false},
		{"bytes", 10, false, 0, 0, false},
		{"items=0-1", 10, false, 0, 0, false},
		{"", 10, false, 0, 0, false},
	} {
		br, ok := parseRange(c.header)
		if ok != c.parsed {
			t.Errorf("%q: parsed %v", c.header, ok)
			continue
		}
		if !ok {
			continue
		}
		off, n, ok := br.resolve(c.size)
		if ok != c.satisfiable || ok && (off != c.off || n != c.n) {
			t.Errorf("%q of %d: %d+%d %v, want %d+%d %v", c.header, c.size, off, n, ok, c.off, c.n, c.satisfiable)
		}
	}
}

func TestCopyRange(t *testing.T) {
	for _, c := range []struct {
		header string
		off, n int64 // n 0: refused
	}{
		{"bytes=0-9", 0, 10},
		{"bytes=9-9", 9, 1},
		{"bytes=0-10", 0, 0},
		{"bytes=5-", 0, 0},
		{"bytes=-5", 0, 0},
		{"bytes=5-4", 0, 0},
		{"bytes=0-1,2-3", 0, 0},
		{"0-9", 0, 0},
		{"bytes=0-99999999999999999999", 0, 0},
	} {
		off, n, err := parseCopyRange(c.header, 10)
		if c.n == 0 {
			if !isCode(err, s3err.InvalidArgument) {
				t.Errorf("%q: %v", c.header, err)
			}
			continue
		}
		if err != nil || off != c.off || n != c.n {
			t.Errorf("%q: %d+%d, %v", c.header, off, n, err)
		}
	}
}

// A range that resolves always lies within the object.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=7-", "bytes=18446744073709551615-", "bytes=-0", "=", "bytes=1-2,3-4"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, h string, size int64) {
		if size < 0 {
			return
		}
		if br, ok := parseRange(h); ok {
			off, n, ok := br.resolve(size)
			if ok && (off < 0 || n < 1 || off > size-n) {
				t.Fatalf("%q of %d: %d+%d", h, size, off, n)
			}
		}
		if off, n, err := parseCopyRange(h, size); err == nil && (off < 0 || n < 1 || off > size-n) {
			t.Fatalf("copy %q of %d: %d+%d", h, size, off, n)
		}
	})
}
