package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/dustin/go-humanize"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/layout"
)

// What an administrator does to drives. Each change is recorded in the drive's
// document once it holds, and goes on after a restart.

// addDrive takes the drive at path into the cluster: a blank one, which is formatted,
// one of the cluster that is missed, or one that was removed.
func (d *daemon) addDrive(ctx context.Context, path string) (bay, error) {
	loc, err := d.lookAt(path)
	if err != nil {
		return bay{}, err
	}
	if loc.id != nil {
		switch known, ok := d.roster.get(loc.id.Drive); {
		case ok && known.drive != nil:
			return bay{}, refuse(api.CodeExists, "%s is the drive %s already", path, known.id)
		case ok:
			return d.returned(ctx, known, loc)
		}
	}
	if expected, ok := d.roster.at(loc.path); ok && loc.fresh && expected.drive == nil {
		return bay{}, refuse(api.CodeConflict, "%s is blank, and drive %s is missed there: if it is to be mounted there, mount it; if it is lost, use 'ctl drive replace %s %s'", path, expected.id, expected.id.String()[:8], path)
	}
	return d.newDrive(ctx, loc)
}

// returned takes a drive that was missed back into service.
func (d *daemon) returned(ctx context.Context, known bay, loc location) (bay, error) {
	if !d.engine.Detached(known.id) {
		return bay{}, refuse(api.CodeConflict, "drive %s failed, and its device has not answered since: try again when it does", known.id)
	}
	if err := d.attachKnown(ctx, known, loc); err != nil {
		return bay{}, d.explainOpen(err)
	}
	b, _ := d.roster.get(known.id)
	return b, nil
}

// lookAt examines the path of a drive that is to be taken into use.
func (d *daemon) lookAt(path string) (location, error) {
	if !filepath.IsAbs(path) {
		return location{}, refuse(api.CodeUsage, "%q: the daemon needs an absolute path", path)
	}
	loc := d.examine(filepath.Clean(path))
	if loc.err == nil && loc.id != nil && loc.id.Cluster != d.clusterID {
		loc.err = refuse(api.CodeConflict, "%s is a drive of another cluster (%x): to use it here, clear its first 2 MiB, or take a directory that is empty", path, loc.id.Cluster)
	}
	return loc, d.explainOpen(loc.err)
}

// explainOpen says what can be done about a drive that cannot be opened.
func (d *daemon) explainOpen(err error) error {
	var refusal *api.Error
	switch {
	case err == nil, errors.As(err, &refusal):
		return err
	case errors.Is(err, fs.ErrPermission) && d.cfg.User != "":
		return refuse(api.CodeDenied, "%v: the daemon runs as %s and has given up root's rights: give the drive to that user, or name it in --drive and restart", err, d.cfg.User)
	case errors.Is(err, fs.ErrPermission):
		return refuse(api.CodeDenied, "%v: give the drive to the user whom the daemon runs as", err)
	case errors.Is(err, errSilent):
		return refuse(api.CodeUnavailable, "%v", err)
	}
	return refuse(api.CodeConflict, "%v", err)
}

// newDrive makes the drive at loc, blank or removed earlier, one of the cluster.
func (d *daemon) newDrive(ctx context.Context, loc location) (b bay, err error) {
	if err := d.roster.lock(ctx); err != nil {
		return b, err
	}
	defer d.roster.unlock()
	if other, ok := d.roster.at(loc.path); ok && other.drive != nil {
		return b, refuse(api.CodeExists, "%s is the drive %s already", loc.path, other.id)
	}
	if b, err = d.openBay(ctx, loc); err != nil {
		return b, d.explainOpen(err)
	}
	// It is recorded first: what is written to it must be found after a crash.
	if err := d.saveDrive(ctx, b); err != nil {
		return b, errors.Join(err, b.drive.Close())
	}
	d.roster.put(b)
	if err := d.engine.AttachDrive(ctx, b.drive); err != nil {
		b.doc.State, b.doc.Reason = docRemoved, "it could not be taken into service"
		return b, errors.Join(err, b.drive.Close(), d.saveDrive(ctx, b))
	}
	d.roster.blame(loc.path, nil)
	d.log.Info("a drive was added", "id", b.id, "path", loc.path)
	d.elect()
	return b, nil
}

// removeDrive has everything moved off a drive, which then leaves the cluster.
func (d *daemon) removeDrive(ctx context.Context, b bay, force bool) error {
	if b.doc.State == docReplaced {
		return refuse(api.CodeConflict, "drive %s is being replaced by %s; 'ctl drive heal status' shows how far that is", b.path(), b.doc.Successor)
	}
	if err := d.maySpare(&b, force); err != nil {
		return err
	}
	if err := d.engine.DrainDrive(b.id, true); err != nil {
		return err
	}
	return d.setState(ctx, b, docDraining, "")
}

// maySpare refuses what would lose redundancy, or cannot end.
func (d *daemon) maySpare(b *bay, force bool) error {
	others, room := 0, int64(0)
	status := d.driveStatus()
	for _, o := range d.roster.all() {
		st := status[o.id]
		if o.id != b.id && o.drive != nil && o.doc.State == docActive {
			others++
			room += st.Free
		}
	}
	parity, used := d.parity(), status[b.id].Used
	switch {
	case others == 0:
		return refuse(api.CodeConflict, "drive %s is the only one in service: add another first ('ctl drive add')", b.path())
	case force:
		return nil
	case others <= parity:
		return refuse(api.CodeConflict, "without drive %s there are %d drives in service, and parity %d needs at least %d: add a drive first, lower the parity ('ctl cluster update --parity'), or repeat with --force", b.path(), others, parity, parity+1)
	case room < used:
		return refuse(api.CodeNoSpace, "the other drives have %s left, and drive %s holds %s: add a drive first, or repeat with --force to move what fits", humanize.IBytes(uint64(room)), b.path(), humanize.IBytes(uint64(used)))
	}
	return nil
}

// keepDrive ends a removal that is under way.
func (d *daemon) keepDrive(ctx context.Context, b bay) error {
	if b.doc.State != docDraining {
		return refuse(api.CodeConflict, "drive %s is not being removed", b.path())
	}
	if err := d.engine.DrainDrive(b.id, false); err != nil {
		return err
	}
	return d.setState(ctx, b, docActive, "")
}

// setState records the state of a drive.
func (d *daemon) setState(ctx context.Context, b bay, state, successor string) error {
	if err := d.roster.lock(ctx); err != nil {
		return err
	}
	defer d.roster.unlock()
	now, ok := d.roster.get(b.id)
	if !ok {
		return refuse(api.CodeNotFound, "drive %s is no longer of the cluster", b.id)
	}
	now.doc.State, now.doc.Successor = state, successor
	return d.saveDrive(ctx, now)
}

// replaceDrive has what is on old made anew on the drive at path, which is blank, or
// was removed earlier, or was added already.
func (d *daemon) replaceDrive(ctx context.Context, old bay, path string) (bay, error) {
	if old.doc.State == docReplaced {
		return bay{}, refuse(api.CodeConflict, "drive %s is being replaced by %s; 'ctl drive heal status' shows how far that is", old.path(), old.doc.Successor)
	}
	loc, err := d.lookAt(path)
	if err != nil {
		return bay{}, err
	}
	successor, err := d.successorAt(ctx, &old, loc)
	if err != nil {
		return bay{}, err
	}
	if err := d.engine.ReplaceDrive(old.id, successor.id); err != nil {
		return bay{}, err
	}
	d.log.Info("a drive is being replaced", "id", old.id, "path", old.path(), "by", successor.id, "at", successor.loc.path)
	return successor, d.setState(ctx, old, docReplaced, successor.id.String())
}

// successorAt returns the drive at loc, taking it into the cluster if need be.
func (d *daemon) successorAt(ctx context.Context, old *bay, loc location) (bay, error) {
	if loc.id == nil {
		if old.drive != nil && old.loc.path == loc.path {
			return bay{}, refuse(api.CodeConflict, "drive %s is in service at %s: take it out of there first, or give another path", old.id, loc.path)
		}
		return d.newDrive(ctx, loc)
	}
	b, ok := d.roster.get(loc.id.Drive)
	switch {
	case ok && b.id == old.id:
		return b, refuse(api.CodeConflict, "%s is the drive that is to be replaced: 'ctl drive add %s' takes it back into service", loc.path, loc.path)
	case !ok:
		return d.newDrive(ctx, loc)
	case b.drive == nil:
		return b, refuse(api.CodeConflict, "%s is the drive %s of this cluster, which is not in service: take it back with 'ctl drive add %s'", loc.path, b.id, loc.path)
	case b.doc.State != docActive:
		return b, refuse(api.CodeConflict, "drive %s is on its way out of the cluster itself", loc.path)
	}
	return b, nil
}

// driveStatus returns the engine's view of the drives by id.
func (d *daemon) driveStatus() map[layout.DriveID]engine.DriveStatus {
	out := map[layout.DriveID]engine.DriveStatus{}
	for _, st := range d.engine.Drives() {
		out[st.ID] = st
	}
	return out
}
