package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/layout"
)

const (
	// superviseEvery is how often the drives are looked after.
	superviseEvery = 2 * time.Second
	// lookTime is how long a drive's path may take to tell that it is there.
	lookTime = 5 * time.Second
	// blankRetry is the pause between two looks at a path where nothing is.
	blankRetry = 2 * time.Second
	// retryLeast and retryMost bound the pause before a drive that failed, or that
	// could not be opened, is tried again; it doubles with each time.
	retryLeast = 10 * time.Second
	retryMost  = 10 * time.Minute
)

// supervisor looks after the drives: it takes out those whose files or devices are
// gone, takes back those that return, ends what was drained or replaced, and keeps
// the metadata in as many copies as is wanted. Nothing in it waits for a path that
// does not answer.
type supervisor struct {
	d      *daemon
	cancel context.CancelFunc
	done   chan struct{}
	kick   chan struct{} // something changed: look after it at once

	retries map[string]*retry // by path or drive id; the loop's own

	mu     sync.Mutex
	asking map[string]bool // looks at paths that have not come back
	voters error           // why the voters could not be recorded; tried again
	stale  bool            // the voters are to be recorded again

	filling sync.WaitGroup // work that takes its time
	copies  copyKeeper
}

// retry is when something is tried again.
type retry struct {
	at   time.Time
	wait time.Duration
}

func newSupervisor(d *daemon) *supervisor {
	return &supervisor{d: d, done: make(chan struct{}), kick: make(chan struct{}, 1), retries: map[string]*retry{}, asking: map[string]bool{}, copies: copyKeeper{d: d}}
}

// start runs the supervisor until close.
func (s *supervisor) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wake()
	go func() {
		defer close(s.done)
		tick := time.NewTicker(superviseEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-s.kick:
			}
			s.round(ctx)
		}
	}()
}

// close ends the supervisor; what waits for a drive is left behind when ctx is done.
func (s *supervisor) close(ctx context.Context) {
	if s == nil || s.cancel == nil {
		return
	}
	s.cancel()
	ended := make(chan struct{})
	go func() { <-s.done; s.filling.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		s.d.log.Warn("work on the drives was cut off")
	}
}

// wake has the supervisor look after everything now.
func (s *supervisor) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// round looks after everything once.
func (s *supervisor) round(ctx context.Context) {
	s.noteFailed()
	s.watch()
	s.takeBack(ctx)
	s.finish(ctx)
	s.d.electAgain(ctx)
	if work := s.d.metaScrub.follow(s.d, s.d.engine.ScrubStatus().Started); work != nil && ctx.Err() == nil {
		s.filling.Go(func() { work(ctx) })
	}
	if look := s.d.chosen.next(s.d); look != nil && ctx.Err() == nil {
		s.filling.Go(func() { look(ctx) })
	}
	if next := s.copies.next(); next != nil && ctx.Err() == nil {
		s.filling.Go(func() {
			next(ctx)
			s.wake() // there may be more to do
		})
	}
}

// noteFailed notes what the engine took out of service.
func (s *supervisor) noteFailed() {
	for _, st := range s.d.engine.Drives() {
		b, ok := s.d.roster.get(st.ID)
		if !ok || b.drive == nil || st.State != engine.DriveFailed {
			continue
		}
		why := st.Cause
		if why == nil {
			why = errors.New("it was taken out of service")
		}
		s.d.roster.out(st.ID, why, true)
		s.later(b.id.String())
	}
}

// later puts off the next try of key: twice as long as the last time.
func (s *supervisor) later(key string) {
	r := s.retries[key]
	if r == nil {
		r = &retry{}
		s.retries[key] = r
	}
	switch {
	case r.wait == 0 || time.Since(r.at) > 2*retryMost: // a new trouble
		r.wait = retryLeast
	default:
		r.wait = min(2*r.wait, retryMost)
	}
	r.at = time.Now().Add(r.wait)
}

func (s *supervisor) due(key string) bool {
	r := s.retries[key]
	return r == nil || !time.Now().Before(r.at)
}

// ask runs look, which may hang, unless an earlier look at key has not come back,
// and returns its error: errSilent when it takes longer than limit.
func (s *supervisor) ask(key string, limit time.Duration, look func() error) error {
	s.mu.Lock()
	busy := s.asking[key]
	s.asking[key] = true
	s.mu.Unlock()
	if busy {
		return errSilent
	}
	err, ok := within(limit, func() error {
		err := look()
		s.mu.Lock()
		delete(s.asking, key)
		s.mu.Unlock()
		return err
	})
	if !ok {
		return errSilent
	}
	return err
}

// watch looks whether the drives in service are still where they were.
func (s *supervisor) watch() {
	var wg sync.WaitGroup
	for _, b := range s.d.roster.in() {
		wg.Go(func() {
			err := s.ask(b.loc.file, lookTime, func() error { return stillThere(&b) })
			switch {
			case errors.Is(err, errSilent):
				// The engine sees by itself whether the drive hangs, too.
			case err != nil:
				s.gone(&b, err)
			case b.err != nil:
				s.d.roster.out(b.id, nil, false)
			}
		})
	}
	wg.Wait()
}

// Errors of drives that are in service and should not be.
var (
	errDataGone   = errors.New("its data file was removed or replaced")
	errDeviceGone = errors.New("its device is gone")
	errReadOnlyFS = errors.New("its file system became read-only")
)

// stillThere returns why the drive cannot go on: what was opened is not there any
// more, or cannot be written to.
func stillThere(b *bay) error {
	now, err := inodeOf(b.loc.file)
	if b.loc.block {
		if err == nil && now == b.inode {
			return nil
		}
		// The name alone may have changed.
		sys := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(b.inode.dev), unix.Minor(b.inode.dev))
		if _, err := os.Stat(sys); errors.Is(err, os.ErrNotExist) {
			return errDeviceGone
		}
		return nil
	}
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENOTDIR), err == nil && now != b.inode:
		return errDataGone
	case errors.Is(err, unix.EACCES):
		return nil // it is open; a restart will tell
	case err != nil:
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(b.loc.path, &st); err == nil && st.Flags&unix.ST_RDONLY != 0 {
		return errReadOnlyFS
	}
	return nil
}

// gone takes a drive out of service. One that the cluster cannot do without stays as
// long as what is open still works: without it there would be less.
func (s *supervisor) gone(b *bay, why error) {
	if !errors.Is(why, errDeviceGone) && !s.d.spare() {
		if b.err == nil {
			s.d.log.Error("a drive should be taken out of service and cannot be spared: save what is on it, a restart will not find it", "id", b.id, "path", b.loc.path, "why", why)
		}
		s.d.roster.out(b.id, why, false)
		return
	}
	s.d.engine.FailDrive(b.id, why)
	s.d.roster.out(b.id, why, true)
}

// spare reports whether everything could still be read with one drive less.
func (d *daemon) spare() bool {
	out, members := 0, 0
	for _, b := range d.roster.all() {
		members++
		if b.drive == nil {
			out++
		}
	}
	return members-out > 1 && out < d.parity()
}

// takeBack takes drives back into service that are there again.
func (s *supervisor) takeBack(ctx context.Context) {
	for _, path := range s.d.emptyPaths() {
		if ctx.Err() != nil || !s.due(path) {
			continue
		}
		var loc location
		err := s.ask(path, answerTime, func() error {
			loc = s.d.look(path)
			return loc.err
		})
		if errors.Is(err, errSilent) { // loc may be written to at any time
			s.later(path)
			continue
		}
		s.look(ctx, path, loc)
	}
}

// look takes the drive that is at path into service, if it is one that is missed.
func (s *supervisor) look(ctx context.Context, path string, loc location) {
	switch b, at, err := s.d.missed(loc, path); {
	case err != nil:
		s.d.roster.blame(path, err)
		if at {
			s.d.roster.out(b.id, err, false)
		}
		if loc.err != nil {
			s.later(path)
		} else {
			s.retries[path] = &retry{at: time.Now().Add(blankRetry)}
		}
	case s.due(b.id.String()) && s.d.engine.Detached(b.id):
		if err := s.d.attachKnown(ctx, b, loc); err != nil && ctx.Err() == nil {
			s.d.log.Error("a drive that is there again cannot be taken into service", "id", b.id, "path", path, "err", err)
			s.d.roster.out(b.id, err, false)
			s.later(b.id.String())
		}
	}
}

// emptyPaths returns the paths where a drive could come back.
func (d *daemon) emptyPaths() []string {
	paths := slices.Clone(d.cfg.Drives)
	missing := false
	for _, b := range d.roster.all() {
		missing = missing || b.drive == nil
		paths = append(paths, b.path())
	}
	if !missing {
		return nil
	}
	for _, b := range d.roster.in() {
		paths = slices.DeleteFunc(paths, func(p string) bool { return p == b.loc.path })
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// missed returns the drive that is at loc if the cluster misses it; else the one
// that should be at path, if any, and why it is not.
func (d *daemon) missed(loc location, path string) (b bay, at bool, err error) {
	expected, at := d.roster.at(path)
	switch {
	case loc.err != nil:
		return expected, at, loc.err
	case loc.id == nil:
		return expected, at, errBlankPath
	case loc.id.Cluster != d.clusterID:
		return expected, at, errOther
	}
	b, ok := d.roster.get(loc.id.Drive)
	switch {
	case !ok:
		return expected, at, errRemoved
	case b.drive != nil:
		return expected, at, errOther
	}
	return b, false, nil
}

// attachKnown opens a drive of the cluster at loc and takes it into service.
func (d *daemon) attachKnown(ctx context.Context, known bay, loc location) error {
	if err := d.roster.lock(ctx); err != nil {
		return err
	}
	defer d.roster.unlock()
	if b, ok := d.roster.get(known.id); !ok || b.drive != nil {
		return nil // somebody else was faster
	}
	b, err := d.openBay(ctx, loc)
	if err != nil {
		return err
	}
	doc := known.doc
	doc.Path = loc.path
	b.doc = doc
	if b.id != known.id { // it was changed between two looks
		return errors.Join(errOther, b.drive.Close())
	}
	if err := d.engine.AttachDrive(ctx, b.drive); err != nil {
		return errors.Join(err, b.drive.Close())
	}
	d.roster.put(b)
	d.roster.blame(loc.path, nil)
	d.log.Info("a drive is in service again", "id", b.id, "path", loc.path)
	d.elect()
	return errors.Join(d.saveDrive(ctx, b), d.resume(&b))
}

// finish ends the membership of drives on which nothing is left.
func (s *supervisor) finish(ctx context.Context) {
	var tasks []engine.HealTask
	for _, b := range s.d.roster.all() {
		if b.doc.State != docDraining && b.doc.State != docReplaced {
			continue
		}
		if tasks == nil {
			tasks = append(s.d.engine.HealStatus().Tasks, engine.HealTask{})
		}
		if left(tasks, b.id) || !s.due("forget "+b.id.String()) || s.copies.on(&b) {
			continue
		}
		err := s.d.forget(ctx, b)
		switch engine.KindOf(err) {
		case engine.Conflict: // it still holds something; to find out takes a walk
			s.retries["forget "+b.id.String()] = &retry{at: time.Now().Add(retryLeast)}
		default:
			if err != nil && ctx.Err() == nil {
				s.d.log.Error("a drive cannot be taken out of the cluster", "id", b.id, "path", b.path(), "err", err)
				s.later("forget " + b.id.String())
			}
		}
	}
}

// left reports whether a task still has something to move off the drive.
func left(tasks []engine.HealTask, id layout.DriveID) bool {
	return slices.ContainsFunc(tasks, func(t engine.HealTask) bool {
		return t.Drive == id && (t.Fragments > 0 || t.Done < t.Total)
	})
}

// forget ends a drive's membership.
func (d *daemon) forget(ctx context.Context, b bay) error {
	if err := d.roster.lock(ctx); err != nil {
		return err
	}
	defer d.roster.unlock()
	now, ok := d.roster.get(b.id)
	if !ok || now.doc.State != b.doc.State {
		return nil // the administrator changed his mind
	}
	if err := d.engine.ForgetDrive(ctx, b.id); err != nil && engine.KindOf(err) != engine.NoDrive {
		return err
	}
	b = now
	b.doc.State, b.doc.Successor, b.doc.Reason = docRemoved, "", "removed by the administrator"
	if now.doc.State == docReplaced {
		b.doc.Reason = "replaced by " + now.doc.Successor
	}
	d.roster.blame(b.path(), errRemoved)
	if !slices.Contains(d.cfg.Drives, b.path()) {
		d.roster.blame(b.path(), nil)
	}
	d.opened.release(b.loc.file)
	d.log.Info("a drive is no longer of the cluster", "id", b.id, "path", b.path(), "why", b.doc.Reason)
	d.elect()
	return d.saveDrive(ctx, b)
}

// elect has the voters recorded again, by the supervisor, which tries until it can.
func (d *daemon) elect() {
	d.supervisor.mu.Lock()
	d.supervisor.stale = true
	d.supervisor.mu.Unlock()
	d.supervisor.wake()
}

// electAgain records the voters if that is due.
func (d *daemon) electAgain(ctx context.Context) {
	s := d.supervisor
	s.mu.Lock()
	stale, before := s.stale, s.voters
	s.stale = false
	s.mu.Unlock()
	if !stale {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*answerTime)
	defer cancel()
	voters, members := d.voters()
	err := d.meta.home.SetVoters(ctx, voters, members)
	if err != nil && before == nil {
		d.log.Error("which drives vote on the metadata could not be recorded yet; it is tried again", "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.voters, s.stale = err, s.stale || err != nil
}

// metaDirOf is where the copy of the metadata on a drive is; "": it can hold none.
func metaDirOf(b *bay) string {
	if b.loc.block || b.drive == nil {
		return ""
	}
	return filepath.Join(b.loc.path, metaDir)
}
