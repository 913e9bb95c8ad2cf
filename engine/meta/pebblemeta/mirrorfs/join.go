package mirrorfs

import (
	"context"
	"fmt"
	"slices"
)

// touched is called when a name becomes another file's, or nobody's: a copy that is
// being made has to look at it again.
func (f *FS) touched(rel string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fill != nil {
		delete(f.fill.copied, rel)
		f.fill.epochs[rel]++
	}
}

func (l *fill) epoch(name string) int {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	return l.epochs[name]
}

func (l *fill) has(name string) bool {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	_, ok := l.copied[name]
	return ok
}

// keep notes that name is there, if it is the file that it was in epoch.
func (l *fill) keep(name string, epoch int) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	if l.epochs[name] == epoch {
		l.copied[name] = none{}
	}
}

// join takes the copy into service, with everything else held back. open is what
// prefill began.
func (l *fill) join(ctx context.Context, open []*prefilled, promote func(ctx context.Context) error) error {
	f := l.f
	f.ns.Lock()
	defer f.ns.Unlock()
	l.alone = true
	if err := f.settle(); err != nil {
		return err
	}
	legs, err := l.finish(ctx, open)
	if err != nil {
		closeAll(legs)
		return err
	}
	if promote != nil {
		if err := promote(ctx); err != nil {
			// It may be recorded as current all the same.
			if e := f.callEject(l.r.Dir, err); e != nil {
				f.mu.Lock()
				f.dead = fmt.Errorf("metadata: copy %s cannot be excluded: %w", l.r.Dir, e)
				f.settled.Broadcast()
				f.mu.Unlock()
			}
			closeAll(legs)
			return err
		}
	}
	for _, p := range legs {
		p.w.mu.Lock()
		p.w.legs = append(p.w.legs, newLeg(l.r, p.file))
		p.w.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	set := append(slices.Clone(f.replicas()), l.r)
	f.set.Store(&set)
	return nil
}

// finish copies what is not there yet and removes what is not there any more. It
// returns the files open for writing, those of open that are not among them closed.
func (l *fill) finish(ctx context.Context, open []*prefilled) (legs []*prefilled, err error) {
	f := l.f
	byName := map[string]*prefilled{}
	for _, p := range open {
		byName[p.rel] = p
	}
	stay := map[string]bool{"LOCK": true, lostFound: true}
	for _, w := range f.open() {
		p := byName[w.rel]
		if p == nil || p.w != w || p.epoch != l.epoch(w.rel) {
			if p, err = l.begin(ctx, w); err != nil {
				return legs, err
			}
		} else {
			delete(byName, w.rel)
		}
		legs = append(legs, p)
		stay[w.rel] = true
		if err := l.extend(ctx, p, false); err != nil {
			return legs, err
		}
	}
	names, err := l.list()
	if err != nil {
		return legs, err
	}
	for _, name := range names {
		if stay[name] {
			continue
		}
		stay[name] = true
		p := byName[name]
		switch {
		case l.has(name) && classOf(name) != classOther: // others may have been written by somebody else
			continue
		case p != nil && p.epoch == l.epoch(name): // closed since
			err = l.complete(ctx, p)
		default:
			err = l.copy(ctx, name)
		}
		if err != nil {
			return legs, err
		}
	}
	for _, p := range byName {
		p.close()
	}
	return legs, l.step(ctx, func() error { return l.tidy(stay) })
}

// complete copies the rest of a file that was closed since its first bytes were.
func (l *fill) complete(ctx context.Context, p *prefilled) error {
	src, err := l.open(p.rel)
	if err != nil {
		return err
	}
	defer src.Close()
	if _, err := l.stream(ctx, src, p.file, p.size, -1); err != nil {
		return err
	}
	return l.step(ctx, p.file.Sync)
}

// tidy removes the files that are not in stay and makes the names durable.
func (l *fill) tidy(stay map[string]bool) error {
	names, err := l.r.FS.List(l.r.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !stay[name] {
			if err := l.r.FS.Remove(l.r.path(name)); err != nil {
				return err
			}
		}
	}
	return syncDir(l.r)
}
