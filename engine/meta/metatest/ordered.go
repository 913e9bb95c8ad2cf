package metatest

import (
	"context"
	"errors"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/meta"
)

var errOrder = errors.New("metatest: command read after it wrote")

// Ordered wraps a command and fails it when it reads after its first write,
// which a Tx does not promise to answer with its own writes.
type Ordered struct{ Command meta.Command }

// Apply implements meta.Command.
func (o Ordered) Apply(tx meta.Tx) error {
	ot := &orderedTx{Tx: tx}
	err := o.Command.Apply(ot)
	if ot.broken {
		return errOrder
	}
	if err != nil && ot.wrote {
		return errors.Join(errOrder, err) // must check before it writes
	}
	return err
}

type orderedTx struct {
	meta.Tx
	wrote, broken bool
}

func (t *orderedTx) read() {
	if t.wrote {
		t.broken = true
	}
}

func (t *orderedTx) Get(key []byte) ([]byte, bool, error) {
	t.read()
	return t.Tx.Get(key)
}

func (t *orderedTx) Iter(lo, hi []byte) meta.Iterator {
	t.read()
	return &orderedIter{t.Tx.Iter(lo, hi), t}
}

func (t *orderedTx) Put(key, value []byte) {
	t.wrote = true
	t.Tx.Put(key, value)
}

func (t *orderedTx) PutParts(key, head, tail []byte) {
	t.wrote = true
	t.Tx.PutParts(key, head, tail)
}

func (t *orderedTx) Delete(key []byte) {
	t.wrote = true
	t.Tx.Delete(key)
}

func (t *orderedTx) AddCounter(key []byte, delta int64) {
	t.wrote = true
	t.Tx.AddCounter(key, delta)
}

type orderedIter struct {
	meta.Iterator
	t *orderedTx
}

func (i *orderedIter) Next() bool {
	i.t.read()
	return i.Iterator.Next()
}

func (i *orderedIter) SeekGE(key []byte) bool {
	i.t.read()
	return i.Iterator.SeekGE(key)
}

// mutate runs an ordered command and returns its error.
func mutate(t rapid.TB, s meta.Store, cmd meta.Command) error {
	t.Helper()
	err := s.Mutate(context.Background(), 0, Ordered{cmd})
	if errors.Is(err, errOrder) {
		t.Fatalf("%T: %v", cmd, err)
	}
	return err
}

// must runs a command that has to succeed.
func must(t rapid.TB, s meta.Store, cmd meta.Command) {
	t.Helper()
	if err := mutate(t, s, cmd); err != nil {
		t.Fatalf("%T: %v", cmd, err)
	}
}

// mustFail runs a command that has to fail with want.
func mustFail(t rapid.TB, s meta.Store, cmd meta.Command, want error) {
	t.Helper()
	if err := mutate(t, s, cmd); !errors.Is(err, want) {
		t.Fatalf("%T: %v, want %v", cmd, err, want)
	}
}

// Counting is a Reader that counts what is asked of it.
type Counting struct {
	meta.Reader
	Gets, Iters, Steps int
}

// Get implements meta.Reader.
func (c *Counting) Get(key []byte) ([]byte, bool, error) {
	c.Gets++
	return c.Reader.Get(key)
}

// Iter implements meta.Reader.
func (c *Counting) Iter(lo, hi []byte) meta.Iterator {
	c.Iters++
	return &countingIter{c.Reader.Iter(lo, hi), c}
}

type countingIter struct {
	meta.Iterator
	c *Counting
}

func (i *countingIter) Next() bool {
	i.c.Steps++
	return i.Iterator.Next()
}

func (i *countingIter) SeekGE(key []byte) bool {
	i.c.Steps++
	return i.Iterator.SeekGE(key)
}
