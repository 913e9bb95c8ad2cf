package pebblemeta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
)

const (
	// readTries is how often a read is done that finds damage: each copy may have
	// some, and another file may be found to have some behind it.
	readTries = 8
	// suspectPause is how long a file that Pebble found damaged is not examined again.
	suspectPause = 5 * time.Second
	scrubBuffer  = 256 << 10 // bytes
)

// errFooter: the end of a blob file is damaged. Pebble must not see such a file: it
// panics where it would report it (release 2.1.7).
var errFooter = errors.New("metadata: the end of a blob file is damaged")

var fileNumber = regexp.MustCompile(`\bfile (\d{6,})\b`)

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }
func isBlob(name string) bool  { return strings.HasSuffix(name, ".blob") }

// verify reads the whole file of one copy: every block of a table or blob file is
// checked by its checksum. Other files it only reads.
func (s *Store) verify(view vfs.FS, name string) error {
	c := newCryptFS(view, s.crypt.key.Load())
	defer c.close()
	return protect(func() error { return s.verifyFile(c, name) })
}

func (s *Store) verifyFile(c vfs.FS, name string) error {
	f, err := c.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	if !isTable(name) && !isBlob(name) {
		_, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{f}, make([]byte, scrubBuffer))
		return errors.Join(err, f.Close())
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	ctx := context.Background()
	if isBlob(name) {
		r, err := blob.NewFileReader(ctx, readable, blob.FileReaderOptions{})
		if err != nil {
			return errors.Join(err, readable.Close())
		}
		return errors.Join(readBlocks(ctx, r), r.Close())
	}
	r, err := sstable.NewReader(ctx, readable, s.readerOptions)
	if err != nil { // which closed it
		return err
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// Columns of the index block of a blob file (release 2.1.7): of the first, which
// remaps blocks, 4 bytes before the columns tell the rows; the second has the blocks'
// offsets, and the end of the last.
const (
	blobIndexHeader  = 4 // bytes
	blobIndexOffsets = 1
)

// readBlocks reads every block of a blob file, which checks it. (FileReader.Layout does
// too, but makes a text of it all, several times the file's size.)
func readBlocks(ctx context.Context, r *blob.FileReader) error {
	index, err := r.ReadIndexBlock(ctx, block.NoReadEnv, nil)
	if err != nil {
		return err
	}
	defer index.Release()
	var d colblk.BlockDecoder
	d.Init(index.BlockData(), blobIndexHeader)
	offsets := colblk.DecodeColumn(&d, blobIndexOffsets, d.Rows()+1, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	for i := range d.Rows() {
		at := offsets.At(i)
		h, err := r.ReadValueBlock(ctx, block.NoReadEnv, nil, block.Handle{Offset: at, Length: offsets.At(i+1) - at - block.TrailerLen})
		if err != nil {
			return err
		}
		h.Release()
	}
	return nil
}

// guardFS keeps blob files with a damaged end from Pebble.
type guardFS struct {
	*cryptFS
	s *Store
}

// Open implements vfs.FS.
func (g guardFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	for try := 0; ; try++ {
		f, err := g.cryptFS.Open(name, opts...)
		if err == nil && isBlob(name) {
			if err = checkFooter(f); err != nil {
				err = errors.Join(err, f.Close())
			}
		}
		damaged := errors.Is(err, errFooter) || errors.Is(err, ErrBadHeader)
		if !damaged || try >= readTries || !g.s.mirror.Distrust(name, err) {
			return f, err
		}
	}
}

// Unwrap implements vfs.FS.
func (g guardFS) Unwrap() vfs.FS { return nil }

// checkFooter does what Pebble does first with a blob file.
func checkFooter(f vfs.File) error {
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return err
	}
	err = protect(func() error {
		_, err := blob.NewFileReader(context.Background(), readable, blob.FileReaderOptions{}) // f stays open
		return err
	})
	if err != nil && pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %v", errFooter, err) // not a corruption error: see errFooter
	}
	return err
}

// again tells whether a read that failed is to be done again: it found damage, and a
// copy may have better.
func (s *Store) again(err error, try int) bool {
	if try >= readTries || !pebble.IsCorruptionError(err) {
		return false
	}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return !info.IsRemote && s.mirror.Distrust(info.Path, err)
	}
	// Pebble attaches nothing to what it finds in a blob file; its text has the number.
	m := fileNumber.FindStringSubmatch(err.Error())
	if m == nil {
		return false
	}
	found := false
	for _, suffix := range []string{".blob", ".sst"} {
		path := s.mirror.PathJoin(s.dir, m[1]+suffix)
		if _, e := s.mirror.Stat(path); e == nil && s.mirror.Distrust(path, err) {
			found = true
		}
	}
	return found
}

// suspect examines a file in which Pebble found damage: a compaction that did may find
// it mended when it is tried again.
func (s *Store) suspect(path string, cause error) {
	s.suspectsMu.Lock()
	defer s.suspectsMu.Unlock()
	if time.Since(s.suspects[path]) < suspectPause || !s.enter() {
		return
	}
	if len(s.suspects) > 1000 {
		clear(s.suspects)
	}
	s.suspects[path] = time.Now()
	go func() {
		defer s.leave()
		s.mirror.Distrust(path, cause)
	}()
}

// CopyScrub is what ScrubCopies found.
type CopyScrub struct {
	Files, Bytes     int64 // read; Bytes of all copies together
	Differ, Repaired int64 // files that are damaged in a copy, or not as in the others; mended
	Took             time.Duration
}

// ScrubCopies reads the tables and blob files of every copy, compares them, and
// checks the blocks' checksums; what is damaged in one copy is replaced from another.
// before is called before every n bytes that are read, and paces it, as in
// drive.Verify; its error ends the scrub and is returned. Files that come and go
// meanwhile may be left out. Logs and manifests are compared when the store opens.
func (s *Store) ScrubCopies(ctx context.Context, before func(n int) error) (CopyScrub, error) {
	var out CopyScrub
	if !s.enter() {
		return out, meta.ErrClosed
	}
	defer s.leave()
	begun, healed := time.Now(), s.mirror.Counts().Healed
	names, err := s.mirror.List(s.dir)
	for _, name := range names {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			break
		}
		if isTable(name) || isBlob(name) {
			err = s.scrubFile(s.mirror.PathJoin(s.dir, name), before, &out)
		}
	}
	s.mirror.Settle() // what is being mended
	out.Repaired = int64(s.mirror.Counts().Healed - healed)
	out.Took = time.Since(begun)
	return out, err
}

// scrubFile returns only the errors of before.
func (s *Store) scrubFile(path string, before func(n int) error, out *CopyScrub) error {
	if s.mirror.Written(path) {
		return nil
	}
	views := s.mirror.Views()
	equal, err := s.compare(path, views, before, out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since
	}
	if err != nil {
		return err
	}
	out.Files++
	var cause error
	if equal {
		if cause = s.verify(views[0], path); cause == nil {
			return nil
		}
	} else {
		cause = errors.New("the copies differ")
	}
	if _, err := s.mirror.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	out.Differ++
	s.log.Warn("metadata: a scrub found damage", "file", path, "err", cause)
	s.mirror.Distrust(path, cause)
	return nil
}

// compare tells whether the copies of a file are equal. fs.ErrNotExist: none has it.
func (s *Store) compare(path string, views []vfs.FS, before func(n int) error, out *CopyScrub) (bool, error) {
	var files []vfs.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, view := range views {
		if f, err := view.Open(path, vfs.SequentialReadsOption); err == nil {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return false, fs.ErrNotExist
	}
	equal := len(files) == len(views)
	bufs := [2][]byte{make([]byte, scrubBuffer), make([]byte, scrubBuffer)}
	for off := int64(0); ; off += scrubBuffer {
		var first []byte
		for i, f := range files {
			if err := before(scrubBuffer); err != nil {
				return false, err
			}
			buf := bufs[min(i, 1)]
			n, err := f.ReadAt(buf, off)
			out.Bytes += int64(n)
			switch {
			case err != nil && err != io.EOF:
				return false, nil
			case i == 0:
				first = buf[:n]
			case !bytes.Equal(buf[:n], first):
				return false, nil
			}
		}
		if len(first) < scrubBuffer {
			return equal, nil
		}
	}
}
