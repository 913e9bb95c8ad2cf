package keyring

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/sluicehq/sluice/engine/seal/kms"
)

// first returns the ring key of a KMS key that has none yet, making it.
func (r *Ring) first(ctx context.Context, name string) (*entry, error) {
	if r.docs == nil {
		return nil, fmt.Errorf("%w: no key management is configured", ErrNoRingKey)
	}
	if err := kms.CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", kms.ErrNoKey, err)
	}
	r.changes.Lock()
	defer r.changes.Unlock()
	r.mu.RLock()
	e := r.entries[r.newest[name]]
	r.mu.RUnlock()
	if e != nil {
		return e, nil // another was first
	}
	return r.create(ctx, name)
}

// create makes a ring key for a KMS key, which becomes its current one. r.changes
// is held. Until the document is known to be durable nobody uses the key: where
// the outcome is unknown it may stay behind, unused.
func (r *Ring) create(ctx context.Context, name string) (*entry, error) {
	r.mu.RLock()
	backend, last := r.current, uint32(0)
	for id := range r.entries {
		last = max(last, id)
	}
	r.mu.RUnlock()
	var key [32]byte
	rand.Read(key[:]) // never fails
	for tries := 0; ; tries++ {
		if last == math.MaxUint32 {
			return nil, errors.New("keyring: the ring is full")
		}
		last++
		_, _, taken, err := r.docs.Get(ctx, docPath(last))
		if err != nil {
			return nil, err
		}
		if !taken {
			break
		}
		if tries == 100 { // by writes whose outcome was unknown; there cannot be many
			return nil, fmt.Errorf("%w: %s is there and was not listed", ErrBadDoc, docPath(last))
		}
	}
	wrapped, err := backend.KMS.Wrap(ctx, name, key[:], ringAAD(r.cluster, name, last))
	if err != nil {
		return nil, err
	}
	doc := ringDoc{V: docVersion, ID: last, Backend: backend.ID, KMSKey: name, Wrapped: wrapped, Created: r.now().UTC()}
	if err := r.put(ctx, doc, 0); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.add(doc)
	e.key.Store(&key)
	return e, nil
}

func (r *Ring) put(ctx context.Context, doc ringDoc, ifRev int64) error {
	if len(doc.Wrapped) > maxWrapped {
		return fmt.Errorf("keyring: the service wraps a key in %d bytes", len(doc.Wrapped))
	}
	value, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = r.docs.Put(ctx, docPath(doc.ID), value, ifRev)
	return err
}

// Rotate makes a new version of every KMS key in use and of the default one,
// rewraps all ring keys under it, and makes a new current ring key for each. No
// object is touched: old ones open by the ring keys they name, new ones get the
// new ring keys. It may fail, or the process end, between any two steps: nothing
// is lost, and calling it again completes it. Ring keys that cannot be rewrapped
// do not keep the others; the errors are joined.
func (r *Ring) Rotate(ctx context.Context) error {
	r.changes.Lock()
	defer r.changes.Unlock()
	r.mu.RLock()
	backend := r.current
	names := map[string]bool{backend.KMS.DefaultKey(): true}
	for _, e := range r.entries {
		names[e.doc.KMSKey] = true
	}
	r.mu.RUnlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if _, err := backend.KMS.Rotate(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("keyring: rotating %q: %w", name, err))
			delete(names, name)
		}
	}
	errs = append(errs, r.rewrapAll(ctx, backend))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if _, err := r.create(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("keyring: new ring key of %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Rewrap wraps all ring keys anew under the newest versions of their KMS keys,
// and those that another backend wrapped by the current one.
func (r *Ring) Rewrap(ctx context.Context) error {
	r.changes.Lock()
	defer r.changes.Unlock()
	r.mu.RLock()
	backend := r.current
	r.mu.RUnlock()
	return r.rewrapAll(ctx, backend)
}

// Migrate has another backend wrap all ring keys, those of the default key by its
// default key and the others under the same key names, and makes it the current
// one when all are done. While some are not, either backend
// is needed, also after a restart; see Config.Others. To call it again, with
// either backend, completes the change or takes it back.
func (r *Ring) Migrate(ctx context.Context, to Backend) error {
	if err := checkBackend(to.ID); err != nil {
		return err
	}
	r.changes.Lock()
	defer r.changes.Unlock()
	r.mu.Lock()
	r.backends[to.ID] = to.KMS
	r.mu.Unlock()
	if err := r.rewrapAll(ctx, to); err != nil {
		return err
	}
	r.mu.Lock()
	r.current = to
	r.backends = map[string]kms.KMS{to.ID: to.KMS}
	r.mu.Unlock()
	return nil
}

func (r *Ring) rewrapAll(ctx context.Context, to Backend) error {
	var errs []error
	for _, e := range r.sorted() {
		if err := r.rewrap(ctx, e, to); err != nil {
			errs = append(errs, fmt.Errorf("keyring: rewrapping ring key %d: %w", e.id, err))
		}
	}
	return errors.Join(errs...)
}

// rewrap replaces the document of one ring key. r.changes is held.
func (r *Ring) rewrap(ctx context.Context, e *entry, to Backend) error {
	// The document as stored: an earlier try may have replaced it and not known.
	value, rev, ok, err := r.docs.Get(ctx, docPath(e.id))
	if err != nil {
		return err
	}
	if !ok {
		return ErrNoRingKey
	}
	doc, err := decodeDoc(docPath(e.id), value)
	if err != nil {
		return err
	}
	r.mu.RLock()
	from := r.backends[doc.Backend]
	r.mu.RUnlock()
	aad := func(name string) []byte { return ringAAD(r.cluster, name, doc.ID) }
	w, err := rewrapKey(ctx, wrapping{doc.Backend, doc.KMSKey, doc.Wrapped}, from, to, aad)
	if err != nil {
		return err
	}
	doc.Backend, doc.KMSKey, doc.Wrapped = w.backend, w.name, w.box
	if err := r.put(ctx, doc, rev); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e.doc = doc
	clear(r.newest)
	for id, e := range r.entries {
		r.newest[e.doc.KMSKey] = max(r.newest[e.doc.KMSKey], id)
	}
	return nil
}

// wrapping is a key of 32 bytes, wrapped by the key called name of a backend.
type wrapping struct {
	backend, name string
	box           []byte
}

// rewrapKey wraps a wrapped key by to. Only when the backend changes is the key
// seen in the clear; then what is returned was tried: it opens.
func rewrapKey(ctx context.Context, w wrapping, from kms.KMS, to Backend, aad func(name string) []byte) (wrapping, error) {
	if w.backend == to.ID {
		box, err := to.KMS.Rewrap(ctx, w.name, w.box, aad(w.name))
		return wrapping{to.ID, w.name, box}, err
	}
	key, err := unwrapKey(ctx, from, w, aad(w.name))
	if err != nil {
		return wrapping{}, err
	}
	defer clear(key[:])
	out := wrapping{backend: to.ID, name: w.name}
	if w.name == from.DefaultKey() {
		out.name = to.KMS.DefaultKey()
	}
	if out.box, err = to.KMS.Wrap(ctx, out.name, key[:], aad(out.name)); err != nil {
		return wrapping{}, err
	}
	again, err := unwrapKey(ctx, to.KMS, out, aad(out.name))
	if err != nil {
		return wrapping{}, fmt.Errorf("what the new backend wrapped it does not unwrap: %w", err)
	}
	defer clear(again[:])
	if *again != *key {
		return wrapping{}, fmt.Errorf("%w: the new backend returned another key", kms.ErrUnwrap)
	}
	return out, nil
}
