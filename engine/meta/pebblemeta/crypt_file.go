package pebblemeta

import (
	"crypto/cipher"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// cryptReader is an encrypted file open for reading.
type cryptReader struct {
	vfs.File // Sync, SyncData, Close
	fs       *cryptFS
	block    cipher.Block // nil: the header is cut off, there are no bytes
	pos      int64        // of Read
}

func (f *cryptReader) ReadAt(p []byte, off int64) (int, error) {
	if f.block == nil {
		return 0, io.EOF
	}
	n, err := f.File.ReadAt(p, off+cryptHeader)
	if n > 0 {
		streamAt(f.block, off).XORKeyStream(p[:n], p[:n])
	}
	return n, err
}

func (f *cryptReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *cryptReader) Stat() (vfs.FileInfo, error) { return withoutHeader(f.File.Stat()) }

func (f *cryptReader) Prefetch(off, length int64) error {
	return f.File.Prefetch(off+cryptHeader, length)
}

func (f *cryptReader) Fd() uintptr { return f.fs.blindFd(f.File) }

func (f *cryptReader) Write([]byte) (int, error)          { return 0, vfs.ErrUnsupported }
func (f *cryptReader) WriteAt([]byte, int64) (int, error) { return 0, vfs.ErrUnsupported }
func (f *cryptReader) Preallocate(int64, int64) error     { return vfs.ErrUnsupported }
func (f *cryptReader) SyncTo(int64) (bool, error)         { return false, vfs.ErrUnsupported }

// cryptWriter is a file open for writing at its end. It is plain while it has
// no key, and may be encrypted while it is open; see cryptFS.convert.
type cryptWriter struct {
	fs   *cryptFS
	name string // guarded by fs.mu

	mu     sync.RWMutex // held for writing while the file is exchanged
	inner  vfs.File
	key    *storeKey    // nil: plain
	block  cipher.Block // nil: plain, or nothing was written yet
	stream cipher.Stream
	off    int64 // bytes written, the header left out
	failed error // of a Write: the key stream must not pass the place again
	closed bool
	broken error // the file could not be exchanged safely: nothing works any more
}

// Write encrypts p in place, as the contract of vfs.File allows. There is only
// one writer at a time.
func (f *cryptWriter) Write(p []byte) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch {
	case f.broken != nil:
		return 0, f.broken
	case f.failed != nil:
		return 0, f.failed
	case f.key != nil && len(p) == 0:
		return 0, nil
	case f.key != nil:
		if f.block == nil {
			if f.failed = f.begin(); f.failed != nil {
				return 0, f.failed
			}
		}
		f.stream.XORKeyStream(p, p)
	}
	n, err := f.inner.Write(p)
	f.off += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if f.key != nil {
		f.failed = err
	}
	return n, err
}

// begin writes the header, at the file's present position.
func (f *cryptWriter) begin() error {
	header, block := f.key.newHeader()
	if n, err := f.inner.Write(header); err != nil || n != len(header) {
		if err == nil {
			err = io.ErrShortWrite
		}
		return err
	}
	f.block, f.stream = block, streamAt(block, 0)
	return nil
}

// shift is what lies before Pebble's bytes.
func (f *cryptWriter) shift() int64 {
	if f.key == nil {
		return 0
	}
	return cryptHeader
}

func (f *cryptWriter) Sync() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.broken != nil {
		return f.broken
	}
	return f.inner.Sync()
}

func (f *cryptWriter) SyncData() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.broken != nil {
		return f.broken
	}
	return f.inner.SyncData()
}

func (f *cryptWriter) SyncTo(length int64) (bool, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.broken != nil {
		return false, f.broken
	}
	return f.inner.SyncTo(length + f.shift())
}

func (f *cryptWriter) Preallocate(off, length int64) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.inner.Preallocate(off+f.shift(), length)
}

func (f *cryptWriter) Prefetch(off, length int64) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.inner.Prefetch(off+f.shift(), length)
}

func (f *cryptWriter) Stat() (vfs.FileInfo, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.key == nil {
		return f.inner.Stat()
	}
	return withoutHeader(f.inner.Stat())
}

// Close leaves the file plain, if it is.
func (f *cryptWriter) Close() error {
	f.fs.forget(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.inner.Close()
}

func (f *cryptWriter) Fd() uintptr {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.fs.blindFd(f.inner)
}

// Pebble reads no file that it is writing, and would use the key stream twice if
// it wrote a place again.
func (f *cryptWriter) Read([]byte) (int, error)           { return 0, vfs.ErrUnsupported }
func (f *cryptWriter) ReadAt([]byte, int64) (int, error)  { return 0, vfs.ErrUnsupported }
func (f *cryptWriter) WriteAt([]byte, int64) (int, error) { return 0, vfs.ErrUnsupported }

// fileInfo tells a file's size as Pebble sees it.
type fileInfo struct{ vfs.FileInfo }

func (i fileInfo) Size() int64 { return max(i.FileInfo.Size()-cryptHeader, 0) }

func withoutHeader(info vfs.FileInfo, err error) (vfs.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	return fileInfo{info}, nil
}
