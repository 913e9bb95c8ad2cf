package seal

import (
	"crypto/rand"
	"fmt"
	"testing"
)

// BenchmarkChunk measures the cipher alone, for several chunk sizes: a smaller
// chunk costs more tags and calls, a larger one makes small ranges dearer.
func BenchmarkChunk(b *testing.B) {
	k := NewDataKey()
	for _, kib := range []int{4, 16, 32, 64, 128, 256} {
		aead := k.Payload(Place{}, 1<<40).aead
		buf := make([]byte, kib<<10)
		_, _ = rand.Read(buf)
		var nonce [12]byte
		n := len(buf) - TagSize
		b.Run(fmt.Sprintf("seal/%dKiB", kib), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				aead.Seal(buf[:0], nonce[:], buf[:n], nil)
			}
		})
	}
}

func BenchmarkPayload(b *testing.B) {
	k := NewDataKey()
	const size = 1 << 40
	p := k.Payload(Place{}, size)
	chunk := make([]byte, ChunkStored)
	box := make([]byte, ChunkStored)
	p.Seal(1, box)
	b.Run("seal", func(b *testing.B) {
		b.SetBytes(ChunkPlain)
		b.ReportAllocs()
		for b.Loop() {
			p.Seal(1, chunk)
		}
	})
	b.Run("open", func(b *testing.B) { // with the copy that puts the box back
		b.SetBytes(ChunkPlain)
		b.ReportAllocs()
		for b.Loop() {
			copy(chunk, box)
			if _, err := p.Open(1, chunk); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			k.Payload(Place{}, 4096)
		}
	})
	b.Run("wrap", func(b *testing.B) {
		b.ReportAllocs()
		kek := [32]byte{1}
		for b.Loop() {
			k.Wrap(&kek, []byte("binding of an object"))
		}
	})
}
