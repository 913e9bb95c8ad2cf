package seal

import "errors"

// ErrOpen: the box is damaged, or was sealed by another key or for another use.
var ErrOpen = errors.New("seal: box does not open with this key")

// Key is a cluster key.
type Key struct{}

// LoadOrCreate reads the key file (32 random bytes in a documented text form,
// mode 0600), making and syncing it when absent and create is true.
func LoadOrCreate(path string, create bool) (*Key, error) { panic("not built") }

// NewKey makes a key from 32 bytes.
func NewKey(raw [32]byte) *Key { panic("not built") }

// Fingerprint is a public name of the key: 8 bytes in hex. It is recorded in
// the cluster's configuration so that a wrong key file is told at start.
func (k *Key) Fingerprint() string { panic("not built") }

// Seal encrypts plain, bound to context ("user/alice/secret").
func (k *Key) Seal(context string, plain []byte) []byte { panic("not built") }

// Open reverses Seal. ErrOpen.
func (k *Key) Open(context string, box []byte) ([]byte, error) { panic("not built") }
