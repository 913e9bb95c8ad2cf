package s3fast

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// Headers of server-side encryption (Amazon S3 User Guide, "Protecting data with
// server-side encryption"; those of SSE-C are in sse_customer.go).
const (
	sseHeader          = "x-amz-server-side-encryption"
	sseKeyIDHeader     = "x-amz-server-side-encryption-aws-kms-key-id"
	sseContextHeader   = "x-amz-server-side-encryption-context"
	sseBucketKeyHeader = "x-amz-server-side-encryption-bucket-key-enabled"

	sseDSSE = "aws:kms:dsse"

	maxContext = 8 << 10 // bytes of base64
)

// encryption is how an object is to be encrypted.
type encryption struct {
	mode      meta.SealMode // 0: not at all
	keyID     string        // of SealKMS; "": the default key
	context   string        // of SealKMS, as the client gave it
	bucketKey bool
	customer  *customerKey // of SealCustomer
}

// checkEncryptionHeader refuses headers of this family that nobody defined:
// ignoring one could store in the clear what was to be encrypted.
func checkEncryptionHeader(name string) error {
	switch name {
	case sseHeader, sseKeyIDHeader, sseContextHeader, sseBucketKeyHeader:
		return nil
	}
	for _, prefix := range [...]string{customerPrefix, sourceCustomerPrefix} {
		switch rest, ok := strings.CutPrefix(name, prefix); {
		case !ok:
		case rest == "algorithm", rest == "key", rest == "key-md5":
			return nil
		}
	}
	return notImplementedHeader(name)
}

// wantedEncryption tells how the request wants a new object to be encrypted: by
// its headers, else by the bucket's rule, else as the cluster encrypts. Errors:
// InvalidArgument, InvalidRequest, NotImplemented.
func (r *request) wantedEncryption() (e encryption, err error) {
	if e.customer, err = r.customerKey(customerPrefix); err != nil {
		return e, err
	}
	method, named := r.headers.get(sseHeader)
	e.keyID, _ = r.headers.get(sseKeyIDHeader)
	e.context, _ = r.headers.get(sseContextHeader)
	if e.bucketKey, err = r.bucketKeyHeader(); err != nil {
		return e, err
	}
	kmsOnly := e.keyID != "" || e.context != ""
	switch {
	case e.customer != nil && (named || kmsOnly):
		return e, invalidArgument(sseHeader, method, "Server Side Encryption with Customer provided key is incompatible with the encryption method specified")
	case e.customer != nil:
		return encryption{mode: meta.SealCustomer, customer: e.customer}, nil
	case named && method == encryptKMS:
		e.mode = meta.SealKMS
		return e, e.checkKMS(r)
	case named && method == sseDSSE:
		return e, notImplementedHeader(sseHeader)
	case named && method != encryptS3:
		return e, invalidArgument(sseHeader, method, "The encryption method specified is not supported")
	case kmsOnly:
		return e, invalidArgument(sseHeader, method, "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
	case named:
		return encryption{mode: meta.SealS3}, nil
	}
	return r.defaultEncryption(e.bucketKey)
}

// namesEncryption reports whether the request itself says how to encrypt.
func (r *request) namesEncryption() bool {
	_, method := r.headers.get(sseHeader)
	_, customer := r.headers.get(customerPrefix + "algorithm")
	return method || customer
}

func (r *request) bucketKeyHeader() (bool, error) {
	v, ok := r.headers.get(sseBucketKeyHeader)
	switch {
	case !ok || strings.EqualFold(v, "false"):
		return false, nil
	case strings.EqualFold(v, "true"):
		return true, nil
	}
	return false, invalidArgument(sseBucketKeyHeader, v, "")
}

// checkKMS checks what SSE-KMS takes besides.
func (e *encryption) checkKMS(r *request) error {
	if len(e.keyID) > maxKeyID || !headerSafe(e.keyID) {
		return invalidArgument(sseKeyIDHeader, "", "The key id is invalid.")
	}
	if e.context != "" && !validContext(e.context) {
		return invalidArgument(sseContextHeader, "", "The header '"+sseContextHeader+"' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map")
	}
	return r.checkKMSCaller()
}

// checkKMSCaller refuses the anonymous, whom S3 refuses too, there being nobody
// to be allowed the key (Amazon S3 User Guide, "Using SSE-KMS encryption").
func (r *request) checkKMSCaller() error {
	if r.identity == nil {
		return s3err.InvalidArgument.Say("Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.")
	}
	return nil
}

// validContext tells whether v is the base64 of a JSON object of strings.
func validContext(v string) bool {
	if len(v) > maxContext {
		return false
	}
	text, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return false
	}
	var context map[string]string
	return json.Unmarshal(text, &context) == nil && context != nil
}

// defaultEncryption is what an object gets whose request does not say.
func (r *request) defaultEncryption(bucketKey bool) (e encryption, err error) {
	set, err := r.s.settingsOf(r.context(), &r.b)
	if err != nil {
		return e, err
	}
	if rule := set.encryption; rule != nil {
		if rule.Algorithm != encryptKMS {
			return encryption{mode: meta.SealS3}, nil
		}
		e = encryption{mode: meta.SealKMS, keyID: rule.KeyID, bucketKey: rule.BucketKey || bucketKey}
		return e, r.checkKMSCaller()
	}
	if r.s.encrypts() {
		e.mode = meta.SealS3
	}
	return e, nil
}

// encrypts reports whether the cluster encrypts what nobody said otherwise of.
func (s *Server) encrypts() bool {
	c := s.cfg.Cluster()
	return c != nil && c.Encrypted
}

// infoBox and what sealAAD appends to it are the additional data of a wrapped data
// key: a box opens with its own object's bucket, key and encryption context only.
//
//	infoBox ‖ mode u8 ‖ binding 16 ‖ bucket id u64 ‖
//	length u32, object key ‖ length u32, KMS key id ‖ length u32, context
const infoBox = "sluice/object-key/1"

func sealAAD(s *meta.Seal, bucket meta.BucketID, key string) []byte {
	b := make([]byte, 0, len(infoBox)+1+16+8+12+len(key)+len(s.KeyID)+len(s.Context))
	b = append(append(b, infoBox...), byte(s.Mode))
	b = append(b, s.Binding[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(bucket))
	for _, v := range [...]string{key, s.KeyID, s.Context} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(v))) // #nosec G115: bounded
		b = append(b, v...)
	}
	return b
}

// newSeal makes a data key for a new object or upload at the request's key and
// the seal to be kept with it; both nil when it is not to be encrypted.
func (r *request) newSeal(e *encryption) (*meta.Seal, *seal.DataKey, error) {
	if e.mode == 0 {
		return nil, nil, nil
	}
	s := &meta.Seal{Mode: e.mode, KeyID: e.keyID, Context: e.context, BucketKey: e.bucketKey}
	_, _ = rand.Read(s.Binding[:]) // never fails (package crypto/rand)
	aad := sealAAD(s, r.b.ID, r.key)
	if e.mode == meta.SealCustomer {
		key := seal.NewDataKey()
		s.Box = key.Wrap(&e.customer.key, aad)
		return s, &key, nil
	}
	if r.s.cfg.Keys == nil {
		return nil, nil, errNoKeys
	}
	key, w, err := r.s.cfg.Keys.New(r.context(), kmsName(e.keyID), aad)
	if err != nil {
		return nil, nil, keyError(err)
	}
	s.Ring, s.Box = w.Ring, w.Box
	return s, &key, nil
}

// openSeal unwraps the data key of the object or upload at key. customer is of
// SealCustomer. Errors: those of keyError; errWrongKey.
func (s *Server) openSeal(ctx context.Context, sealed *meta.Seal, bucket meta.BucketID, key string, customer *customerKey) (*seal.DataKey, error) {
	aad := sealAAD(sealed, bucket, key)
	if sealed.Mode == meta.SealCustomer {
		k, err := seal.UnwrapDataKey(&customer.key, sealed.Box, aad)
		if err != nil {
			return nil, errWrongKey
		}
		return &k, nil
	}
	if s.cfg.Keys == nil {
		return nil, errNoKeys
	}
	k, err := s.cfg.Keys.Open(ctx, keyring.Wrapped{Ring: sealed.Ring, Box: sealed.Box}, aad)
	if err != nil {
		return nil, keyError(err)
	}
	return &k, nil
}

// kmsName is the name that key management knows a key by which a client named by
// its ARN or alias (AWS KMS API Reference, KeyId).
func kmsName(id string) string {
	if strings.HasPrefix(id, "arn:") {
		id = id[strings.LastIndexByte(id, ':')+1:]
		id = strings.TrimPrefix(id, "key/")
	}
	return strings.TrimPrefix(id, "alias/")
}

// setEncryption answers how an object or upload is encrypted. context is told of
// what has just been stored, as S3 does.
func (r *request) setEncryption(s *meta.Seal, context bool) {
	if s == nil {
		return
	}
	switch s.Mode {
	case meta.SealS3:
		r.set(sseHeader, encryptS3)
	case meta.SealKMS:
		r.set(sseHeader, encryptKMS)
		id := s.KeyID
		if id == "" && r.s.cfg.Keys != nil {
			id = r.s.cfg.Keys.KeyName(s.Ring)
		}
		if id != "" {
			r.set(sseKeyIDHeader, id)
		}
		if s.BucketKey {
			r.set(sseBucketKeyHeader, "true")
		}
		if context && s.Context != "" {
			r.set(sseContextHeader, s.Context)
		}
	case meta.SealCustomer:
		r.set(customerPrefix+"algorithm", encryptS3)
		if sum, ok := r.headers.get(customerPrefix + "key-md5"); ok {
			r.set(customerPrefix+"key-MD5", sum)
		}
	}
}

// sealedETag is the ETag of data whose MD5 is sum. Of SSE-KMS and SSE-C it is no
// digest of the data (API Reference, Object: ETag), so that it does not tell what
// is encrypted.
func sealedETag(s *meta.Seal, key *seal.DataKey, sum [16]byte) string {
	if s != nil && s.Mode != meta.SealS3 {
		sum = key.ETag(sum)
	}
	return hex.EncodeToString(sum[:])
}
