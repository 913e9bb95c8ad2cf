package pebblemeta

import (
	"bytes"
	"errors"
	"fmt"
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

// read is get, which is done again where it finds damage that another copy of the
// file may not have.
func (s *Store) read(r pebble.Reader, key []byte) ([]byte, bool, error) {
	for try := 0; ; try++ {
		v, ok, err := get(r, key)
		if err == nil || !s.again(err, try) {
			return v, ok, err
		}
	}
}

// iter adapts a Pebble iterator. Where that finds damage, it goes on with another one
// of the same state at the same place, as long as another copy of the file may be
// better. release, if any, runs once on Close.
type iter struct {
	s       *Store
	from    pebble.Reader
	lo, hi  []byte
	it      *pebble.Iterator
	begun   bool
	tries   int    // since it last got on
	at      []byte // the present key
	err     error
	release func()
}

func (s *Store) newIter(r pebble.Reader, lo, hi []byte, release func()) *iter {
	i := &iter{s: s, from: r, lo: lo, hi: hi, release: release}
	i.open()
	return i
}

func (i *iter) open() {
	i.it, i.err = i.from.NewIter(&pebble.IterOptions{LowerBound: i.lo, UpperBound: i.hi})
	for i.err != nil && i.s.again(i.err, i.tries) {
		i.tries++
		i.it, i.err = i.from.NewIter(&pebble.IterOptions{LowerBound: i.lo, UpperBound: i.hi})
	}
}

// reopen tells whether there is a new iterator in the place of one that failed.
func (i *iter) reopen(err error) bool {
	if err == nil || !i.s.again(err, i.tries) {
		return false
	}
	i.tries++
	old := i.it
	// Not a new one of the store: between two keys that would be another state.
	i.it, i.err = old.Clone(pebble.CloneOptions{})
	for i.err != nil && i.s.again(i.err, i.tries) {
		i.tries++
		i.it, i.err = old.Clone(pebble.CloneOptions{})
	}
	_ = old.Close() // its error is err
	return i.err == nil
}

// move does fn, again if it failed on damage, and notes the key.
func (i *iter) move(fn func() bool) bool {
	ok := fn()
	for !ok && i.reopen(i.it.Error()) {
		ok = fn()
	}
	if i.err != nil || !ok {
		return false
	}
	i.arrived()
	return true
}

// arrived notes the key, and that there may be as much damage again before the next
// one: a long iterator crosses many files.
func (i *iter) arrived() {
	i.at = append(i.at[:0], i.it.Key()...)
	i.tries = 0
}

func (i *iter) Next() bool {
	switch {
	case i.err != nil:
		return false
	case !i.begun:
		i.begun = true
		return i.move(func() bool { return i.it.First() })
	}
	if i.it.Next() {
		i.arrived()
		return true
	}
	if i.it.Error() == nil || !i.reopen(i.it.Error()) {
		return false
	}
	next := append(bytes.Clone(i.at), 0) // the first key behind the last one
	return i.move(func() bool { return i.it.SeekGE(next) })
}

func (i *iter) SeekGE(key []byte) bool {
	if i.err != nil {
		return false
	}
	i.begun = true
	return i.move(func() bool { return i.it.SeekGE(key) })
}

// Key is not Pebble's memory, which Value may exchange for another iterator's.
func (i *iter) Key() []byte { return i.at }

func (i *iter) Value() ([]byte, error) {
	if i.err != nil {
		return nil, i.err
	}
	v, err := i.it.ValueAndErr()
	for err != nil && i.reopen(err) {
		if !i.it.SeekGE(i.at) || !bytes.Equal(i.it.Key(), i.at) {
			if err = i.it.Error(); err == nil {
				err = fmt.Errorf("%w: a key is not there when it is read again", meta.ErrBadRecord)
			}
			continue
		}
		v, err = i.it.ValueAndErr()
	}
	return v, err
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
	return n.s.read(n.snap, key)
}

func (n *snapshot) Iter(lo, hi []byte) meta.Iterator {
	if n.snap == nil || !n.s.enter() {
		return &iter{err: meta.ErrClosed}
	}
	return n.s.newIter(n.snap, lo, hi, n.s.leave)
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
