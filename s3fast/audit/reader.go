package audit

import (
	"crypto/cipher"
	"errors"
	"os"
	"time"
)

// reader reads the spool's durable events in order.
type reader struct {
	s   *spool
	seq uint64 // of the next event

	f     *os.File // of seg
	seg   *segment
	aead  cipher.AEAD
	off   int64
	frame []byte // as read
	plain []byte // deciphered
	rest  []byte // of plain: the events still to come
	last  []byte // rest before the last event was taken
	at    time.Time
}

// item is an event, or a hole where events are missing.
type item struct {
	seq     uint64
	event   []byte // JSON; valid until the next call. nil: a hole
	missing uint64 // of a hole: how many events
	at      time.Time
}

// seek makes seq the next event.
func (r *reader) seek(seq uint64) {
	r.closeFile()
	r.seq = seq
}

func (r *reader) closeFile() {
	if r.f != nil {
		_ = r.f.Close() // opened for reading
	}
	r.f, r.seg, r.aead, r.rest, r.last = nil, nil, nil, nil, nil
}

// next returns the next event; ok is false at the end of what is durable.
func (r *reader) next() (it item, ok bool) {
	for {
		if len(r.rest) > 0 {
			event, rest, err := nextEvent(r.rest)
			if err == nil { // always: openFrame has checked them all
				it = item{seq: r.seq, event: event, at: r.at}
			}
			r.last, r.rest = r.rest, rest
			r.seq++
			return it, true
		}
		seg, first, next, end := r.find()
		if seg == nil {
			return item{}, false
		}
		if first > r.seq {
			return r.hole(first), true
		}
		upTo, err := r.load(seg, first, next, end)
		if err != nil {
			r.s.log.Error("audit: the spool is damaged, events are lost", "segment", r.s.path(first),
				"sequence", r.seq, "events", next-r.seq, "err", err)
			r.closeFile()
			upTo = next
		}
		if upTo > r.seq {
			return r.hole(upTo), true
		}
	}
}

// unread makes the event that next has just returned the next one again. It must
// not follow a hole.
func (r *reader) unread() {
	r.rest = r.last
	r.seq--
}

// hole skips to the event seq.
func (r *reader) hole(seq uint64) item {
	it := item{seq: r.seq, missing: seq - r.seq, at: r.s.now()}
	r.seq = seq
	return it
}

// find returns the segment with the next event and what of it is durable; nil
// when there is none.
func (r *reader) find() (seg *segment, first, next uint64, end int64) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for _, seg := range r.s.segs {
		if seg.next > r.seq {
			return seg, seg.first, seg.next, seg.end
		}
	}
	return nil, 0, 0, 0
}

// load deciphers the frame with the next event. Where the segment goes on with a
// later one it loads nothing and returns that one's number.
func (r *reader) load(seg *segment, first, next uint64, end int64) (upTo uint64, err error) {
	if r.seg != seg {
		if err := r.open(seg, first); err != nil {
			return 0, err
		}
	}
	for {
		info, frame, err := readFrame(r.f, r.off, end, first, r.frame)
		r.frame = frame
		if err != nil {
			return 0, err
		}
		switch {
		case info.next() <= r.seq: // acknowledged before
			r.off += int64(len(frame))
			continue
		case info.first >= next || info.next() > next:
			return 0, errFrame
		case info.first > r.seq:
			return info.first, nil
		}
		if r.plain, err = openFrame(r.plain[:0], r.aead, frame); err != nil {
			return 0, err
		}
		r.off += int64(len(frame))
		r.rest, r.at = r.plain, info.time
		for range r.seq - info.first {
			if _, r.rest, err = nextEvent(r.rest); err != nil {
				return 0, err
			}
		}
		return 0, nil
	}
}

func (r *reader) open(seg *segment, first uint64) error {
	r.closeFile()
	f, err := os.Open(r.s.path(first))
	if err != nil {
		return err
	}
	header := make([]byte, segmentHeader)
	if _, err = f.ReadAt(header, 0); err == nil {
		r.aead, _, err = openSegment(r.s.key, header, first)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.f, r.seg, r.off = f, seg, segmentHeader
	return nil
}
