package drive

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// chaos is a drive over a small device that stalls, hangs and errs, and those who
// use it.
type chaos struct {
	t   *testing.T
	dev *faultio.Device
	d   *Drive

	mu   sync.Mutex
	have map[*Fragment][]byte // what was acknowledged
	done int                  // so many were
	hung int                  // waits that ended in ErrTimeout
}

// run does n things at random.
func (c *chaos) run(rng *rand.Rand, n int) {
	for range n {
		switch rng.IntN(4) {
		case 0, 1:
			c.write(rng)
		case 2:
			c.read(rng)
		case 3:
			c.free()
		}
	}
}

// expect fails the test unless err is one that a drive like this may give.
func (c *chaos) expect(what string, err error) {
	switch {
	case errors.Is(err, ErrTimeout):
		c.mu.Lock()
		c.hung++
		c.mu.Unlock()
	case err != nil && !errors.Is(err, ErrFailed) && !errors.Is(err, ErrNoSpace) && !errors.Is(err, faultio.ErrIO):
		c.t.Errorf("%s: %v", what, err)
	}
}

// write writes a fragment, its frames all at once; some it does not wait for. What
// is not acknowledged is freed at once.
func (c *chaos) write(rng *rand.Rand) {
	f := &Fragment{Blob: layout.NewBlobID(testTime), Number: rng.IntN(20), Unit: layout.UnitStep, Size: 1 + rng.Int64N(3*layout.UnitStep)}
	var err error
	if f.Extents, err = c.d.ReserveFragment(context.Background(), f); err != nil {
		c.expect("reserve", err)
		time.Sleep(testDeadline / 10) // let it come back
		return
	}
	data := randomBytes(rng.Uint64(), int(f.Size))
	patient, whole := rng.IntN(4) > 0, true
	var all []*FrameIO
	for row := range f.Frames() {
		n := framePayload(f.Size, f.Unit, row)
		buf, err := c.d.arena.Get(context.Background(), HeaderSize+padded(n))
		if err != nil {
			c.t.Error(err)
			return
		}
		copy(buf.Bytes()[HeaderSize:], data[row*f.Unit:][:n])
		all = append(all, c.d.StartWrite(f, row, buf, n))
	}
	end := func(p *FrameIO) {
		if patient {
			_, err := p.Wait()
			c.expect("write", err)
			whole = whole && err == nil
		}
		p.Release()
	}
	for _, p := range all {
		end(p)
	}
	end(c.d.StartSync())
	if !whole || !patient {
		c.d.Free(f.Extents)
		return
	}
	c.mu.Lock()
	c.have[f] = data
	c.done++
	c.mu.Unlock()
}

// pick takes a fragment out of what there is.
func (c *chaos) pick() (*Fragment, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f, data := range c.have {
		delete(c.have, f)
		return f, data
	}
	return nil, nil
}

func (c *chaos) read(rng *rand.Rand) {
	f, data := c.pick()
	if f == nil {
		return
	}
	defer func() {
		c.mu.Lock()
		c.have[f] = data
		c.mu.Unlock()
	}()
	row := rng.Int64N(f.Frames())
	n := framePayload(f.Size, f.Unit, row)
	buf, err := c.d.arena.Get(context.Background(), f.ReadSize(row, 0, n))
	if err != nil {
		c.t.Error(err)
		return
	}
	p := c.d.StartRead(f, row, 0, n, buf)
	defer p.Release()
	if rng.IntN(3) == 0 {
		ch := make(chan struct{}, 1)
		p.Notify(ch)
		select {
		case <-ch:
		case <-time.After(time.Millisecond):
			if !p.Poll(time.Millisecond) {
				return // too slow
			}
		}
	}
	got, err := p.Wait()
	if c.expect("read", err); err == nil && !bytes.Equal(got, data[row*f.Unit:][:n]) {
		c.t.Error("other bytes were read")
	}
}

// fail ends the test.
func (c *chaos) fail(err error) bool {
	c.t.Fatal(err)
	return false
}

func (c *chaos) free() {
	if f, _ := c.pick(); f != nil {
		c.d.Free(f.Extents)
	}
}

// TestChaos: whatever the device does, and when, what was acknowledged can be read
// in the end, and nothing is lost of space and memory.
func TestChaos(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	c := &chaos{t: t, dev: faultio.New(faultio.Options{Capacity: dataStart + 6*mib, Depth: 4, Latency: 200 * time.Microsecond}), have: map[*Fragment][]byte{}}
	c.d = openDrive(t, c.dev, Options{Arena: a, Deadline: testDeadline / 2})
	stop := make(chan struct{})
	var trouble, users sync.WaitGroup
	trouble.Go(func() {
		rng := rand.New(rand.NewPCG(1, 1))
		for {
			hang := make(chan struct{})
			code := []ioring.Code{ioring.OpRead, ioring.OpWrite, ioring.OpWrite, ioring.OpSync}[rng.IntN(4)]
			c.dev.Inject(faultio.Rule{Code: code, Times: 1 + rng.IntN(3), Hang: hang})
			c.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Times: 1, Err: faultio.ErrIO})
			time.Sleep(time.Duration(rng.IntN(int(testDeadline))))
			close(hang)
			select {
			case <-stop:
				return
			case <-time.After(testDeadline / 10):
			}
		}
	})
	for g := range uint64(8) {
		users.Go(func() { c.run(rand.New(rand.NewPCG(2, g)), 40) })
	}
	users.Wait()
	close(stop)
	trouble.Wait()
	c.dev.Heal()
	eventually(t, "the end", func() bool { return c.d.Idle() && a.InUse() == 0 && c.d.Err() == nil })
	var used int64
	for f, data := range c.have {
		eventually(t, "the read of a fragment", func() bool {
			got, err := readAll(c.d, f)
			if err == nil {
				wantBytes(t, got, nil, data)
			}
			return err == nil || !errors.Is(err, ErrTimeout) && c.fail(err)
		})
		for _, e := range f.Extents {
			used += e.Len
		}
	}
	if _, got, _ := c.d.Usage(); got != used || c.d.Counters().BadFrees != 0 || c.d.Counters().Corrupt != 0 {
		t.Errorf("%d bytes in use, want %d; %+v", got, used, c.d.Counters())
	}
	if c.hung == 0 || c.done == 0 {
		t.Errorf("%d timeouts, %d fragments: the test proves nothing", c.hung, c.done)
	}
}
