package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
)

// bay is a drive of the cluster: what is recorded of it, and the drive itself while
// it is there. What a roster hands out are copies.
type bay struct {
	id    layout.DriveID
	doc   driveDoc
	loc   location     // where it is; path "" while it is not there
	inode inode        // of its file, as opened
	drive *drive.Drive // nil: not in service
	err   error        // why it is not in service, or should not be
	since time.Time    // of err
}

// path is where the drive is, or was last.
func (b *bay) path() string {
	if b.drive != nil {
		return b.loc.path
	}
	return b.doc.Path
}

// roster keeps the cluster's drives.
type roster struct {
	// change is held while drives come and go, which takes its time. It is a
	// channel so that to wait for it can be given up.
	change chan struct{}

	mu   sync.Mutex // guards bays and strange, briefly
	bays map[layout.DriveID]*bay
	// strange are paths of --drive where no drive of the cluster is in service, and why.
	strange map[string]error
}

func newRoster() *roster {
	return &roster{change: make(chan struct{}, 1), bays: map[layout.DriveID]*bay{}, strange: map[string]error{}}
}

// lock begins a change.
func (r *roster) lock(ctx context.Context) error {
	select {
	case r.change <- struct{}{}:
		return nil
	case <-ctx.Done():
		return refuse(api.CodeUnavailable, "other work on the drives takes its time; try again in a moment")
	}
}

func (r *roster) unlock() { <-r.change }

// all returns the drives in order of their paths.
func (r *roster) all() []bay {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]bay, 0, len(r.bays))
	for _, b := range r.bays {
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b bay) int {
		return cmp.Or(cmp.Compare(a.doc.Path, b.doc.Path), cmp.Compare(a.id.String(), b.id.String()))
	})
	return out
}

// in returns those in service.
func (r *roster) in() []bay {
	return slices.DeleteFunc(r.all(), func(b bay) bool { return b.drive == nil })
}

// get returns the drive by id.
func (r *roster) get(id layout.DriveID) (bay, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.bays[id]; b != nil {
		return *b, true
	}
	return bay{}, false
}

// put records a drive as it is from now on.
func (r *roster) put(b bay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bays[b.id] = &b
}

// record has what is recorded of a drive be b.doc, and leaves alone whether it is in
// service, which may have changed since b was handed out. A new drive is as b is.
func (r *roster) record(b bay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.bays[b.id]; known != nil {
		known.doc = b.doc
		return
	}
	r.bays[b.id] = &b
}

// drop forgets a drive.
func (r *roster) drop(id layout.DriveID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.bays, id)
}

// out records that a drive is not in service, or should not be, and why.
func (r *roster) out(id layout.DriveID, why error, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bays[id]
	if b == nil {
		return
	}
	if b.err == nil || why == nil || b.err.Error() != why.Error() {
		b.err, b.since = why, time.Now()
	}
	if gone {
		b.drive, b.loc = nil, location{}
	}
}

// blame records why there is no drive at a path of --drive; nil: there is one.
func (r *roster) blame(path string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if why == nil {
		delete(r.strange, path)
	} else {
		r.strange[path] = why
	}
}

// blamed returns those paths.
func (r *roster) blamed() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]error, len(r.strange))
	for path, err := range r.strange {
		out[path] = err
	}
	return out
}

// at returns the drive that is at path, or else one that was there last.
func (r *roster) at(path string) (found bay, ok bool) {
	for _, b := range r.all() {
		if b.path() != path {
			continue
		}
		if b.drive != nil {
			return b, true
		}
		if !ok || found.doc.State == docReplaced {
			found, ok = b, true
		}
	}
	return found, ok
}

// find returns the drive that name means: its id, the beginning of it that no other
// has, or its path.
func (r *roster) find(name string) (bay, error) {
	var found []bay
	if b, ok := r.at(name); ok {
		return b, nil
	}
	for _, b := range r.all() {
		if b.id.String() == name {
			return b, nil
		}
		if name != "" && strings.HasPrefix(b.id.String(), strings.ToLower(name)) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return bay{}, refuse(api.CodeNotFound, "no drive %q: 'ctl drive list' shows their ids and paths", name)
	}
	return bay{}, refuse(api.CodeUsage, "%q begins the ids of %d drives: give more of it", name, len(found))
}

// close closes the drives where no engine has taken them over.
func (r *roster) close() error {
	var errs []error
	for _, b := range r.in() {
		if err := b.drive.Close(); err != nil {
			errs = append(errs, fmt.Errorf("drive %s: %w", b.loc.path, err))
		}
	}
	return errors.Join(errs...)
}
