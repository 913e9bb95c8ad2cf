package ioring

import (
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

	running sync.WaitGroup
}

func newPread(f *file, depth int) *pread {
	return &pread{file: f, tokens: make(chan struct{}, depth)}
}

// Submit implements Device.
func (p *pread) Submit(ops ...*Op) {
	for _, op := range ops {
		op.Prepare()
		if err := op.Check(p.align, p.size.Load()); err != nil {
			p.finishOp(op, err)
			continue
		}
		select {
		case p.tokens <- struct{}{}:
		case <-p.aborted:
			p.finishOp(op, p.cause)
			continue
		}
		if err := p.enter(); err != nil {
			p.finishOp(op, err)
			<-p.tokens
			continue
		}
		if op.Code == OpSync {
			p.queueSync(op)
			continue
		}
		go func() {
			err := p.refusal(op)
			call := unix.Pread
			if op.Code == OpWrite {
				call = unix.Pwrite
			}
			if err == nil {
				err = p.transfer(op, call)
			}
			p.leave(op, err)
		}()
	}
}

// enter counts an operation in, or tells why the device takes none.
func (p *pread) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if err := p.abortion(); err != nil {
		return err
	}
	p.running.Add(1)
	p.count.inFlight.Add(1)
	return nil
}

// leave completes an operation that enter admitted.
func (p *pread) leave(op *Op, err error) {
	p.count.inFlight.Add(-1)
	p.finishOp(op, err)
	<-p.tokens
	p.running.Done()
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

// Depth implements Device.
func (p *pread) Depth() int { return cap(p.tokens) }

// Close implements Device.
func (p *pread) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.finish(func() error {
		p.running.Wait()
		return p.close()
	})
}
