package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluicehq/sluice/engine/seal/atomicfile"
	"github.com/sluicehq/sluice/engine/seal/kms"
)

// Format of the file ENCRYPTION, beside an encrypted metadata store. JSON of one
// line:
//
//	v        1
//	id       32 hexadecimal digits, random: names the store's key
//	backend  id of the backend that wrapped it: 16 hexadecimal digits
//	kms_key  name of the key it is wrapped by
//	wrapped  the 32 bytes of the store's key as the backend wrapped them, base64
//	created  RFC 3339
//
// The additional data of the wrapping are "sluice/store/1", id and kms_key, with
// a zero byte between them. The file is replaced whole.
const (
	// StoreKeyFile is the name of the file in the store's directory.
	StoreKeyFile = "ENCRYPTION"

	storeUse        = "sluice/store/1"
	maxStoreKeyFile = 16 << 10 // bytes
)

// StoreKey is a metadata store's key, wrapped.
type StoreKey struct{ doc storeDoc }

type storeDoc struct {
	V       int       `json:"v"`
	ID      string    `json:"id"`
	Backend string    `json:"backend"`
	KMSKey  string    `json:"kms_key"`
	Wrapped []byte    `json:"wrapped"`
	Created time.Time `json:"created"`
}

func (d *storeDoc) aad(name string) []byte { return use(storeUse, d.ID, name) }

// NewStoreKey draws a key for a metadata store and has b wrap it by its default
// key.
func NewStoreKey(ctx context.Context, b Backend, now time.Time) (StoreKey, *[32]byte, error) {
	if err := checkBackend(b.ID); err != nil {
		return StoreKey{}, nil, err
	}
	var key [32]byte
	var id [16]byte
	rand.Read(key[:]) // never fails
	rand.Read(id[:])
	d := storeDoc{V: docVersion, ID: hex.EncodeToString(id[:]), Backend: b.ID, KMSKey: b.KMS.DefaultKey(), Created: now.UTC()}
	var err error
	if d.Wrapped, err = b.KMS.Wrap(ctx, d.KMSKey, key[:], d.aad(d.KMSKey)); err != nil {
		return StoreKey{}, nil, fmt.Errorf("keyring: key of the metadata store: %w", err)
	}
	return StoreKey{d}, &key, nil
}

// Backend is the id of the backend that wrapped the key, KMSKey its key's name.
func (k StoreKey) Backend() string { return k.doc.Backend }

// KMSKey is the name of the key that the store's key is wrapped by.
func (k StoreKey) KMSKey() string { return k.doc.KMSKey }

// Equal tells whether two are the same key, wrapped in the same way.
func (k StoreKey) Equal(o StoreKey) bool {
	a, b := &k.doc, &o.doc
	return a.ID == b.ID && a.Backend == b.Backend && a.KMSKey == b.KMSKey && bytes.Equal(a.Wrapped, b.Wrapped)
}

func (k StoreKey) service(backends []Backend) kms.KMS {
	i := slices.IndexFunc(backends, func(b Backend) bool { return b.ID == k.doc.Backend })
	if i < 0 {
		return nil
	}
	return backends[i].KMS
}

// Open has one of the backends unwrap the key. Errors of package kms.
func (k StoreKey) Open(ctx context.Context, backends ...Backend) (*[32]byte, error) {
	d := &k.doc
	key, err := unwrapKey(ctx, k.service(backends), wrapping{d.Backend, d.KMSKey, d.Wrapped}, d.aad(d.KMSKey))
	if err != nil {
		return nil, fmt.Errorf("keyring: key of the metadata store: %w", err)
	}
	return key, nil
}

// Rewrap has to wrap the key anew; others are the backends that may have wrapped
// it. The key stays the same, the store's files are not touched.
func (k StoreKey) Rewrap(ctx context.Context, to Backend, others ...Backend) (StoreKey, error) {
	d := k.doc
	w, err := rewrapKey(ctx, wrapping{d.Backend, d.KMSKey, d.Wrapped}, k.service(others), to, d.aad)
	if err != nil {
		return StoreKey{}, fmt.Errorf("keyring: key of the metadata store: %w", err)
	}
	d.Backend, d.KMSKey, d.Wrapped = w.backend, w.name, w.box
	return StoreKey{d}, nil
}

// ReadStoreKey reads the file in dir. fs.ErrNotExist, ErrBadDoc, ErrNewer.
func ReadStoreKey(dir string) (StoreKey, error) {
	path := filepath.Join(dir, StoreKeyFile)
	f, err := os.Open(path)
	if err != nil {
		return StoreKey{}, fmt.Errorf("keyring: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxStoreKeyFile+1))
	if err != nil {
		return StoreKey{}, fmt.Errorf("keyring: %w", err)
	}
	k, err := decodeStoreKey(text)
	if err != nil {
		return StoreKey{}, fmt.Errorf("%w: %s", err, path)
	}
	return k, nil
}

func decodeStoreKey(text []byte) (StoreKey, error) {
	var d storeDoc
	if len(text) > maxStoreKeyFile {
		return StoreKey{}, ErrBadDoc
	}
	if err := decodeStrict(text, &d, &d.V); err != nil {
		return StoreKey{}, err
	}
	id, err := hex.DecodeString(d.ID)
	if err != nil || len(id) != 16 || !validWrapping(d.Backend, d.KMSKey, d.Wrapped) || d.Created.IsZero() {
		return StoreKey{}, ErrBadDoc
	}
	return StoreKey{d}, nil
}

// Write puts the file in dir, in place of one that is there. It is on disk, its
// directory entry included, when Write returns nil; until then the old one is.
func (k StoreKey) Write(dir string) error {
	text, err := json.Marshal(k.doc)
	if err != nil {
		return err
	}
	if _, err := decodeStoreKey(text); err != nil {
		return err
	}
	if err := atomicfile.Replace(filepath.Join(dir, StoreKeyFile), append(text, '\n')); err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	return nil
}
