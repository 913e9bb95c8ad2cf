package drive

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/sluicehq/sluice/ioring"
)

// firstAhead is the free space in bytes below which a drive that was opened
// grows for the first time ahead of need.
const firstAhead = 64 << 20

// Open opens the drive on dev, formatting it when it is blank: Size 0, or
// nothing but zeros before the data area. The Drive owns dev from then on; when
// Open fails, the caller still does. Errors: ErrForeign, ErrNewer, ErrCluster,
// ErrCorrupt, ErrNoSpace, and the device's.
func Open(ctx context.Context, dev ioring.Device, opts Options) (*Drive, error) {
	if opts.Arena == nil {
		return nil, errors.New("drive: Options.Arena is required")
	}
	if a := dev.Align(); a > HeaderSize {
		return nil, fmt.Errorf("drive: device wants transfers aligned to %d bytes; frames are aligned to %d", a, HeaderSize)
	}
	if opts.Limit < 0 || opts.Reserve < 0 || (opts.Limit > 0 && opts.Limit < dataStart+minGrowStep) {
		return nil, fmt.Errorf("drive: limit of %d bytes, reserve of %d: a drive takes at least %d", opts.Limit, opts.Reserve, dataStart+minGrowStep)
	}
	d := newDrive(dev, opts)
	super, blank, err := d.load(ctx)
	if err == nil && blank {
		if super, err = d.format(ctx, opts.Cluster); err == nil {
			d.assume(&super)
		}
	}
	if err != nil {
		return nil, err
	}
	if opts.Cluster != ([16]byte{}) && opts.Cluster != super.cluster {
		return nil, fmt.Errorf("%w: drive %s belongs to cluster %x, not %x", ErrCluster, super.drive, super.cluster, opts.Cluster)
	}
	if err := d.upgrade(ctx); err != nil {
		return nil, err
	}
	d.space.limit = limitUnits(opts.Limit, d.unit)
	d.mu.Lock()
	d.adopt()
	d.mu.Unlock()
	return d, nil
}

// newDrive returns a drive that is not loaded yet.
func newDrive(dev ioring.Device, opts Options) *Drive {
	d := &Drive{
		dev: dev, arena: opts.Arena, log: opts.Logger, reserve: opts.Reserve, limit: opts.Limit, depth: int64(dev.Depth()),
		deadline: opts.Deadline, stall: opts.Stall, thresholds: opts.Thresholds.withDefaults(),
		opened: time.Now(), stop: make(chan struct{}), given: make(chan struct{}), ahead: firstAhead,
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.deadline <= 0 {
		d.deadline = DefaultDeadline
	}
	if d.stall <= 0 {
		d.stall = DefaultStall
	}
	d.tick = max(min(d.deadline, d.stall)/8, time.Millisecond)
	return d
}

// load reads both copies of the superblock, repairs what can be repaired, and
// returns the newer one, or that the drive is blank and may be formatted.
func (d *Drive) load(ctx context.Context) (s superblock, blank bool, err error) {
	f := found{size: d.dev.Size(), firstErr: errBlank, secondErr: errBlank}
	t, err := d.buffer(ctx, superSize)
	if err != nil {
		return s, false, err
	}
	defer func() { d.release(t) }()
	if f.first, f.firstErr = d.readSuper(t, superFirst); errors.Is(f.firstErr, ErrTimeout) {
		return s, false, f.firstErr
	}
	if f.second, f.secondErr = d.readSuper(t, superCopy); errors.Is(f.secondErr, ErrTimeout) {
		return s, false, f.secondErr
	}
	s, v, err := f.judge()
	switch {
	case err != nil:
		return s, false, err
	case v.blank:
		if !v.cut {
			err = d.checkBlank(ctx)
		}
		return s, err == nil, err
	}
	d.assume(&s) // now, for a repair that hangs is not waited for, and tells whose it is
	if v.why != nil {
		err = d.repair(t, &s, v.repair, v.why)
	}
	return s, false, err
}

// assume has the drive be what s says.
func (d *Drive) assume(s *superblock) {
	d.super, d.id, d.cluster, d.unit = *s, s.drive, s.cluster, s.unit
}

// found is what lies where the superblock copies of a drive of size bytes belong.
type found struct {
	size                int64
	first, second       superblock
	firstErr, secondErr error
}

// verdict says what is to be done with a drive before it can be used.
type verdict struct {
	blank  bool  // format it,
	cut    bool  // as an earlier format was cut short; else unless there is something between the copies
	why    error // the copy at repair is unusable
	repair int64
}

// judge returns the newer copy, or that there is none.
func (f *found) judge() (s superblock, v verdict, err error) {
	if f.size == 0 {
		return s, verdict{blank: true, cut: true}, nil
	}
	if f.size < superSize {
		return s, v, fmt.Errorf("%w: it holds %d bytes", ErrForeign, f.size)
	}
	aErr, bErr := f.firstErr, f.secondErr
	for _, err := range []error{aErr, bErr} {
		if errors.Is(err, ErrNewer) {
			return s, v, err
		}
	}
	switch {
	case aErr == nil && bErr == nil:
		return f.choose()
	case aErr == nil:
		return f.first, verdict{why: bErr, repair: superCopy}, nil
	case errors.Is(aErr, errStrange), errors.Is(aErr, errBlank) && errors.Is(bErr, errStrange):
		// The magic is the same in every superblock, so no torn write of ours
		// leaves another: somebody else wrote here, even if the copy survived.
		return s, v, fmt.Errorf("%w: where its superblock belongs lies something else", ErrForeign)
	case bErr == nil:
		return f.second, verdict{why: aErr, repair: superFirst}, nil
	case errors.Is(aErr, errBlank) && errors.Is(bErr, errBlank):
		return s, verdict{blank: true}, nil
	case errors.Is(aErr, errTorn) && errors.Is(bErr, errBlank) && f.size <= dataStart:
		return s, verdict{blank: true, cut: true}, nil // there is no data area yet
	}
	return s, v, fmt.Errorf("%w: both superblock copies are damaged: %w; %w", ErrCorrupt, aErr, bErr)
}

// choose returns the newer of two whole copies, and that the other is to be made
// its equal.
func (f *found) choose() (superblock, verdict, error) {
	a, b := &f.first, &f.second
	if a.drive != b.drive || a.cluster != b.cluster {
		return *a, verdict{}, fmt.Errorf("%w: its superblock copies name the drives %s and %s", ErrCorrupt, a.drive, b.drive)
	}
	older := errors.New("older generation")
	switch {
	case b.gen > a.gen:
		return *b, verdict{why: older, repair: superFirst}, nil
	case a.gen > b.gen:
		return *a, verdict{why: older, repair: superCopy}, nil
	case *a != *b:
		return *a, verdict{}, fmt.Errorf("%w: drive %s: its superblock copies differ in one generation", ErrCorrupt, a.drive)
	}
	return *a, verdict{}, nil
}

// repair overwrites the copy at off, which is unusable because of why. That it
// cannot be written is no reason to withhold the drive's data.
func (d *Drive) repair(t *transfer, s *superblock, off int64, why error) error {
	d.log.Warn("repairing a superblock copy", "drive", s.drive, "offset", off, "reason", why)
	if end := off + superSize; d.dev.Size() < end {
		return fmt.Errorf("%w: drive %s was cut to %d bytes", ErrCorrupt, s.drive, d.dev.Size())
	}
	if err := d.writeSuper(t, s, off); err != nil {
		d.log.Error("cannot repair a superblock copy", "drive", s.drive, "offset", off, "err", err)
	}
	return nil
}

// checkBlank returns ErrForeign unless the drive is zero up to the data area:
// several file systems and volume managers keep their
// marks neither in the first block nor at 1 MiB.
func (d *Drive) checkBlank(ctx context.Context) error {
	t, err := d.buffer(ctx, ioring.SmallBuffer)
	if err != nil {
		return err
	}
	defer d.release(t)
	mem := t.buf.Bytes()
	step := int64(len(mem)) &^ (HeaderSize - 1)
	end := min(dataStart, d.dev.Size()&^(HeaderSize-1))
	for off := int64(0); off < end; off += step {
		n := int(min(step, end-off))
		t.reset()
		t.add(ioring.OpRead, 0, n, off)
		if err := t.run(); err != nil {
			return fmt.Errorf("drive: read at %d: %w", off, err)
		}
		if !isZero(mem[:n]) {
			return notBlank(off, int64(n))
		}
	}
	return nil
}

// format makes a new drive.
func (d *Drive) format(ctx context.Context, cluster [16]byte) (superblock, error) {
	if cluster == ([16]byte{}) {
		rand.Read(cluster[:])
	}
	limit, err := d.dev.Limit()
	if err != nil {
		return superblock{}, fmt.Errorf("drive: limit: %w", err)
	}
	if d.limit > 0 {
		limit = min(limit, d.limit)
	}
	s := superblock{version: FormatVersion, cluster: cluster, gen: 1, created: time.Now().UnixNano(), unit: chooseUnit(limit)}
	rand.Read(s.drive[:])
	if d.dev.Size() < dataStart {
		if err := d.dev.Grow(ctx, dataStart); err != nil {
			if errors.Is(err, ioring.ErrNoSpace) {
				err = fmt.Errorf("%w: %w", ErrNoSpace, err)
			}
			return s, fmt.Errorf("drive: format: %w", err)
		}
	}
	t, err := d.buffer(ctx, superSize)
	if err != nil {
		return s, err
	}
	defer d.release(t)
	if err := d.writeBoth(t, &s); err != nil {
		return s, fmt.Errorf("drive: format: %w", err)
	}
	d.log.Info("formatted a drive", "drive", s.drive, "unit", s.unit)
	return s, nil
}

// buffer returns a transfer with a buffer of at least n bytes.
func (d *Drive) buffer(ctx context.Context, n int) (*transfer, error) {
	buf, err := d.arena.Get(ctx, n)
	if err != nil {
		return nil, err
	}
	return d.newTransfer(buf), nil
}

// readSuper reads the superblock copy at off.
func (d *Drive) readSuper(t *transfer, off int64) (superblock, error) {
	if d.dev.Size() < off+superSize {
		return superblock{}, errBlank
	}
	t.reset()
	t.add(ioring.OpRead, 0, superSize, off)
	if err := t.run(); err != nil {
		return superblock{}, fmt.Errorf("drive: read superblock at %d: %w", off, err)
	}
	return decodeSuperblock(t.buf.Bytes())
}

// writeSuper writes the copy at off and syncs.
func (d *Drive) writeSuper(t *transfer, s *superblock, off int64) error {
	s.encode(t.buf.Bytes()[:superSize])
	t.reset()
	t.add(ioring.OpWrite, 0, superSize, off)
	if err := t.run(); err != nil {
		return fmt.Errorf("drive: write superblock at %d: %w", off, err)
	}
	t.reset()
	t.add(ioring.OpSync, 0, 0, 0)
	if err := t.run(); err != nil {
		return fmt.Errorf("drive: sync superblock: %w", err)
	}
	return nil
}

// writeBoth writes the copies one after the other, so that a crash leaves at
// least one of them whole.
func (d *Drive) writeBoth(t *transfer, s *superblock) error {
	if err := d.writeSuper(t, s, superFirst); err != nil {
		return err
	}
	return d.writeSuper(t, s, superCopy)
}

// upgrade rewrites a superblock of an earlier format version as one of this, so
// that an earlier release refuses the drive instead of calling frames corrupt that
// it cannot read. A drive that cannot be upgraded is out of service for writes.
func (d *Drive) upgrade(ctx context.Context) error {
	if d.super.version == FormatVersion {
		return nil
	}
	from := d.super.version
	if err := d.rewrite(ctx, func(s *superblock) { s.version = FormatVersion }); err != nil {
		if ctx.Err() != nil {
			return err
		}
		d.log.Error("cannot upgrade the drive's format", "drive", d.id, "err", err)
		return nil
	}
	d.log.Info("upgraded the drive's format: earlier releases cannot open it any more", "drive", d.id, "from", from, "to", FormatVersion)
	return nil
}

// rewrite changes the superblock and writes both copies as the next generation. A
// failure takes the drive out of service, since which generation a reader would
// find is unknown then.
func (d *Drive) rewrite(ctx context.Context, change func(s *superblock)) error {
	d.rewriteMu.Lock()
	defer d.rewriteMu.Unlock()
	next := d.super // changed by us alone
	if next.gen == math.MaxUint64 {
		return fmt.Errorf("%w: drive %s: superblock generations used up", ErrCorrupt, d.id)
	}
	t, err := d.buffer(ctx, superSize)
	if err != nil {
		return err
	}
	defer d.release(t)
	next.gen++
	change(&next)
	if err := d.writeBoth(t, &next); err != nil {
		return d.fail(err)
	}
	d.superMu.Lock()
	d.super = next
	d.superMu.Unlock()
	return nil
}

// MetadataGeneration returns the metadata generation in the superblock: 0 until
// SetMetadataGeneration was called for the first time in the drive's life.
func (d *Drive) MetadataGeneration() uint64 {
	d.superMu.Lock()
	defer d.superMu.Unlock()
	return d.super.metaGen
}

// SetMetadataGeneration records gen in both superblock copies and returns when
// it is durable. A failure, ErrTimeout included, takes the drive out of service,
// since which of the two generations a reader would find is unknown then.
func (d *Drive) SetMetadataGeneration(ctx context.Context, gen uint64) error {
	if err := d.Err(); err != nil {
		return err
	}
	return d.rewrite(ctx, func(s *superblock) { s.metaGen = gen })
}

// shortBody turns io's errors for an early end into ErrShort.
func shortBody(err error, got, size int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %d of %d bytes", ErrShort, got, size)
	}
	return err
}
