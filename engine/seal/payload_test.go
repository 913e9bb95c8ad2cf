package seal

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"
)

func filled(n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// sealAll returns the stored form of plain.
func sealAll(k *DataKey, place Place, plain []byte) []byte {
	p := k.Payload(place, int64(len(plain)))
	var out []byte
	for i := range p.Chunks() {
		chunk := make([]byte, p.Stored(i))
		n := copy(chunk[:len(chunk)-TagSize], plain)
		plain = plain[n:]
		p.Seal(i, chunk)
		out = append(out, chunk...)
	}
	return out
}

// openRange opens plain bytes [off, off+n) of a payload of size plain bytes.
func openRange(k *DataKey, place Place, stored []byte, size, off, n int64) ([]byte, error) {
	p := k.Payload(place, size)
	lo, hi, i := CipherRange(size, off, n)
	if hi > int64(len(stored)) {
		return nil, ErrPayload
	}
	stored = bytes.Clone(stored[lo:hi])
	skip := off - i*ChunkPlain
	var out []byte
	for ; len(stored) > 0; i++ {
		k := min(p.Stored(i), len(stored))
		plain, err := p.Open(i, stored[:k])
		if err != nil {
			return out, err
		}
		out, stored = append(out, plain...), stored[k:]
	}
	return out[skip : skip+n], nil
}

func TestSizes(t *testing.T) {
	for plain, want := range map[int64]int64{
		-1: 0, 0: 0, 1: 17, ChunkPlain: ChunkStored, ChunkPlain + 1: ChunkStored + 17, 2 * ChunkPlain: 2 * ChunkStored,
		5 << 40: 5<<40 + (5<<40/ChunkPlain+1)*TagSize,
	} {
		if got := CipherSize(plain); got != want {
			t.Errorf("CipherSize(%d) = %d, want %d", plain, got, want)
		}
		p := (&DataKey{}).Payload(Place{}, plain)
		if n := p.Chunks(); n > 0 && (n-1)*ChunkStored+int64(p.Stored(n-1)) != want || p.Stored(n) != 0 || p.Stored(-1) != 0 {
			t.Errorf("%d bytes in %d chunks, the last of %d", plain, n, p.Stored(n-1))
		}
	}
}

// Every range of every payload comes back, and no chunk is read that does not
// hold a byte of it.
func TestRanges(t *testing.T) {
	k, place := NewDataKey(), Place{1, [16]byte{2}, 3}
	rapid.Check(t, func(t *rapid.T) {
		around := func(label string, most int64) int64 {
			at := rapid.Int64Range(0, 3).Draw(t, label+" chunk") * ChunkPlain
			return min(max(at+rapid.Int64Range(-2, 2).Draw(t, label), 0), most)
		}
		size := max(around("size", 1<<20), 1)
		off := around("off", size-1)
		n := max(min(around("n", size), size-off), 1)
		plain := filled(size)
		stored := sealAll(&k, place, plain)
		if int64(len(stored)) != CipherSize(size) {
			t.Fatalf("%d bytes stored of %d, want %d", len(stored), size, CipherSize(size))
		}
		got, err := openRange(&k, place, stored, size, off, n)
		if err != nil || !bytes.Equal(got, plain[off:off+n]) {
			t.Fatalf("%d+%d of %d: %v", off, n, size, err)
		}
		lo, hi, _ := CipherRange(size, off, n)
		if first, last := off/ChunkPlain, (off+n-1)/ChunkPlain; (hi-lo+ChunkStored-1)/ChunkStored != last-first+1 {
			t.Fatalf("%d+%d of %d: stored bytes %d to %d", off, n, size, lo, hi)
		}
	})
}

// Whatever is not the payload as it was sealed, in its place, does not open.
func TestTampering(t *testing.T) {
	k, place := NewDataKey(), Place{1, [16]byte{2}, 3}
	const size = 2*ChunkPlain + 100
	plain := filled(size)
	stored := sealAll(&k, place, plain)
	all := func(k *DataKey, place Place, stored []byte, size int64) error {
		_, err := openRange(k, place, stored, size, 0, size)
		return err
	}
	if err := all(&k, place, stored, size); err != nil {
		t.Fatal(err)
	}
	swapped := append(append(append([]byte(nil), stored[ChunkStored:2*ChunkStored]...), stored[:ChunkStored]...), stored[2*ChunkStored:]...)
	other := NewDataKey()
	part, blob, bucket := place, place, place
	part.Part, blob.Blob[15], bucket.Bucket = 4, 1, 2
	for name, err := range map[string]error{
		"chunks swapped":   all(&k, place, swapped, size),
		"another key":      all(&other, place, stored, size),
		"another part":     all(&k, part, stored, size),
		"another blob":     all(&k, blob, stored, size),
		"another bucket":   all(&k, bucket, stored, size),
		"cut at a chunk":   all(&k, place, stored[:2*ChunkStored], 2*ChunkPlain),
		"one chunk only":   all(&k, place, stored[:ChunkStored], ChunkPlain),
		"cut in a chunk":   all(&k, place, stored[:len(stored)-1], size-1),
		"a chunk repeated": all(&k, place, append(bytes.Clone(stored[:ChunkStored]), stored...), size+ChunkPlain),
	} {
		if !errors.Is(err, ErrPayload) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, i := range []int{0, ChunkPlain - 1, ChunkPlain, ChunkStored - 1, ChunkStored, 2 * ChunkStored, len(stored) - 17, len(stored) - 1} {
		bad := bytes.Clone(stored)
		bad[i] ^= 0x80
		if err := all(&k, place, bad, size); !errors.Is(err, ErrPayload) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	// The same plain bytes look different in every blob and chunk.
	if same := sealAll(&k, blob, plain); bytes.Equal(same[:64], stored[:64]) {
		t.Error("two blobs have the same key stream")
	}
	p := k.Payload(place, size)
	if _, err := p.Open(3, make([]byte, 17)); !errors.Is(err, ErrPayload) {
		t.Errorf("no such chunk: %v", err)
	}
	if _, err := p.Open(0, make([]byte, 17)); !errors.Is(err, ErrPayload) {
		t.Errorf("short chunk: %v", err)
	}
}

// What version 1 stored is read for ever.
func TestPayloadFixture(t *testing.T) {
	k := DataKey{[32]byte{5, 31: 6}}
	stored := sealAll(&k, Place{300, [16]byte{1, 15: 2}, 7}, filled(2*ChunkPlain+5))
	if got := fmt.Sprintf("%x %x %x", stored[:8], stored[len(stored)-21:], xxh3.Hash(stored)); got != payloadFixture {
		t.Errorf("stored %q, want %q", got, payloadFixture)
	}
}

func TestNoAllocation(t *testing.T) {
	k := NewDataKey()
	p := k.Payload(Place{}, 1<<30)
	chunk := make([]byte, ChunkStored)
	if n := testing.AllocsPerRun(10, func() {
		p.Seal(3, chunk)
		if _, err := p.Open(3, chunk); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per chunk", n)
	}
}

// Any bytes given as a chunk either open to what was sealed or do not open.
func FuzzChunk(f *testing.F) {
	k, place := DataKey{[32]byte{1}}, Place{1, [16]byte{2}, 0}
	plain := filled(ChunkPlain + 40)
	stored := sealAll(&k, place, plain)
	f.Add(int64(0), stored[:ChunkStored])
	f.Add(int64(1), stored[ChunkStored:])
	f.Add(int64(-1), []byte{})
	f.Fuzz(func(t *testing.T, i int64, chunk []byte) {
		p := k.Payload(place, int64(len(plain)))
		got, err := p.Open(i, bytes.Clone(chunk))
		if err != nil {
			return
		}
		if at := i * ChunkPlain; !bytes.Equal(got, plain[at:at+int64(len(got))]) {
			t.Fatal("something else came out")
		}
	})
}
