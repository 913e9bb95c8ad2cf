package kms

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// Format of a key wrapped by Local, version 1:
//
//	offset  bytes  what
//	0       1      version of the format: 1
//	1       4      version of the key-encryption key, big-endian, ≥ 1
//	5       12     nonce, random
//	17      n      ciphertext of the n bytes wrapped
//	17+n    16     authentication tag
//
// The cipher is AES-256-GCM under that version of the key. Its additional data
// are bytes 0 … 4, the length of the key's name (1 byte), the name, and the aad.
// Random nonces are safe for 2³² boxes of one version (NIST SP 800-38D, 8.3):
// what is wrapped here are the ring keys of one cluster, some dozens.
const (
	localFormat = 1
	localHead   = 5
	localBox    = localHead + 12 + 16 // bytes a box is longer than what it holds
	maxPlain    = 4096                // bytes that Wrap takes
)

// Local keeps key-encryption keys in a file of this server. Whoever reads the
// file and a drive reads everything: it must lie apart from the drives.
type Local struct {
	path string
	name string

	mu   sync.RWMutex
	keys keySet
	// lost has, by name, the newest version that something was wrapped by and that
	// keys does not hold: an older copy of the file was put back. Its number is not
	// given to another key, which would be in the way of the right one.
	lost map[string]uint32
}

// maxLost bounds how many versions a file may be behind for that: the number that
// a damaged box tells is not to be believed.
const maxLost = 1000

var _ KMS = (*Local)(nil)

// Format keeps the keys out of logs and messages, whatever the verb.
func (l *Local) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "[keys of %s]", l.path) }

// OpenLocal reads the key file at path. name is the default key. With create, a
// file that is absent is made and a default key that it does not have is added.
// Errors: ErrNoKey (no file or no such key, and create is false), ErrKeyFile,
// ErrKeyMode, and those of the file system.
func OpenLocal(path, name string, create bool) (*Local, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	l := &Local{path: path, name: name, lost: map[string]uint32{}}
	keys, err := readKeyFile(path)
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case absent && !create:
		return nil, fmt.Errorf("%w: the file of key-encryption keys %s is missing", ErrNoKey, path)
	case absent:
		keys = keySet{}
	case err != nil:
		return nil, err
	}
	l.keys = keys
	if len(keys[name]) > 0 {
		return l, nil
	}
	if !create {
		return nil, fmt.Errorf("%w: %q is not in %s", ErrNoKey, name, path)
	}
	if err := l.Create(context.Background(), name); err != nil {
		return nil, err
	}
	return l, nil
}

// DefaultKey implements KMS.
func (l *Local) DefaultKey() string { return l.name }

// Wrap implements KMS. It takes at most 4,096 bytes.
func (l *Local) Wrap(_ context.Context, name string, plain, aad []byte) ([]byte, error) {
	if len(plain) > maxPlain {
		return nil, fmt.Errorf("kms: %d bytes are too many to wrap", len(plain))
	}
	l.mu.RLock()
	versions := l.keys[name]
	l.mu.RUnlock()
	if len(versions) == 0 {
		return nil, l.noKey(name)
	}
	newest := versions[len(versions)-1]
	head := binary.BigEndian.AppendUint32([]byte{localFormat}, newest.version)
	return gcm(&newest.key).Seal(head, nil, plain, localAAD(head, name, aad)), nil
}

// Unwrap implements KMS.
func (l *Local) Unwrap(_ context.Context, name string, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < localBox || len(wrapped) > localBox+maxPlain || wrapped[0] != localFormat {
		return nil, ErrUnwrap
	}
	head, box := wrapped[:localHead], wrapped[localHead:]
	version := binary.BigEndian.Uint32(head[1:])
	l.mu.RLock()
	v := l.keys[name].find(version)
	l.mu.RUnlock()
	if v == nil {
		return nil, l.missing(name, version)
	}
	plain, err := gcm(&v.key).Open(nil, nil, box, localAAD(head, name, aad))
	if err != nil {
		return nil, fmt.Errorf("%w (key %q of %s)", ErrUnwrap, name, l.path)
	}
	return plain, nil
}

// missing notes and tells that a version is not in the file.
func (l *Local) missing(name string, version uint32) error {
	if err := CheckName(name); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if int64(version)-int64(l.keys[name].newest()) <= maxLost {
		l.lost[name] = max(l.lost[name], version)
	}
	return fmt.Errorf("%w: version %d of %q is not in %s", ErrNoKey, version, name, l.path)
}

// Rewrap implements KMS.
func (l *Local) Rewrap(ctx context.Context, name string, wrapped, aad []byte) ([]byte, error) {
	plain, err := l.Unwrap(ctx, name, wrapped, aad)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return l.Wrap(ctx, name, plain, aad)
}

// Create implements KMS.
func (l *Local) Create(_ context.Context, name string) error {
	_, err := l.add(name, true)
	return err
}

// Rotate implements KMS.
func (l *Local) Rotate(_ context.Context, name string) (int, error) { return l.add(name, false) }

// add makes a version of a key: its first, or else a further one. It is on disk,
// and its file's name too, before it is used. What another process added to the
// file before is kept; what it writes at the same moment is not.
func (l *Local) add(name string, first bool) (int, error) {
	if err := CheckName(name); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	keys, fresh, err := l.reread()
	if err != nil {
		return 0, err
	}
	old := keys[name]
	switch {
	case first && len(old) > 0:
		l.keys = keys
		return int(old[len(old)-1].version), nil
	case !first && len(old) == 0:
		return 0, l.noKey(name)
	}
	last := max(old.newest(), l.lost[name])
	if last == maxVersion {
		return 0, errors.New("kms: the key has no further versions")
	}
	next := kek{version: last + 1}
	rand.Read(next.key[:]) // never fails
	keys[name] = append(old, next)
	text := keys.format()
	if len(text) > maxKeyFile {
		return 0, fmt.Errorf("kms: %s would be longer than %d bytes", l.path, maxKeyFile)
	}
	if err := writeFile(l.path, text, fresh); err != nil {
		return 0, fmt.Errorf("kms: %w", err)
	}
	l.keys = keys
	return int(next.version), nil
}

// reread reads the key file; fresh tells that there is none, and never was one.
// A new file in the place of a lost one would have the old keys forgotten.
func (l *Local) reread() (keys keySet, fresh bool, err error) {
	keys, err = readKeyFile(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(l.keys) == 0:
		return keySet{}, true, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("%w: the file of key-encryption keys %s is missing: restore it", ErrNoKey, l.path)
	case err != nil:
		return nil, false, err
	}
	if err := keys.holds(l.keys); err != nil {
		return nil, false, fmt.Errorf("%w: %s", err, l.path)
	}
	return keys, false, nil
}

// Status implements KMS. It reads the file again, so that a lost one is seen
// before the next start needs it.
func (l *Local) Status(context.Context) Status {
	s := Status{Backend: "local", Address: l.path, Key: l.name, Healthy: true}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if v := l.keys[l.name]; len(v) > 0 {
		s.Version = int(v[len(v)-1].version)
	}
	keys, err := readKeyFile(l.path)
	if err == nil {
		err = keys.holds(l.keys)
	}
	if err != nil {
		s.Healthy, s.Error = false, err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			s.Error = fmt.Sprintf("the file of key-encryption keys %s is missing: restore it before the next start", l.path)
		}
	}
	return s
}

func (l *Local) noKey(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return fmt.Errorf("%w: %q is not in %s", ErrNoKey, name, l.path)
}

func localAAD(head []byte, name string, aad []byte) []byte {
	out := make([]byte, 0, len(head)+1+len(name)+len(aad))
	out = append(out, head...)
	out = append(out, byte(len(name)))
	out = append(out, name...)
	return append(out, aad...)
}

func gcm(key *[32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("kms: " + err.Error()) // fails for wrong key lengths only
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("kms: " + err.Error()) // fails for other block sizes only
	}
	return aead
}
