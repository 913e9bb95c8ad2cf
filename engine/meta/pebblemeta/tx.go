package pebblemeta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime/debug"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sluicehq/sluice/engine/meta"
)

type opKind uint8

const (
	opPut opKind = iota
	opDelete
	opAdd
)

// op is a write. The value is value and tail, one behind the other.
type op struct {
	kind             opKind
	key, value, tail []byte
}

// tx buffers one command's writes above the batch that the commands before it
// went to.
//
// Few commands read what others of their batch wrote. So the batch has no index at
// first: what it does not hold, by the hashes of its keys, is read from the store, and
// it is exchanged for one with an index when a command reads what it may hold.
type tx struct {
	s       *Store
	batch   *pebble.Batch
	indexed bool
	written map[uint64]struct{} // hashes of the keys in batch, unless it is indexed
	seed    maphash.Seed
	ops     []op
}

var _ meta.Tx = (*tx)(nil)

// manyWritten is the number of keys of a batch from which its hashes are not kept: to
// clear a large map costs a small batch more than itself.
const manyWritten = 512

func newTx(s *Store) *tx {
	return &tx{s: s, written: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
}

// begin starts a batch. The one before is not the tx's any more.
func (t *tx) begin() {
	t.batch, t.indexed = t.s.db.NewBatch(), false
	if len(t.written) > manyWritten {
		t.written = map[uint64]struct{}{}
	}
	clear(t.written)
}

func (t *tx) hash(key []byte) uint64 { return maphash.Bytes(t.seed, key) }

// index makes the batch one that can be read.
func (t *tx) index() error {
	if t.indexed {
		return nil
	}
	batch := t.s.db.NewIndexedBatch()
	if err := batch.Apply(t.batch, nil); err != nil {
		return errors.Join(err, batch.Close())
	}
	old := t.batch
	t.batch, t.indexed = batch, true
	return old.Close()
}

func (t *tx) Get(key []byte) ([]byte, bool, error) {
	if meta.Settled(key) {
		return t.s.markers.get(t, key)
	}
	return t.read(key)
}

func (t *tx) read(key []byte) ([]byte, bool, error) {
	if !t.indexed {
		if _, hit := t.written[t.hash(key)]; !hit {
			return t.s.read(t.s.db, key)
		}
		if err := t.index(); err != nil {
			return nil, false, err
		}
	}
	return t.s.read(t.batch, key)
}

func (t *tx) Iter(lo, hi []byte) meta.Iterator {
	if t.batch.Empty() {
		return t.s.newIter(t.s.db, lo, hi, nil)
	}
	if err := t.index(); err != nil {
		return &iter{err: err}
	}
	return t.s.newIter(t.batch, lo, hi, nil)
}

func (t *tx) Put(key, value []byte) { t.ops = append(t.ops, op{opPut, key, value, nil}) }

func (t *tx) PutParts(key, head, tail []byte) { t.ops = append(t.ops, op{opPut, key, head, tail}) }

func (t *tx) Delete(key []byte) { t.ops = append(t.ops, op{opDelete, key, nil, nil}) }

func (t *tx) AddCounter(key []byte, delta int64) {
	t.ops = append(t.ops, op{opAdd, key, binary.BigEndian.AppendUint64(nil, uint64(delta)), nil})
}

// run applies cmd and moves its writes to the batch. A panic of the command
// becomes an error and leaves no trace either.
func (t *tx) run(cmd meta.Command) (err error) {
	defer func() {
		clear(t.ops) // nothing of cmd is kept
		t.ops = t.ops[:0]
	}()
	if err := protect(func() error { return cmd.Apply(t) }); err != nil {
		return err
	}
	for i := range t.ops {
		if err := t.write(&t.ops[i]); err != nil {
			return &batchError{err}
		}
	}
	return nil
}

func (t *tx) write(o *op) error {
	t.s.markers.forget(o.key)
	if !t.indexed {
		t.written[t.hash(o.key)] = struct{}{}
	}
	switch o.kind {
	case opDelete:
		return t.batch.Delete(o.key, nil)
	case opAdd:
		return t.batch.Merge(o.key, o.value, nil)
	}
	d := t.batch.SetDeferred(len(o.key), len(o.value)+len(o.tail))
	copy(d.Key, o.key)
	copy(d.Value[copy(d.Value, o.value):], o.tail)
	return d.Finish()
}

// batchError is a failure that may have left part of a command in the batch.
type batchError struct{ error }

func (e *batchError) Unwrap() error { return e.error }

// panicError is a panic turned into an error.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("metadata: panic: %v", e.value) }

func protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return fn()
}
