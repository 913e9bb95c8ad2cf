package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// A drive's map of free space is made from the metadata, when the engine opens or
// the drive is attached. So while a drive is attached, every commit that names a
// place on it has to be either in the metadata before the map is made, or refused.
// Three rules see to that:
//
//   - Whoever commits a record that names places enters e.names before, and asks
//     e.serves about each drive that it wrote to; a place on one that is not in
//     service any more is given up. It leaves e.names after the commit.
//   - attach takes the drive's old member out of the view, waits until everybody who
//     may have seen it has left, and lets one empty command pass through the store,
//     behind any whose outcome is unknown. Only then it reads the metadata.
//   - The purger and the movers of fragments are held up meanwhile (purger.pass,
//     healer.moves), because they free what they took out of the metadata.

// AttachDrive takes a drive into service: a new one, or one that comes back, whose
// fragments are claimed from the metadata first. Writes go on meanwhile. The engine
// owns d when nil is returned. Conflict: the drive is in service, or its device has
// not been closed since it failed. Corrupt: the metadata names what d cannot hold.
func (e *Engine) AttachDrive(ctx context.Context, d *drive.Drive) error {
	if err := e.gate.look(); err != nil {
		return wrap("attach drive", err)
	}
	defer e.gate.leave()
	return wrap("attach drive", e.attach(ctx, d))
}

func (e *Engine) attach(ctx context.Context, d *drive.Drive) error {
	if err := d.Err(); err != nil {
		return driveError(err)
	}
	e.joining.Lock()
	defer e.joining.Unlock()
	id := d.ID()
	old := e.drives.now().byID[id]
	if old != nil && !old.is().out() {
		return fail(Conflict, fmt.Errorf("drive %s is in service", id))
	}
	if old != nil && !old.detached() {
		return fail(Conflict, fmt.Errorf("drive %s: %w", id, errInFlight))
	}
	begun := time.Now()
	coming := newAbsent(id, DriveAttaching, e.now())
	claimed, err := e.claimFor(ctx, coming, d)
	if err != nil {
		if old == nil {
			e.drives.remove(id)
		} else {
			e.drives.put(old, e.now())
		}
		return err
	}
	e.log.Info("drive attached", "drive", id, "fragments", claimed, "took", time.Since(begun))
	if claimed > 0 {
		e.scrub.suspect(id)
	}
	e.heal.changed()
	return nil
}

// claimFor claims on d what the metadata names there and takes d into service.
// coming stands for the drive until then.
func (e *Engine) claimFor(ctx context.Context, coming *member, d *drive.Drive) (claimed int64, err error) {
	e.purger.pass.Lock()
	defer e.purger.pass.Unlock()
	e.heal.moves.Lock()
	defer e.heal.moves.Unlock()
	e.drives.put(coming, e.now())
	if err := e.settleNames(ctx); err != nil {
		return 0, err
	}
	err = meta.Blobs(e.store, func(ref meta.BackRef) error {
		for i := range ref.Blob.Fragments {
			f := &ref.Blob.Fragments[i]
			if f.Drive != d.ID() || len(f.Extents) == 0 {
				continue
			}
			if claimed++; claimed&0xFFF == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err := d.Claim(f.Extents); err != nil {
				return fail(Corrupt, fmt.Errorf("%s: %w", name(&ref), err))
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	e.drives.put(newMember(d, DriveActive, e.now()), e.now())
	return claimed, nil
}

// settleNames returns once every commit that names places on members that are not
// in the view any more has been applied, or never will be. e.joining is held.
func (e *Engine) settleNames(ctx context.Context) error {
	if !e.names.turn(ctx.Done()) {
		return ctx.Err()
	}
	return e.mutate(ctx, 0, &meta.Purge{})
}

// serves reports whether d is in service, so that a commit may name places on it.
// The caller is within e.names.
func (e *Engine) serves(d *drive.Drive) bool {
	m := e.drives.now().byID[d.ID()]
	return m != nil && m.d == d && m.readable()
}

// ExpectDrive tells of a drive that belongs to the cluster and is not there.
func (e *Engine) ExpectDrive(id layout.DriveID) {
	e.joining.Lock()
	defer e.joining.Unlock()
	if e.drives.now().byID[id] == nil {
		e.drives.put(newAbsent(id, DriveAbsent, e.now()), e.now())
		e.heal.changed()
	}
}

// FailDrive takes a drive out of service because of cause. Nothing waits for its
// device any more. Its Drive is closed once nothing is in flight; Detached tells.
// For a drive that is out of service already, nothing happens.
func (e *Engine) FailDrive(id layout.DriveID, cause error) {
	m := e.drives.now().byID[id]
	if m == nil || m.d == nil {
		return
	}
	if cause == nil {
		cause = errTakenOut
	}
	if !e.drives.change(m, DriveFailed, cause, e.now(), DriveActive, DriveSuspect, DriveReadOnly, DriveDraining) {
		return
	}
	e.log.Error("drive taken out of service", "drive", id, "cause", cause)
	m.d.Abandon(cause)
	go m.detach(e)
	e.heal.changed()
}

// detach closes the device once it has answered everything, which may never be.
func (m *member) detach(e *Engine) {
	for wait := time.Millisecond; !m.d.Idle(); wait = min(2*wait, time.Second) {
		time.Sleep(wait)
	}
	if err := m.d.Close(); err != nil {
		e.log.Warn("closing a failed drive", "drive", m.id, "err", err)
	}
	close(m.gone)
}

func (m *member) detached() bool {
	select {
	case <-m.gone:
		return true
	default:
		return false
	}
}

// Detached reports whether the device of a failed drive has been closed, so that it
// may be opened again. It has none when it is absent, or unknown.
func (e *Engine) Detached(id layout.DriveID) bool {
	for _, m := range e.drives.open() {
		if m.id == id {
			return false
		}
	}
	m := e.drives.now().byID[id]
	return m == nil || m.detached()
}

// DrainDrive has everything moved off a drive, or, with on false, ends that, and a
// replacement, too. A drive that is out of service gets its fragments made anew
// elsewhere. It returns kind NoDrive when there is no such drive.
func (e *Engine) DrainDrive(id layout.DriveID, on bool) error {
	m := e.drives.wish(id, e.now(), func(m *member) {
		m.drain.Store(on)
		if !on {
			m.successor.Store(nil)
		}
	})
	switch {
	case m == nil:
		return wrap("drain drive", fail(NoDrive, fmt.Errorf("%w: %s", errUnknownDrive, id)))
	case on:
		e.heal.begin(id, "drain")
	default:
		e.heal.changed()
	}
	return nil
}

// ReplaceDrive has the fragments of a drive, which may be absent or failed, made
// anew on another, which must be attached. What cannot go there, for want of room,
// goes elsewhere. The old drive is forgotten when ForgetDrive says so. Kind NoDrive:
// one of them is unknown; Conflict: the successor is not in service.
func (e *Engine) ReplaceDrive(old, successor layout.DriveID) error {
	err := fail(NoDrive, fmt.Errorf("%w: %s or %s", errUnknownDrive, old, successor))
	e.drives.wish(old, e.now(), func(m *member) {
		switch to := e.drives.now().byID[successor]; {
		case to == nil:
		case old == successor || to.leaving():
			err = fail(Conflict, fmt.Errorf("drive %s cannot succeed %s", successor, old))
		default:
			err = nil
			m.successor.Store(&successor)
		}
	})
	if err != nil {
		return wrap("replace drive", err)
	}
	e.heal.begin(old, "rebuild")
	return nil
}

// ForgetDrive ends a drive's membership and closes it. Conflict: some blob has a
// fragment there; NoDrive: there is no such drive.
func (e *Engine) ForgetDrive(ctx context.Context, id layout.DriveID) error {
	if err := e.gate.look(); err != nil {
		return wrap("forget drive", err)
	}
	defer e.gate.leave()
	return wrap("forget drive", e.forget(ctx, id))
}

func (e *Engine) forget(ctx context.Context, id layout.DriveID) error {
	e.joining.Lock()
	defer e.joining.Unlock()
	m := e.drives.now().byID[id]
	if m == nil {
		return fail(NoDrive, fmt.Errorf("%w: %s", errUnknownDrive, id))
	}
	if len(e.drives.now().all) == 1 {
		return fail(Conflict, fmt.Errorf("drive %s is the only one", id))
	}
	if err := e.unnamed(id); err != nil { // before anybody is disturbed
		return err
	}
	e.heal.moves.Lock()
	defer e.heal.moves.Unlock()
	e.drives.remove(id)
	err := e.settleNames(ctx)
	if err == nil {
		err = e.unnamed(id)
	}
	if err != nil {
		e.drives.put(m, e.now())
		return err
	}
	if m.d != nil && !m.is().out() {
		m.enter(DriveFailed, errForgotten, e.now()) // for who holds an older view
		m.d.Abandon(errForgotten)
		go m.detach(e)
	}
	if !m.detached() {
		e.drives.leave(m)
	}
	e.log.Info("drive forgotten", "drive", id)
	e.heal.changed()
	return nil
}

// unnamed returns an error of kind Conflict when a blob has a fragment on the drive.
func (e *Engine) unnamed(id layout.DriveID) error {
	return meta.Blobs(e.store, func(ref meta.BackRef) error {
		for i := range ref.Blob.Fragments {
			if f := &ref.Blob.Fragments[i]; f.Drive == id && len(f.Extents) > 0 {
				return fail(Conflict, fmt.Errorf("drive %s holds fragments, one of %s", id, name(&ref)))
			}
		}
		return nil
	})
}

// closeDrives closes every drive. A device that does not answer is given up when ctx
// is done or the time for it is over: the process is about to end.
func (e *Engine) closeDrives(ctx context.Context) error {
	var errs []error
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timing.CloseWait)
	defer cancel()
	results := make(chan error)
	running := 0
	for _, m := range append(e.drives.open(), e.drives.now().all...) {
		if m.d == nil {
			continue
		}
		running++
		go func() {
			var err error
			if m.is() == DriveFailed {
				<-m.gone
			} else {
				err = m.d.Close()
			}
			select {
			case results <- err:
			case <-ctx.Done():
			}
		}()
	}
	for ; running > 0; running-- {
		select {
		case err := <-results:
			errs = append(errs, err)
		case <-ctx.Done():
			e.log.Error("drives with operations in flight are not closed", "drives", running)
			return errors.Join(errs...)
		}
	}
	return errors.Join(errs...)
}
