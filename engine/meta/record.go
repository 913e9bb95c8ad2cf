package meta

import "github.com/sluicehq/sluice/engine/layout"

// BucketID identifies a bucket for its life: a bucket created again under the
// same name has another id.
type BucketID uint64

// Bucket is a bucket's record.
type Bucket struct {
	Name     string
	ID       BucketID
	Slot     Slot   // first slot of its keys
	Slots    uint16 // number of consecutive slots; 1 for now
	Owner    string
	Created  int64 // ns since the Unix epoch
	Objects  int64 // filled by reads from counters, not stored in the record
	Bytes    int64 // likewise
	Location string
}

// Header is one name/value pair, kept in the order given.
type Header struct{ Name, Value string }

// Checksum is an additional checksum as S3 names it.
type Checksum struct {
	Algorithm string // "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"; "" none
	Type      string // "FULL_OBJECT" or "COMPOSITE"
	Value     []byte // raw digest
}

// Version names one version of a key. Times sort newest first in the store.
type Version [16]byte

// Object is the record of one object.
type Object struct {
	Key      string
	Version  Version // also the pin under which its readers hold its data
	Size     int64
	ModTime  int64    // ns since the Unix epoch
	ETag     string   // without quotes: 32 hex digits, or hex-N for multipart and unique ids
	Checksum Checksum // whole-object checksum
	Headers  []Header // Content-Type, Cache-Control, … in canonical form
	Metadata []Header // x-amz-meta-*, names lower-case without the prefix
	Tags     []Header
	Owner    string
	Class    string      // storage class; "" is STANDARD
	Blob     layout.Blob // the data of a single-blob object; read without Fragments: see Locate
	// Seal is set when the data is encrypted; nil: it is as the client sent it.
	Seal *Seal
	// PartCount > 0: the object was completed from parts, which LoadParts reads.
	PartCount int32
}

// Part is one part of an upload or of a completed object.
type Part struct {
	Number   int32 // 1…10,000
	Size     int64
	ModTime  int64
	ETag     string
	Checksum Checksum
	Blob     layout.Blob
}

// Upload is a multipart upload in progress.
type Upload struct {
	ID        [16]byte // time-ordered
	Bucket    BucketID
	Key       string
	Initiated int64
	Initiator string
	Object    Object // headers, metadata, owner, class, checksum algorithm and type to be given to the object
}

// ListItem is what a listing returns of an object.
type ListItem struct {
	Key      string
	Size     int64
	ModTime  int64
	ETag     string
	Owner    string
	Class    string
	Checksum Checksum // Algorithm and Type only
}

// Condition is the atomic precondition of a write.
type Condition struct {
	IfNoneMatchAny bool     // If-None-Match: * — the key must not exist
	IfMatch        []string // the current ETag must be one of these; "*": any object. Empty: no condition
	IfNoneMatch    []string // the current ETag must be none of these
}

// Seal tells how an object's data is encrypted and where its key is. The engine
// looks at nothing but whether there is one.
type Seal struct {
	Mode  SealMode
	KeyID string // of SealKMS: the key-encryption key's name as the client gave it
	Ring  uint32 // of SealS3, SealKMS: id of the ring key that wraps Box
	Box   []byte // the wrapped data key; of SealCustomer, by the customer's key
	// Context of SealKMS: the encryption context as the client gave it, or "".
	Context string
	// BucketKey of SealKMS: the client asked for a bucket key, which is for it to
	// read back: what S3 means by it, the ring does anyway.
	BucketKey bool
	// Binding is authenticated with Box: 16 random bytes that the proposer drew.
	Binding [16]byte
}

// SealMode is a form of server-side encryption.
type SealMode uint8

// Modes.
const (
	SealS3       SealMode = 1 // SSE-S3, header value AES256
	SealKMS      SealMode = 2 // SSE-KMS, aws:kms
	SealCustomer SealMode = 3 // SSE-C
)
