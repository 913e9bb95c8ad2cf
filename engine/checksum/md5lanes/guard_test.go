//go:build linux

package md5lanes

import (
	"crypto/md5"
	"testing"

	"golang.org/x/sys/unix"
)

// fenced returns n bytes that end, or if not atEnd begin, at memory that must not
// be touched.
func fenced(t *testing.T, n int, atEnd bool) []byte {
	t.Helper()
	page := unix.Getpagesize()
	inner := (n + page - 1) / page * page
	all, err := unix.Mmap(-1, 0, inner+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(all); err != nil {
			t.Error(err)
		}
	})
	for _, fence := range [][]byte{all[:page], all[page+inner:]} {
		if err := unix.Mprotect(fence, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	out := all[page : page+n]
	if atEnd {
		out = all[page+inner-n : page+inner]
	}
	copy(out, noise(n))
	return out
}

// TestNothingOutsideThePiecesIsRead would end with a fault.
func TestNothingOutsideThePiecesIsRead(t *testing.T) {
	sizes := []int{1, 63, 64, 65, 128, 4096, 5000, 20_480}
	var pieces [][]byte
	for _, n := range sizes {
		pieces = append(pieces, fenced(t, n, false), fenced(t, n, true))
	}
	forEach(t, func(t *testing.T, p *pool) {
		for first := range pieces {
			for _, count := range []int{1, 2, 8, 9, len(pieces)} {
				digests := make([]*Digest, count)
				for i := range digests {
					digests[i] = newDigest(p)
					digests[i].Start(pieces[(first+i)%len(pieces)])
				}
				for i, d := range digests {
					if got, want := d.Sum(), md5.Sum(pieces[(first+i)%len(pieces)]); got != want {
						t.Fatalf("of %d streams from number %d, number %d has MD5 %x, not %x", count, first, i, got, want)
					}
				}
			}
		}
	})
}
