package drive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/layout"
)

// Identity is what a superblock tells of a drive.
type Identity struct {
	Drive              layout.DriveID
	Cluster            [16]byte
	Version            int // format version, as found
	Created            time.Time
	MetadataGeneration uint64
}

// Identify reads the superblock of the drive at path, a file or block device,
// and changes nothing, not even what Open would repair. It needs no lock: of a
// drive that is open elsewhere it tells the state before or after a rewrite. ok is
// false for one that is blank, or whose format was cut short, or that does not
// exist. Errors are Open's: ErrForeign, ErrNewer, ErrCorrupt, or the system's.
func Identify(path string) (id Identity, ok bool, err error) {
	// O_NONBLOCK: to open a pipe must not wait for its other end.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return id, false, err
	}
	if m := info.Mode(); !m.IsRegular() && m.Type() != fs.ModeDevice {
		return id, false, fmt.Errorf("%w: %s is neither a regular file nor a block device", ErrForeign, path)
	}
	// Seeking to the end tells the size of either.
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return id, false, err
	}
	f := found{size: size}
	f.first, f.firstErr = readCopy(file, size, superFirst)
	f.second, f.secondErr = readCopy(file, size, superCopy)
	s, verdict, err := f.judge()
	if err == nil && verdict.blank && !verdict.cut {
		err = checkZero(file, min(size, dataStart))
	}
	if err != nil || verdict.blank {
		return id, false, err
	}
	return Identity{
		Drive: s.drive, Cluster: s.cluster, Version: int(s.version),
		Created: time.Unix(0, s.created), MetadataGeneration: s.metaGen,
	}, true, nil
}

// readCopy reads the superblock copy at off of a drive of size bytes.
func readCopy(r io.ReaderAt, size, off int64) (superblock, error) {
	if size < off+superSize {
		return superblock{}, errBlank
	}
	var b [superSize]byte
	if _, err := r.ReadAt(b[:], off); err != nil {
		return superblock{}, fmt.Errorf("drive: read superblock at %d: %w", off, err)
	}
	return decodeSuperblock(b[:])
}

// checkZero returns ErrForeign unless the first n bytes are zero.
func checkZero(r io.ReaderAt, n int64) error {
	b := make([]byte, 128<<10)
	for off := int64(0); off < n; off += int64(len(b)) {
		part := b[:min(int64(len(b)), n-off)]
		if _, err := r.ReadAt(part, off); err != nil {
			return fmt.Errorf("drive: read at %d: %w", off, err)
		}
		if !isZero(part) {
			return notBlank(off, int64(len(part)))
		}
	}
	return nil
}

// notBlank is the error of a drive that holds something at bytes off…off+n.
func notBlank(off, n int64) error {
	return fmt.Errorf("%w: bytes %d…%d are neither zero nor a superblock; clear the first 2 MiB to have it formatted", ErrForeign, off, off+n)
}
