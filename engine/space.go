package engine

import (
	"fmt"
	"sync"
	"time"
)

// metaFreeAge is how long an answer of Config.MetaFree is believed.
const metaFreeAge = 100 * time.Millisecond

// metaSpace watches the space left to the metadata store. Writes stop at a
// reserve, so that deletes, which need a little space, always work.
type metaSpace struct {
	free    func() (int64, error)
	reserve int64

	mu    sync.Mutex
	at    time.Time
	kind  Kind
	cause error
}

// check returns an error of kind NoSpace when the store is at its reserve.
func (m *metaSpace) check() error {
	if m.free == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.IsZero() || time.Since(m.at) >= metaFreeAge {
		m.look()
	}
	if m.cause != nil {
		return fail(m.kind, m.cause)
	}
	return nil
}

func (m *metaSpace) look() {
	left, err := m.free()
	switch {
	case err != nil:
		m.kind, m.cause = Unavailable, fmt.Errorf("space left to the metadata: %w", err)
	case left < m.reserve:
		m.kind, m.cause = NoSpace, fmt.Errorf("%w: %d bytes left, %d reserved", errMetaFull, left, m.reserve)
	default:
		m.cause = nil
	}
	m.at = time.Now()
}
