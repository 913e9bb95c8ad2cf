package pebblemeta

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/engine/meta"
)

// TestIterKeepsState: an iterator that meets damage goes on with what there was when it
// began, whatever was changed meanwhile, and what it gave out stays as it was.
func TestIterKeepsState(t *testing.T) {
	const n = 300
	key := func(i int) []byte { return fmt.Appendf(nil, "zz/key%04d", i) }
	value := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%04d", i), 500) } // in a blob file
	do := func(s *Store, c step) {
		t.Helper()
		if err := s.Mutate(context.Background(), 1, c); err != nil {
			t.Fatal(err)
		}
	}
	disks := newDisks(2)
	s := openDisks(t, disks, Options{})
	for i := range n {
		do(s, func(tx meta.Tx) error { tx.Put(key(i), value(i)); return nil })
		if i%15 == 14 { // more files than one place is read again
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if flip(t, disks[0], 300, 640, data) < 2 {
		t.Fatal("nothing to damage")
	}
	s = openDisks(t, disks, Options{})
	defer s.Close()
	it := s.Iter([]byte("zz/"), []byte("zz0"))
	defer it.Close()
	for i := range n {
		if !it.Next() {
			t.Fatalf("%d keys of %d: %v", i, n, it.Err())
		}
		at := it.Key()
		do(s, func(tx meta.Tx) error {
			tx.Delete(key(i))
			tx.Delete(key(i + 1))
			tx.Put(append(key(i), '+'), []byte("new"))
			return nil
		})
		v, err := it.Value()
		if err != nil || !bytes.Equal(v, value(i)) {
			t.Fatalf("value %d: %.8q… %v", i, v, err)
		}
		if !bytes.Equal(at, key(i)) || !bytes.Equal(it.Key(), key(i)) {
			t.Fatalf("key %d: %q, %q", i, at, it.Key())
		}
	}
	if it.Next() || it.Err() != nil {
		t.Errorf("%q behind the last: %v", it.Key(), it.Err())
	}
	if s.mirror.Settle(); s.mirror.Counts().Healed == 0 {
		t.Error("no damage was met")
	}
}
