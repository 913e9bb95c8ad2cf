package s3fast

import (
	"crypto/md5" // #nosec G501: the protocol's
	"crypto/subtle"
	"encoding/base64"
	"errors"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/engine/seal/kms"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// Headers of SSE-C are one of these and "algorithm", "key" or "key-MD5" (Amazon S3
// User Guide, "Using server-side encryption with customer-provided keys").
const (
	customerPrefix       = "x-amz-server-side-encryption-customer-"
	sourceCustomerPrefix = "x-amz-copy-source-server-side-encryption-customer-"
)

// customerKey is a key that came with the request. It is never stored.
type customerKey struct{ key [32]byte }

// customerKey reads the key in the headers that begin with prefix; nil when there
// is none. No error tells anything of the key. Errors: InvalidArgument,
// InvalidEncryptionAlgorithmError, InvalidRequest (not over TLS).
func (r *request) customerKey(prefix string) (*customerKey, error) {
	if !r.headers.hasPrefix(prefix) {
		return nil, nil
	}
	algorithm, hasAlgorithm := r.headers.get(prefix + "algorithm")
	key, hasKey := r.headers.get(prefix + "key")
	sum, hasSum := r.headers.get(prefix + "key-md5")
	if !hasAlgorithm && !hasKey && !hasSum {
		return nil, nil
	}
	const with = "Requests specifying Server Side Encryption with Customer provided keys must "
	bad := func(name, message string) error {
		return s3err.InvalidArgument.Say(message).With("ArgumentName", prefix+name)
	}
	switch {
	case !r.secureForKeys():
		return nil, s3err.InvalidRequest.Say(with + "be made over a secure connection.")
	case !hasAlgorithm:
		return nil, bad("algorithm", with+"provide a valid encryption algorithm.")
	case algorithm != encryptS3:
		return nil, s3err.InvalidEncryptionAlgorithm.With("ArgumentName", prefix+"algorithm", "ArgumentValue", algorithm)
	case !hasKey:
		return nil, bad("key", with+"provide an appropriate secret key.")
	case !hasSum:
		return nil, bad("key-MD5", with+"provide the client calculated MD5 of the secret key.")
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != 32 {
		return nil, bad("key", "The secret key was invalid for the specified algorithm.")
	}
	defer clear(raw)
	want := md5.Sum(raw) // #nosec G401
	given, err := base64.StdEncoding.DecodeString(sum)
	if err != nil || subtle.ConstantTimeCompare(given, want[:]) != 1 {
		return nil, bad("key-MD5", "The calculated MD5 hash of the key did not match the hash that was provided.")
	}
	return &customerKey{[32]byte(raw)}, nil
}

// secureForKeys reports whether the connection may carry a customer's key.
func (r *request) secureForKeys() bool {
	return r.s.cfg.PlainKeys || r.conn != nil && r.conn.secure
}

// Errors of requests that do not fit how an object or upload is encrypted.
var (
	errKeyNeeded = errors.New("s3fast: object needs the customer's key")
	errKeyUnused = errors.New("s3fast: object has no customer's key")
	errWrongKey  = errors.New("s3fast: wrong customer's key")
	errPartNeeds = errors.New("s3fast: part needs the customer's key")
	errPartPlain = errors.New("s3fast: upload has no customer's key")
	errPartWrong = errors.New("s3fast: another customer's key than the upload's")
	errNoKeys    = errors.New("s3fast: no key management is configured")
)

// keyError answers an error of the keys' keeper.
func keyError(err error) error {
	switch {
	case errors.Is(err, kms.ErrUnavailable):
		return s3err.ServiceUnavailable.Because(err)
	case errors.Is(err, kms.ErrDenied):
		e := s3err.AccessDenied.Because(err)
		e.Message = "Key management denied access to the key."
		return e
	case errors.Is(err, kms.ErrNoKey), errors.Is(err, keyring.ErrNoRingKey):
		return s3err.KMSNotFound.Because(err)
	case errors.Is(err, kms.ErrUnwrap), errors.Is(err, seal.ErrOpen):
		e := s3err.InternalError.Because(err)
		e.Message = "The object's key does not open: it was changed, or the key management holds another one."
		return e
	}
	return err
}

// refuseMethodHeaders refuses the headers that choose an encryption where it is
// chosen already (GetObject, HeadObject, UploadPart).
func (r *request) refuseMethodHeaders() error {
	for _, name := range [...]string{sseHeader, sseKeyIDHeader, sseContextHeader, sseBucketKeyHeader} {
		if v, ok := r.headers.get(name); ok {
			return invalidArgument(name, v, name+" header is not supported for this operation.")
		}
	}
	return nil
}

// readKey checks that the request may read an object encrypted with s, and returns
// how to get at its data key: nil when it has none. prefix is that of the headers
// with the customer's key.
func (r *request) readKey(s *meta.Seal, prefix string, bucket meta.BucketID, key string) (func() (*seal.DataKey, error), error) {
	customer, err := r.customerKey(prefix)
	switch {
	case err != nil:
		return nil, err
	case customer != nil && (s == nil || s.Mode != meta.SealCustomer):
		return nil, errKeyUnused
	case s == nil:
		return nil, nil
	case s.Mode == meta.SealCustomer && customer == nil:
		return nil, errKeyNeeded
	case s.Mode == meta.SealCustomer:
		// Opened now, also for who asks for the record only: S3 answers nobody
		// who does not have the key.
		k, err := r.s.openSeal(r.context(), s, bucket, key, customer)
		return func() (*seal.DataKey, error) { return k, nil }, err
	case s.Mode == meta.SealKMS:
		if err := r.checkKMSCaller(); err != nil {
			return nil, err
		}
	}
	return func() (*seal.DataKey, error) { return r.s.openSeal(r.context(), s, bucket, key, nil) }, nil
}

// unlock checks that the request may read the object at key and, for who reads its
// data, gives it its data key. The customer's key is in the headers that begin with
// prefix.
func (r *request) unlock(obj *engine.Object, prefix, key string, data bool) error {
	open, err := r.readKey(obj.Info.Seal, prefix, obj.BucketID(), key)
	if err != nil || open == nil || !data {
		return err
	}
	k, err := open()
	if err == nil {
		obj.Unlock(k)
	}
	return err
}

// partKey returns the data key of an upload for a part of it.
func (r *request) partKey(up *meta.Upload) (*seal.DataKey, error) {
	if err := r.refuseMethodHeaders(); err != nil {
		return nil, err
	}
	customer, err := r.customerKey(customerPrefix)
	s := up.Object.Seal
	switch {
	case err != nil:
		return nil, err
	case customer != nil && (s == nil || s.Mode != meta.SealCustomer):
		return nil, errPartPlain
	case s == nil:
		return nil, nil
	case s.Mode == meta.SealCustomer && customer == nil:
		return nil, errPartNeeds
	}
	k, err := r.s.openSeal(r.context(), s, r.b.ID, up.Key, customer)
	if errors.Is(err, errWrongKey) {
		err = errPartWrong
	}
	return k, err
}
