package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/ioring"
)

// Names inside a directory drive.
const (
	dataFile = "data" // the drive's byte space
	metaDir  = "meta" // the metadata store, on one of the drives
)

// location is a drive as the administrator named it.
type location struct {
	path  string // as given
	file  string // what is opened: the device, or the data file of the directory
	block bool
	fresh bool // holds nothing yet
}

// locate examines a drive path without changing anything.
func locate(path string) (location, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return location{path: path, file: filepath.Join(path, dataFile), fresh: true}, nil
	case err != nil:
		return location{}, fmt.Errorf("drive: %w", err)
	case st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0:
		fresh, err := blankDevice(path)
		return location{path: path, file: path, block: true, fresh: fresh}, err
	case !st.IsDir():
		return location{}, fmt.Errorf("drive %s: neither a directory nor a block device", path)
	}
	return locateDir(path)
}

// locateDir accepts an empty directory or one that holds a Sluice drive.
func locateDir(path string) (location, error) {
	loc := location{path: path, file: filepath.Join(path, dataFile)}
	entries, err := os.ReadDir(path)
	if err != nil {
		return loc, fmt.Errorf("drive: %w", err)
	}
	others := ""
	for _, e := range entries {
		switch e.Name() {
		case dataFile, metaDir, "lost+found": // the last is every new ext4's
		default:
			others = e.Name()
		}
	}
	st, err := os.Stat(loc.file)
	switch {
	case err == nil:
		loc.fresh = st.Size() == 0
	case !errors.Is(err, fs.ErrNotExist):
		return loc, fmt.Errorf("drive: %w", err)
	case others != "":
		return loc, fmt.Errorf("drive %s: %w: the directory is not empty (it holds %q) and no drive was formatted in it", path, drive.ErrForeign, others)
	default:
		loc.fresh = true
	}
	return loc, nil
}

// blankDevice reports whether the first MiB of a block device is all zero. What
// else may be on it is for drive.Open to judge.
func blankDevice(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("drive: %w", err)
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	n, err := f.ReadAt(buf, 0)
	if n == 0 && err != nil {
		return false, fmt.Errorf("drive %s: %w", path, err)
	}
	for _, b := range buf[:n] {
		if b != 0 {
			return false, nil
		}
	}
	return true, nil
}

// openDrives opens every drive, formatting new ones for cluster and refusing
// those of another.
func (d *daemon) openDrives(ctx context.Context, cluster [16]byte) ([]*drive.Drive, error) {
	drives := make([]*drive.Drive, 0, len(d.locs))
	for i, loc := range d.locs {
		dr, err := d.openDrive(ctx, i, loc, cluster)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("drive %s: %w", loc.path, err), closeDrives(drives))
		}
		drives = append(drives, dr)
	}
	return drives, nil
}

func (d *daemon) openDrive(ctx context.Context, n int, loc location, cluster [16]byte) (*drive.Drive, error) {
	if !loc.block {
		if err := makeDirs(loc.path); err != nil {
			return nil, err
		}
	}
	cfg, log := d.cfg, d.log.With("drive", loc.path)
	dev, err := ioring.Open(loc.file, d.arena, ioring.Options{
		Mode:     ioring.Mode(cfg.IO),
		Depth:    cfg.Depth,
		CPU:      loopCPU(cfg, allowedCPUs(), n),
		Logger:   log,
		OpenFile: d.opened.openFile,
	})
	if err != nil {
		return nil, err
	}
	opts := drive.Options{Cluster: cluster, Arena: d.arena, Limit: cfg.DriveSize, Logger: log}
	if !loc.block {
		opts.Reserve = reserveOf(cfg, loc.path)
	}
	dr, err := drive.Open(ctx, dev, opts)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	if loc.fresh {
		log.Info("formatted a new drive", "id", dr.ID())
	}
	return dr, nil
}

// reserveOf is what a directory drive leaves free for the metadata: the setting,
// but at most a tenth of a small file system.
func reserveOf(cfg *config.Config, path string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return cfg.Reserve
	}
	return min(cfg.Reserve, int64(st.Blocks)*st.Bsize/10)
}

func closeDrives(drives []*drive.Drive) error {
	var errs []error
	for _, d := range drives {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// metaHome finds the directory of the metadata store: where it is already, or,
// when every drive is new, on the first directory drive, or below the state
// directory where all drives are block devices.
func metaHome(locs []location, stateDir string) (string, error) {
	candidates := make([]string, 0, len(locs)+1)
	for _, loc := range locs {
		if !loc.block {
			candidates = append(candidates, filepath.Join(loc.path, metaDir))
		}
	}
	candidates = append(candidates, filepath.Join(stateDir, metaDir))
	var found []string
	for _, dir := range candidates {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			found = append(found, dir)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("metadata stores in several places (%v): these drives do not belong together", found)
	}
	for _, loc := range locs {
		if !loc.fresh && loc.block {
			return "", fmt.Errorf("drive %s is not blank, and no metadata store is in %s: if it is a drive of Sluice, give the --state-dir or the drive with the %q directory that belong to it; anything else is not overwritten (clear its first 2 MiB to have it formatted)", loc.path, stateDir, metaDir)
		}
		if !loc.fresh {
			return "", fmt.Errorf("drive %s holds data, but its metadata is on none of the drives given: name the drive that holds the %q directory too", loc.path, metaDir)
		}
	}
	return candidates[0], nil
}
