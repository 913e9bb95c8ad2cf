package audit

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
)

const (
	// minSegment and maxSegment bound how long a segment grows before the next
	// one begins; between them it is a sixteenth of the spool's bound. Space is
	// freed by whole segments.
	minSegment = 64 << 10
	maxSegment = 16 << 20
	// chunkBytes is how many bytes of events are written and synced at once.
	chunkBytes = 256 << 10
)

// errFull: the spool has reached its bound.
var errFull = errors.New("audit: spool full")

// spool keeps events on disk until they are acknowledged. One goroutine writes
// (put), one reads (reader); the rest may be called by any.
type spool struct {
	dir string
	key *seal.Key
	log *slog.Logger
	now func() time.Time
	// write and sync are the file's; tests make them fail.
	write func(f *os.File, p []byte) (int, error)
	sync  func(f *os.File) error

	// Of the writer.
	out  *os.File // nil: the next put begins a segment
	aead cipher.AEAD
	buf  []byte

	mu     sync.Mutex
	segs   []*segment // by sequence number; guarded by mu, like all below
	cursor *cursor
	next   uint64 // sequence number of the next event
	bytes  int64  // of all segments
	full   bool   // put refused; there must be some room before it takes events again
}

// segment is one file of the spool. Its fields are guarded by spool.mu.
type segment struct {
	first uint64
	next  uint64 // after its last durable event
	end   int64  // of its durable frames
	size  int64  // of the file
	born  time.Time
	open  bool // the writer may add to it
}

// openSpool opens the spool of a directory that exists. sync makes a file or
// directory durable.
func openSpool(dir string, key *seal.Key, log *slog.Logger, now func() time.Time, sync func(*os.File) error) (*spool, error) {
	s := &spool{dir: dir, key: key, log: log, now: now, next: 1, write: (*os.File).Write, sync: sync}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for i, first := range names {
		seg, err := s.load(first, i == len(names)-1)
		if err != nil {
			return nil, err
		}
		if seg == nil {
			continue
		}
		if n := len(s.segs); n > 0 {
			s.segs[n-1].next = first
		}
		s.segs = append(s.segs, seg)
		s.bytes += seg.size
		s.next = seg.next
	}
	found := false
	if s.cursor, found, err = openCursor(filepath.Join(dir, cursorName), sync); err != nil {
		return nil, err
	}
	switch ack := s.cursor.state.ack; {
	case !found && len(s.segs) > 0:
		s.cursor.state.ack = s.segs[0].first
	case !found:
		s.cursor.state.ack = s.next
	case ack > s.next:
		s.next = ack
	}
	return s, s.acknowledge(s.cursor.state.ack)
}

// names lists the segments' first sequence numbers in order.
func (s *spool) names() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if first, err := strconv.ParseUint(digits, 16, 64); ok && err == nil && len(digits) == 16 && first > 0 {
			out = append(out, first)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (s *spool) path(first uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x%s", first, segmentSuffix))
}

// load reads what there is of a segment. One without a whole header never held
// an event, or lost them all: it is removed. Of the last segment every frame is
// checked; of the others the reader does so.
func (s *spool) load(first uint64, last bool) (*segment, error) {
	path := s.path(first)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	header := make([]byte, segmentHeader)
	n, err := f.ReadAt(header, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	_, born, err := openSegment(s.key, header[:n], first)
	if errors.Is(err, seal.ErrOpen) {
		return nil, fmt.Errorf("audit spool %s was sealed with another cluster key: %w", path, err)
	}
	if err != nil {
		s.log.Error("audit: a segment of the spool is unreadable and was removed", "path", path, "bytes", st.Size(), "err", err)
		return nil, os.Remove(path)
	}
	seg := &segment{first: first, next: first, end: st.Size(), size: st.Size(), born: born}
	if last {
		seg.end = segmentHeader
		for {
			info, frame, err := readFrame(f, seg.end, st.Size(), seg.next, nil)
			if err != nil {
				break
			}
			seg.next, seg.end = info.next(), seg.end+int64(len(frame))
		}
		if seg.next == first { // it holds nothing, and the next one will have its name
			return nil, os.Remove(path)
		}
		// After kill -9 some of it may be in the kernel's memory only. Nothing may be
		// delivered that a power loss can take back: its numbers would be used again.
		if err := s.sync(f); err != nil {
			return nil, err
		}
	}
	return seg, nil
}

// readFrame reads the frame at off, which must end by end and begin with the
// event first or a later one, into buf. Errors: errFrame and the file's.
func readFrame(f io.ReaderAt, off, end int64, first uint64, buf []byte) (frameInfo, []byte, error) {
	if off+frameHeader > end {
		return frameInfo{}, buf, errFrame
	}
	buf = slices.Grow(buf[:0], frameHeader)[:frameHeader]
	if _, err := f.ReadAt(buf, off); err != nil {
		return frameInfo{}, buf, err
	}
	info, err := parseFrame(buf)
	if err != nil {
		return info, buf, err
	}
	if info.first < first || off+frameHeader+int64(info.box) > end {
		return info, buf, errFrame
	}
	buf = slices.Grow(buf, info.box)[:frameHeader+info.box]
	if _, err := f.ReadAt(buf[frameHeader:], off+frameHeader); err != nil {
		return info, buf, err
	}
	if !checkFrame(buf) {
		return info, buf, errFrame
	}
	return info, buf, nil
}

// put writes events, each with its length before it, and makes them durable. It
// takes at most chunkBytes and one event at once. at is the first one's time,
// limit the bound of the spool. After an error nothing of them counts as written.
func (s *spool) put(events []byte, at time.Time, limit int64) error {
	if !s.fits(len(events), limit) {
		// The present segment may hold nothing more to deliver.
		if err := s.finish(); err != nil || !s.fits(len(events), limit) {
			return errors.Join(err, errFull)
		}
	}
	err := s.try(events, at, limit)
	if err == nil {
		return nil
	}
	// A segment whose writing or syncing failed is never trusted again.
	s.abandon()
	if again := s.try(events, at, limit); again != nil {
		s.abandon()
		return errors.Join(err, again)
	}
	return nil
}

// fits tells whether there is room for n bytes of events. Once there was none,
// there must be some to spare.
func (s *spool) fits(n int, limit int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := limit - s.bytes
	if s.full {
		room -= limit / 16
	}
	s.full = int64(n+n/1024*(frameHeader+boxOverhead)+segmentHeader+frameHeader+boxOverhead) > room
	return !s.full
}

// try writes events to the present segment or to a new one.
func (s *spool) try(events []byte, at time.Time, limit int64) error {
	if s.out == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	seg, next := s.segs[len(s.segs)-1], s.next
	s.mu.Unlock()
	s.buf = s.buf[:0]
	for rest := events; len(rest) > 0; {
		group, count := rest, uint32(0)
		for len(rest) > 0 && len(group)-len(rest) < groupBytes {
			var err error
			if _, rest, err = nextEvent(rest); err != nil {
				return err
			}
			count++
		}
		s.buf = appendFrame(s.buf, s.aead, next, count, at, group[:len(group)-len(rest)])
		next += uint64(count)
	}
	if _, err := s.write(s.out, s.buf); err != nil {
		return err
	}
	if err := s.sync(s.out); err != nil {
		return err
	}
	s.mu.Lock()
	seg.next, seg.end, seg.size = next, seg.end+int64(len(s.buf)), seg.size+int64(len(s.buf))
	s.bytes += int64(len(s.buf))
	s.next = next
	roll := seg.size >= min(max(limit/16, minSegment), maxSegment)
	s.mu.Unlock()
	if roll {
		return s.finish()
	}
	return nil
}

// begin makes a segment.
func (s *spool) begin() error {
	s.mu.Lock()
	first := s.next
	s.mu.Unlock()
	now := s.now()
	header, aead, err := newSegment(s.key, first, now)
	if err != nil {
		return err
	}
	// What a failed attempt left under this name holds no event that counts.
	f, err := os.OpenFile(s.path(first), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = s.write(f, header); err == nil {
		err = s.syncDir()
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	s.out, s.aead = f, aead
	s.mu.Lock()
	s.segs = append(s.segs, &segment{first: first, next: first, end: segmentHeader, size: segmentHeader, born: now, open: true})
	s.bytes += segmentHeader
	s.mu.Unlock()
	return nil
}

func (s *spool) syncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(d), d.Close())
}

// finish closes the present segment; the next event begins another.
func (s *spool) finish() error {
	if s.out == nil {
		return nil
	}
	err := s.out.Close()
	s.out, s.aead = nil, nil
	s.mu.Lock()
	s.segs[len(s.segs)-1].open = false
	s.mu.Unlock()
	return errors.Join(err, s.acknowledge(0))
}

// abandon gives the present segment up after an error: what is behind its last
// durable frame is cut off, and nothing is added to it.
func (s *spool) abandon() {
	if s.out == nil {
		return
	}
	s.mu.Lock()
	seg := s.segs[len(s.segs)-1]
	end := seg.end
	seg.open = false
	empty := seg.next == seg.first
	if empty { // the next attempt takes its name
		s.segs = s.segs[:len(s.segs)-1]
		s.bytes -= seg.size
	}
	s.mu.Unlock()
	// Errors change nothing: whoever reads stops at end, or where the next
	// segment begins.
	_ = s.out.Truncate(end)
	_ = s.out.Close()
	if empty {
		_ = os.Remove(s.out.Name())
	}
	s.out, s.aead = nil, nil
}

// acknowledge records that the events before ack have been delivered (0: as
// before) and removes the segments that hold no others.
func (s *spool) acknowledge(ack uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if ack > s.cursor.state.ack {
		s.cursor.state.ack = ack
		err = errors.Join(s.cursor.save(), s.cursor.sync(s.now(), cursorEvery))
	}
	for len(s.segs) > 0 && !s.segs[0].open && s.segs[0].next <= s.cursor.state.ack {
		if e := os.Remove(s.path(s.segs[0].first)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			return errors.Join(err, e)
		}
		s.bytes -= s.segs[0].size
		s.segs = s.segs[1:]
	}
	return err
}

// setLost records how many events were dropped and not yet told of.
func (s *spool) setLost(l loss) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cursor.state.lost == l {
		return nil
	}
	s.cursor.state.lost = l
	return errors.Join(s.cursor.save(), s.cursor.sync(s.now(), cursorEvery))
}

// position returns the sequence numbers of the first event that is not
// acknowledged and of the next to come, and the bytes on disk.
func (s *spool) position() (ack, next uint64, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor.state.ack, s.next, s.bytes
}

// close ends the spool. Segments that hold nothing more to deliver go.
func (s *spool) close() error {
	err := s.finish()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.cursor.close(s.now()))
}
