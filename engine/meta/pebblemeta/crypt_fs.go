package pebblemeta

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// cryptFS is a file system that encrypts what is written to it once it has a
// key, and passes everything through while it has none.
//
// Lock order: ns, cryptWriter.mu, mu.
type cryptFS struct {
	vfs.FS // MkdirAll, Lock, List, OpenDir, the paths and the disk's usage
	key    atomic.Pointer[storeKey]

	// ns is held for reading while names change or files are made, and for
	// writing while the key is set or a file exchanged.
	ns sync.RWMutex

	mu    sync.Mutex
	plain map[*cryptWriter]struct{} // files open for writing without a key

	null *os.File // see blindFd
}

func newCryptFS(inner vfs.FS, key *storeKey) *cryptFS {
	c := &cryptFS{FS: inner, plain: map[*cryptWriter]struct{}{}}
	c.key.Store(key)
	c.null, _ = os.Open(os.DevNull) // without it Pebble syncs a little more often
	return c
}

// close is to be called when no file is open any more.
func (c *cryptFS) close() error {
	if c.null == nil {
		return nil
	}
	return c.null.Close()
}

// blindFd is the descriptor that Pebble gets for f. Pebble takes a valid one as
// the sign that a file can be preallocated and synced in part, and passes it to
// fadvise. Whatever a later release may use it for, it reads no ciphertext and
// writes no plain text with that of the null device.
func (c *cryptFS) blindFd(f vfs.File) uintptr {
	if c.null == nil || f.Fd() == vfs.InvalidFd {
		return vfs.InvalidFd
	}
	return c.null.Fd()
}

// writer wraps a file that is new or to be written anew. ns is held.
func (c *cryptFS) writer(name string, inner vfs.File) *cryptWriter {
	f := &cryptWriter{fs: c, name: name, inner: inner, key: c.key.Load()}
	if f.key == nil {
		c.mu.Lock()
		c.plain[f] = struct{}{}
		c.mu.Unlock()
	}
	return f
}

func (c *cryptFS) forget(f *cryptWriter) {
	c.mu.Lock()
	delete(c.plain, f)
	c.mu.Unlock()
}

// Create implements vfs.FS. The header is written with the first bytes: Pebble's
// marker files have none, and their names say all.
func (c *cryptFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	c.ns.RLock()
	defer c.ns.RUnlock()
	return c.create(name, category)
}

func (c *cryptFS) create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	inner, err := c.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return c.writer(name, inner), nil
}

// ReuseForWrite implements vfs.FS. The file's blocks are used again, its key
// is not: under the new one the old bytes read as noise, which is what Pebble
// expects behind the end of a log. A plain file is not used again, since its
// bytes would stay.
func (c *cryptFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	c.ns.RLock()
	defer c.ns.RUnlock()
	key := c.key.Load()
	if key != nil {
		was, err := c.kindOf(oldname, key)
		if err != nil && !errors.Is(err, ErrBadHeader) { // nobody needs what it held
			return nil, err
		}
		if err != nil || was != kindEncrypted {
			if err := c.FS.Remove(oldname); err != nil {
				return nil, err
			}
			return c.create(newname, category)
		}
	}
	inner, err := c.FS.ReuseForWrite(oldname, newname, category)
	if err != nil {
		return nil, err
	}
	f := c.writer(newname, inner)
	if key != nil {
		// The header is durable before any byte behind it is, so that no crash
		// leaves synced bytes behind a header that is not theirs.
		if err = f.begin(); err == nil {
			err = f.SyncData()
		}
		if err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return f, nil
}

func (c *cryptFS) kindOf(name string, key *storeKey) (kind, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	k, _, err := key.inspect(f)
	return k, err
}

// Open implements vfs.FS. ErrEncrypted, ErrWrongKey, ErrBadHeader.
func (c *cryptFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	inner, err := c.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	k, block, err := c.key.Load().inspect(inner)
	if err != nil {
		_ = inner.Close()
		return nil, err
	}
	if k == kindPlain {
		return inner, nil
	}
	return &cryptReader{File: inner, fs: c, block: block}, nil
}

// OpenReadWrite implements vfs.FS. Pebble uses it for a cache of remote storage
// only. To write to any place of a file would use the key stream twice.
func (c *cryptFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, vfs.ErrUnsupported
}

// Stat implements vfs.FS.
func (c *cryptFS) Stat(name string) (vfs.FileInfo, error) {
	info, err := c.FS.Stat(name)
	key := c.key.Load()
	if err != nil || key == nil || info.IsDir() || info.Size() == 0 {
		return info, err
	}
	if k, err := c.kindOf(name, key); err != nil || k == kindPlain {
		return info, err
	}
	return fileInfo{info}, nil
}

// Rename implements vfs.FS.
func (c *cryptFS) Rename(oldname, newname string) error {
	c.ns.RLock()
	defer c.ns.RUnlock()
	if err := c.FS.Rename(oldname, newname); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range c.plain {
		if f.name == oldname {
			f.name = newname
		}
	}
	return nil
}

// Link implements vfs.FS.
func (c *cryptFS) Link(oldname, newname string) error {
	c.ns.RLock()
	defer c.ns.RUnlock()
	return c.FS.Link(oldname, newname)
}

// Remove implements vfs.FS.
func (c *cryptFS) Remove(name string) error {
	c.ns.RLock()
	defer c.ns.RUnlock()
	return c.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (c *cryptFS) RemoveAll(name string) error {
	c.ns.RLock()
	defer c.ns.RUnlock()
	return c.FS.RemoveAll(name)
}

// Lock implements vfs.FS.
func (c *cryptFS) Lock(name string) (io.Closer, error) { return c.FS.Lock(name) }

// Unwrap implements vfs.FS. There is nothing that Pebble may do behind our back.
func (c *cryptFS) Unwrap() vfs.FS { return nil }
