package kms

import (
	"context"
	"errors"
)

// Errors; test with errors.Is.
var (
	ErrNoKey       = errors.New("kms: no such key")                   // the key-encryption key is lost, disabled or was never made
	ErrDenied      = errors.New("kms: access denied")                 // by the server's policy or for a bad token
	ErrUnavailable = errors.New("kms: key management is unreachable") // try again later
	ErrUnwrap      = errors.New("kms: wrapped key does not open")     // damaged, or wrapped by another key or for another use
)

// Status describes a backend.
type Status struct {
	Backend string // "local" or "vault"
	Address string // of the server, or path of the key file
	Key     string // name of the default key
	Version int    // its newest version; 0: not known
	Healthy bool   // it wraps and unwraps
	Error   string // why not
}

// KMS wraps and unwraps 32-byte keys. aad binds a wrapped key to its use; it is
// authenticated and not secret. Implementations are safe for concurrent use and
// bound every call in time.
type KMS interface {
	// DefaultKey is the name of the key used where none is named.
	DefaultKey() string
	// Wrap encrypts plain under the newest version of the key called name.
	Wrap(ctx context.Context, name string, plain, aad []byte) (wrapped []byte, err error)
	// Unwrap decrypts, whichever version of the key was used.
	Unwrap(ctx context.Context, name string, wrapped, aad []byte) (plain []byte, err error)
	// Rewrap encrypts again under the newest version, without showing the plain key.
	Rewrap(ctx context.Context, name string, wrapped, aad []byte) ([]byte, error)
	// Create makes the key called name; one that is there is left as it is.
	Create(ctx context.Context, name string) error
	// Rotate makes a new version of the key. Older ones still unwrap. ErrNoKey.
	Rotate(ctx context.Context, name string) (version int, err error)
	// Status asks the backend, once and without patience.
	Status(ctx context.Context) Status
}
