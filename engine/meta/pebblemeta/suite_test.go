package pebblemeta

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
)

func TestSuite(t *testing.T) {
	metatest.Run(t, func(t *testing.T) meta.Store {
		s, err := Open("m", Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
