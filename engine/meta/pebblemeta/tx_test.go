package pebblemeta

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
)

// oneBatch has commands queue up behind one that waits, so that they share a batch.
func oneBatch(t *testing.T, s *Store, commands []meta.Command, refused error) {
	t.Helper()
	first := &blocking{make(chan struct{}), make(chan struct{}), step(func(meta.Tx) error { return nil })}
	var wg sync.WaitGroup
	do := func(c meta.Command) {
		if err := s.Mutate(context.Background(), 1, c); err != nil && !errors.Is(err, refused) {
			t.Error(err)
		}
	}
	wg.Go(func() { do(first) })
	<-first.entered
	for i, c := range commands {
		wg.Go(func() { do(c) })
		for len(s.queue) <= i {
			runtime.Gosched()
		}
	}
	close(first.leave)
	wg.Wait()
}

// TestBatchReads has commands of one batch read what those before them wrote, by keys
// and by ranges, while some of them fail.
func TestBatchReads(t *testing.T) {
	s, err := Open("m", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	refused := errors.New("refused")
	key := func() []byte { return fmt.Appendf([]byte{0, 1, 'z'}, "%02d", rng.IntN(40)) }
	counter := []byte{0, 1, 'z', 'n'}
	number := func() uint64 {
		if v, ok := model[string(counter)]; ok {
			return binary.BigEndian.Uint64([]byte(v))
		}
		return 0
	}
	command := func(readsOf, writes int, scan bool) meta.Command {
		return step(func(tx meta.Tx) error {
			for range readsOf {
				checkGet(t, tx, model, key())
			}
			checkGet(t, tx, model, counter)
			if scan {
				checkScan(t, tx, model)
			}
			next := map[string]string{}
			for range writes {
				switch k := key(); rng.IntN(3) {
				case 0:
					tx.Delete(k)
					next[string(k)] = ""
				case 1:
					tx.Put(k, k[3:])
					next[string(k)] = string(k[3:])
				default:
					tx.PutParts(k, []byte("head"), k)
					next[string(k)] = "head" + string(k)
				}
			}
			tx.AddCounter(counter, int64(writes))
			if rng.IntN(4) == 0 {
				return refused
			}
			for k, v := range next {
				if model[k] = v; v == "" {
					delete(model, k)
				}
			}
			model[string(counter)] = string(binary.BigEndian.AppendUint64(nil, number()+uint64(writes)))
			return nil
		})
	}
	for round := range 60 {
		var commands []meta.Command
		for range 1 + rng.IntN(20) {
			commands = append(commands, command(rng.IntN(3), rng.IntN(4), round%3 == 0 && rng.IntN(5) == 0))
		}
		before := s.Applied()
		oneBatch(t, s, commands, refused)
		if n := s.Applied() - before; n > 1 {
			t.Fatalf("%d batches", n)
		}
		checkScan(t, s, model)
	}
}

func checkGet(t *testing.T, r meta.Reader, model map[string]string, key []byte) {
	t.Helper()
	want, there := model[string(key)]
	v, ok, err := r.Get(key)
	if err != nil || ok != there || string(v) != want {
		t.Errorf("%q: %q %v %v, want %q %v", key, v, ok, err, want, there)
	}
}

func checkScan(t *testing.T, r meta.Reader, model map[string]string) {
	t.Helper()
	it := r.Iter([]byte{0, 1, 'z'}, []byte{0, 1, 'z' + 1})
	var got, want []string
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Error(err)
		}
		got = append(got, fmt.Sprintf("%q=%q", it.Key(), v))
	}
	if err := it.Close(); err != nil {
		t.Error(err)
	}
	for k, v := range model {
		want = append(want, fmt.Sprintf("%q=%q", k, v))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("found %v\nwant %v", got, want)
	}
}
