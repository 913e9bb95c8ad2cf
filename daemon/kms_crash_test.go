package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/engine/seal/kms"
)

// mapDocs keeps documents in memory.
type mapDocs struct {
	values map[string][]byte
	puts   int // that succeed; -1: all
}

var errDocs = errors.New("no document was written")

func (d *mapDocs) Get(_ context.Context, path string) ([]byte, int64, bool, error) {
	v, ok := d.values[path]
	return v, 1, ok, nil
}

func (d *mapDocs) List(_ context.Context, prefix string, fn func(string, []byte, int64) error) error {
	for path, v := range d.values {
		if strings.HasPrefix(path, prefix) {
			if err := fn(path, v, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *mapDocs) Put(_ context.Context, path string, value []byte, _ int64) (int64, error) {
	if d.puts == 0 {
		return 0, errDocs
	}
	d.puts--
	d.values[path] = bytes.Clone(value)
	return 1, nil
}

func (d *mapDocs) Delete(context.Context, string, int64) error { return nil }

// localKeys is key management of state as a start finds it: a store, and a ring
// on docs.
func localKeys(t *testing.T, state, home string, docs *mapDocs) *keys {
	t.Helper()
	ctx := context.Background()
	k, err := openKeys(state, []string{home}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	k.store, err = k.openStore(ctx, func(key *[32]byte) (*pebblemeta.Store, error) {
		return pebblemeta.Open(home, pebblemeta.Options{Key: key})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.store.Close() })
	if len(docs.values) == 0 && !k.store.Encrypted() {
		if err := k.openBackends(true); err != nil {
			t.Fatal(err)
		}
	}
	if k.ring, err = keyring.Open(ctx, keyring.Config{Docs: docs, Cluster: "c", Current: k.current, Others: k.backends()}); err != nil {
		t.Fatal(err)
	}
	return k
}

// plainIn names the files of a store that are not encrypted.
func plainIn(t *testing.T, home string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(home)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(home, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 0 && e.Name() != keyring.StoreKeyFile && !bytes.HasPrefix(text, []byte("SLUICEme")) {
			found = append(found, e.Name())
		}
	}
	return found
}

// TestEncryptAgain: an encryption that failed in the middle is completed by the
// next, which must not take the store for encrypted.
func TestEncryptAgain(t *testing.T) {
	state, home := t.TempDir(), t.TempDir()
	k := localKeys(t, state, home, &mapDocs{values: map[string][]byte{}, puts: -1})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := k.encrypt(ended); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(plainIn(t, home)) == 0 {
		t.Fatal("nothing was left to do")
	}
	if err := k.encrypt(context.Background()); err != nil {
		t.Fatal(err)
	}
	if found := plainIn(t, home); len(found) > 0 {
		t.Errorf("plain files of an encrypted store: %v", found)
	}
	// A key that is in use is never replaced.
	if err := os.Remove(filepath.Join(home, keyring.StoreKeyFile)); err != nil {
		t.Fatal(err)
	}
	spare, err := os.ReadFile(filepath.Join(state, keyring.StoreKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.encrypt(context.Background()); err == nil {
		t.Error("another key for an encrypted store")
	}
	if got, err := os.ReadFile(filepath.Join(state, keyring.StoreKeyFile)); err != nil || !bytes.Equal(got, spare) {
		t.Errorf("the copy of the key was replaced: %v", err)
	}
}

// TestStoreKeyCopy: the copy of the store's key is made by the next try or start
// when the first could not, or the process ended before.
func TestStoreKeyCopy(t *testing.T) {
	ctx, state, home := context.Background(), t.TempDir(), t.TempDir()
	docs := &mapDocs{values: map[string][]byte{}, puts: -1}
	k := localKeys(t, state, home, docs)
	spare := filepath.Join(state, keyring.StoreKeyFile)
	if err := os.Mkdir(spare, 0o700); err != nil { // in the way
		t.Fatal(err)
	}
	if err := k.encrypt(ctx); err == nil {
		t.Fatal("encrypted without a copy of the key")
	}
	if err := os.Remove(spare); err != nil {
		t.Fatal(err)
	}
	if err := k.encrypt(ctx); err != nil {
		t.Fatal(err)
	}
	same := func(what string) {
		t.Helper()
		want, err := os.ReadFile(filepath.Join(home, keyring.StoreKeyFile))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(spare); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	same("second try")
	old, err := os.ReadFile(spare)
	if err == nil {
		err = errors.Join(k.rotate(ctx), k.store.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for what, damage := range map[string]func() error{
		"none":             func() error { return os.Remove(spare) },
		"from before":      func() error { return os.WriteFile(spare, old, 0o600) },
		"damaged":          func() error { return os.WriteFile(spare, old[:9], 0o600) },
		"nothing happened": func() error { return nil },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if err := localKeys(t, state, home, docs).store.Close(); err != nil {
			t.Fatal(err)
		}
		same(what)
	}
}

// TestChangeToLostFile loses the key file that a change is under way to: another
// is not made in its place, which would wrap what the old one wrapped no more.
func TestChangeToLostFile(t *testing.T) {
	ctx, state, home := context.Background(), t.TempDir(), t.TempDir()
	docs := &mapDocs{values: map[string][]byte{}, puts: -1}
	k := localKeys(t, state, home, docs)
	if _, _, err := k.ring.New(ctx, "", nil); err != nil {
		t.Fatal(err)
	}
	if err := k.rotate(ctx); err != nil {
		t.Fatal(err)
	}
	key, wrapped, err := k.ring.New(ctx, "", []byte("object"))
	if err != nil {
		t.Fatal(err)
	}
	to := backendConfig{Backend: kmsLocal, Key: "sluice", KeyFile: filepath.Join(t.TempDir(), "new.keys")}
	docs.puts = 1 // of two
	if err := k.set(ctx, to); !errors.Is(err, errDocs) {
		t.Fatal(err)
	}
	docs.puts = -1
	if err := errors.Join(k.store.Close(), os.Rename(to.KeyFile, to.KeyFile+".away")); err != nil {
		t.Fatal(err)
	}
	k = localKeys(t, state, home, docs)
	if err := k.set(ctx, to); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("with the new file lost: %v", err)
	}
	if _, err := os.Stat(to.KeyFile); err == nil {
		t.Fatal("other keys took the place of the lost ones")
	}
	if err := os.Rename(to.KeyFile+".away", to.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := k.set(ctx, to); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.store.Close(), os.Remove(filepath.Join(state, kekFile))); err != nil {
		t.Fatal(err)
	}
	k = localKeys(t, state, home, docs)
	if got, err := k.ring.Open(ctx, wrapped, []byte("object")); err != nil || got != key {
		t.Errorf("an object's key: %v", err)
	}
	if _, err := k.ring.Open(ctx, wrapped, []byte("another")); errors.Is(err, kms.ErrNoKey) || err == nil {
		t.Errorf("another object's key: %v", err)
	}
}
