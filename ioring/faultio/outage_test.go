package faultio_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

func TestOutages(t *testing.T) {
	for _, c := range []struct {
		name                           string
		o                              faultio.Outage
		read, write, sync, grow, limit error
	}{
		{"gone", faultio.Gone, faultio.ErrGone, faultio.ErrGone, faultio.ErrGone, faultio.ErrGone, faultio.ErrGone},
		{"read-only", faultio.ReadOnly, nil, faultio.ErrReadOnly, faultio.ErrReadOnly, faultio.ErrReadOnly, nil},
		{"full", faultio.Full, nil, ioring.ErrNoSpace, nil, ioring.ErrNoSpace, nil},
	} {
		b := newBench(t, faultio.Options{})
		b.must(b.write(0, 4096, 'a'))
		b.dev.Break(c.o)
		_, limitErr := b.dev.Limit()
		for name, got := range map[string][2]error{
			"write": {b.write(0, 4096, 'b'), c.write},
			"read":  {b.do(&ioring.Op{Code: ioring.OpRead, Buf: b.buf, Hi: 4096}), c.read},
			"grow":  {b.dev.Grow(t.Context(), 2<<20), c.grow},
			"limit": {limitErr, c.limit},
			"less":  {b.dev.Grow(t.Context(), 4096), nil},
		} {
			if !errors.Is(got[0], got[1]) || got[1] == nil && got[0] != nil {
				t.Errorf("%s, %s: %v", c.name, name, got[0])
			}
		}
		if err := b.sync(); !errors.Is(err, c.sync) {
			t.Errorf("%s, sync: %v", c.name, err)
		}
		b.dev.Heal()
		if got := b.read(0, 4096); got[0] != 'a' {
			t.Errorf("%s: a refused write was performed", c.name)
		}
		if err := b.write(0, 4096, 'c'); c.sync == nil && err != nil || c.sync != nil && !errors.Is(err, ioring.ErrFailed) {
			t.Errorf("%s, a write afterwards: %v", c.name, err) // a failed sync is final
		}
	}
}

// TestHung: nothing is answered, Grow included, until the device is healed.
func TestHung(t *testing.T) {
	b := newBench(t, faultio.Options{})
	b.dev.Break(faultio.Hung)
	done := make(chan error, 3)
	copy(b.buf.Bytes(), bytes.Repeat([]byte{'h'}, 4096))
	go func() { done <- b.do(&ioring.Op{Code: ioring.OpWrite, Buf: b.buf, Hi: 4096}) }()
	go func() { done <- b.sync() }()
	go func() { done <- b.dev.Grow(context.Background(), 2<<20) }()
	for end := time.Now().Add(10 * time.Second); b.dev.Stats().InFlight != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", b.dev.Stats())
		}
	}
	select {
	case err := <-done:
		t.Fatalf("answered: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	b.dev.Heal()
	for range 3 {
		b.must(<-done)
	}
	if got := b.read(0, 4096); got[0] != 'h' || b.dev.Size() != 2<<20 {
		t.Errorf("read %q, size %d", got[0], b.dev.Size())
	}
}

// TestEndOfHungDevice: power loss and the end of the process do not wait.
func TestEndOfHungDevice(t *testing.T) {
	cause := errors.New("given up")
	start := func(seed uint64) (*bench, *ioring.Op) {
		b := newBench(t, faultio.Options{Depth: 1, Seed: seed})
		b.dev.Break(faultio.Hung)
		copy(b.buf.Bytes(), bytes.Repeat([]byte{'h'}, 8192))
		op := &ioring.Op{Code: ioring.OpWrite, Buf: b.buf, Hi: 8192}
		b.dev.Submit(op)
		return b, op
	}
	b, op := start(0)
	grown := make(chan error, 1)
	go func() { grown <- b.dev.Grow(context.Background(), 2<<20) }()
	after := b.dev.Crash(3)
	if err := op.Wait(); !errors.Is(err, ioring.ErrClosed) {
		t.Error(err)
	}
	if err := <-grown; !errors.Is(err, ioring.ErrClosed) {
		t.Error(err)
	}
	b.must(b.dev.Close())
	b.on(after).read(0, 4096)

	var landed, not bool
	for seed := range uint64(20) {
		b, op = start(seed)
		second := make(chan error)
		go func() { second <- b.sync() }() // waits for room
		b.dev.Abort(cause)
		if err := <-second; !errors.Is(err, cause) {
			t.Error(err)
		}
		if err := b.dev.Close(); !errors.Is(err, ioring.ErrHung) || !errors.Is(err, cause) {
			t.Errorf("Close: %v", err)
		}
		again := b.on(b.dev.Reopen())
		got := newBench(t, faultio.Options{}).on(again.dev).read(0, 8192)
		n := bytes.Count(got, []byte{'h'})
		if n != 0 && n != 8192 {
			t.Fatalf("%d bytes landed", n)
		}
		landed, not = landed || n > 0, not || n == 0
		again.must(again.write(0, 8192, 'n'))
		again.must(again.sync())
		b.dev.Heal()
		if err := op.Wait(); err != nil {
			t.Error(err)
		}
		b.must(b.dev.Close())
		if got := again.read(0, 8192); bytes.Count(got, []byte{'n'}) != 8192 {
			t.Error("the old process's write reached the device of the new one")
		}
		if got := again.on(again.dev.Crash(1)).read(0, 8192); bytes.Count(got, []byte{'n'}) != 8192 {
			t.Error("a crash brought the old write back")
		}
	}
	if !landed || !not {
		t.Errorf("landed %v, did not %v", landed, not)
	}
}
