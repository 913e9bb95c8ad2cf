package drive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

var errBadSector = errors.New("bad sector")

// memDevice is a device in memory whose bytes a test can look at and change.
// It keeps no unsynced state apart; faultio does that.
type memDevice struct {
	mu      sync.Mutex
	data    []byte
	dirty   map[int64]bool // offsets of writes not synced yet
	limit   int64
	stats   ioring.Stats
	grows   int
	latency time.Duration

	onRead   func(off int64, b []byte) error // after the bytes are read
	onWrite  func(off int64, n int) error
	syncErr  error
	growErr  func(size int64) error
	failed   error
	closed   bool
	inFlight sync.WaitGroup
}

func newMem(limit int64) *memDevice { return &memDevice{limit: limit, dirty: map[int64]bool{}} }

func (m *memDevice) Align() int { return 4096 }

func (m *memDevice) Depth() int { return 128 }

func (m *memDevice) Abort(error) {}

func (m *memDevice) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.data))
}

func (m *memDevice) Limit() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.limit, int64(len(m.data))), nil
}

func (m *memDevice) Grow(_ context.Context, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.grows++
	if m.growErr != nil {
		if err := m.growErr(size); err != nil {
			return err
		}
	}
	if size > m.limit {
		return ioring.ErrNoSpace
	}
	if more := size - int64(len(m.data)); more > 0 {
		m.data = append(m.data, make([]byte, more)...)
	}
	return nil
}

func (m *memDevice) Submit(ops ...*ioring.Op) {
	for _, op := range ops {
		op.Prepare()
		m.inFlight.Add(1)
		go func() {
			defer m.inFlight.Done()
			if m.latency > 0 {
				time.Sleep(m.latency)
			}
			op.Complete(m.do(op))
		}()
	}
}

func (m *memDevice) do(op *ioring.Op) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return ioring.ErrClosed
	case op.Code == ioring.OpSync:
		m.stats.Syncs++
		if m.failed != nil {
			return m.failed
		}
		if m.syncErr != nil {
			m.failed = errors.Join(ioring.ErrFailed, m.syncErr)
			return m.syncErr
		}
		clear(m.dirty)
		return nil
	}
	b := op.Buf.Bytes()[op.Lo:op.Hi]
	if op.Off%4096 != 0 || len(b)%4096 != 0 || op.Lo%4096 != 0 || len(b) == 0 {
		return errors.New("unaligned transfer")
	}
	if op.Off < 0 || op.Off+int64(len(b)) > int64(len(m.data)) {
		return io.ErrUnexpectedEOF
	}
	if op.Code == ioring.OpRead {
		m.stats.Reads++
		m.stats.ReadBytes += uint64(len(b))
		copy(b, m.data[op.Off:])
		if m.onRead != nil {
			return m.onRead(op.Off, b)
		}
		return nil
	}
	m.stats.Writes++
	if m.failed != nil {
		return m.failed
	}
	if m.onWrite != nil {
		if err := m.onWrite(op.Off, len(b)); err != nil {
			return err
		}
	}
	copy(m.data[op.Off:], b)
	m.dirty[op.Off] = true
	return nil
}

func (m *memDevice) Stats() ioring.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

func (m *memDevice) Close() error {
	m.inFlight.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// reopen returns the device as another process finds it after this one.
func reopen(m *memDevice) *memDevice {
	m.Close()
	after := newMem(m.limit)
	after.data = m.data
	return after
}

const mib = 1 << 20

func newArena(t testing.TB) *ioring.Arena {
	t.Helper()
	a, err := ioring.NewArena(64 * mib)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := a.InUse(); n != 0 {
			t.Errorf("%d bytes of buffers leaked", n)
		}
		a.Close()
	})
	return a
}

func openDrive(t testing.TB, dev ioring.Device, opts Options) *Drive {
	t.Helper()
	if opts.Arena == nil {
		opts.Arena = newArena(t)
	}
	d, err := Open(context.Background(), dev, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func randomBytes(seed uint64, n int) []byte {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	b := make([]byte, n)
	rng.Read(b)
	return b
}

var testTime = time.Unix(1_700_000_000, 123_456_789)

// put reserves and writes a fragment.
func put(t testing.TB, d *Drive, data []byte) (layout.BlobID, []layout.Extent) {
	t.Helper()
	exts, err := d.Reserve(context.Background(), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	id := layout.NewBlobID(testTime)
	if err := d.WriteFragment(context.Background(), id, exts, int64(len(data)), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return id, exts
}

// get reads a range of a fragment.
func get(d *Drive, id layout.BlobID, exts []layout.Extent, size, off, n int64) ([]byte, error) {
	r, err := d.OpenFragment(context.Background(), id, exts, size, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	b.Grow(int(n))
	_, err = r.WriteTo(&b)
	return b.Bytes(), err
}

func wantBytes(t testing.TB, got []byte, err error, want []byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, want %d; equal prefix %d", len(got), len(want), commonPrefix(got, want))
	}
}

func commonPrefix(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
