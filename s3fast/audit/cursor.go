package audit

import (
	"encoding/binary"
	"errors"
	"os"
	"time"
)

// The cursor tells how far the spool has been delivered, and of events that were
// dropped and not yet told of. It is a file of two slots of 64 bytes, at 0 and
// 4096, written in turn; the valid one with the higher generation counts.
//
//	offset  bytes  what
//	0       8      "SLUACURS"
//	8       4      version: 1
//	12      4      zero
//	16      8      generation
//	24      8      sequence number of the first event that is not acknowledged
//	32      8      number of events dropped since the last one written
//	40      8      time of the first of them, nanoseconds since 1970 UTC
//	48      8      time of the last of them
//	56      4      zero
//	60      4      checksum of bytes 0…60
//
// A slot that is lost costs only events that are delivered once more.
const (
	cursorName    = "cursor"
	cursorMagic   = "SLUACURS"
	cursorVersion = 1
	cursorSlot    = 64
	cursorStride  = 4096
	// cursorEvery is how often the cursor is synced while batches are delivered.
	cursorEvery = time.Second
)

// loss counts events that were dropped.
type loss struct {
	n           uint64
	first, last time.Time
}

func (l *loss) add(n uint64, first, last time.Time) {
	if n == 0 {
		return
	}
	if l.n == 0 || first.Before(l.first) {
		l.first = first
	}
	if l.n == 0 || last.After(l.last) {
		l.last = last
	}
	l.n += n
}

// state is what the cursor holds.
type state struct {
	gen  uint64
	ack  uint64
	lost loss
}

func (st *state) encode() []byte {
	p := make([]byte, cursorSlot)
	copy(p, cursorMagic)
	binary.LittleEndian.PutUint32(p[8:], cursorVersion)
	binary.LittleEndian.PutUint64(p[16:], st.gen)
	binary.LittleEndian.PutUint64(p[24:], st.ack)
	if st.lost.n > 0 {
		binary.LittleEndian.PutUint64(p[32:], st.lost.n)
		binary.LittleEndian.PutUint64(p[40:], uint64(st.lost.first.UnixNano())) // #nosec G115: after 1970
		binary.LittleEndian.PutUint64(p[48:], uint64(st.lost.last.UnixNano()))  // #nosec G115
	}
	binary.LittleEndian.PutUint32(p[60:], castagnoli(p[:60]))
	return p
}

// decodeState reads a slot; false when it is not valid.
func decodeState(p []byte) (st state, ok bool) {
	if len(p) < cursorSlot || string(p[:8]) != cursorMagic || binary.LittleEndian.Uint32(p[8:]) != cursorVersion ||
		binary.LittleEndian.Uint32(p[60:]) != castagnoli(p[:60]) {
		return st, false
	}
	st.gen, st.ack = binary.LittleEndian.Uint64(p[16:]), binary.LittleEndian.Uint64(p[24:])
	if st.lost.n = binary.LittleEndian.Uint64(p[32:]); st.lost.n > 0 {
		st.lost.first = time.Unix(0, int64(binary.LittleEndian.Uint64(p[40:]))) // #nosec G115: any value is a time
		st.lost.last = time.Unix(0, int64(binary.LittleEndian.Uint64(p[48:])))  // #nosec G115
	}
	return st, true
}

// cursor is the open file. Its owner serializes the calls.
type cursor struct {
	f      *os.File
	flush  func(*os.File) error
	state  state
	dirty  bool
	synced time.Time
}

// openCursor opens or makes the file; found is false when it held nothing valid.
func openCursor(path string, flush func(*os.File) error) (c *cursor, found bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	c = &cursor{f: f, flush: flush}
	for slot := range int64(2) {
		p := make([]byte, cursorSlot)
		if n, _ := f.ReadAt(p, slot*cursorStride); n < cursorSlot {
			continue
		}
		if st, ok := decodeState(p); ok && (!found || st.gen > c.state.gen) {
			c.state, found = st, true
		}
	}
	return c, found, nil
}

// save writes the state, in the slot that does not hold the last one.
func (c *cursor) save() error {
	c.state.gen++
	c.dirty = true
	_, err := c.f.WriteAt(c.state.encode(), int64(c.state.gen&1)*cursorStride)
	return err
}

// sync makes what was saved durable, unless that was done within every.
func (c *cursor) sync(now time.Time, every time.Duration) error {
	if !c.dirty || now.Sub(c.synced) < every {
		return nil
	}
	c.dirty, c.synced = false, now
	return c.flush(c.f)
}

func (c *cursor) close(now time.Time) error {
	return errors.Join(c.sync(now, 0), c.f.Close())
}
