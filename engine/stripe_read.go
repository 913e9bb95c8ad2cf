package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/erasure"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
)

// feed yields a run of a blob's stored bytes, verified. Its errors are Errors, but
// for io.EOF.
type feed interface {
	// Next returns the next bytes in the aligned buffer they were read to. They are
	// the caller's to overwrite until the next call of any method. They end where a
	// unit does, or at a multiple of layout.UnitStep within it, or with the run.
	Next() ([]byte, error)
	// Ahead tells that all of the run will be asked for, and soon.
	Ahead()
	Close() error
}

var (
	errUnplaced = errors.New("blob without back-reference")
	errGeometry = errors.New("record and back-reference of a blob differ")
	errReshaped = errors.New("the blob has been spread otherwise")
	errTooFew   = errors.New("too few fragments can be read")
)

// movesMost is how often one read follows a fragment that keeps moving.
const movesMost = 16

// located is a blob with the places of its fragments as of the last look. Fragments
// move: where one is not found, the place is looked up again before it counts as bad.
// The geometry is that of the back-reference, too; who finds another than the one it
// reads by begins anew.
type located struct {
	e     *Engine
	slot  meta.Slot
	geo   layout.Geometry
	blob  layout.Blob
	frags []drive.Fragment // of a striped blob; replaced when fragments have moved, never changed
}

// locate looks up where the blob of a record lies.
func (e *Engine) locate(slot meta.Slot, b *layout.Blob) (*located, error) {
	l := &located{e: e, slot: slot, blob: layout.Blob{ID: b.ID, Size: b.Size}}
	return l, l.look()
}

// find reads the back-reference.
func (l *located) find() (b layout.Blob, err error) {
	b, ok, err := meta.Locate(l.e.store, l.slot, l.blob.ID)
	switch {
	case err != nil:
	case !ok:
		err = fail(Corrupt, fmt.Errorf("%w: blob %s", errUnplaced, l.blob.ID))
	case b.Size != l.blob.Size:
		err = fail(Corrupt, fmt.Errorf("%w: blob %s, %d bytes and %d", errGeometry, l.blob.ID, l.blob.Size, b.Size))
	}
	return b, err
}

// reshaped reports whether the blob is spread otherwise than it was when it was looked
// up last.
func (l *located) reshaped() bool {
	b, err := l.find()
	return err == nil && (b.Kind != l.blob.Kind || b.Geometry() != l.geo)
}

// look looks up how the blob is spread, and where. Nobody reads by what was found
// before.
func (l *located) look() error {
	b, err := l.find()
	if err != nil {
		return err
	}
	g := b.Geometry()
	var frags []drive.Fragment
	switch {
	case b.Kind == layout.KindSingle && len(b.Fragments) == 1:
	case b.Kind == layout.KindStriped && len(b.Fragments) == g.Fragments() &&
		1 <= g.Data && g.Data <= layout.MaxData && g.Parity <= layout.MaxParity &&
		0 < g.Unit && g.Unit <= layout.MaxUnit && g.Unit%layout.UnitStep == 0 && g.Size > 0:
		frags = make([]drive.Fragment, len(b.Fragments))
		for i := range frags {
			frags[i] = drive.FragmentOf(&b, i)
		}
	default:
		return fail(Corrupt, fmt.Errorf("%w: blob %s, kind %d", errPlacement, b.ID, b.Kind))
	}
	l.blob, l.geo, l.frags = b, g, frags
	return nil
}

// again looks up the places of who reads by them. Unavailable: the blob is spread
// otherwise now, and nothing has changed.
func (l *located) again() error {
	next := &located{e: l.e, slot: l.slot, blob: layout.Blob{ID: l.blob.ID, Size: l.blob.Size}}
	if err := next.look(); err != nil {
		return err
	}
	if next.blob.Kind != l.blob.Kind || next.geo != l.geo {
		return fail(Unavailable, fmt.Errorf("%w: blob %s", errReshaped, l.blob.ID))
	}
	l.blob, l.frags = next.blob, next.frags
	return nil
}

// moved looks the places up again and reports whether fragment i is not at place any
// more.
func (l *located) moved(i int, place *layout.Fragment) (bool, error) {
	if err := l.again(); err != nil {
		return false, err
	}
	return !samePlace(place, &l.blob.Fragments[i]), nil
}

func samePlace(a, b *layout.Fragment) bool {
	return a.Drive == b.Drive && slices.Equal(a.Extents, b.Extents)
}

// open returns stored bytes [off, off+n), the first of which are verified.
func (l *located) open(ctx context.Context, off, n int64) (*run, error) {
	if off < 0 || n < 1 || off > l.geo.Size || n > l.geo.Size-off {
		return nil, fail(Corrupt, fmt.Errorf("%w: %d+%d of %d", errGeometry, off, n, l.geo.Size))
	}
	r := &run{at: l, ctx: ctx, off: off, end: off + n}
	if err := r.more(); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// feed returns stored bytes [off, off+n), as the blob is known to be spread.
func (l *located) feed(ctx context.Context, off, n int64) (feed, error) {
	if l.blob.Kind == layout.KindSingle {
		s, err := openSingle(ctx, l, off, n)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := openStriped(ctx, l, off, n)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// window returns the bytes of blob that a reader should take in one piece, counted
// from the blob's beginning: whole units, at most heapBuf of them.
func window(b *layout.Blob) int64 {
	if b.Kind == layout.KindStriped && b.Unit > 0 {
		return max(1, heapBuf/b.Unit) * b.Unit
	}
	return drive.FramePayload
}

// singleReader reads a blob of one fragment, and follows it when it moves.
type singleReader struct {
	ctx      context.Context
	at       *located
	r        *drive.Reader
	off, end int64
}

func openSingle(ctx context.Context, l *located, off, n int64) (*singleReader, error) {
	s := &singleReader{ctx: ctx, at: l, off: off, end: off + n}
	return s, s.open()
}

// open opens the rest of the run.
func (s *singleReader) open() error {
	for moves := 0; ; moves++ {
		f := &s.at.blob.Fragments[0]
		err := s.try(f)
		if err == nil {
			return nil
		}
		if moved, again := s.at.moved(0, f); again != nil {
			return again
		} else if !moved || moves == movesMost {
			return err
		}
	}
}

func (s *singleReader) try(f *layout.Fragment) error {
	d := s.at.e.drives.now().drive(f.Drive)
	if d == nil {
		return fail(Unavailable, fmt.Errorf("%w: blob %s, drive %s", errNoDrive, s.at.blob.ID, f.Drive))
	}
	r, err := d.OpenFragment(s.ctx, s.at.blob.ID, f.Extents, s.at.geo.Size, s.off, s.end-s.off)
	if err != nil {
		return driveError(err)
	}
	s.r = r
	return nil
}

// Next implements feed.
func (s *singleReader) Next() ([]byte, error) {
	for {
		f := &s.at.blob.Fragments[0]
		p, err := s.r.Next()
		if err == nil {
			s.off += int64(len(p))
			return p, nil
		}
		if err == io.EOF {
			return nil, err
		}
		if moved, again := s.at.moved(0, f); again != nil {
			return nil, again
		} else if !moved {
			return nil, driveError(err)
		}
		_ = s.r.Close()
		if err := s.open(); err != nil {
			return nil, err
		}
	}
}

// Ahead implements feed: drive.Reader reads ahead in any case.
func (s *singleReader) Ahead() {}

// Close implements feed.
func (s *singleReader) Close() error { return s.r.Close() }

const (
	// slowClient is the time for one unit from which a client gets one at a time,
	// so that it does not hold on to many buffers. Drives are faster by far.
	slowClient = 100 * time.Millisecond
	// thrift is how many portions are read without reading ahead after memory ran
	// short.
	thrift = 8
)

// errTight: there is no buffer to be had without waiting.
var errTight = errors.New("the arena is exhausted")

// stripeReader reads a striped blob: portion by portion, of which the one after the
// present is under way as far as there is memory. A portion is handed out once all
// of it is there, whether it was read or computed.
//
// Clients may take as long for a portion as frontends let them, and a row is several
// MiB. So readers read ahead only while less than about half of the arena is in use
// (Config.WriteBuffers is that half), and take one unit at a time once less than a
// quarter is left.
type stripeReader struct {
	e     *Engine
	ctx   context.Context
	at    *located
	code  *erasure.Code
	arena *ioring.Arena

	next, end  int64 // stored bytes: the first that is in no portion yet; behind the last wanted
	cur, ahead *portion
	spare      *portion
	out        int           // unit of cur to be handed out next
	wake       chan struct{} // something of cur or ahead was answered
	handed     time.Time     // when a unit was handed out last
	eager      bool          // reading ahead is worth while
	slow       bool          // the client is
	thrift     int
	err        error // sticky
}

func openStriped(ctx context.Context, l *located, off, n int64) (*stripeReader, error) {
	code, err := erasure.New(l.geo.Data, l.geo.Parity)
	if err != nil {
		return nil, fail(Corrupt, err)
	}
	r := &stripeReader{e: l.e, ctx: ctx, at: l, code: code, next: off, end: off + n, wake: make(chan struct{}, 1)}
	if r.arena = l.e.arena(); r.arena == nil {
		return nil, fail(Unavailable, errNoDrives)
	}
	return r, nil
}

// arena returns the arena that the drives share; nil: there is no drive.
func (e *Engine) arena() *ioring.Arena {
	for _, m := range e.drives.now().all {
		if m.d != nil {
			return m.d.Arena()
		}
	}
	return nil
}

// plan makes a portion of the next bytes: what is wanted of one row, or, for a slow
// client and when memory is short, of one unit.
func (r *stripeReader) plan() *portion {
	p := r.spare
	if r.spare = nil; p == nil {
		p = &portion{r: r, want: make([]unitRead, r.at.geo.Data)}
	}
	g := &r.at.geo
	row, a, at := g.Locate(r.next)
	*p = portion{r: r, row: row, a: a, b: a, lo: at, want: p.want, src: p.src}
	clear(p.want)
	clear(p.src)
	last := min(r.end, (row+1)*g.Row(), g.Size) - 1
	_, b, hi := g.Locate(last)
	if p.hi = hi + 1; b > a {
		if p.b = b; r.slow || r.arena.InUse() > r.e.cfg.WriteBuffers*3/2 {
			p.cut(a)
		}
	}
	return p
}

// Next implements feed.
func (r *stripeReader) Next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	now := time.Now()
	r.slow = !r.handed.IsZero() && now.Sub(r.handed) > slowClient
	if r.cur != nil {
		if r.cur.release(&r.cur.want[r.out-1]); r.out > r.cur.b {
			r.cur.drop()
			r.cur, r.spare = nil, r.cur
		}
	}
	if r.cur == nil {
		if r.err = r.advance(); r.err != nil {
			r.close()
			return nil, r.err
		}
		now = time.Now()
	}
	s := &r.cur.want[r.out]
	r.out, r.handed = r.out+1, now
	return s.data, nil
}

// advance makes the next portion the present one and begins the one behind it.
func (r *stripeReader) advance() error {
	p := r.ahead
	var err error
	if r.ahead = nil; p == nil {
		if r.next == r.end {
			return io.EOF
		}
		p = r.plan()
		if err = errTight; r.thrift == 0 || !p.wants() { // else it would end in that
			err = p.begin(true)
		}
		r.next = p.end()
	}
	r.cur = p // so that close finds it
	if err == nil {
		err = p.settle()
	}
	if errors.Is(err, errTight) {
		p.drop()
		r.thrift = thrift
		err = p.lean()
		r.next = p.end()
	}
	if err != nil {
		return err
	}
	if r.out = p.a; r.thrift > 0 {
		r.thrift--
	}
	r.prefetch()
	return nil
}

// Ahead implements feed.
func (r *stripeReader) Ahead() {
	r.eager = true
	r.prefetch()
}

// prefetch begins the next portion if that is of use and there is memory for it.
func (r *stripeReader) prefetch() {
	if !r.eager || r.ahead != nil || r.err != nil || r.next == r.end || r.slow || r.thrift > 0 || r.arena.InUse() > r.e.cfg.WriteBuffers {
		return
	}
	p := r.plan()
	if p.begin(false) != nil { // it is told when the portion's turn has come
		p.drop()
		r.spare, r.thrift = p, thrift
		return
	}
	r.ahead, r.next = p, p.end()
}

func (r *stripeReader) close() {
	for _, p := range []*portion{r.cur, r.ahead} {
		if p != nil {
			p.drop()
		}
	}
	r.cur, r.ahead, r.spare = nil, nil, nil
}

// Close implements feed. Reads in flight give their buffers back when the devices
// have answered.
func (r *stripeReader) Close() error {
	r.close()
	if r.err == nil {
		r.err = fail(KindInternal, errBodyClosed)
	}
	return nil
}
