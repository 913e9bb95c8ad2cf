package md5lanes

// quantum is how many blocks the lanes advance at a time: 16 KiB each, so that
// sixteen leave room in the L2 cache, and some 25 µs, after which others join and
// the leader may leave.
const quantum = 16 << 10 / blockSize

// crumb is the blocks below which a lane is hashed alone where others have more: that
// takes less than the turn which it costs everybody to go no further than it.
const crumb = 8

// lane is one Digest of a batch.
type lane struct {
	digest *Digest
	rest   []byte // of the oldest piece
	done   int    // bytes of the piece taken in the run
	turn   int    // bytes since it was added
}

// batch is what a leader hashes side by side: lanes 0 to count-1, lane 0 its own
// Digest. The states of the Digests are here while they are.
type batch struct {
	kernel kernel
	count  int
	spare  int // its part of pool.spare
	lane   [maxLanes]lane
	state  [4][maxLanes]uint32
	from   [maxLanes]*byte
	tokens int
	wakers [maxLanes + 2]*Digest
}

// add gives the next free lane to d, which has bytes queued and is in no list.
func (b *batch) add(d *Digest) {
	d.place = inLane
	b.lane[b.count] = lane{digest: d, rest: d.pieces[d.first]}
	b.load(b.count)
	b.count++
}

// remove takes lane i away and returns its Digest; the last lane moves there.
func (b *batch) remove(i int) *Digest {
	d := b.lane[i].digest
	b.store(i)
	b.count--
	if i != b.count {
		b.store(b.count)
		b.lane[i] = b.lane[b.count]
		b.load(i)
	}
	b.lane[b.count] = lane{}
	return d
}

func (b *batch) load(i int) {
	for j, v := range b.lane[i].digest.state {
		b.state[j][i] = v
	}
}

func (b *batch) store(i int) {
	for j := range b.state {
		b.lane[i].digest.state[j] = b.state[j][i]
	}
}

// token notes that the owner of d is to be woken. What does not fit is sent: it
// cannot block.
func (b *batch) token(d *Digest) {
	if b.tokens == len(b.wakers) {
		b.sendTokens()
	}
	b.wakers[b.tokens] = d
	b.tokens++
}

// sendTokens wakes who was noted, best without a lock.
func (b *batch) sendTokens() {
	for i := range b.tokens {
		select {
		case b.wakers[i].wake <- struct{}{}:
		default:
		}
		b.wakers[i] = nil
	}
	b.tokens = 0
}

// run advances all lanes by as many blocks as each has, at most a quantum, and
// takes what is less than a block at the end of a piece over into the tail. Lanes
// with few blocks are done with those before, where others have more.
func (b *batch) run() {
	most := 0
	for i := range b.count {
		b.topUp(i)
		most = max(most, len(b.lane[i].rest)/blockSize)
	}
	blocks, busy := quantum, 0
	for i := range b.count {
		switch n := len(b.lane[i].rest) / blockSize; {
		case n == 0:
		case n < crumb && most >= crumb:
			b.one(i, b.lane[i].rest[:n*blockSize])
			b.lane[i].took(n * blockSize)
		default:
			blocks = min(blocks, n)
			busy++
		}
	}
	switch {
	case busy == 1:
		for i := range b.count {
			if rest := b.lane[i].rest; len(rest) >= blockSize {
				b.one(i, rest[:blocks*blockSize])
				b.lane[i].took(blocks * blockSize)
			}
		}
	case busy > 1:
		b.wide(blocks)
	}
	for i := range b.count {
		if rest := b.lane[i].rest; len(rest) < blockSize {
			d := b.lane[i].digest
			d.tailLen += copy(d.tail[d.tailLen:], rest)
			b.lane[i].took(len(rest))
		}
	}
}

// wide advances the lanes that have blocks.
func (b *batch) wide(blocks int) {
	var some *byte
	for i := range b.count {
		if rest := b.lane[i].rest; len(rest) >= blockSize {
			some = &rest[0]
			b.from[i] = some
		}
	}
	// A lane without blocks hashes those of another, for nothing.
	for i := range b.from {
		if i >= b.count {
			b.from[i] = some
		} else if len(b.lane[i].rest) < blockSize {
			b.store(i)
			b.from[i] = some
		}
	}
	b.kernel.wide(b.count, &b.state, &b.from, blocks)
	clear(b.from[:])
	for i := range b.count {
		if len(b.lane[i].rest) < blockSize {
			b.load(i)
		} else {
			b.lane[i].took(blocks * blockSize)
		}
	}
}

// topUp completes the unfinished block of lane i.
func (b *batch) topUp(i int) {
	d, x := b.lane[i].digest, &b.lane[i]
	if d.tailLen == 0 {
		return
	}
	n := copy(d.tail[d.tailLen:], x.rest)
	d.tailLen += n
	x.took(n)
	if d.tailLen == blockSize {
		b.one(i, d.tail[:])
		d.tailLen = 0
	}
}

// one advances lane i alone by the whole blocks of p.
func (b *batch) one(i int, p []byte) {
	state := [4]uint32{b.state[0][i], b.state[1][i], b.state[2][i], b.state[3][i]}
	b.kernel.one(&state, p)
	for j, v := range state {
		b.state[j][i] = v
	}
}

func (x *lane) took(n int) {
	x.rest = x.rest[n:]
	x.done += n
}
