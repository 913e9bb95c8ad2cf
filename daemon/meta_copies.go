package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/metahome"
)

// copyRetry is the pause after a copy that could not be made.
const copyRetry = time.Minute

// copyKeeper keeps the metadata in as many copies as is wanted, each on a drive of its own,
// not on one that is on its way out. Copies that a higher parity asked for stay: so do the
// objects that were written under it.
type copyKeeper struct {
	d     *daemon
	busy  atomic.Bool
	tried map[string]time.Time // directories where a copy could not be made; used by who set busy
}

// place is a directory that could hold a copy.
type place struct {
	dir   string
	drive string // id, or ""
	good  bool   // a new copy may be made there
	keep  bool   // one that is there may stay
}

// places returns all directories that could hold a copy, those preferred first.
func (k *copyKeeper) places() []place {
	d := k.d
	var out []place
	for _, dir := range d.cfg.MetadataDirs {
		out = append(out, place{dir: dir, good: true, keep: true})
	}
	states := map[string]engine.DriveState{}
	for _, st := range d.engine.Drives() {
		states[st.ID.String()] = st.State
	}
	for _, b := range d.roster.in() {
		if dir := metaDirOf(&b); dir != "" {
			id := b.id.String()
			p := place{dir: dir, drive: id}
			if b.doc.State == docActive && b.err == nil {
				p.good = states[id] == engine.DriveActive
				p.keep = p.good || states[id] == engine.DriveSuspect
			}
			out = append(out, p)
		}
	}
	// The state directory only where drives give no place: it is on a disk that is
	// not meant for data.
	state := place{dir: filepath.Join(d.cfg.StateDir, metaDir)}
	state.good = !slices.ContainsFunc(out, func(p place) bool { return p.drive != "" })
	state.keep = state.good
	return append(out, state)
}

// parity is how many drives may fail at a time.
func (d *daemon) parity() int {
	parity, _ := d.engine.Protection()
	return parity
}

// on reports whether a copy of the metadata is on the drive.
func (k *copyKeeper) on(b *bay) bool {
	dir := metaDirOf(b)
	return dir != "" && slices.ContainsFunc(k.d.meta.store.Copies(), func(c pebblemeta.CopyStatus) bool { return c.Dir == dir })
}

// next returns what is to be done about the copies now, or nil. It is run apart, for
// it may take long; until it returns, next returns nil.
func (k *copyKeeper) next() func(context.Context) {
	if k.d.meta.store.Err() != nil || !k.busy.CompareAndSwap(false, true) {
		return nil
	}
	work := k.choose()
	if work == nil {
		k.busy.Store(false)
		return nil
	}
	return func(ctx context.Context) {
		defer k.busy.Store(false)
		work(ctx)
	}
}

func (k *copyKeeper) choose() func(context.Context) {
	var dirs []string
	for _, c := range k.d.meta.store.Copies() {
		if !c.Filling {
			dirs = append(dirs, c.Dir)
		}
	}
	places := k.places()
	good := slices.DeleteFunc(slices.Clone(places), func(p place) bool { return !p.good })
	stays := func(dir string) bool {
		return slices.ContainsFunc(places, func(p place) bool { return p.dir == dir && p.keep })
	}
	healthy := slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool { return !stays(dir) })
	recorded := k.d.meta.home.Copies()
	for _, dir := range dirs {
		known := slices.ContainsFunc(recorded, func(c metahome.Candidate) bool { return c.Dir == dir })
		// One on a drive that is out, or that could not be recorded, is of no use;
		// one on a drive that is going waits for its successor.
		lost := !slices.ContainsFunc(places, func(p place) bool { return p.dir == dir })
		leaving := !stays(dir) && len(healthy) > 0 && len(healthy) >= min(k.d.wantedCopies(), len(good))
		if len(dirs) > 1 && (!known || lost || leaving) {
			return func(ctx context.Context) { k.remove(ctx, dir) }
		}
	}
	if len(healthy) >= k.d.wantedCopies() {
		return nil
	}
	for _, p := range k.byDisk(good, dirs) {
		if time.Since(k.tried[p.dir]) > copyRetry && !slices.Contains(dirs, p.dir) {
			return func(ctx context.Context) { k.add(ctx, p) }
		}
	}
	return nil
}

// byDisk puts the places on disks without a copy first.
func (k *copyKeeper) byDisk(places []place, dirs []string) []place {
	taken := map[uint64]bool{}
	for _, dir := range dirs {
		taken[k.d.meta.disk(dir)] = true
	}
	out := slices.Clone(places)
	slices.SortStableFunc(out, func(a, b place) int {
		switch x, y := taken[k.d.meta.disk(a.dir)], taken[k.d.meta.disk(b.dir)]; {
		case x == y:
			return 0
		case x:
			return 1
		}
		return -1
	})
	return out
}

// add makes a copy.
func (k *copyKeeper) add(ctx context.Context, p place) {
	err := k.fill(ctx, p)
	if err == nil {
		k.d.log.Info("the metadata has one more copy", "dir", p.dir)
		return
	}
	if ctx.Err() == nil {
		if k.tried == nil {
			k.tried = map[string]time.Time{}
		}
		k.tried[p.dir] = time.Now()
		k.d.log.Error("a copy of the metadata could not be made", "dir", p.dir, "err", err)
	}
}

func (k *copyKeeper) fill(ctx context.Context, p place) error {
	m := k.d.meta
	need := m.store.DiskUsage() + k.d.metaReserve()/4
	err, ok := within(answerTime, func() error {
		if err := makeDirs(p.dir); err != nil {
			return err
		}
		left, err := freeBytes(p.dir)
		if err == nil && left < need {
			err = fmt.Errorf("%s has %d bytes left and %d are needed", p.dir, left, need)
		}
		return err
	})
	if !ok {
		err = errSilent
	}
	if err != nil {
		return err
	}
	candidate := metahome.Candidate{Dir: p.dir, Drive: p.drive}
	return m.store.AddCopy(ctx, pebblemeta.Copy{Dir: p.dir}, func(ctx context.Context) error {
		if err := m.keys.files.join(p.dir); err != nil {
			return err
		}
		// What fails here is recorded as out of date, by eject.
		if err := m.home.Include(ctx, candidate); err != nil {
			return err
		}
		m.joined(p.dir)
		return nil
	})
}

// remove ends a copy.
func (k *copyKeeper) remove(ctx context.Context, dir string) {
	if err := k.d.meta.store.RemoveCopy(ctx, dir); err != nil {
		if ctx.Err() == nil {
			k.d.log.Error("a copy of the metadata could not be ended", "dir", dir, "err", err)
		}
		return
	}
	k.d.log.Info("a copy of the metadata was ended", "dir", dir)
}

// fillNow makes the copies of a new cluster before it takes its first request.
func (k *copyKeeper) fillNow(ctx context.Context) {
	for work := k.next(); work != nil && ctx.Err() == nil; work = k.next() {
		work(ctx)
	}
}
