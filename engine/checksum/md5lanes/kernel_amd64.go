package md5lanes

import "github.com/klauspost/cpuid/v2"

// detect returns the best kernel of this machine.
func detect() kernel {
	switch {
	case cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512VL):
		return avx512
	case cpuid.CPU.Supports(cpuid.AVX2):
		return avx2
	}
	return scalar
}

// one advances a state by p, whole blocks and at least one.
func (k kernel) one(state *[4]uint32, p []byte) {
	n := len(p) / blockSize
	switch k {
	case avx512:
		singleBlocks(state, &p[0], n)
	case avx2, scalar:
		scalarBlocks(state, &p[0], n)
	default:
		goBlocks(state, p)
	}
}

// wide advances the states of lanes 0 to count-1 by n > 0 blocks from their
// places. All places are read; the states of the other lanes become undefined.
func (k kernel) wide(count int, state *[4][maxLanes]uint32, from *[maxLanes]*byte, n int) {
	switch {
	case k == avx512 && count > 8:
		wide512x2Blocks(state, from, n)
	case k == avx512:
		wide512x1Blocks(state, from, n)
	case count > 8:
		wide256x2Blocks(state, from, n)
	default:
		wide256x1Blocks(state, from, n)
	}
}

//go:noescape
func scalarBlocks(state *[4]uint32, p *byte, n int)

//go:noescape
func singleBlocks(state *[4]uint32, p *byte, n int)

//go:noescape
func wide512x1Blocks(state *[4][16]uint32, p *[16]*byte, n int)

//go:noescape
func wide512x2Blocks(state *[4][16]uint32, p *[16]*byte, n int)

//go:noescape
func wide256x1Blocks(state *[4][16]uint32, p *[16]*byte, n int)

//go:noescape
func wide256x2Blocks(state *[4][16]uint32, p *[16]*byte, n int)
