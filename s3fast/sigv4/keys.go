package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"sync"
)

// keyCacheMax bounds the entries of a keyCache. One entry is needed for each
// access key in use, on each of its days and regions.
const keyCacheMax = 1024

// keyCache holds derived signing keys by access key, date and region, and the
// hash of the secret that they were derived from (a changed secret misses). Only
// keys that verified a signature enter, so that strangers cannot flood it. The
// zero value is ready to use.
type keyCache struct {
	mu      sync.RWMutex
	entries map[keyID]keyEntry
}

type keyID struct{ accessKey, date, region, service string }

type keyEntry struct {
	secret    [sha256.Size]byte // SHA-256 of the secret key
	key       [sha256.Size]byte
	accessKey string // copies that outlive the request
	scope     string
}

// get returns the entry of id if it was derived from the secret of that hash.
func (c *keyCache) get(id keyID, secret *[sha256.Size]byte) (keyEntry, bool) {
	c.mu.RLock()
	e, ok := c.entries[id]
	c.mu.RUnlock()
	return e, ok && subtle.ConstantTimeCompare(e.secret[:], secret[:]) == 1
}

// put adds an entry, in place of an arbitrary one if the cache is full: a wrong
// choice costs four HMACs, less than keeping an order would cost every request.
func (c *keyCache) put(id keyID, e keyEntry) {
	id = keyID{
		strings.Clone(id.accessKey), strings.Clone(id.date),
		strings.Clone(id.region), strings.Clone(id.service),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[keyID]keyEntry)
	}
	if _, ok := c.entries[id]; !ok && len(c.entries) >= keyCacheMax {
		for old := range c.entries {
			delete(c.entries, old)
			break
		}
	}
	c.entries[id] = e
}

// SigningKey derives the key that signs requests of a scope: HMACs over date
// ("20130524"), region, service and "aws4_request" in turn (AWS, "Calculating a
// Signature").
func SigningKey(secret, date, region, service string) [32]byte {
	m := getMAC()
	defer putMAC(m)
	return m.signingKey(secret, date, region, service)
}
