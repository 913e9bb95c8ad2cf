package engine

import (
	"context"
	"errors"
	"io"
	"time"
	"unicode/utf8"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
)

// commitTimeout bounds the wait for the store. A client that goes away while
// its command is queued does not end the wait: the outcome would be unknown.
const commitTimeout = time.Minute

// writeBuffers is the most buffers that drive.WriteFragment holds at a time.
const writeBuffers = 3

// checkKey checks the rules for object keys.
func checkKey(key string) error {
	if key == "" || len(key) > MaxKeyBytes || !utf8.ValidString(key) {
		return fail(InvalidName, errName)
	}
	return nil
}

// staged is a payload that is safe, whole and verified, and that no metadata
// names yet. It ends in drop or settle.
type staged struct {
	e      *Engine
	blob   layout.Blob
	inline loan
	homes  []*member // whose space each fragment takes up; nil: none
	quorum int       // fragments that have to be durable
	bare   bool      // no redundancy is wanted, whatever the cluster's
	naming epoch     // of e.names, from name to the end
}

// stage reads a body of size bytes to its end and makes it safe. parity is that of
// the request.
func (e *Engine) stage(ctx context.Context, size int64, parity int, body io.Reader, lock locker) (*staged, error) {
	if parity < ParityNone || parity > layout.MaxParity {
		return nil, fail(KindInternal, errParity)
	}
	if err := e.storeErr(); err != nil {
		return nil, err // before the client has sent its body for nothing
	}
	if err := e.metaSpace.check(); err != nil {
		return nil, err
	}
	b := &bodyReader{r: body, left: size}
	s := &staged{e: e, bare: parity == ParityNone}
	if size > 0 {
		s.blob = layout.Blob{ID: layout.NewBlobID(e.now()), Size: lock.size(size)}
	}
	var err error
	if size <= e.cfg.InlineMax && s.blob.Size <= heapBuf {
		err = s.readInline(ctx, b, &lock)
	} else {
		err = s.write(ctx, b, &lock, e.parityFor(parity))
	}
	if err == nil {
		err = b.finish()
	}
	if err != nil {
		s.drop()
		return nil, err
	}
	return s, nil
}

// head4K returns a buffer for reading ahead, from the pool heads. It is not
// counted against any bound, for it is taken in order to wait for one.
func (e *Engine) head4K() *[aheadBytes]byte {
	if h, ok := e.heads.Get().(*[aheadBytes]byte); ok {
		return h
	}
	return new([aheadBytes]byte)
}

// readInline keeps the payload in memory, for the metadata to hold. When it has
// to wait for memory, it reads the first bytes before; see writeDrive.
func (s *staged) readInline(ctx context.Context, b *bodyReader, lock *locker) error {
	if b.left == 0 {
		return nil
	}
	s.blob.Kind = layout.KindInline
	in := lock.reader(b, s.blob.ID)
	var ok bool
	if s.inline, ok = s.e.payloads.tryGet(s.blob.Size); !ok {
		head := s.e.head4K()
		defer s.e.heads.Put(head)
		if err := b.readAhead(head[:]); err != nil {
			return err
		}
		var err error
		if s.inline, err = s.e.payloads.get(ctx, s.blob.Size); err != nil {
			return err
		}
	}
	if _, err := io.ReadFull(in, s.inline.mem); err != nil {
		if failure := b.failure(); failure != nil {
			return failure
		}
		return err
	}
	return nil
}

// write streams the payload to drives. It reads the first bytes before it
// waits for anything, so that a body that is another object's has given up its
// buffers by then; and it waits for its share of the arena before it takes a
// buffer, so that writers, who hold buffers while their bodies dawdle, leave
// the other half to readers. With both, a copy never waits for itself.
func (s *staged) write(ctx context.Context, b *bodyReader, lock *locker, parity int) error {
	in := lock.reader(b, s.blob.ID)
	head := s.e.head4K()
	defer s.e.heads.Put(head)
	if err := b.readAhead(head[:]); err != nil {
		return err
	}
	if err := s.place(ctx, parity); err != nil {
		return err
	}
	// Not before the bytes in head have been hashed: nobody settles those.
	b.lend()
	defer b.StopLending() // the writers have settled everything by then, or stopped it
	var err error
	if s.blob.Kind == layout.KindSingle {
		err = s.writeSingle(ctx, in)
	} else {
		err = s.writeStriped(ctx, in)
	}
	if err == nil {
		return nil
	}
	if failure := b.failure(); failure != nil {
		return failure
	}
	return driveError(err)
}

func (s *staged) writeSingle(ctx context.Context, in io.Reader) error {
	weight := s.e.writeWeight(s.blob.Size)
	if err := s.e.writers.acquire(ctx, weight); err != nil {
		return err
	}
	defer s.e.writers.release(weight)
	m := s.homes[0]
	err := m.d.WriteFragment(ctx, s.blob.ID, s.blob.Fragments[0].Extents, s.blob.Size, in)
	if errors.Is(err, drive.ErrTimeout) {
		m.doubt()
	}
	return err
}

// writeWeight returns the bytes of arena that a write of size bytes to one drive may
// hold.
func (e *Engine) writeWeight(size int64) int64 {
	weight := min(writeBuffers, (size+drive.FramePayload-1)/drive.FramePayload) * ioring.LargeBuffer
	if size <= ioring.SmallBuffer-drive.HeaderSize {
		weight = ioring.SmallBuffer
	}
	return min(weight, e.writers.most)
}

// name has to precede the commit that names the places of the payload: it gives up
// those on drives that were taken out of service since they were written to. Once it
// has returned nil, no drive is attached before the staging ends.
func (s *staged) name() error {
	if len(s.homes) == 0 {
		return nil
	}
	s.naming = s.e.names.enter()
	left := 0
	for i, m := range s.homes {
		switch {
		case m == nil:
		case s.e.serves(m.d):
			left++
		default:
			s.giveUp(i)
		}
	}
	if left < s.quorum {
		return fail(Unavailable, errOutOfService)
	}
	return nil
}

// giveUp makes a fragment a missing one. Its space is lent again once the device has
// answered whatever was written there.
func (s *staged) giveUp(i int) {
	s.homes[i].d.Free(s.blob.Fragments[i].Extents)
	s.homes[i] = nil
	s.blob.Fragments[i] = layout.Fragment{}
}

// drop gives back what was staged.
func (s *staged) drop() {
	s.inline.release()
	for i, m := range s.homes {
		if m != nil {
			m.d.Free(s.blob.Fragments[i].Extents)
		}
	}
	s.end()
}

// end leaves e.names, if it was entered.
func (s *staged) end() {
	s.homes = nil
	if s.naming != (epoch{}) {
		s.naming.leave()
		s.naming = epoch{}
	}
}

// settle ends the staging with the outcome of the commit. When the outcome is
// unknown the payload stays: the command may yet be applied, or have been. Its
// extents return to the free space at the next start if nothing names them.
func (s *staged) settle(err error) {
	switch {
	case err == nil:
		s.inline.release()
		s.end()
		if s.blob.Missing() > 0 {
			s.e.degraded()
		}
	case definite(err):
		s.drop()
	default:
		s.inline.forfeit()
		s.end()
		s.e.log.Error("outcome of a commit is unknown", "blob", s.blob.ID, "bytes", s.blob.Size, "err", err)
	}
}

// mutate commits a command.
func (e *Engine) mutate(ctx context.Context, slot meta.Slot, cmd meta.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.store.Mutate(e.commits.after(commitTimeout), slot, cmd)
}
