package ioring

import (
	"fmt"
	"sync"
	"time"
)

// closePatience is how long Close of an aborted device waits for operations in
// flight.
const closePatience = time.Second

// ending is how a device comes to its end: aborted, closed, or both.
type ending struct {
	abortOnce sync.Once
	aborted   chan struct{} // closed by abort
	cause     error         // of the abort; read only once aborted is closed

	closeOnce sync.Once
	released  chan struct{} // closed when close has released the device
	err       error         // of the release; read only once released is closed
}

func newEnding() ending {
	return ending{aborted: make(chan struct{}), released: make(chan struct{})}
}

// Abort implements Device.
func (e *ending) Abort(err error) {
	e.abortOnce.Do(func() {
		e.cause = err
		close(e.aborted)
	})
}

// abortion returns why the device was aborted, or nil.
func (e *ending) abortion() error {
	select {
	case <-e.aborted:
		return e.cause
	default:
		return nil
	}
}

// finish runs release, once, and waits for its end, though not for long where
// the device was, or is meanwhile, aborted.
func (e *ending) finish(release func() error) error {
	e.closeOnce.Do(func() {
		go func() {
			e.err = release()
			close(e.released)
		}()
	})
	select {
	case <-e.released:
		return e.err
	case <-e.aborted:
	}
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-e.released:
		return e.err
	case <-patience.C:
		return fmt.Errorf("%w: it stays open (%w)", ErrHung, e.cause)
	}
}
