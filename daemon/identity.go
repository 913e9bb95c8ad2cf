package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/atomicfile"
)

// Documents of the configuration namespace that the daemon itself keeps. Users
// and policies are package iam's.
const (
	docIdentity = "system/identity" // {"id": 32 hex digits}: the cluster id on every drive
	docKey      = "system/key"      // {"fingerprint": …} of the cluster key file
	docCluster  = "system/cluster"  // api.Cluster
	docDrives   = "drives/"         // + drive id: driveDoc
)

type identityDoc struct {
	ID string `json:"id"`
}

type keyDoc struct {
	Fingerprint string `json:"fingerprint"`
}

// makeDirs makes the daemon's own directories, readable by nobody else.
// Their names are durable afterwards: data in a directory that a power loss takes
// away would be lost with it.
func makeDirs(dirs ...string) error {
	for _, dir := range dirs {
		dir = filepath.Clean(dir)
		parents := []string{filepath.Dir(dir)} // always: who made dir may have been killed before the sync
		for at := parents[0]; at != filepath.Dir(at); at = filepath.Dir(at) {
			if _, err := os.Stat(at); err == nil {
				break
			}
			parents = append(parents, filepath.Dir(at))
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		for _, parent := range parents {
			if err := atomicfile.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
				return err // one that may not be read is another's, and was there before
			}
		}
	}
	return nil
}

// clusterID returns the identity of the cluster, making it in a new store. It
// is durable before the first drive is formatted with it.
func clusterID(ctx context.Context, store meta.Store) (id [16]byte, err error) {
	var doc identityDoc
	found, err := meta.GetDoc(store, 0, 0, docIdentity)
	switch {
	case err == nil:
		if err := json.Unmarshal(found.Value, &doc); err != nil {
			return id, fmt.Errorf("cluster identity: %w", err)
		}
		if n, err := hex.Decode(id[:], []byte(doc.ID)); err != nil || n != len(id) {
			return id, fmt.Errorf("cluster identity: %q is no id", doc.ID)
		}
		return id, nil
	case !errors.Is(err, meta.ErrNoDoc):
		return id, fmt.Errorf("cluster identity: %w", err)
	}
	rand.Read(id[:])
	value, err := json.Marshal(identityDoc{ID: hex.EncodeToString(id[:])})
	if err != nil {
		return id, err
	}
	return id, store.Mutate(ctx, 0, &meta.PutDoc{Path: docIdentity, Value: value})
}

// loadKey reads the cluster key file, making it at the first start. It refuses a
// file other than the one that sealed the secrets, and makes none in its place:
// with another key every user would be locked out for no visible reason.
func loadKey(ctx context.Context, docs *engine.Docs, path string) (*seal.Key, error) {
	found, err := docs.Get(ctx, docKey)
	first := engine.KindOf(err) == engine.NoDoc
	if err != nil && !first {
		return nil, err
	}
	key, err := seal.LoadOrCreate(path, first)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the cluster key file is missing: restore %s (%w)", path, err)
	}
	if err != nil {
		return nil, err
	}
	if first {
		value, err := json.Marshal(keyDoc{Fingerprint: key.Fingerprint()})
		if err != nil {
			return nil, err
		}
		_, err = docs.Put(ctx, docKey, value, 0)
		return key, err
	}
	var doc keyDoc
	if err := json.Unmarshal(found.Value, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", docKey, err)
	}
	if doc.Fingerprint != key.Fingerprint() {
		return nil, fmt.Errorf("the cluster key file is not the one this cluster was made with (fingerprint %s, want %s): restore %s", key.Fingerprint(), doc.Fingerprint, path)
	}
	return key, nil
}

// iamDocs gives package iam its documents.
type iamDocs struct{ docs *engine.Docs }

func (a iamDocs) Get(ctx context.Context, path string) ([]byte, int64, bool, error) {
	doc, err := a.docs.Get(ctx, path)
	if engine.KindOf(err) == engine.NoDoc {
		return nil, 0, false, nil
	}
	return doc.Value, doc.Rev, err == nil, err
}

func (a iamDocs) List(ctx context.Context, prefix string, fn func(string, []byte, int64) error) error {
	docs, err := a.docs.List(ctx, prefix)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		if err := fn(doc.Path, doc.Value, doc.Rev); err != nil {
			return err
		}
	}
	return nil
}

func (a iamDocs) Put(ctx context.Context, path string, value []byte, ifRev int64) (int64, error) {
	return a.docs.Put(ctx, path, value, ifRev)
}

func (a iamDocs) Delete(ctx context.Context, path string, ifRev int64) error {
	return a.docs.Delete(ctx, path, ifRev)
}
