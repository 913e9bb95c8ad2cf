package pebblemeta

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
)

// memBackend is a store on a file system in memory that can lose power.
type memBackend struct {
	fs  *vfs.MemFS
	key *[32]byte
}

func (b *memBackend) Open() (meta.Store, error) {
	return Open("m", Options{FS: b.fs, CacheSize: 1 << 20, Key: b.key})
}

func (b *memBackend) Crash(seed int64) {
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	b.fs = b.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
}

func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &memBackend{fs: vfs.NewCrashableMem()}
		if rapid.Bool().Draw(t, "encrypted") {
			b.key = &testKey
		}
		metatest.RunMachine(t, b)
	})
}
