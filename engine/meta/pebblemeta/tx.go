package pebblemeta

import (
	"encoding/binary"
	"fmt"
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

type op struct {
	kind       opKind
	key, value []byte
}

// tx buffers one command's writes above the batch that the commands before it
// went to.
type tx struct {
	batch *pebble.Batch
	ops   []op
}

var _ meta.Tx = (*tx)(nil)

func (t *tx) Get(key []byte) ([]byte, bool, error) { return get(t.batch, key) }

func (t *tx) Iter(lo, hi []byte) meta.Iterator { return newIter(t.batch, lo, hi, nil) }

func (t *tx) Put(key, value []byte) { t.ops = append(t.ops, op{opPut, key, value}) }

func (t *tx) Delete(key []byte) { t.ops = append(t.ops, op{opDelete, key, nil}) }

func (t *tx) AddCounter(key []byte, delta int64) {
	t.ops = append(t.ops, op{opAdd, key, binary.BigEndian.AppendUint64(nil, uint64(delta))})
}

// run applies cmd and moves its writes to the batch. A panic of the command
// becomes an error and leaves no trace either.
func (t *tx) run(cmd meta.Command) (err error) {
	clear(t.ops)
	t.ops = t.ops[:0]
	if err := protect(func() error { return cmd.Apply(t) }); err != nil {
		return err
	}
	for i := range t.ops {
		o := &t.ops[i]
		switch o.kind {
		case opPut:
			err = t.batch.Set(o.key, o.value, nil)
		case opDelete:
			err = t.batch.Delete(o.key, nil)
		case opAdd:
			err = t.batch.Merge(o.key, o.value, nil)
		}
		if err != nil {
			return &batchError{err}
		}
	}
	return nil
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
