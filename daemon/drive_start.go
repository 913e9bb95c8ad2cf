package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// A start, in this order:
//
//  1. Every path of --drive, and every one in the list of the state directory, is
//     examined; nothing is changed.
//  2. The drives of the cluster that are there are opened. Which cluster it is, their
//     superblocks say.
//  3. The copies of the metadata that may be believed are opened (package metahome).
//  4. The documents in it tell which drives belong to the cluster. One that is missing
//     or broken is told of, and the rest serves. A blank path is formatted only where
//     no document names it: it may be the mount point of a drive that is not mounted.

// Causes of absence.
var (
	errBlankPath = errors.New("its path is blank: if the drive is to be mounted there, mount it; if it is lost, give its place to another with 'ctl drive replace'")
	errOther     = errors.New("another drive is at its path")
	errSame      = errors.New("it is the same drive")
	errRemoved   = errors.New("it was removed from the cluster: 'ctl drive add' takes it back, or leave it out of --drive")
)

// locateDrives looks at what the paths of --drive are, with the rights to do so.
func (d *daemon) locateDrives(context.Context) error {
	d.locs = examineAll(d.cfg.Drives)
	return nil
}

// examineAll examines paths side by side.
func examineAll(paths []string) []location {
	out := make([]location, len(paths))
	var wg sync.WaitGroup
	for i, path := range paths {
		wg.Go(func() { out[i] = examine(path) })
	}
	wg.Wait()
	return out
}

// openEngine opens drives and metadata and joins them.
func (d *daemon) openEngine(ctx context.Context) (err error) {
	if d.arena, err = ioring.NewArena(d.cfg.Buffers); err != nil {
		return err
	}
	if err := makeDirs(d.cfg.StateDir); err != nil {
		return err
	}
	if d.lock, err = lockDir(d.cfg.StateDir); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		d.findDrives, d.openMetadata, d.settleDrives, d.joinMetadata, d.startEngine,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// findDrives completes d.locs and opens the drives of the cluster that are there.
func (d *daemon) findDrives(ctx context.Context) (err error) {
	if d.list, err = readDriveList(d.cfg.StateDir); err != nil {
		d.log.Warn("the list of the drives cannot be read; only those of --drive are looked for", "err", err)
	}
	var more []string
	for _, s := range d.list.Drives {
		if !slices.Contains(d.cfg.Drives, s.Path) {
			more = append(more, s.Path)
		}
	}
	for _, loc := range examineAll(more) {
		if loc.id != nil || loc.err != nil { // a blank one is nobody's
			d.locs = append(d.locs, loc)
		}
	}
	if d.clusterID, err = clusterOf(d.locs, &d.list); err != nil {
		return err
	}
	for i := range d.locs {
		if err := d.openFound(ctx, &d.locs[i], i < len(d.cfg.Drives)); err != nil {
			return err
		}
	}
	return nil
}

// clusterOf tells to which cluster the drives belong; zero: none has been formatted.
func clusterOf(locs []location, list *driveList) (id [16]byte, err error) {
	first := ""
	for _, loc := range locs {
		switch {
		case loc.id == nil:
		case loc.id.Cluster == list.cluster():
			return list.cluster(), nil
		case first == "":
			first, id = loc.path, loc.id.Cluster
		case id != loc.id.Cluster:
			err = fmt.Errorf("%w: the drives %s and %s belong to different clusters", drive.ErrCluster, first, loc.path)
		}
	}
	if first != "" && err == nil && list.cluster() != [16]byte{} {
		err = fmt.Errorf("%w: drive %s belongs to cluster %x, and the state directory to %x", drive.ErrCluster, first, id, list.cluster())
	}
	return id, err
}

// openFound opens the drive at loc if there is one of the cluster. What keeps it from
// being opened stays in loc.err. listed: --drive names it.
func (d *daemon) openFound(ctx context.Context, loc *location, listed bool) error {
	if loc.id == nil || loc.err != nil {
		return nil
	}
	if loc.id.Cluster != d.clusterID {
		loc.err = fmt.Errorf("drive %s: %w: it belongs to cluster %x, not %x", loc.path, drive.ErrCluster, loc.id.Cluster, d.clusterID)
		return nil
	}
	if b, ok := d.roster.get(loc.id.Drive); ok && b.drive != nil {
		if loc.err = fmt.Errorf("drive %s: %w as %s", loc.path, errSame, b.loc.path); listed {
			return loc.err
		}
		return nil
	}
	b, err := d.openBay(ctx, *loc)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		loc.err = err
		b = bay{id: loc.id.Drive, err: err, since: time.Now()}
	}
	d.roster.put(b)
	return nil
}

// openTime is how long the opening of a drive may take.
const openTime = time.Minute

// openBay opens the drive at loc, or formats one there. It does not wait for one that
// hangs.
func (d *daemon) openBay(ctx context.Context, loc location) (bay, error) {
	type result struct {
		b   bay
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := d.openNow(ctx, loc)
		done <- result{b, err}
	}()
	timer := time.NewTimer(openTime)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.b, r.err
	case <-timer.C:
	}
	go func() {
		if r := <-done; r.err == nil {
			_ = r.b.drive.Close() // too late for anybody
		}
	}()
	return bay{}, fmt.Errorf("drive %s: it could not be opened within %s", loc.path, openTime)
}

func (d *daemon) openNow(ctx context.Context, loc location) (bay, error) {
	dr, err := d.openDrive(ctx, len(d.roster.in()), loc, d.clusterID)
	if err != nil {
		return bay{}, fmt.Errorf("drive %s: %w", loc.path, err)
	}
	b := bay{id: dr.ID(), loc: loc, drive: dr, doc: driveDoc{Path: loc.path, Added: time.Now().UTC(), State: docActive}}
	b.loc.fresh = false
	if b.inode, err = inodeOf(loc.file); err != nil {
		return bay{}, errors.Join(err, dr.Close())
	}
	return b, nil
}

// settleDrives compares the drives found with those that the documents name, and
// formats new ones.
func (d *daemon) settleDrives(ctx context.Context) error {
	docs, err := readDriveDocs(d.meta.store)
	if err != nil {
		return err
	}
	for id, doc := range docs {
		if err := d.settleKnown(id, doc); err != nil {
			return err
		}
	}
	paths := make(map[string]bool, len(docs))
	for _, doc := range docs {
		paths[doc.Path] = true
	}
	for _, loc := range d.locs[:len(d.cfg.Drives)] {
		if err := d.settlePath(ctx, loc, paths[loc.path]); err != nil {
			return err
		}
	}
	if len(d.roster.in()) == 0 {
		return d.noDrives()
	}
	return nil
}

// settleKnown completes the bay of a drive that has a document.
func (d *daemon) settleKnown(id layout.DriveID, doc driveDoc) error {
	b, found := d.roster.get(id)
	if !doc.member() {
		if found {
			d.roster.drop(id)
			d.roster.blame(b.loc.path, errRemoved)
			if b.drive != nil {
				return b.drive.Close()
			}
		}
		return nil
	}
	b.id, b.doc = id, doc
	switch {
	case b.drive != nil:
		b.doc.Path = b.loc.path
	case b.err == nil:
		b.err, b.since = d.absence(doc.Path), time.Now()
	}
	d.roster.put(b)
	if b.err != nil {
		d.log.Error("a drive of the cluster is not in service", "id", id, "last_path", doc.Path, "why", b.err)
	}
	return nil
}

// absence says why the drive that was at path is not there.
func (d *daemon) absence(path string) error {
	i := slices.IndexFunc(d.locs, func(l location) bool { return l.path == path })
	switch {
	case i < 0:
		return errBlankPath // of the list, where blank ones are left out
	case d.locs[i].err != nil:
		return d.locs[i].err
	case d.locs[i].fresh:
		return errBlankPath
	}
	return errOther
}

// settlePath deals with a path of --drive; known: a document names it.
func (d *daemon) settlePath(ctx context.Context, loc location, known bool) error {
	if b, ok := d.roster.at(loc.path); ok && b.drive != nil {
		return nil
	}
	if loc.id != nil && loc.err == nil {
		return nil // removed
	}
	switch {
	case known:
		why := loc.err
		if why == nil {
			why = errBlankPath
		}
		d.roster.blame(loc.path, why)
		return nil
	case loc.err != nil:
		return loc.err
	}
	b, err := d.openBay(ctx, loc)
	if err != nil {
		return err
	}
	d.roster.put(b)
	return nil
}

// noDrives tells why not one drive is in service.
func (d *daemon) noDrives() error {
	var errs []error
	for _, b := range d.roster.all() {
		if b.err != nil {
			errs = append(errs, fmt.Errorf("drive %s (id %s): %w", b.path(), b.id, b.err))
		}
	}
	blamed := d.roster.blamed()
	for _, path := range slices.Sorted(maps.Keys(blamed)) {
		if _, told := d.roster.at(path); !told {
			errs = append(errs, fmt.Errorf("drive %s: %w", path, blamed[path]))
		}
	}
	return errors.Join(append([]error{errors.New("no drive of the cluster can be opened")}, errs...)...)
}

// startEngine opens the engine on what was found.
func (d *daemon) startEngine(ctx context.Context) (err error) {
	var drives []*drive.Drive
	var expected []layout.DriveID
	for _, b := range d.roster.all() {
		expected = append(expected, b.id)
		if b.drive != nil {
			drives = append(drives, b.drive)
		}
	}
	reserve := d.metaReserve() / 4
	d.engine, err = engine.Open(ctx, engine.Config{
		Drives:       drives,
		Expected:     expected,
		Store:        &floorStore{Store: d.meta.store, free: d.meta.free, floor: min(reserve/4, floorMost)},
		InlineMax:    d.cfg.InlineMax,
		ReadCache:    d.cfg.ReadCache,
		WriteBuffers: d.cfg.Buffers / 2,
		MetaFree:     d.meta.free,
		MetaReserve:  reserve,
		Logger:       d.log,
	})
	if err != nil {
		return err
	}
	if err := d.keys.openRing(ctx, d.engine.Docs(""), d.meta.store); err != nil {
		return err
	}
	for _, b := range d.roster.all() {
		if err := d.resume(&b); err != nil {
			d.log.Error("cannot go on with the work on a drive", "id", b.id, "path", b.path(), "state", b.doc.State, "err", err)
		}
	}
	if err := d.loadScrub(ctx); err != nil {
		return err
	}
	if err := d.rememberDrives(ctx); err != nil {
		return err
	}
	if d.meta.choice.New {
		d.supervisor.copies.fillNow(ctx)
	}
	return nil
}

// resume goes on with what was begun on a drive before.
func (d *daemon) resume(b *bay) error {
	switch b.doc.State {
	case docDraining:
		return d.engine.DrainDrive(b.id, true)
	case docReplaced:
		return d.engine.ReplaceDrive(b.id, b.doc.successor())
	}
	return nil
}

// rememberDrives records new drives, and where the others are now.
func (d *daemon) rememberDrives(ctx context.Context) error {
	docs, err := readDriveDocs(d.meta.store)
	if err != nil {
		return err
	}
	for _, b := range d.roster.all() {
		if b.drive == nil || b.doc == docs[b.id] {
			continue
		}
		if err := d.saveDrive(ctx, b); err != nil {
			return err
		}
	}
	return d.writeDriveList()
}
