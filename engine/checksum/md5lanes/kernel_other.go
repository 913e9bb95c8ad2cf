//go:build !amd64

package md5lanes

// detect returns the best kernel of this machine.
func detect() kernel { return generic }

// one advances a state by p, whole blocks and at least one.
func (k kernel) one(state *[4]uint32, p []byte) { goBlocks(state, p) }

// wide advances the states of lanes 0 to count-1 by n blocks. There is no such
// kernel here, and no batch of more than one lane.
func (k kernel) wide(int, *[4][maxLanes]uint32, *[maxLanes]*byte, int) {}
