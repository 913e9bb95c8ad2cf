package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/sluicehq/sluice/engine/seal/atomicfile"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/engine/seal/kms"
)

// Key management is configured by STATE/kms.json, mode 0600, which only the
// daemon writes:
//
//	{"v": 1, "current": BACKEND, "next": BACKEND}
//
// next is there while a change of backend is not complete. Without the file the
// backend is a local one with STATE/kek.keys.
const (
	kmsFile     = "kms.json"
	kekFile     = "kek.keys"
	maxKMSFile  = 64 << 10 // bytes
	kmsVersion  = 1
	kmsLocal    = "local"
	kmsVault    = "vault"
	defaultKEK  = "sluice"
	defaultKMSb = "0000000000000000" // id of the default backend
)

// backendConfig is a backend in kms.json. Which fields are used depends on
// Backend, "local" or "vault".
type backendConfig struct {
	ID        string `json:"id"` // as recorded with what it wrapped: 16 hexadecimal digits
	Backend   string `json:"backend"`
	Key       string `json:"key"` // name of the default key
	KeyFile   string `json:"key_file,omitempty"`
	Address   string `json:"address,omitempty"`
	Mount     string `json:"mount,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	TokenFile string `json:"token_file,omitempty"`
	Token     string `json:"token,omitempty"`
	CAFile    string `json:"ca_file,omitempty"`
}

type kmsConfig struct {
	V       int            `json:"v"`
	Current backendConfig  `json:"current"`
	Next    *backendConfig `json:"next,omitempty"`
}

func defaultKMSConfig(stateDir string) kmsConfig {
	return kmsConfig{V: kmsVersion, Current: backendConfig{
		ID: defaultKMSb, Backend: kmsLocal, Key: defaultKEK, KeyFile: filepath.Join(stateDir, kekFile),
	}}
}

// sameKeys tells whether two configurations mean the same keys: then what one
// wrapped the other unwraps, and only the way to them differs.
func (b *backendConfig) sameKeys(o *backendConfig) bool {
	return b.Backend == o.Backend && b.Key == o.Key && b.KeyFile == o.KeyFile &&
		b.Address == o.Address && b.Mount == o.Mount && b.Namespace == o.Namespace
}

// loadKMSConfig reads kms.json; without the file the default holds.
func loadKMSConfig(stateDir string) (kmsConfig, error) {
	path := filepath.Join(stateDir, kmsFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return defaultKMSConfig(stateDir), nil
	}
	if err != nil {
		return kmsConfig{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return kmsConfig{}, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return kmsConfig{}, fmt.Errorf("%s has mode %04o and may hold a token; run: chmod 600 %s", path, perm, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKMSFile+1))
	if err != nil {
		return kmsConfig{}, err
	}
	c, err := decodeKMSConfig(text)
	if err != nil {
		return kmsConfig{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// decodeKMSConfig never quotes the text: it may hold a token.
func decodeKMSConfig(text []byte) (c kmsConfig, err error) {
	if len(text) > maxKMSFile {
		return kmsConfig{}, fmt.Errorf("longer than %d bytes", maxKMSFile)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return kmsConfig{}, fmt.Errorf("malformed: not the JSON that the daemon writes")
	}
	if _, err := dec.Token(); err != io.EOF {
		return kmsConfig{}, errors.New("malformed: more than one JSON value")
	}
	switch {
	case c.V > kmsVersion:
		return kmsConfig{}, fmt.Errorf("version %d is of a later release", c.V)
	case c.V != kmsVersion || c.Current.ID == "" || c.Next != nil && (c.Next.ID == "" || c.Next.ID == c.Current.ID):
		return kmsConfig{}, errors.New("malformed: no version, or a backend without an id of its own")
	}
	return c, nil
}

// saveKMSConfig replaces kms.json. It is on disk when nil is returned.
func saveKMSConfig(stateDir string, c kmsConfig) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(stateDir, kmsFile), append(text, '\n'))
}

// open makes the backend. A local one reads its file at the first use; fresh lets
// it make the file then.
func (b *backendConfig) open(fresh bool) (keyring.Backend, error) {
	switch b.Backend {
	case kmsLocal:
		if err := kms.CheckName(b.Key); err != nil {
			return keyring.Backend{}, err
		}
		return keyring.Backend{ID: b.ID, KMS: &lazyLocal{path: b.KeyFile, name: b.Key, fresh: fresh}}, nil
	case kmsVault:
		t, err := kms.NewTransit(kms.TransitConfig{
			Address: b.Address, Mount: b.Mount, Key: b.Key, Namespace: b.Namespace,
			TokenFile: b.TokenFile, Token: b.Token, CAFile: b.CAFile,
		})
		return keyring.Backend{ID: b.ID, KMS: t}, err
	}
	return keyring.Backend{}, fmt.Errorf("key management backend %q: want local or vault", b.Backend)
}

// lazyLocal is a kms.Local that is opened when it is first used, and, if nothing
// was ever wrapped, made when something is to be. A file that is lost is no
// reason to make another, which would look as if it were the right one.
type lazyLocal struct {
	path, name string
	fresh      bool // nothing was wrapped yet: the file may be made

	mu   sync.Mutex
	open *kms.Local
}

var _ kms.KMS = (*lazyLocal)(nil)

func (l *lazyLocal) get(create bool) (*kms.Local, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		return l.open, nil
	}
	local, err := kms.OpenLocal(l.path, l.name, create && l.fresh)
	if err != nil {
		return nil, err
	}
	l.open = local
	return local, nil
}

func (l *lazyLocal) DefaultKey() string { return l.name }

func (l *lazyLocal) Wrap(ctx context.Context, name string, plain, aad []byte) ([]byte, error) {
	local, err := l.get(true)
	if err != nil {
		return nil, err
	}
	return local.Wrap(ctx, name, plain, aad)
}

func (l *lazyLocal) Unwrap(ctx context.Context, name string, wrapped, aad []byte) ([]byte, error) {
	local, err := l.get(false)
	if err != nil {
		return nil, err
	}
	return local.Unwrap(ctx, name, wrapped, aad)
}

func (l *lazyLocal) Rewrap(ctx context.Context, name string, wrapped, aad []byte) ([]byte, error) {
	local, err := l.get(false)
	if err != nil {
		return nil, err
	}
	return local.Rewrap(ctx, name, wrapped, aad)
}

func (l *lazyLocal) Create(ctx context.Context, name string) error {
	local, err := l.get(true)
	if err != nil {
		return err
	}
	return local.Create(ctx, name)
}

func (l *lazyLocal) Rotate(ctx context.Context, name string) (int, error) {
	local, err := l.get(true)
	if err != nil {
		return 0, err
	}
	return local.Rotate(ctx, name)
}

func (l *lazyLocal) Status(ctx context.Context) kms.Status {
	local, err := l.get(false)
	if err == nil {
		return local.Status(ctx)
	}
	s := kms.Status{Backend: kmsLocal, Address: l.path, Key: l.name}
	if _, statErr := os.Stat(l.path); l.fresh && errors.Is(statErr, fs.ErrNotExist) {
		s.Healthy = true // the file is made when it is first needed
		return s
	}
	s.Error = err.Error()
	return s
}
