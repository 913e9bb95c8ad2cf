package pebblemeta

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
)

var testKey = [32]byte{1, 2, 3, 31: 9}

// bothWays runs a test on a plain store and on an encrypted one.
func bothWays(t *testing.T, fn func(t *testing.T, key *[32]byte)) {
	t.Run("plain", func(t *testing.T) { fn(t, nil) })
	t.Run("encrypted", func(t *testing.T) { fn(t, &testKey) })
}

func TestSuite(t *testing.T) {
	bothWays(t, func(t *testing.T, key *[32]byte) {
		metatest.Run(t, func(t *testing.T) meta.Store {
			s, err := Open("m", Options{FS: vfs.NewMem(), Key: key})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	})
}
