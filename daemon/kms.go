package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/engine/seal/kms"
)

const (
	// kmsPatience is how long a start waits for a key server that is unreachable.
	kmsPatience = time.Minute
	// kmsRetry is the pause between two tries.
	kmsRetry = 2 * time.Second
)

// keys is key management: the backend, the metadata store's key and the ring.
type keys struct {
	stateDir string
	files    *keyFiles // of the metadata store's key
	log      *slog.Logger
	patience time.Duration

	store *pebblemeta.Store
	ring  *keyring.Ring

	changes sync.Mutex // serializes what changes keys; held while backends are asked

	mu      sync.Mutex // guards what follows for who does not hold changes; taken to write
	cfg     kmsConfig
	current keyring.Backend
	next    *keyring.Backend
}

// openKeys reads the configuration; homes are the directories of the metadata
// store's copies. It asks no backend.
func openKeys(stateDir string, homes []string, log *slog.Logger) (*keys, error) {
	k := &keys{stateDir: stateDir, files: &keyFiles{stateDir: stateDir, homes: slices.Clone(homes)}, log: log, patience: kmsPatience}
	var err error
	if k.cfg, err = loadKMSConfig(stateDir); err != nil {
		return nil, fmt.Errorf("key management: %w", err)
	}
	if err := k.openBackends(false); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *keys) openBackends(fresh bool) (err error) {
	if k.current, err = k.cfg.Current.open(fresh); err != nil {
		return fmt.Errorf("key management: %w", err)
	}
	k.next = nil
	if k.cfg.Next != nil {
		next, err := k.cfg.Next.open(fresh)
		if err != nil {
			return fmt.Errorf("key management: %w", err)
		}
		k.next = &next
	}
	return nil
}

func (k *keys) backends() []keyring.Backend {
	if k.next != nil {
		return []keyring.Backend{k.current, *k.next}
	}
	return []keyring.Backend{k.current}
}

// openStore has open open the metadata store, with its key if it has one. The
// file with the wrapped key has a copy in the state directory, for a drive that
// lost it: without it nothing of the cluster could be read.
func (k *keys) openStore(ctx context.Context, open func(key *[32]byte) (*pebblemeta.Store, error)) (*pebblemeta.Store, error) {
	wrapped, err := k.files.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		store, err := open(nil)
		if !errors.Is(err, pebblemeta.ErrEncrypted) {
			return store, err
		}
	case err == nil:
		key, err := k.storeKey(ctx, wrapped)
		if err != nil {
			return nil, err
		}
		store, err := open(key)
		if err == nil {
			k.files.keep(wrapped, k.log)
		}
		return store, err
	case !errors.Is(err, keyring.ErrBadDoc):
		return nil, err
	}
	lost := filepath.Join(k.files.dirs()[0], keyring.StoreKeyFile)
	wrapped, err = keyring.ReadStoreKey(k.stateDir)
	if err != nil {
		return nil, fmt.Errorf("the metadata is encrypted and %s, which has its key, is lost or damaged: restore it (%w)", lost, err)
	}
	key, err := k.storeKey(ctx, wrapped)
	if err != nil {
		return nil, err
	}
	store, err := open(key)
	if err != nil {
		return nil, fmt.Errorf("%s is lost or damaged: restore it (its copy in %s: %w)", lost, k.stateDir, err)
	}
	k.log.Warn("a lost file was restored from its copy", "file", lost)
	if err := k.files.write(wrapped); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// storeKey unwraps the metadata store's key. It waits a while for a server that
// is unreachable.
func (k *keys) storeKey(ctx context.Context, wrapped keyring.StoreKey) (*[32]byte, error) {
	for end := time.Now().Add(k.patience); ; {
		key, err := wrapped.Open(ctx, k.backends()...)
		if err == nil {
			return key, nil
		}
		if !errors.Is(err, kms.ErrUnavailable) || time.Now().After(end) || ctx.Err() != nil {
			return nil, k.explain(err, wrapped)
		}
		k.log.Warn("the metadata is encrypted and its key cannot be unwrapped yet; trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(kmsRetry):
		}
	}
}

// explain says what to restore.
func (k *keys) explain(err error, wrapped keyring.StoreKey) error {
	b, config := k.cfg.Current, filepath.Join(k.stateDir, kmsFile)
	if k.cfg.Next != nil && k.cfg.Next.ID == wrapped.Backend() {
		b = *k.cfg.Next
	}
	switch {
	case b.ID != wrapped.Backend():
		return fmt.Errorf("the metadata is encrypted by a key management backend that is not configured: restore %s (%w)", config, err)
	case errors.Is(err, kms.ErrUnavailable):
		return fmt.Errorf("the metadata is encrypted and %s, which has its key %q, is unreachable: start it, or correct its address in %s (%w)", b.Address, wrapped.KMSKey(), config, err)
	case b.Backend == kmsLocal:
		return fmt.Errorf("the metadata is encrypted by the key %q of %s: restore that file (%w)", wrapped.KMSKey(), b.KeyFile, err)
	}
	return fmt.Errorf("the metadata is encrypted by the key %q of %s, which does not unwrap it: restore the key or the permission to use it (%w)", wrapped.KMSKey(), b.Address, err)
}

// openRing opens the ring of the cluster. Ring keys that cannot be unwrapped are
// told and keep only their own objects from being read.
func (k *keys) openRing(ctx context.Context, docs *engine.Docs, store *pebblemeta.Store) error {
	k.store = store
	var id identityDoc
	if err := getJSON(ctx, docs, docIdentity, &id); err != nil {
		return err
	}
	found, err := docs.List(ctx, "keys/")
	if err != nil {
		return err
	}
	if len(found) == 0 && !store.Encrypted() { // nothing was wrapped yet
		if err := k.openBackends(true); err != nil {
			return err
		}
	}
	cfg := keyring.Config{Docs: iamDocs{docs}, Cluster: id.ID, Current: k.current}
	if k.next != nil {
		cfg.Others = []keyring.Backend{*k.next}
	}
	if k.ring, err = keyring.Open(ctx, cfg); err != nil {
		return err
	}
	if err := k.ring.Preload(ctx); err != nil {
		k.log.Error("objects encrypted under some keys cannot be read until their key is back", "err", err)
	}
	if k.cfg.Next != nil {
		k.changes.Lock()
		defer k.changes.Unlock()
		if err := k.migrate(ctx, *k.cfg.Next, *k.next); err != nil {
			k.log.Error("the change of the key management backend is not complete; repeat it, or take it back by setting the old one", "err", err)
		}
	}
	return nil
}

// encrypt encrypts the metadata store and makes the first ring key. To call it
// again completes what was cut short.
func (k *keys) encrypt(ctx context.Context) error {
	k.changes.Lock()
	defer k.changes.Unlock()
	encrypted := k.store.Encrypted()
	if _, err := k.files.read(); err != nil && encrypted {
		return err // never another key in the place of the one in use
	}
	// The order is what makes every crash harmless: the key is durable, wrapped,
	// before the first byte is encrypted by it.
	key, err := k.newStoreKey(ctx)
	if err != nil {
		return err
	}
	// Also when the store has its key: a try that failed left plain files.
	if err := k.store.Encrypt(ctx, key); err != nil {
		return err
	}
	if !encrypted {
		k.log.Info("the metadata is encrypted from here on", "kms", k.cfg.Current.Backend, "key", k.current.KMS.DefaultKey())
	}
	_, _, err = k.ring.New(ctx, "", []byte("first"))
	return err
}

func (k *keys) newStoreKey(ctx context.Context) (*[32]byte, error) {
	wrapped, err := k.files.read()
	if err == nil { // of a try that failed later, maybe in the middle of writing it
		key, err := wrapped.Open(ctx, k.backends()...)
		if err != nil {
			return nil, err
		}
		return key, k.files.write(wrapped)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	wrapped, key, err := keyring.NewStoreKey(ctx, k.current, time.Now())
	if err != nil {
		return nil, err
	}
	return key, k.files.write(wrapped)
}

// rotate makes new versions of the keys and rewraps everything under them.
func (k *keys) rotate(ctx context.Context) error {
	k.changes.Lock()
	defer k.changes.Unlock()
	if k.cfg.Next != nil {
		return refuse(api.CodeConflict, "a change of the key management backend is not complete: repeat it, or take it back by setting the old one")
	}
	return errors.Join(k.ring.Rotate(ctx), k.rewrapStoreKey(ctx, k.current))
}

func (k *keys) rewrapStoreKey(ctx context.Context, to keyring.Backend) error {
	wrapped, err := k.files.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	wrapped, err = wrapped.Rewrap(ctx, to, k.backends()...)
	if err != nil {
		return err
	}
	return k.files.write(wrapped)
}

// create makes a named key.
func (k *keys) create(ctx context.Context, name string) error {
	k.changes.Lock()
	defer k.changes.Unlock()
	return k.current.KMS.Create(ctx, name)
}

// set changes the backend, or the way to it.
func (k *keys) set(ctx context.Context, in backendConfig) error {
	k.changes.Lock()
	defer k.changes.Unlock()
	cur := k.cfg.Current
	switch {
	case in.sameKeys(&cur):
		in.ID = cur.ID
	case k.cfg.Next != nil && in.sameKeys(k.cfg.Next):
		in.ID = k.cfg.Next.ID
	case k.cfg.Next != nil:
		return refuse(api.CodeConflict, "a change to the backend at %s is not complete: repeat it, or take it back by setting the old one", k.cfg.Next.where())
	default:
		in.ID = keyring.NewBackendID()
	}
	b, err := k.tryBackend(ctx, &in)
	if err != nil {
		return err
	}
	if in.ID != cur.ID {
		// From here on a start needs both, until migrate has dropped the old one.
		return k.change(ctx, in, b)
	}
	cfg := kmsConfig{V: kmsVersion, Current: in, Next: k.cfg.Next}
	if err := saveKMSConfig(k.stateDir, cfg); err != nil {
		return err
	}
	k.use(cfg, b, k.next)
	return k.migrate(ctx, in, b) // takes back a change, and has the ring use b
}

// tryBackend opens a backend and makes sure that it wraps and unwraps.
func (k *keys) tryBackend(ctx context.Context, in *backendConfig) (keyring.Backend, error) {
	// A backend that a change is under way to may have wrapped something: what it
	// lost must not be made anew.
	started := in.ID == k.cfg.Current.ID || k.cfg.Next != nil && in.ID == k.cfg.Next.ID
	b, err := in.open(!started || !k.needed())
	if err != nil {
		return b, refuse(api.CodeUsage, "%v", err)
	}
	if in.Backend == kmsLocal && in.ID != k.cfg.Current.ID {
		names := []string{in.Key}
		for _, s := range k.ring.Status() {
			if s.KMSKey != k.current.KMS.DefaultKey() && !slices.Contains(names, s.KMSKey) {
				names = append(names, s.KMSKey)
			}
		}
		for _, name := range names {
			if err := b.KMS.Create(ctx, name); err != nil {
				return b, err
			}
		}
	}
	if st := b.KMS.Status(ctx); !st.Healthy {
		return b, refuse(api.CodeConflict, "the backend does not work, nothing was changed: %s", st.Error)
	}
	return b, nil
}

// needed tells whether anything was wrapped yet.
func (k *keys) needed() bool { return k.store.Encrypted() || len(k.ring.Status()) > 0 }

func (k *keys) change(ctx context.Context, in backendConfig, b keyring.Backend) error {
	cfg := kmsConfig{V: kmsVersion, Current: k.cfg.Current, Next: &in}
	if err := saveKMSConfig(k.stateDir, cfg); err != nil {
		return err
	}
	k.use(cfg, k.current, &b)
	return k.migrate(ctx, in, b)
}

// migrate has b wrap everything and makes it the only backend. k.changes is held.
func (k *keys) migrate(ctx context.Context, in backendConfig, b keyring.Backend) error {
	err := k.ring.Migrate(ctx, b)
	if err == nil {
		err = k.rewrapStoreKey(ctx, b)
	}
	if err != nil {
		return fmt.Errorf("the change is not complete, both backends are needed until it is: %w", err)
	}
	cfg := kmsConfig{V: kmsVersion, Current: in}
	if err := saveKMSConfig(k.stateDir, cfg); err != nil {
		return err
	}
	k.use(cfg, b, nil)
	return nil
}

// use takes a configuration into use. k.changes is held.
func (k *keys) use(cfg kmsConfig, current keyring.Backend, next *keyring.Backend) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cfg, k.current, k.next = cfg, current, next
}

// where is the address of a backend.
func (b *backendConfig) where() string {
	if b.Backend == kmsLocal {
		return b.KeyFile
	}
	return b.Address
}

// status asks the backend.
func (k *keys) status(ctx context.Context) api.KMS {
	k.mu.Lock()
	cfg, current := k.cfg, k.current
	k.mu.Unlock()
	st := current.KMS.Status(ctx)
	out := api.KMS{
		Backend: st.Backend, Address: st.Address, Key: st.Key, Version: st.Version, Healthy: st.Healthy, Error: st.Error,
		Mount: cfg.Current.Mount, Namespace: cfg.Current.Namespace, CAFile: cfg.Current.CAFile,
		MetadataEncrypted: k.store.Encrypted(), RingKeys: []api.RingKey{},
	}
	switch {
	case cfg.Current.TokenFile != "":
		out.Token = "file " + cfg.Current.TokenFile
	case cfg.Current.Token != "":
		out.Token = "stored"
	}
	if cfg.Next != nil {
		out.Changing = cfg.Next.where()
	}
	for _, s := range k.ring.Status() {
		out.RingKeys = append(out.RingKeys, api.RingKey{
			ID: s.ID, KMSKey: s.KMSKey, Created: s.Created, Current: s.Current, Loaded: s.Loaded, Error: s.Error,
		})
	}
	return out
}
