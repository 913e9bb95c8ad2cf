package engine

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
)

// write is one attempt to change a key: to content(seed, size), or to nothing.
type write struct {
	seed    uint64
	size    int64
	deleted bool
	start   int64 // logical times; ack 0: not acknowledged
	ack     int64
}

func (w *write) data() []byte { return content(w.seed, w.size) }

func (w *write) String() string {
	return fmt.Sprintf("{seed %d, size %d, deleted %v, %d…%d}", w.seed, w.size, w.deleted, w.start, w.ack)
}

// history knows what was attempted on every key and what was acknowledged
// before the power went.
type history struct {
	clock atomic.Int64

	mu   sync.RWMutex // held for reading while an acknowledgement is noted
	off  bool         // the power is off: what is answered now, no client sees
	keys map[string][]*write
}

func newHistory(keys []string) *history {
	h := &history{keys: make(map[string][]*write)}
	for _, k := range keys {
		h.keys[k] = []*write{{deleted: true, start: 0, ack: 1}}
	}
	h.clock.Store(1)
	return h
}

// begin notes an attempt.
func (h *history) begin(key string, w *write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.start = h.clock.Add(1)
	h.keys[key] = append(h.keys[key], w)
}

// acknowledge notes success, unless the power is off.
func (h *history) acknowledge(w *write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.off {
		w.ack = h.clock.Add(1)
	}
}

// refuse takes back an attempt that is known to have had no effect.
func (h *history) refuse(key string, w *write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.off {
		return
	}
	list := h.keys[key]
	for i := range list {
		if list[i] == w {
			h.keys[key] = append(list[:i:i], list[i+1:]...)
			return
		}
	}
}

// possible returns the writes whose outcome a reader may find at key in a
// reading that began at since: those that no acknowledged write had replaced
// by then, a write being replaced by one that began after it was acknowledged.
func (h *history) possible(key string, since int64) []*write {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var out []*write
	for _, w := range h.keys[key] {
		replaced := false
		for _, later := range h.keys[key] {
			if w.ack != 0 && later.start > w.ack && later.ack != 0 && later.ack < since {
				replaced = true
			}
		}
		if !replaced {
			out = append(out, w)
		}
	}
	return out
}

// match returns the possible write that explains what was found.
func match(list []*write, found bool, data []byte) *write {
	for _, w := range list {
		if w.deleted != found && (w.deleted || int64(len(data)) == w.size && bytes.Equal(data, w.data())) {
			return w
		}
	}
	return nil
}

// settle makes the outcome found after a restart the only past of key.
func (h *history) settle(key string, w *write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	base := *w
	base.start, base.ack = h.clock.Add(1), h.clock.Add(1)
	h.keys[key] = []*write{&base}
}
