package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"

	"github.com/sluicehq/sluice/engine/seal/keyring"
)

// keyFiles are the places of the file with the wrapped key of the metadata store:
// beside every copy of the store, and, for drives that lose it, in the state
// directory. Nothing in it waits longer than answerTime for a drive, and leave, which
// the store waits for, not at all.
type keyFiles struct {
	stateDir string

	writing sync.Mutex // held while files are written

	mu     sync.Mutex                                       // guards what follows, briefly
	homes  []string                                         // of the copies of the store; at least one
	latest *keyring.StoreKey                                // what was written last
	busy   map[string]bool                                  // directories in which a write has not come back
	put    func(dir string, wrapped keyring.StoreKey) error // nil: to the disk; for tests
}

// dirs returns the homes.
func (f *keyFiles) dirs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.homes)
}

// read reads the file beside the store, from the first copy that has a good one.
// fs.ErrNotExist: none has one.
func (f *keyFiles) read() (found keyring.StoreKey, err error) {
	err = fs.ErrNotExist
	for _, dir := range f.dirs() {
		k, e := readKeyFile(dir)
		if e == nil {
			return k, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = e
		}
	}
	return found, err
}

// readKeyFile is keyring.ReadStoreKey that does not wait for a drive that hangs.
func readKeyFile(dir string) (keyring.StoreKey, error) {
	type result struct {
		k   keyring.StoreKey
		err error
	}
	r, ok := within(answerTime, func() (r result) {
		r.k, r.err = keyring.ReadStoreKey(dir)
		return r
	})
	if !ok {
		return keyring.StoreKey{}, fmt.Errorf("%s: %w", dir, errSilent)
	}
	return r.k, r.err
}

// writeOne puts the wrapped key into one place. While a write there has not come back
// there is no other: it would be undone.
func (f *keyFiles) writeOne(dir string, wrapped keyring.StoreKey) error {
	f.mu.Lock()
	busy, put := f.busy[dir], f.put
	if f.busy == nil {
		f.busy = map[string]bool{}
	}
	f.busy[dir] = true
	f.mu.Unlock()
	if put == nil {
		put = func(dir string, wrapped keyring.StoreKey) error { return wrapped.Write(dir) }
	}
	if !busy {
		err, ok := within(answerTime, func() error {
			err := put(dir, wrapped)
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.busy, dir)
			return err
		})
		if ok {
			return err
		}
	}
	return fmt.Errorf("%s: %w", dir, errSilent)
}

// everywhere calls fn for every place side by side. writing is held.
func (f *keyFiles) everywhere(wrapped keyring.StoreKey, fn func(dir string) error) error {
	f.mu.Lock()
	dirs := append(slices.Clone(f.homes), f.stateDir)
	f.latest = &wrapped
	f.mu.Unlock()
	errs := make([]error, len(dirs))
	var all sync.WaitGroup
	for i, dir := range dirs {
		all.Go(func() { errs[i] = fn(dir) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// write puts the wrapped key into every place.
func (f *keyFiles) write(wrapped keyring.StoreKey) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	return f.everywhere(wrapped, func(dir string) error { return f.writeOne(dir, wrapped) })
}

// keep writes the file, which opened the store, where there is none or another: a
// process that ended between two writes left it behind.
func (f *keyFiles) keep(wrapped keyring.StoreKey, log *slog.Logger) {
	f.writing.Lock()
	defer f.writing.Unlock()
	_ = f.everywhere(wrapped, func(dir string) error {
		if have, err := readKeyFile(dir); err == nil && have.Equal(wrapped) {
			return nil
		}
		if err := f.writeOne(dir, wrapped); err != nil {
			log.Warn("the wrapped key of the metadata has no copy", "directory", dir, "err", err)
		}
		return nil
	})
}

// join makes dir the home of one more copy of the store; the file is there when it
// returns, if there is one.
func (f *keyFiles) join(dir string) error {
	f.writing.Lock() // a key that is wrapped anew goes to the homes there are
	defer f.writing.Unlock()
	f.mu.Lock()
	latest := f.latest
	f.mu.Unlock()
	if latest == nil {
		switch wrapped, err := f.read(); {
		case err == nil:
			latest = &wrapped
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if latest != nil {
		if err := f.writeOne(dir, *latest); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.homes, dir) {
		f.homes = append(f.homes, dir)
	}
	return nil
}

// leave ends what join began; the last home remains.
func (f *keyFiles) leave(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.homes) > 1 {
		f.homes = slices.DeleteFunc(slices.Clone(f.homes), func(d string) bool { return d == dir })
	}
}
