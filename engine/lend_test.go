package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
	"unsafe"

	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// lending is a body that goes on reading what it has filled, as one does that is
// hashed later. It panics when memory was changed, or is to be filled again, before
// it was settled.
type lending struct {
	io.Reader
	lent  bool
	loans []lentMemory
	at    int64         // bytes read
	kept  int           // loans that StopLending found
	arena *ioring.Arena // all loans are of it, and nobody else's; nil: not so
}

type lentMemory struct {
	mem []byte
	sum uint64
	end int64
}

func lend(r io.Reader) *lending { return &lending{Reader: r} }

func (l *lending) Lend() { l.lent = true }

func (l *lending) Read(p []byte) (int, error) {
	for i := range l.loans {
		if m := l.loans[i].mem; sharesMemory(m, p) {
			panic(fmt.Sprintf("memory of the %d bytes up to %d is used again before they are settled", len(m), l.loans[i].end))
		}
	}
	n, err := l.Reader.Read(p)
	if l.at += int64(n); l.lent && n > 0 {
		l.loans = append(l.loans, lentMemory{mem: p[:n], sum: xxh3.Hash(p[:n]), end: l.at})
	}
	return n, err
}

func sharesMemory(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	x, y := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return x < y+uintptr(len(b)) && y < x+uintptr(len(a))
}

// verify looks at all memory on loan.
func (l *lending) verify() {
	for i := range l.loans {
		if m := l.loans[i]; xxh3.Hash(m.mem) != m.sum {
			panic(fmt.Sprintf("the %d bytes up to %d were changed before they were settled", len(m.mem), m.end))
		}
	}
}

func (l *lending) Settle(off int64) {
	l.verify()
	for len(l.loans) > 0 && l.loans[0].end <= off {
		l.loans = l.loans[1:]
	}
}

func (l *lending) StopLending() {
	l.verify()
	var left int64
	for i := range l.loans {
		left += int64(len(l.loans[i].mem))
	}
	if l.arena != nil && left > l.arena.InUse() {
		panic(fmt.Sprintf("%d bytes on loan, of which %d at most were not released", left, l.arena.InUse()))
	}
	l.lent, l.kept, l.loans = false, len(l.loans), nil
}

// TestLentMemory: whatever becomes of a write, memory that a body has lent is neither
// changed, used again nor released before the body is done with it, and a write that
// succeeds has settled everything.
func TestLentMemory(t *testing.T) {
	boom := errors.New("boom")
	for _, shape := range []struct {
		drives, parity int
		most           int64
	}{{1, ParityDefault, 5 << 20}, {3, ParityDefault, 100 << 10}, {6, 2, 7 << 20}} {
		t.Run(fmt.Sprintf("%d drives", shape.drives), func(t *testing.T) {
			r := newRig(t, rigOptions{
				drives: shape.drives, arena: 24 << 20, capacity: 1 << 30, deadline: 100 * time.Millisecond,
				cfg: Config{InlineMax: 4 << 10, Timing: Timing{HealthTick: time.Hour}},
			})
			r.bucket("b")
			rapid.Check(t, func(t *rapid.T) {
				size := rapid.Int64Range(1, shape.most).Draw(t, "size")
				data := content(uint64(size), size)
				var src io.Reader = &dribble{bytes.NewReader(data), rapid.IntRange(2000, 1<<20).Draw(t, "piece")}
				fault := rapid.SampledFrom([]string{"", "", "body", "cancel", "EIO", "full", "sync", "hang"}).Draw(t, "fault")
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				at := rapid.Int64Range(0, size-1).Draw(t, "at")
				hang := make(chan struct{})
				rule := faultio.Rule{Code: ioring.OpWrite, Skip: int(at % 3), Times: 1}
				switch fault {
				case "body":
					src = io.MultiReader(io.LimitReader(src, at), errReader{boom})
				case "cancel":
					src = &canceling{src, cancel, int(at)}
				case "EIO":
					rule.Err = faultio.ErrIO
				case "full":
					rule.Err = ioring.ErrNoSpace
				case "hang":
					rule.Hang = hang
				}
				if rule.Err != nil || rule.Hang != nil {
					r.devs[0].Inject(rule)
				}
				body := lend(src)
				if fault == "body" || fault == "cancel" {
					body.arena = r.arena
				}
				req := putRequest("b", "k", data)
				req.Body = body
				if rapid.Bool().Draw(t, "sealed") {
					req = locked(req)
				}
				_, err := r.e.Put(ctx, req)
				if body.lent || len(body.loans) > 0 || err == nil && body.kept > 0 {
					t.Fatalf("%v: %d pieces still lent, %d were taken back", err, len(body.loans), body.kept)
				}
				if err == nil && fault != "cancel" && body.at != size || fault == "body" && !errors.Is(err, boom) {
					t.Fatalf("%d of %d bytes: %v", body.at, size, err)
				}
				close(hang)
				r.devs[0].Heal()
				r.quiet() // else a drive that still hangs refuses the next case's write
				for _, m := range r.e.drives.now().all {
					m.room.doubted.Store(0)
				}
				if err != nil {
					return
				}
				if b := r.placed("b", "k"); b.Kind != layout.KindInline && req.DataKey == nil && !bytes.Equal(r.assemble(b), data) {
					t.Fatalf("what was stored is not what was sent")
				}
			})
			r.quiet()
			r.stop()
		})
	}
}

// dribble yields at most n bytes at a time.
type dribble struct {
	io.Reader
	n int
}

func (d *dribble) Read(p []byte) (int, error) { return d.Reader.Read(p[:min(len(p), d.n)]) }
