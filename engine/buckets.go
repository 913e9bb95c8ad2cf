package engine

import (
	"context"
	"errors"
	"sync"

	"github.com/sluicehq/sluice/engine/meta"
)

// maxCachedBuckets bounds the bucket cache; beyond it the cache starts afresh.
const maxCachedBuckets = 100_000

// bucketCache keeps bucket records by name. A record loaded while another
// bucket call was under way is used but not kept.
type bucketCache struct {
	mu     sync.RWMutex
	byName map[string]meta.Bucket
	turn   uint64 // counts invalidations
}

func (c *bucketCache) get(name string) (meta.Bucket, bool, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	b, ok := c.byName[name]
	return b, ok, c.turn
}

// put keeps b unless something was invalidated since turn.
func (c *bucketCache) put(b meta.Bucket, turn uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn != turn {
		return
	}
	if c.byName == nil || len(c.byName) >= maxCachedBuckets {
		c.byName = make(map[string]meta.Bucket)
	}
	c.byName[b.Name] = b
}

func (c *bucketCache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	delete(c.byName, name)
}

// forgetOn forgets a bucket whose record proved stale.
func (c *bucketCache) forgetOn(err error, name string) {
	if errors.Is(err, meta.ErrNoBucket) {
		c.forget(name)
	}
}

// bucket returns a bucket's record, without counters.
func (e *Engine) bucket(name string) (meta.Bucket, error) {
	b, ok, turn := e.buckets.get(name)
	if ok {
		return b, nil
	}
	b, err := meta.GetBucket(e.store, name)
	if err != nil {
		return b, err
	}
	b.Objects, b.Bytes = 0, 0
	e.buckets.put(b, turn)
	return b, nil
}

// CreateBucket makes a bucket. When the name is taken it returns the existing
// record with an error of kind BucketExists.
func (e *Engine) CreateBucket(ctx context.Context, name, owner, location string) (meta.Bucket, error) {
	if err := e.gate.enter(); err != nil {
		return meta.Bucket{}, wrap("create bucket", err)
	}
	defer e.gate.leave()
	if err := e.metaSpace.check(); err != nil {
		return meta.Bucket{}, wrap("create bucket", err)
	}
	cmd := &meta.CreateBucket{Bucket: meta.Bucket{Name: name, Owner: owner, Location: location, Created: e.now().UnixNano()}}
	err := e.mutate(ctx, 0, cmd)
	e.buckets.forget(name)
	switch {
	case err == nil, errors.Is(err, meta.ErrBucketExists):
		return cmd.Result, wrap("create bucket", err)
	}
	return meta.Bucket{}, wrap("create bucket", err)
}

// DeleteBucket removes an empty bucket.
func (e *Engine) DeleteBucket(ctx context.Context, name string) error {
	if err := e.gate.enter(); err != nil {
		return wrap("delete bucket", err)
	}
	defer e.gate.leave()
	err := e.mutate(ctx, 0, &meta.DeleteBucket{Name: name})
	e.buckets.forget(name)
	return wrap("delete bucket", err)
}

// Bucket returns a bucket's record. It is served from memory, and so without
// the counters Objects and Bytes, which ListBuckets fills in.
func (e *Engine) Bucket(ctx context.Context, name string) (meta.Bucket, error) {
	if err := e.gate.enter(); err != nil {
		return meta.Bucket{}, wrap("bucket", err)
	}
	defer e.gate.leave()
	b, err := e.bucket(name)
	return b, wrap("bucket", err)
}

// ListBuckets returns up to max buckets with names greater than after.
func (e *Engine) ListBuckets(ctx context.Context, after string, max int) ([]meta.Bucket, error) {
	if err := e.gate.enter(); err != nil {
		return nil, wrap("list buckets", err)
	}
	defer e.gate.leave()
	var list []meta.Bucket
	if max <= 0 {
		return nil, nil
	}
	err := meta.ListBuckets(e.store, after, func(b meta.Bucket) bool {
		list = append(list, b)
		return len(list) < max
	})
	return list, wrap("list buckets", err)
}
