package pebblemeta

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDamagedMagic: an encrypted file whose magic is damaged does not pass for a plain
// one; nothing encrypts it once more, so that it is as it was when the byte is mended.
func TestDamagedMagic(t *testing.T) {
	for _, damage := range [][]int64{{0}, {3, 9, 20}, {0, 40, 70}} {
		disks := newDisks(1)
		b, acked := settled(t, disks, &testKey)
		damaged := func() {
			names, err := disks[0].mem.List(disks[0].dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if !data(name) {
					continue
				}
				f, err := disks[0].mem.OpenReadWrite(disks[0].mem.PathJoin(disks[0].dir, name), vfs.WriteCategoryUnspecified)
				if err != nil {
					t.Fatal(err)
				}
				for _, off := range damage {
					var p [1]byte
					_, err := f.ReadAt(p[:], off)
					p[0] ^= 1
					_, e := f.WriteAt(p[:], off)
					if err := errors.Join(err, e); err != nil {
						t.Fatal(err)
					}
				}
				if err := errors.Join(f.Sync(), f.Close()); err != nil {
					t.Fatal(err)
				}
			}
		}
		damaged()
		if s, err := Open(disks[0].dir, mirrored(disks, Options{Key: &testKey})); err == nil {
			_ = s.Close() // the damage may not be met
		}
		damaged() // mends it
		s := openDisks(t, disks, Options{Key: &testKey})
		readEverything(t, s, &b, acked)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
