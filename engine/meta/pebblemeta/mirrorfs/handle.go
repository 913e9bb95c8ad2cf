package mirrorfs

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// handle is an open file that is closed when nobody uses it any more: a read that was
// left behind may still do.
type handle struct {
	vfs.File

	mu     sync.Mutex
	users  int
	closed bool
}

// use returns false once the handle is closed; else release ends the use.
func (h *handle) use() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.users++
	return true
}

func (h *handle) release() {
	h.mu.Lock()
	h.users--
	last := h.closed && h.users == 0
	h.mu.Unlock()
	if last {
		_ = h.File.Close() // of a file that was only read
	}
}

func (h *handle) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	last := h.users == 0
	h.mu.Unlock()
	if last {
		return h.File.Close()
	}
	return nil
}
