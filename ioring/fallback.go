package ioring

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// pread is the Device for kernels that refuse io_uring: every operation is a
// blocking system call on a goroutine of its own, at most depth at a time.
type pread struct {
	*file
	tokens chan struct{} // capacity depth: held from Submit to completion

	mu      sync.Mutex
	closed  bool
	syncing bool
	waiting []*Op // syncs that arrived since the running fdatasync began

	running   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

func newPread(f *file, depth int) *pread {
	return &pread{file: f, tokens: make(chan struct{}, depth)}
}

// Submit implements Device.
func (p *pread) Submit(ops ...*Op) {
	for _, op := range ops {
		op.Prepare()
		if err := op.Check(p.align, p.size.Load()); err != nil {
			p.finish(op, err)
			continue
		}
		p.tokens <- struct{}{}
		if !p.enter() {
			p.finish(op, ErrClosed)
			<-p.tokens
			continue
		}
		if op.Code == OpSync {
			p.queueSync(op)
			continue
		}
		go func() {
			err := p.refusal(op)
			if err == nil {
				err = p.transfer(op)
			}
			p.leave(op, err)
		}()
	}
}

// enter counts an operation in, unless the device is closed.
func (p *pread) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.running.Add(1)
	p.count.inFlight.Add(1)
	return true
}

// leave completes an operation that enter admitted.
func (p *pread) leave(op *Op, err error) {
	p.count.inFlight.Add(-1)
	p.finish(op, err)
	<-p.tokens
	p.running.Done()
}

// transfer runs a read or a write to its end.
func (p *pread) transfer(op *Op) error {
	call, verb := unix.Pread, "read"
	if op.Code == OpWrite {
		call, verb = unix.Pwrite, "write"
	}
	for done, tries := 0, 0; ; {
		n, err := call(p.fd, op.Buf.mem[op.Lo+done:op.Hi], op.Off+int64(done))
		if transient(err) && tries < maxTries {
			tries++
			continue
		}
		if err != nil {
			return p.wrap(fmt.Sprintf("%s %d bytes at %d of", verb, op.Len()-done, op.Off+int64(done)), err)
		}
		var whole bool
		if done, whole, err = advance(op, done, n, p.align); whole {
			return err
		}
	}
}

// queueSync lets op share the next fdatasync to begin. One that runs already
// may have begun before the writes that op covers were complete.
func (p *pread) queueSync(op *Op) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, op)
	if !p.syncing {
		p.syncing = true
		go p.runSyncs()
	}
}

func (p *pread) runSyncs() {
	for {
		p.mu.Lock()
		batch := p.waiting
		p.waiting = nil
		p.syncing = len(batch) > 0
		p.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := p.failure()
		if err == nil {
			p.count.flushes.Add(1)
			if err = ignoringEINTR(func() error { return unix.Fdatasync(p.fd) }); err != nil {
				err = p.fail(p.wrap("fdatasync", err))
			}
		}
		for _, op := range batch {
			p.leave(op, err)
		}
	}
}

// Stats implements Device.
func (p *pread) Stats() Stats { return p.stats("pread") }

// Close implements Device.
func (p *pread) Close() error {
	p.closeOnce.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.running.Wait()
		p.closeErr = p.close()
	})
	return p.closeErr
}
