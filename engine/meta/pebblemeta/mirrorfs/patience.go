package mirrorfs

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ticks is in how many parts patience is measured out. A process that stood still, or
// got no processor, for however long, loses no more than one of them: a drive must not
// be blamed for it.
const ticks = 10

// patience is a timer.
type patience struct {
	timer *time.Timer
	part  time.Duration
	left  int
}

func newPatience(d time.Duration) *patience {
	part := max(d/ticks, time.Millisecond)
	return &patience{timer: time.NewTimer(part), part: part, left: ticks}
}

// over is to be called when timer fired. It tells whether patience is over; if not,
// the timer runs again.
func (p *patience) over() bool {
	p.left--
	if p.left > 0 {
		p.timer.Reset(p.part)
		return false
	}
	return true
}

// again begins anew.
func (p *patience) again() {
	p.left = ticks
	p.timer.Reset(p.part)
}

func (p *patience) stop() { p.timer.Stop() }

// probeName is the file that a copy proves by that it answers.
const probeName = ".probe" + tempSuffix

// probes are the looks at one copy; there is one at a time, however long it takes.
type probes struct {
	mu  sync.Mutex
	now *probe
}

type probe struct {
	done chan struct{}
	err  error
}

// probe begins to write a small file in the copy, unless that is under way.
func (r *replica) probe() *probe {
	r.probes.mu.Lock()
	defer r.probes.mu.Unlock()
	if r.probes.now != nil {
		return r.probes.now
	}
	p := &probe{done: make(chan struct{})}
	r.probes.now = p
	go func() {
		p.err = r.tryWrite()
		r.probes.mu.Lock()
		r.probes.now = nil
		r.probes.mu.Unlock()
		close(p.done)
	}()
	return p
}

func (r *replica) tryWrite() error {
	path := r.path(probeName)
	f, err := r.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(probeName))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), r.FS.Remove(path))
}

// answers tells whether one of the copies can be written to, within Options.Patience.
func (f *FS) answers(set []*replica) bool {
	found := make(chan bool, len(set))
	timer := newPatience(f.opts.Patience)
	defer timer.stop()
	end := make(chan struct{})
	defer close(end)
	for _, r := range set {
		go func() {
			p := r.probe()
			select {
			case <-p.done:
				found <- p.err == nil
			case <-end:
			}
		}()
	}
	for range set {
		for waiting := true; waiting; {
			select {
			case ok := <-found:
				if ok {
					return true
				}
				waiting = false
			case <-timer.timer.C:
				if timer.over() {
					return false
				}
			}
		}
	}
	return false
}

// others returns the copies in service but r.
func (f *FS) others(r *replica) []*replica {
	return slices.DeleteFunc(slices.Clone(f.replicas()), func(o *replica) bool { return o == r })
}

// ejecting tells whether a copy is on its way out: nobody else is blamed for being
// slow meanwhile.
func (f *FS) ejecting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pending > 0
}

// ReadDirectly says whether reads of several copies try what the kernel has in memory
// first, for benchmarks.
func (f *FS) ReadDirectly(yes bool) {
	for _, r := range f.replicas() {
		r.noWait.Store(yes && r.NoWait)
	}
}
