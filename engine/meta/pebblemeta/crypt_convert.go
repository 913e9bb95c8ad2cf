package pebblemeta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
)

const (
	// convertSuffix ends the names of copies under way. Pebble knows no such files.
	convertSuffix = ".encrypting"
	// convertRounds bounds the listings of a directory in which files come and go.
	// Once the key is set, all that comes is encrypted.
	convertRounds = 8
	copyBuffer    = 256 << 10 // bytes
)

// Encrypt turns the encryption of a store in service on: what is written from
// here on is encrypted, and every file that is there is exchanged for an
// encrypted copy of the same bytes, open logs and manifests included. Pebble
// notices nothing of it. Whenever the process ends, the store opens with the key,
// which completes the exchange; so key must be kept durably before. To call it
// again does no harm. It does not clear the blocks of the plain files, which the
// file system may reuse later. ErrWrongKey: the store is encrypted already, with
// another key.
func (s *Store) Encrypt(ctx context.Context, key *[32]byte) error {
	if !s.enter() {
		return meta.ErrClosed
	}
	defer s.leave()
	if err := s.crypt.encrypt(ctx, s.dir, newStoreKey(key)); err != nil {
		return fmt.Errorf("metadata: encrypting %s: %w", s.dir, err)
	}
	return nil
}

// Encrypted tells whether the store has a key.
func (s *Store) Encrypted() bool { return s.crypt.key.Load() != nil }

func (c *cryptFS) encrypt(ctx context.Context, dir string, key *storeKey) error {
	c.ns.Lock()
	if old := c.key.Load(); old != nil && old.id != key.id {
		c.ns.Unlock()
		return ErrWrongKey
	}
	c.key.Store(key)
	c.ns.Unlock()
	return c.convertAll(ctx, dir)
}

// check fails when a file of dir cannot be read with the present key.
func (c *cryptFS) check(dir string) error {
	names, err := c.FS.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		path := c.FS.PathJoin(dir, name)
		info, err := c.FS.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() || info.Size() == 0 {
			continue
		}
		// A damaged file is Pebble's to judge: it may be one that it does not need.
		_, err = c.kindOf(path, c.key.Load())
		if errors.Is(err, ErrEncrypted) || errors.Is(err, ErrWrongKey) || errors.Is(err, meta.ErrNewer) {
			return fmt.Errorf("%w (%s)", err, path)
		}
	}
	return nil
}

// convertAll encrypts the plain files of dir.
func (c *cryptFS) convertAll(ctx context.Context, dir string) error {
	for range convertRounds {
		names, err := c.FS.List(dir)
		if err != nil {
			return err
		}
		converted := 0
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if strings.HasSuffix(name, convertSuffix) { // of a try that was cut short
				if err := c.Remove(c.FS.PathJoin(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				continue
			}
			did, err := c.convert(dir, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if did {
				converted++
			}
		}
		if converted == 0 {
			return nil
		}
	}
	return errors.New("plain files kept appearing")
}

// isStoreFile tells Pebble's files from the others of the directory: the lock,
// and what its users keep beside the store. Pebble's names hold a number.
func isStoreFile(name string) bool {
	return strings.ContainsAny(name, "0123456789") && !strings.HasPrefix(name, ".")
}

// convert exchanges one file for its encrypted copy. It waits for nobody: Pebble
// waits meanwhile, if it makes or removes files, or writes to this one.
func (c *cryptFS) convert(dir, name string) (did bool, err error) {
	if !isStoreFile(name) {
		return false, nil
	}
	c.ns.Lock()
	defer c.ns.Unlock()
	path := c.FS.PathJoin(dir, name)
	w := c.openPlain(path)
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.closed {
			w = nil
		}
	}
	if w != nil && w.off > 0 {
		// With several copies, what was written may not be in the one that is read yet;
		// Stat waits for it. (Not Sync: were it to fail, the next one would not tell.)
		if _, err := w.inner.Stat(); err != nil {
			return false, err
		}
	}
	src, err := c.FS.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer src.Close()
	key := c.key.Load()
	if w != nil && w.off == 0 {
		// Nothing was written yet; a log that was to be used again has bytes all the
		// same, which the next to use it would leave behind.
		return true, c.exchange(dir, path, w, key, io.LimitReader(src, 0))
	}
	info, err := src.Stat()
	if err != nil {
		return false, err
	}
	if info.IsDir() || info.Size() == 0 {
		return false, nil
	}
	switch k, _, err := key.inspect(src); {
	case err != nil && !errors.Is(err, ErrBadHeader):
		return false, err
	case err != nil || k != kindPlain:
		return false, nil
	}
	var from io.Reader = src
	if w != nil {
		from = io.LimitReader(src, w.off)
	}
	return true, c.exchange(dir, path, w, key, from)
}

// openPlain returns the plain writer of path, if there is one.
func (c *cryptFS) openPlain(path string) *cryptWriter {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range c.plain {
		if f.name == path {
			return f
		}
	}
	return nil
}

// exchange makes an encrypted copy of what from yields, makes it durable, and
// puts it in path's place, for w too if that is not nil. ns and w.mu are held.
func (c *cryptFS) exchange(dir, path string, w *cryptWriter, key *storeKey, from io.Reader) error {
	tmp := path + convertSuffix
	inner, err := c.FS.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	dst := &cryptWriter{fs: c, name: path, inner: inner, key: key}
	// Only the copying, with no name changed yet, can fail without a trace.
	err = dst.begin()
	if err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{from}, make([]byte, copyBuffer))
	}
	if err == nil && w != nil && dst.off != w.off {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = dst.Sync()
	}
	if err != nil {
		return errors.Join(err, inner.Close(), c.FS.Remove(tmp))
	}
	err = c.FS.Rename(tmp, path)
	if err == nil {
		err = c.syncDir(dir)
	}
	if w == nil {
		return errors.Join(err, inner.Close())
	}
	if err != nil {
		// Which of the two files a start would find is not known: a write to either
		// might be lost.
		w.broken = fmt.Errorf("metadata: exchanging %s: %w", path, err)
		return errors.Join(w.broken, inner.Close())
	}
	old := w.inner
	w.inner, w.key, w.block, w.stream = inner, key, dst.block, dst.stream
	c.forget(w)
	return old.Close()
}

func (c *cryptFS) syncDir(dir string) error {
	d, err := c.FS.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
