package keyring

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/seal/kms"
)

// Format of a ring key: the document keys/ID of the cluster's configuration,
// where ID is the key's number in ten decimal digits, 0000000001 and up. JSON:
//
//	v        1
//	id       the number, 1 … 2³²-1
//	backend  id of the backend that wrapped it: 16 hexadecimal digits
//	kms_key  name of the key it is wrapped by
//	wrapped  the 32 bytes of the ring key as the backend wrapped them, base64
//	created  RFC 3339
//
// The additional data of the wrapping are "sluice/ring/1", the cluster's id,
// kms_key and the number in decimal, with a zero byte between them. Of the ring
// keys of a name, the greatest number is the current one.
const (
	docPrefix  = "keys/"
	docVersion = 1
	maxWrapped = 8 << 10 // bytes
	ringUse    = "sluice/ring/1"
)

// Errors of documents.
var (
	// ErrBadDoc: a document or file is not what this package writes.
	ErrBadDoc = errors.New("keyring: malformed key document")
	// ErrNewer: it was written by a later release.
	ErrNewer = errors.New("keyring: key document of a later release")
)

type ringDoc struct {
	V       int       `json:"v"`
	ID      uint32    `json:"id"`
	Backend string    `json:"backend"`
	KMSKey  string    `json:"kms_key"`
	Wrapped []byte    `json:"wrapped"`
	Created time.Time `json:"created"`
}

func docPath(id uint32) string { return fmt.Sprintf("%s%010d", docPrefix, id) }

// decodeDoc reads the document that lies at path.
func decodeDoc(path string, value []byte) (ringDoc, error) {
	var d ringDoc
	if err := decodeStrict(value, &d, &d.V); err != nil {
		return ringDoc{}, fmt.Errorf("%w: %s", err, path)
	}
	if d.ID == 0 || path != docPath(d.ID) || !validWrapping(d.Backend, d.KMSKey, d.Wrapped) || d.Created.IsZero() {
		return ringDoc{}, fmt.Errorf("%w: %s", ErrBadDoc, path)
	}
	return d, nil
}

// decodeStrict decodes JSON of one value without unknown fields. version is that
// of into; a later one is told before anything else about it.
func decodeStrict(value []byte, into any, version *int) error {
	var head struct {
		V int `json:"v"`
	}
	if json.Unmarshal(value, &head) == nil && head.V > docVersion {
		return ErrNewer
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return ErrBadDoc
	}
	if _, err := dec.Token(); err != io.EOF || *version != docVersion {
		return ErrBadDoc
	}
	return nil
}

func validWrapping(backend, kmsKey string, wrapped []byte) bool {
	return checkBackend(backend) == nil && kms.CheckName(kmsKey) == nil && len(wrapped) > 0 && len(wrapped) <= maxWrapped
}

// NewBackendID draws the id of a backend.
func NewBackendID() string {
	var raw [8]byte
	rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

// checkBackend tells whether id is what NewBackendID returns.
func checkBackend(id string) error {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 8 || strings.ToLower(id) != id {
		return fmt.Errorf("keyring: %q is no id of a backend", id)
	}
	return nil
}

// use is the additional data of a wrapping.
func use(parts ...string) []byte { return []byte(strings.Join(parts, "\x00")) }

func ringAAD(cluster, kmsKey string, id uint32) []byte {
	return use(ringUse, cluster, kmsKey, strconv.FormatUint(uint64(id), 10))
}
