package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace puts a file of mode 0600 at path, in place of one that is there.
func Replace(path string, data []byte) error { return write(path, data, os.Rename) }

// Create puts a file of mode 0600 at path unless there is one: made is false
// then, and that one stays. Of two processes that create at the same time one
// makes the file.
func Create(path string, data []byte) (made bool, err error) {
	err = write(path, data, func(from, to string) error {
		err := os.Link(from, to) // unlike Rename, fails if to exists
		if made = err == nil; errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
	return made, err
}

// write makes a whole, synced file under a name of its own, and then gives it its
// name by put.
func write(path string, data []byte, put func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if e := os.Remove(f.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
		err = errors.Join(err, SyncDir(dir))
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return put(f.Name(), path)
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
