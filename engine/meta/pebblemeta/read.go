package pebblemeta

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sluicehq/sluice/engine/meta"
)

func get(r pebble.Reader, key []byte) ([]byte, bool, error) {
	v, closer, err := r.Get(key)
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, false, nil
		}
		return nil, false, err
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, true, closer.Close()
}

// iter adapts a Pebble iterator. release, if any, runs once on Close.
type iter struct {
	it      *pebble.Iterator
	begun   bool
	err     error
	release func()
}

func newIter(r pebble.Reader, lo, hi []byte, release func()) *iter {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	return &iter{it: it, err: err, release: release}
}

func (i *iter) Next() bool {
	if i.err != nil {
		return false
	}
	if !i.begun {
		i.begun = true
		return i.it.First()
	}
	return i.it.Next()
}

func (i *iter) SeekGE(key []byte) bool {
	if i.err != nil {
		return false
	}
	i.begun = true
	return i.it.SeekGE(key)
}

func (i *iter) Key() []byte { return i.it.Key() }

func (i *iter) Value() ([]byte, error) {
	if i.err != nil {
		return nil, i.err
	}
	return i.it.ValueAndErr()
}

func (i *iter) Err() error {
	if i.err != nil {
		return i.err
	}
	return i.it.Error()
}

func (i *iter) Close() error {
	err := i.err
	if i.it != nil {
		err = errors.Join(err, i.it.Close())
		i.it = nil
	}
	i.err = meta.ErrClosed
	if i.release != nil {
		i.release()
		i.release = nil
	}
	return err
}

// snapshot is a Snapshot that keeps the store from closing.
type snapshot struct {
	s    *Store
	snap *pebble.Snapshot
	once sync.Once
}

func (n *snapshot) Get(key []byte) ([]byte, bool, error) {
	if n.snap == nil {
		return nil, false, meta.ErrClosed
	}
	return get(n.snap, key)
}

func (n *snapshot) Iter(lo, hi []byte) meta.Iterator {
	if n.snap == nil || !n.s.enter() {
		return &iter{err: meta.ErrClosed}
	}
	return newIter(n.snap, lo, hi, n.s.leave)
}

func (n *snapshot) Close() (err error) {
	if n.snap == nil {
		return nil
	}
	n.once.Do(func() {
		defer n.s.leave()
		if e, ok := guarded(n.s, n.snap.Close); ok {
			err = e
		}
	})
	return err
}
