package engine

import (
	"context"
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
	drive  *drive.Drive // nil: inline
}

// stage reads a body of size bytes to its end and makes it safe.
func (e *Engine) stage(ctx context.Context, size int64, body io.Reader, lock locker) (*staged, error) {
	if err := e.storeErr(); err != nil {
		return nil, err // before the client has sent its body for nothing
	}
	if err := e.metaSpace.check(); err != nil {
		return nil, err
	}
	b := &bodyReader{r: body, left: size}
	s := &staged{e: e}
	if size > 0 {
		s.blob = layout.Blob{ID: layout.NewBlobID(e.now()), Size: lock.size(size)}
	}
	var err error
	if size <= e.cfg.InlineMax && s.blob.Size <= heapBuf {
		err = s.readInline(ctx, b, &lock)
	} else {
		err = s.writeDrive(ctx, b, &lock)
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

// writeDrive streams the payload to a drive. It reads the first bytes before it
// waits for anything, so that a body that is another object's has given up its
// buffers by then; and it waits for its share of the arena before it takes a
// buffer, so that writers, who hold buffers while their bodies dawdle, leave
// the other half to readers. With both, a copy never waits for itself.
func (s *staged) writeDrive(ctx context.Context, b *bodyReader, lock *locker) error {
	in := lock.reader(b, s.blob.ID)
	head := s.e.head4K()
	defer s.e.heads.Put(head)
	if err := b.readAhead(head[:]); err != nil {
		return err
	}
	d, exts, err := s.e.reserve(ctx, s.blob.Size)
	if err != nil {
		return err
	}
	s.drive = d
	s.blob.Kind = layout.KindSingle
	s.blob.Fragments = []layout.Fragment{{Drive: d.ID(), Extents: exts}}
	weight := s.e.writeWeight(s.blob.Size)
	if err := s.e.writers.acquire(ctx, weight); err != nil {
		return err
	}
	err = d.WriteFragment(ctx, s.blob.ID, exts, s.blob.Size, in)
	s.e.writers.release(weight)
	if err == nil {
		return nil
	}
	if failure := b.failure(); failure != nil {
		return failure
	}
	return driveError(err)
}

// writeWeight returns the bytes of arena that a write of size bytes may hold.
func (e *Engine) writeWeight(size int64) int64 {
	weight := min(writeBuffers, (size+drive.FramePayload-1)/drive.FramePayload) * ioring.LargeBuffer
	if size <= ioring.SmallBuffer-drive.HeaderSize {
		weight = ioring.SmallBuffer
	}
	return min(weight, e.writers.most)
}

// drop gives back what was staged.
func (s *staged) drop() {
	s.inline.release()
	if s.drive != nil {
		s.drive.Free(s.blob.Fragments[0].Extents)
		s.drive = nil
	}
}

// settle ends the staging with the outcome of the commit. When the outcome is
// unknown the payload stays: the command may yet be applied, or have been. Its
// extents return to the free space at the next start if nothing names them.
func (s *staged) settle(err error) {
	switch {
	case err == nil:
		s.inline.release()
	case definite(err):
		s.drop()
	default:
		s.inline.forfeit()
		s.e.log.Error("outcome of a commit is unknown", "blob", s.blob.ID, "bytes", s.blob.Size, "err", err)
	}
}

// mutate commits a command.
func (e *Engine) mutate(ctx context.Context, slot meta.Slot, cmd meta.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	return e.store.Mutate(ctx, slot, cmd)
}
