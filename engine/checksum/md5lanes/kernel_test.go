package md5lanes

import (
	"crypto/md5"
	"encoding"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func (k kernel) String() string {
	return [...]string{"generic", "scalar", "avx2", "avx512"}[k]
}

// kernels returns those this machine can run.
func kernels() (out []kernel) {
	for k := range detect() + 1 {
		out = append(out, k)
	}
	return out
}

// forEach runs a test with every kernel, each with a pool of its own.
func forEach(t *testing.T, test func(t *testing.T, p *pool)) {
	for _, k := range kernels() {
		t.Run(k.String(), func(t *testing.T) { test(t, newPool(k)) })
	}
}

// noise returns n bytes that differ.
func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = r.Read(p)
	return p
}

// stateOf returns the state of crypto/md5 after the whole blocks of p.
func stateOf(t *testing.T, p []byte) (out [4]uint32) {
	t.Helper()
	h := md5.New()
	_, _ = h.Write(p)
	saved, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil || string(saved[:4]) != "md5\x01" {
		t.Fatalf("crypto/md5 saves %x, %v", saved, err)
	}
	for i := range out {
		out[i] = binary.BigEndian.Uint32(saved[4+4*i:])
	}
	return out
}

func initial() [4]uint32 { return newDigest(newPool(generic)).state }

func TestOneStream(t *testing.T) {
	forEach(t, func(t *testing.T, p *pool) {
		for n := 1; n <= 9; n++ {
			data := noise(n*blockSize + 3)[3:] // unaligned
			got := initial()
			p.kernel.one(&got, data)
			if want := stateOf(t, data); got != want {
				t.Errorf("after %d blocks the state is %08x, not %08x", n, got, want)
			}
		}
	})
}

func TestWideStreams(t *testing.T) {
	forEach(t, func(t *testing.T, p *pool) {
		if p.kernel.width() == 1 {
			t.Skip("one stream at a time")
		}
		for count := 1; count <= maxLanes; count++ {
			for n := 1; n <= 5; n++ {
				wide(t, p.kernel, count, n)
			}
		}
	})
}

// wide advances count streams, each of other bytes from another state, by n
// blocks.
func wide(t *testing.T, k kernel, count, n int) {
	t.Helper()
	data := make([][]byte, maxLanes)
	var state [4][maxLanes]uint32
	var from [maxLanes]*byte
	for i := range data {
		all := noise((i+n)*blockSize + i)[i:]
		for j, v := range stateOf(t, all[:i*blockSize]) {
			state[j][i] = v
		}
		data[i], from[i] = all, &all[i*blockSize]
	}
	k.wide(count, &state, &from, n)
	for i, all := range data[:count] {
		got := [4]uint32{state[0][i], state[1][i], state[2][i], state[3][i]}
		if want := stateOf(t, all); got != want {
			t.Fatalf("of %d streams, after %d blocks, number %d has state %08x, not %08x", count, n, i, got, want)
		}
	}
}
