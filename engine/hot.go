package engine

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/sluicehq/sluice/engine/layout"
)

const (
	hotShards   = 16      // at most
	hotShardMin = 8 << 20 // bytes of a shard, where there are several
	hotPart     = 4       // the largest blob takes one of so many parts of a shard
	hotOverhead = 160     // bytes that an entry takes besides its content
	hotCells    = 4096    // counters in a row of a shard's sketch; a power of two
	hotAge      = 8 * hotCells
)

// hotCache keeps the content of small blobs that are read often. What is in it was
// verified once, when it came from a drive. Blobs are immutable and their ids are never
// used again, so nothing in it can be out of date; what is deleted is not asked for any
// more and falls out by and by.
//
// A blob gets in when it is read, and, once the cache is full, only in the place of one
// that was read far less often of late (the admission of TinyLFU, Einziger et al. 2017): a
// scan of many objects leaves it as it is. Victims are looked for by CLOCK.
//
// The memory is the garbage collector's, so readers cannot see it change. What slow
// readers keep from being collected is bounded: a shard lends no more than it may hold.
// A nil hotCache is one that holds nothing.
type hotCache struct {
	shards []hotShard
	max    int64 // bytes of a shard
}

// hotShard holds the blobs of some ids.
type hotShard struct {
	lent         atomic.Int64 // bytes in the hands of readers
	hits, misses atomic.Uint64

	mu    sync.Mutex
	blobs map[layout.BlobID]*hotBlob
	ring  []*hotBlob
	hand  int
	bytes int64
	reads [2][hotCells]uint8 // how often ids were asked for; each id has a counter in both rows
	turns int                // until the counters are halved

	_ [64]byte // the next shard is in another cache line
}

// hotBlob is an entry.
type hotBlob struct {
	id   layout.BlobID
	data []byte
	used bool // since the hand came by; guarded by the shard's mu
}

// HotStatus describes the cache of blobs that are read often.
type HotStatus struct {
	Blobs, Bytes, Max int64
	Hits, Misses      uint64
}

// newHot returns a cache of about size bytes; nil where that is too little for any.
func newHot(size int64) *hotCache {
	if size < hotOverhead*hotPart {
		return nil
	}
	n := max(1, min(hotShards, size/hotShardMin))
	c := &hotCache{shards: make([]hotShard, n), max: size / n}
	for i := range c.shards {
		c.shards[i].blobs = make(map[layout.BlobID]*hotBlob)
	}
	return c
}

// mix spreads the bits of a blob's id, half of which is a time.
func mix(id *layout.BlobID) uint64 {
	h := binary.LittleEndian.Uint64(id[8:]) ^ binary.LittleEndian.Uint64(id[:8])*0x9E3779B97F4A7C15
	h = (h ^ h>>32) * 0xD6E8FEB86659FD93
	return h ^ h>>32
}

func (c *hotCache) shard(h uint64) *hotShard { return &c.shards[h>>48%uint64(len(c.shards))] }

// fits reports whether a blob of n bytes may be in the cache.
func (c *hotCache) fits(n int64) bool { return c != nil && n > 0 && n+hotOverhead <= c.max/hotPart }

// get returns the content of a blob, which is to be given back; nil: read it from its
// drive. Every call counts as a read of the blob.
func (c *hotCache) get(id layout.BlobID) []byte {
	h := mix(&id)
	s := c.shard(h)
	s.mu.Lock()
	s.count(h)
	b := s.blobs[id]
	if b != nil {
		b.used = true
	}
	s.mu.Unlock()
	if b == nil {
		s.misses.Add(1)
		return nil
	}
	if n := int64(len(b.data)); s.lent.Add(n) > c.max {
		s.lent.Add(-n)
		s.misses.Add(1)
		return nil
	}
	s.hits.Add(1)
	return b.data
}

// giveBack ends the use of n bytes that get returned for id.
func (c *hotCache) giveBack(id layout.BlobID, n int) { c.shard(mix(&id)).lent.Add(int64(-n)) }

// offer hands the whole, verified content of a blob to the cache, which copies what it
// wants to keep.
func (c *hotCache) offer(id layout.BlobID, data []byte) {
	h := mix(&id)
	s, need := c.shard(h), int64(len(data))+hotOverhead
	s.mu.Lock()
	ok := s.blobs[id] == nil && s.admit(h, need, c.max)
	s.mu.Unlock()
	if !ok {
		return
	}
	b := &hotBlob{id: id, data: append([]byte(nil), data...)}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Others may have been as quick.
	if s.blobs[id] == nil && s.bytes+need <= c.max {
		s.blobs[id] = b
		s.ring = append(s.ring, b)
		s.bytes += need
	}
}

// admit makes room for need bytes, unless that took the place of a blob that is read at
// least half as often as the one of h: among many that are read alike, an exchange costs
// a copy and wins nothing. Holds s.mu.
func (s *hotShard) admit(h uint64, need, most int64) bool {
	reads := s.often(h)
	for s.bytes+need > most {
		s.hand %= len(s.ring)
		b := s.ring[s.hand]
		if b.used {
			b.used = false // twice round at most: nobody sets it while mu is held
			s.hand++
			continue
		}
		if 2*int(s.often(mix(&b.id))) >= int(reads) {
			s.hand++
			return false
		}
		last := len(s.ring) - 1
		s.ring[s.hand], s.ring[last] = s.ring[last], nil
		s.ring = s.ring[:last]
		delete(s.blobs, b.id)
		s.bytes -= int64(len(b.data)) + hotOverhead
	}
	return true
}

// cells returns the two counters of h.
func (s *hotShard) cells(h uint64) (a, b *uint8) {
	return &s.reads[0][h%hotCells], &s.reads[1][h>>16%hotCells]
}

// often returns about how often h was counted of late, never too little.
func (s *hotShard) often(h uint64) uint8 {
	a, b := s.cells(h)
	return min(*a, *b)
}

// count counts a read. Now and then all counts are halved, so that what was read often
// once does not stay for ever.
func (s *hotShard) count(h uint64) {
	a, b := s.cells(h)
	if n := min(*a, *b); n < 255 {
		*a, *b = max(*a, n+1), max(*b, n+1)
	}
	if s.turns++; s.turns < hotAge {
		return
	}
	s.turns = 0
	for i := range s.reads {
		for j := range s.reads[i] {
			s.reads[i][j] /= 2
		}
	}
}

// status sums up the shards.
func (c *hotCache) status() (st HotStatus) {
	if c == nil {
		return st
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Blobs, st.Bytes = st.Blobs+int64(len(s.ring)), st.Bytes+s.bytes
		s.mu.Unlock()
		st.Hits, st.Misses = st.Hits+s.hits.Load(), st.Misses+s.misses.Load()
	}
	st.Max = c.max * int64(len(c.shards))
	return st
}
