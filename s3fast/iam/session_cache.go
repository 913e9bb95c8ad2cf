package iam

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// The cache of sessions keeps sessionSets × sessionWays of them; with tokens of
// usual size about 1 KiB each, with the largest 8 KiB and the compiled policy. A
// session whose policy takes more than sessionMost bytes, as odd ones of 2 KB can,
// is not kept but compiled anew for each request.
const (
	sessionSets = 1024
	sessionWays = 4
	sessionMost = 32 << 10
)

// sessionEntry is an opened session, immutable. It holds what it was compiled
// from: see Manager.current.
type sessionEntry struct {
	accessKey, token, secret string

	master    *masterKey
	user      *userEntry    // nil: a web identity
	account   *accountEntry // nil: of no service account
	policyGen uint64        // counts for web identities
	identity  *Identity
	size      int // of the compiled inline policy, bytes
}

// sessionCache maps access keys to opened sessions, without a lock: sets of a few
// slots, each replaced as a whole. Losing an entry costs opening its token again.
type sessionCache struct {
	seed   maphash.Seed
	victim atomic.Uint32
	slots  [sessionSets][sessionWays]atomic.Pointer[sessionEntry]
}

func (c *sessionCache) empty() { c.seed = maphash.MakeSeed() }

func (c *sessionCache) set(accessKey string) *[sessionWays]atomic.Pointer[sessionEntry] {
	return &c.slots[maphash.String(c.seed, accessKey)%sessionSets]
}

func (c *sessionCache) get(accessKey string) *sessionEntry {
	set := c.set(accessKey)
	for i := range set {
		if e := set[i].Load(); e != nil && e.accessKey == accessKey {
			return e
		}
	}
	return nil
}

// put keeps e in place of what has its access key, else in a slot that is free or
// holds an expired session, else in place of another.
func (c *sessionCache) put(e *sessionEntry, now time.Time) {
	set := c.set(e.accessKey)
	slot := -1
	for i := range set {
		old := set[i].Load()
		if old != nil && old.accessKey == e.accessKey {
			slot = i
			break
		}
		if old == nil || !now.Before(old.identity.Expires) {
			slot = i
		}
	}
	if slot < 0 {
		slot = int(c.victim.Add(1) % sessionWays)
	}
	set[slot].Store(e)
}
