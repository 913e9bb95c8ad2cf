package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/engine/seal/kms"
)

// keys opens what is encrypted with the keys of a state directory.
type keys struct {
	stateDir string
	ring     *keyring.Ring
}

func newKeys(stateDir string) *keys { return &keys{stateDir: stateDir} }

var errNoStateDir = errors.New("it is encrypted: name the state directory with its keys (--state-dir)")

// backend is a backend in kms.json, whose other fields concern the daemon.
type backend struct {
	ID        string `json:"id"`
	Backend   string `json:"backend"`
	Key       string `json:"key"`
	KeyFile   string `json:"key_file"`
	Address   string `json:"address"`
	Mount     string `json:"mount"`
	Namespace string `json:"namespace"`
	TokenFile string `json:"token_file"`
	Token     string `json:"token"`
	CAFile    string `json:"ca_file"`
}

// open opens a backend. Nothing is made.
func (b *backend) open() (keyring.Backend, error) {
	if b.Backend == "local" {
		local, err := kms.OpenLocal(b.KeyFile, b.Key, false)
		return keyring.Backend{ID: b.ID, KMS: local}, err
	}
	t, err := kms.NewTransit(kms.TransitConfig{
		Address: b.Address, Mount: b.Mount, Key: b.Key, Namespace: b.Namespace, TokenFile: b.TokenFile, Token: b.Token, CAFile: b.CAFile,
	})
	return keyring.Backend{ID: b.ID, KMS: t}, err
}

// backends opens the backends that the state directory is configured for: without a
// kms.json that is its file kek.keys.
func (k *keys) backends() ([]keyring.Backend, error) {
	if k.stateDir == "" {
		return nil, errNoStateDir
	}
	var cfg struct {
		Current backend  `json:"current"`
		Next    *backend `json:"next"`
	}
	text, err := os.ReadFile(filepath.Join(k.stateDir, "kms.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		cfg.Current = backend{ID: "0000000000000000", Backend: "local", Key: "sluice", KeyFile: filepath.Join(k.stateDir, "kek.keys")}
	case err != nil:
		return nil, err
	case json.Unmarshal(text, &cfg) != nil:
		return nil, fmt.Errorf("kms.json in %s is malformed", k.stateDir)
	}
	configured := []*backend{&cfg.Current}
	if cfg.Next != nil {
		configured = append(configured, cfg.Next)
	}
	var out []keyring.Backend
	var faults []error
	for _, b := range configured {
		opened, err := b.open()
		if err != nil {
			faults = append(faults, err)
			continue
		}
		out = append(out, opened)
	}
	if len(out) == 0 {
		return nil, errors.Join(faults...)
	}
	return out, nil
}

// ofStore unwraps the key of the metadata store in dir.
func (k *keys) ofStore(ctx context.Context, dir string) (*[32]byte, error) {
	backends, err := k.backends()
	if err != nil {
		return nil, err
	}
	wrapped, err := readStoreKey(dir, k.stateDir)
	if err != nil {
		return nil, err
	}
	return wrapped.Open(ctx, backends...)
}

// storeDocs shows the cluster's documents to the ring, which changes none here.
type storeDocs struct{ r meta.Reader }

var errReadOnly = errors.New("read-only")

func (s storeDocs) Get(_ context.Context, path string) ([]byte, int64, bool, error) {
	doc, err := meta.GetDoc(s.r, 0, 0, path)
	if errors.Is(err, meta.ErrNoDoc) {
		return nil, 0, false, nil
	}
	return doc.Value, doc.Rev, err == nil, err
}

func (s storeDocs) List(_ context.Context, prefix string, fn func(string, []byte, int64) error) (err error) {
	walked := meta.ListDocs(s.r, 0, 0, prefix, func(doc meta.Doc) bool {
		err = fn(doc.Path, doc.Value, doc.Rev)
		return err == nil
	})
	return errors.Join(err, walked)
}

func (storeDocs) Put(context.Context, string, []byte, int64) (int64, error) { return 0, errReadOnly }
func (storeDocs) Delete(context.Context, string, int64) error               { return errReadOnly }

// ofObject unwraps the data key of an object.
func (k *keys) ofObject(ctx context.Context, r meta.Reader, b *meta.Bucket, o *meta.Object) (*seal.DataKey, error) {
	if o.Seal.Mode == meta.SealCustomer {
		return nil, errors.New("it is encrypted by a key that only its owner has (SSE-C)")
	}
	if k.ring == nil {
		if err := k.openRing(ctx, r); err != nil {
			return nil, err
		}
	}
	key, err := k.ring.Open(ctx, keyring.Wrapped{Ring: o.Seal.Ring, Box: o.Seal.Box}, sealBinding(o.Seal, b.ID, o.Key))
	return &key, err
}

func (k *keys) openRing(ctx context.Context, r meta.Reader) error {
	backends, err := k.backends()
	if err != nil {
		return err
	}
	doc, err := meta.GetDoc(r, 0, 0, "system/identity")
	if err != nil {
		return err
	}
	var identity struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(doc.Value, &identity); err != nil {
		return fmt.Errorf("the cluster's identity: %w", err)
	}
	k.ring, err = keyring.Open(ctx, keyring.Config{
		Docs: storeDocs{r}, Cluster: identity.ID, Current: backends[0], Others: backends[1:],
	})
	return err
}

// sealBinding is what the wrapped key of an object is bound to (engine/FORMAT.md, part
// 3, "Wrapped data key").
func sealBinding(s *meta.Seal, bucket meta.BucketID, key string) []byte {
	b := append([]byte("sluice/object-key/1"), byte(s.Mode))
	b = append(b, s.Binding[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(bucket))
	for _, v := range [...]string{key, s.KeyID, s.Context} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(v))) // #nosec G115: bounded by the record
		b = append(b, v...)
	}
	return b
}
