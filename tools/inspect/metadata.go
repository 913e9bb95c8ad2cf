package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/seal/keyring"
)

// metadata is a copy of a metadata store, opened.
type metadata struct {
	store *pebblemeta.Store
	dir   string // what was copied
	tmp   string
	keys  *keys
}

// findStore returns the directory of the store that dir is, or holds.
func findStore(dir string) (string, error) {
	for _, at := range []string{dir, filepath.Join(dir, "meta")} {
		if found, _ := filepath.Glob(filepath.Join(at, "MANIFEST-*")); len(found) > 0 {
			return at, nil
		}
	}
	return "", fmt.Errorf("no metadata store is in %s", dir)
}

// inUse reports whether a process holds the store's lock.
func inUse(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, "LOCK"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return false, err
	}
	return lock.Type != unix.F_UNLCK, nil
}

// openMetadata copies the store in dir and opens the copy: to open a store is to write
// to it.
func openMetadata(ctx context.Context, dir string, o *options) (m *metadata, err error) {
	at, err := findStore(dir)
	if err != nil {
		return nil, err
	}
	if used, err := inUse(at); err != nil || used {
		return nil, errors.Join(err, fmt.Errorf("%s is in use: stop the daemon first ('ctl cluster check' looks while it serves)", at))
	}
	m = &metadata{dir: at, keys: newKeys(o.stateDir)}
	if m.tmp, err = os.MkdirTemp(o.tmp, "sluice-inspect-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(m.tmp))
		}
	}()
	if err := copyFiles(ctx, at, m.tmp); err != nil {
		return nil, err
	}
	opts := pebblemeta.Options{Logger: slog.New(slog.DiscardHandler)}
	m.store, err = pebblemeta.Open(m.tmp, opts)
	if errors.Is(err, pebblemeta.ErrEncrypted) {
		if opts.Key, err = m.keys.ofStore(ctx, at); err != nil {
			return nil, err
		}
		m.store, err = pebblemeta.Open(m.tmp, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return m, nil
}

// copyFiles copies the regular files of a directory.
func copyFiles(ctx context.Context, from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == "LOCK" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (m *metadata) close() error { return errors.Join(m.store.Close(), os.RemoveAll(m.tmp)) }

// generation is what the copy's record says of it, in words.
func (m *metadata) generation() string {
	var rec struct {
		Generation uint32   `json:"generation"`
		Voters     []string `json:"voters"`
	}
	text, err := os.ReadFile(filepath.Join(m.dir, "COPY"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "none recorded: the only copy, or of an earlier release"
	case err != nil:
		return err.Error()
	case json.Unmarshal(text, &rec) != nil:
		return "its record COPY is damaged"
	}
	return fmt.Sprintf("%d, with %d voters", rec.Generation, len(rec.Voters))
}

// newest is the generation that the copy's record tells, 0: none.
func (m *metadata) newest() uint32 {
	var rec struct {
		Generation uint32 `json:"generation"`
	}
	if text, err := os.ReadFile(filepath.Join(m.dir, "COPY")); err != nil || json.Unmarshal(text, &rec) != nil {
		return 0
	}
	return rec.Generation
}

// object finds an object with its bucket.
func (m *metadata) object(bucket, key string) (b meta.Bucket, o meta.Object, err error) {
	if b, err = meta.GetBucket(m.store, bucket); err == nil {
		o, err = meta.GetObject(m.store, &b, key)
	}
	return b, o, err
}

// piece is a part of an object's data that one blob holds.
type piece struct {
	part int32 // 0: the whole object
	size int64 // bytes of it, before encryption
	blob meta.Part
}

// pieces returns the data of an object in order.
func (m *metadata) pieces(b *meta.Bucket, o *meta.Object) ([]piece, error) {
	if o.PartCount == 0 {
		return []piece{{size: o.Size, blob: meta.Part{Blob: o.Blob}}}, nil
	}
	parts, _, err := meta.LoadParts(m.store, b, o, 0, -1)
	if err != nil {
		return nil, err
	}
	out := make([]piece, 0, len(parts))
	for _, p := range parts {
		out = append(out, piece{part: p.Number, size: p.Size, blob: p})
	}
	return out, nil
}

// readStoreKey reads the wrapped key of the store beside it, or from its copy in the
// state directory.
func readStoreKey(dir, stateDir string) (keyring.StoreKey, error) {
	k, err := keyring.ReadStoreKey(dir)
	if err != nil && stateDir != "" {
		return keyring.ReadStoreKey(stateDir)
	}
	return k, err
}
