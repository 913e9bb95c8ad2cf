package pebblemeta

import (
	"errors"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// checkHeaders has files of an encrypted store mended of which one copy lost the
// header that another one has: such a file would pass for a plain one, and be
// encrypted once more in every copy. Files that were plain are so in every copy.
func (s *Store) checkHeaders() error {
	names, err := s.mirror.List(s.dir)
	if err != nil {
		return err
	}
	views, key := s.mirror.Views(), s.crypt.key.Load()
	for _, name := range names {
		if !isTable(name) && !isBlob(name) {
			continue // others were compared byte by byte
		}
		path := s.mirror.PathJoin(s.dir, name)
		var damaged []vfs.FS
		for _, view := range views {
			if k, err := headerKind(view, path, key); err != nil || k != kindEncrypted {
				damaged = append(damaged, view)
			}
		}
		if len(damaged) == len(views) {
			continue
		}
		for _, view := range damaged {
			s.mirror.DistrustIn(view, path, ErrBadHeader)
		}
	}
	s.mirror.Settle()
	return nil
}

func headerKind(view vfs.FS, path string, key *storeKey) (kind, error) {
	f, err := view.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	k, _, err := key.inspect(f)
	return k, err
}

// better tells which of the copies' files of one name, which differ, to go on with:
// the log or manifest with the most bytes of whole records, and of those the one with
// the best end; see mirrorfs.Equalize.
func (s *Store) better(name string, views []vfs.FS) int {
	best, most := 0, soundness{bytes: -1}
	for i, view := range views {
		if n := s.soundness(name, view); n.over(most) {
			best, most = i, n
		}
	}
	s.log.Warn("metadata: a file's copies differ", "file", name, "taken", best, "bytes", most.bytes)
	return best
}

// soundness is what of a log or manifest can be read.
type soundness struct {
	bytes int64 // of whole records; -1: it cannot be opened
	end   ending
}

// ending is how a log or manifest ends after the last whole record. Pebble wants every
// log but the newest to end cleanly, and takes no damaged one.
type ending int

const (
	endDamaged ending = iota // records were there that can no longer be read
	endTorn                  // as a crash leaves it
	endClean                 // as Close leaves it
)

func (a soundness) over(b soundness) bool {
	return a.bytes > b.bytes || a.bytes == b.bytes && a.end > b.end
}

// soundness looks at a log or manifest. Pebble's options have 1 byte if they can be
// parsed, and any other file that can be opened has 0.
func (s *Store) soundness(name string, view vfs.FS) soundness {
	c := newCryptFS(view, s.crypt.key.Load())
	defer c.close()
	f, err := c.Open(name)
	if err != nil {
		return soundness{bytes: -1}
	}
	defer f.Close()
	base := view.PathBase(name)
	num, _, isLog := wal.ParseLogFilename(base)
	if strings.HasPrefix(base, "OPTIONS-") {
		text, err := io.ReadAll(io.LimitReader(struct{ io.Reader }{f}, 1<<20))
		if err == nil {
			err = protect(func() error { return new(pebble.Options).Parse(string(text), nil) })
		}
		if err != nil {
			return soundness{}
		}
		return soundness{bytes: 1}
	}
	if !isLog && !strings.HasPrefix(base, "MANIFEST-") {
		return soundness{}
	}
	r := numbered64(record.NewReader, f, uint64(num))
	for whole := int64(0); ; whole = r.Offset() {
		rec, err := r.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, rec)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return soundness{whole, endClean}
		case errors.Is(err, record.ErrUnexpectedEOF):
			return soundness{whole, endTorn}
		default:
			return soundness{whole, endDamaged}
		}
	}
}

// numbered64 calls a function whose parameter's type cannot be named here.
func numbered64[N ~uint64](fn func(io.Reader, N) *record.Reader, r io.Reader, n uint64) *record.Reader {
	return fn(r, N(n))
}
