package mirrorfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleName matches the names of Pebble's files, temporary ones included.
var pebbleName = regexp.MustCompile(`^(\d+(-\d+)?\.(log|sst|blob|dbtmp)|(MANIFEST|OPTIONS)-\d+|marker\..+|CURRENT.*|temporary\..+|REMOTE-OBJ-CATALOG-\d+)$`)

// ours tells whether name may be removed from the directory of a copy: it is Pebble's,
// the copy's own, one that the store has too, or one of those under way.
func ours(name string, store []string) bool {
	name, _, _ = strings.Cut(strings.TrimSuffix(name, tempSuffix), ".encrypting")
	own := append([]string{"COPY", "LOCK", "ENCRYPTION"}, store...)
	if slices.Contains(own, name) || pebbleName.MatchString(name) || strings.HasPrefix(name, ".probe") || strings.HasPrefix(name, markPrefix) {
		return true
	}
	return slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(name, "."+o+"-") })
}

// lostFound is in the root of every new ext4, and nobody's to remove.
const lostFound = "lost+found"

// wipe makes and locks the directory and empties it: first the record that says that
// it may be believed. It removes nothing where something else is in it, or where it
// is the directory of another copy by another path.
func (l *fill) wipe() error {
	r := l.r
	if err := r.makeDir(0o700); err != nil {
		return err
	}
	files, err := r.FS.List(r.Dir)
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(name string) bool { return name == lostFound })
	if err := l.examine(files); err != nil {
		return err
	}
	l.f.mu.Lock()
	names := l.f.locks
	l.f.mu.Unlock()
	for _, name := range names {
		c, err := r.FS.Lock(r.path(name))
		if err != nil {
			return err
		}
		if err := r.keep(c); err != nil {
			return err
		}
	}
	if err := r.FS.Remove(r.path("COPY")); err != nil && !isAbsent(err) {
		return err
	}
	if err := syncDir(r); err != nil {
		return err
	}
	for _, name := range files {
		if name == "LOCK" || name == "COPY" {
			continue
		}
		if r.released() { // whoever waited is gone, and the next attempt may be under way
			return errUnlocked
		}
		if err := r.FS.Remove(r.path(name)); err != nil && !isAbsent(err) {
			return err
		}
	}
	return syncDir(r)
}

// examine fails unless files, those of the directory, may be removed.
func (l *fill) examine(files []string) error {
	store, err := l.list()
	if err != nil {
		return err
	}
	for _, name := range files {
		if !ours(name, store) {
			return fmt.Errorf("%w: %s is in %s", ErrForeign, name, l.r.Dir)
		}
	}
	return l.r.apart(l.f.replicas())
}

// markPrefix begins the names of the files that tell directories apart.
const markPrefix = ".mark-"

// apart returns ErrSame if r's directory is that of one of the others by another path:
// a file that is made in the one is seen in the other.
func (r *replica) apart(others []*replica) error {
	name := markPrefix + rand.Text() + tempSuffix
	f, err := r.FS.Create(r.path(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = f.Close()
	for _, o := range others {
		// One that cannot tell is on its way out.
		if _, e := o.FS.Stat(o.path(name)); e == nil {
			err = errors.Join(err, fmt.Errorf("%w: %s and %s", ErrSame, r.Dir, o.Dir))
		}
	}
	return errors.Join(err, r.FS.Remove(r.path(name)))
}
