package iam

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// userEntry is a user as kept in memory. It is immutable once it is in the
// table. Exactly one of secret and hash is set.
type userEntry struct {
	User
	rev      int64
	secret   string // of S3 users, in the clear: every request's signature needs it
	hash     string // of the others: argon2id, see password.go
	identity *Identity
}

// shardCount keeps a shard of 100,000 users at about a hundred entries, which is
// what a change copies.
const shardCount = 1024

// userTable maps names to users. A reader hashes the name, loads one pointer and
// looks into a map that never changes. A writer copies the one shard it changes
// and swaps the pointer (read-copy-update), so that a change costs users/1024
// copied entries, not all of them. sync.Map would do the same, but boxing a
// string key into an interface allocates.
type userTable struct {
	seed   maphash.Seed
	count  atomic.Int64
	write  sync.Mutex
	shards [shardCount]atomic.Pointer[map[string]*userEntry]
}

// load fills an empty table; no one may use it before.
func (t *userTable) load(users []*userEntry) {
	t.seed = maphash.MakeSeed()
	var shards [shardCount]map[string]*userEntry
	for i := range shards {
		shards[i] = map[string]*userEntry{}
	}
	for _, u := range users {
		shards[t.index(u.Name)][u.Name] = u
	}
	for i := range shards {
		t.shards[i].Store(&shards[i])
		t.count.Add(int64(len(shards[i])))
	}
}

func (t *userTable) index(name string) uint64 { return maphash.String(t.seed, name) % shardCount }

// get returns the user or nil.
func (t *userTable) get(name string) *userEntry {
	return (*t.shards[t.index(name)].Load())[name]
}

// set puts u, or removes name when u is nil.
func (t *userTable) set(name string, u *userEntry) {
	t.write.Lock()
	defer t.write.Unlock()
	shard := &t.shards[t.index(name)]
	old := *shard.Load()
	next := make(map[string]*userEntry, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	if u != nil {
		next[name] = u
	} else {
		delete(next, name)
	}
	shard.Store(&next)
	t.count.Add(int64(len(next) - len(old)))
}

func (t *userTable) each(fn func(*userEntry)) {
	for i := range t.shards {
		for _, u := range *t.shards[i].Load() {
			fn(u)
		}
	}
}
