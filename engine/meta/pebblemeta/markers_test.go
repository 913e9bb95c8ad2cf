package pebblemeta

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
)

// step is a command made of a function.
type step func(tx meta.Tx) error

func (s step) Apply(tx meta.Tx) error { return s(tx) }

// TestMarkers changes a key that is kept at hand, in batches of one command and of
// many, by commands that succeed and that fail: each sees what those before it left.
func TestMarkers(t *testing.T) {
	s, err := Open("m", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key := []byte{0, 9, 'e', 1}
	if !meta.Settled(key) {
		t.Fatal("not a key that is kept at hand")
	}
	refused := errors.New("refused")
	want := func(value string) meta.Command {
		return step(func(tx meta.Tx) error {
			v, ok, err := tx.Get(key)
			if err != nil || ok != (value != "") || string(v) != value {
				t.Errorf("found %q, %v: %v; want %q", v, ok, err, value)
			}
			if ok {
				v[0] = '!' // a copy: nobody else sees it
			}
			return err
		})
	}
	put := func(value string, result error) meta.Command {
		return step(func(tx meta.Tx) error {
			tx.Put(key, []byte(value))
			return result
		})
	}
	remove := step(func(tx meta.Tx) error { tx.Delete(key); return nil })
	commands := []meta.Command{
		want(""), put("a", nil), want("a"), want("a"), put("b", refused), want("a"),
		put("c", nil), want("c"), remove, want(""), want(""), put("d", nil), want("d"),
	}
	do := func(c meta.Command) {
		if err := s.Mutate(context.Background(), 1, c); err != nil && err != refused {
			t.Error(err)
		}
	}
	for _, c := range commands {
		do(c)
	}
	do(remove)
	oneBatch(t, s, commands, refused)
	if v, ok, err := s.Get(key); err != nil || !ok || string(v) != "d" {
		t.Errorf("in the end: %q %v %v", v, ok, err)
	}
}
