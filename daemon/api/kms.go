package api

import (
	"context"
	"net/http"
	"time"
)

// KMS is the answer of GET /v1/kms and of whatever changes key management.
type KMS struct {
	Backend   string `json:"backend"` // local, vault
	Address   string `json:"address"` // of the server, or path of the key file
	Mount     string `json:"mount,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	CAFile    string `json:"ca_file,omitempty"`
	Token     string `json:"token,omitempty"` // where it comes from, never the token
	Key       string `json:"key"`             // name of the default key
	Version   int    `json:"version"`         // its newest version; 0: not known, or not made yet
	Healthy   bool   `json:"healthy"`
	Error     string `json:"error,omitempty"`
	// Changing names the backend that a change not yet complete leads to.
	Changing string `json:"changing,omitempty"`
	// MetadataEncrypted: the metadata store is encrypted.
	MetadataEncrypted bool      `json:"metadata_encrypted"`
	RingKeys          []RingKey `json:"ring_keys"`
}

// RingKey is a key that wraps objects' data keys.
type RingKey struct {
	ID      uint32    `json:"id"`
	KMSKey  string    `json:"kms_key"` // it is wrapped by
	Created time.Time `json:"created"`
	Current bool      `json:"current"` // for new objects
	Loaded  bool      `json:"loaded"`  // unwrapped in memory
	Error   string    `json:"error,omitempty"`
}

// SetKMS is the body of PUT /v1/kms.
type SetKMS struct {
	Backend   string `json:"backend"`              // local, vault
	KeyFile   string `json:"key_file,omitempty"`   // local; "": kek.keys in the state directory
	Address   string `json:"address,omitempty"`    // vault
	Mount     string `json:"mount,omitempty"`      // vault; "": transit
	Namespace string `json:"namespace,omitempty"`  // vault
	KeyName   string `json:"key_name,omitempty"`   // "": sluice
	TokenFile string `json:"token_file,omitempty"` // vault
	Token     string `json:"token,omitempty"`      // vault, in place of a file
	CAFile    string `json:"ca_file,omitempty"`    // vault
}

// CreateKMSKey is the body of POST /v1/kms/keys.
type CreateKMSKey struct {
	Name string `json:"name"`
}

// KMS returns the state of key management.
func (c *Client) KMS(ctx context.Context) (out KMS, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/kms", nil, &out)
}

// SetKMS changes the backend; wrapped keys that exist are wrapped by the new one.
func (c *Client) SetKMS(ctx context.Context, in SetKMS) (out KMS, err error) {
	return out, c.call(ctx, http.MethodPut, "/v1/kms", in, &out)
}

// RotateKMS makes new versions of the keys and rewraps what they wrap.
func (c *Client) RotateKMS(ctx context.Context) (out KMS, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/kms/rotate", nil, &out)
}

// CreateKMSKey makes a named key; one that is there is left as it is.
func (c *Client) CreateKMSKey(ctx context.Context, name string) (out KMS, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/kms/keys", CreateKMSKey{Name: name}, &out)
}
