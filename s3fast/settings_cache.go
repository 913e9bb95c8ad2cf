package s3fast

import (
	"sync"

	"github.com/sluicehq/sluice/engine/meta"
)

// Bounds of the settings cache.
const (
	settingsShards = 16
	shardEntries   = 8192    // 131,072 buckets in all
	shardWeight    = 8 << 20 // bytes; 128 MiB in all
	settingsFixed  = 256     // bytes of an entry
)

// settingsCache keeps compiled settings by bucket. It is bounded; who is thrown
// out is left to chance, since reading settings again is cheap.
//
// A load that a change overtook must not install what it read before: turn
// counts the changes of a shard, and put is told the turn that get saw. No lock
// is held while documents are read.
type settingsCache struct {
	shards [settingsShards]settingsShard
}

type settingsShard struct {
	mu     sync.RWMutex
	byID   map[meta.BucketID]*settings
	weight int
	turn   uint64
}

func (c *settingsCache) shard(id meta.BucketID) *settingsShard {
	return &c.shards[uint64(id)*0x9E3779B97F4A7C15>>60%settingsShards]
}

// get returns the settings, or nil and the turn for put.
func (c *settingsCache) get(id meta.BucketID) (*settings, uint64) {
	shard := c.shard(id)
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	return shard.byID[id], shard.turn
}

// put keeps what was loaded, unless something of the shard changed since turn.
func (c *settingsCache) put(id meta.BucketID, set *settings, turn uint64) {
	shard := c.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.turn != turn || shard.byID[id] != nil {
		return
	}
	if shard.byID == nil {
		shard.byID = make(map[meta.BucketID]*settings)
	}
	shard.weight += set.size()
	for victim := range shard.byID {
		if len(shard.byID) < shardEntries && shard.weight <= shardWeight {
			break
		}
		shard.drop(victim)
	}
	shard.byID[id] = set
}

// forget makes the next get read the settings again.
func (c *settingsCache) forget(id meta.BucketID) {
	shard := c.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.turn++
	shard.drop(id)
}

// drop removes an entry. mu must be held.
func (shard *settingsShard) drop(id meta.BucketID) {
	if set := shard.byID[id]; set != nil {
		shard.weight -= set.size()
		delete(shard.byID, id)
	}
}

// size estimates the memory that settings take, in bytes.
func (set *settings) size() int { return settingsFixed + len(set.policyDoc) + set.policySize }
