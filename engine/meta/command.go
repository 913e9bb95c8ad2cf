package meta

import "github.com/sluicehq/sluice/engine/layout"

// CreateBucket makes a bucket. Result is the new or the existing record;
// ErrBucketExists when the name is taken (Result then tells by whom).
type CreateBucket struct {
	Bucket Bucket // ID and Slot are assigned by Apply from a counter
	Result Bucket
}

// DeleteBucket removes an empty bucket, with its documents. ErrBucketNotEmpty
// while it holds an object or an upload in progress.
type DeleteBucket struct{ Name string }

// PutObject makes Object the current version of its key and queues the data of
// the version it replaces for deletion. A blob with fragments missing is queued for
// repair, as of Object.ModTime. Errors: ErrNoBucket, ErrPrecondition,
// ErrNoObject (If-Match on a key that does not exist), ErrInvalid. Putting the
// same version with the same blob again changes nothing and succeeds.
type PutObject struct {
	Bucket Bucket
	Object Object
	Inline []byte // payload of a KindInline blob
	If     Condition
	Due    int64 // when replaced data may be purged, ns since the epoch
	Queued bool  // result: replaced data is in the delete queue
}

// DeleteObject removes the current version of a key. Deleting a key that does
// not exist succeeds, unless If says otherwise (ErrNoObject / ErrPrecondition);
// IfSize and IfMTime only look at an object that exists (ErrPrecondition).
type DeleteObject struct {
	Bucket  Bucket
	Key     string
	If      Condition
	IfSize  int64 // -1: any
	IfMTime int64 // 0: any; compared to the second
	Due     int64
	Existed bool // result
}

// CreateUpload begins a multipart upload.
type CreateUpload struct {
	Bucket Bucket
	Upload Upload
}

// PutPart stores (or replaces) one part. A blob with fragments missing is queued for
// repair, as of Part.ModTime. ErrNoUpload.
type PutPart struct {
	Bucket   Bucket
	Key      string
	UploadID [16]byte
	Part     Part
	Inline   []byte
	Due      int64
	Queued   bool // result, as in PutObject
}

// PartRef names a part in a completion request.
type PartRef struct {
	Number   int32
	ETag     string
	Checksum Checksum // Value empty: not given
}

// CompleteUpload turns an upload into an object, copying no data. Parts must be
// in ascending order, exist, match, and be at least MinPart bytes (all but the
// last). Seal computes the object's ETag and checksum from the parts chosen; it
// is a pure function. Parts not named are queued for deletion. Version must be
// unique in the slot. An upload that was completed in the last 24 h answers with
// the same Result while its object is still current. Errors: ErrNoBucket,
// ErrNoUpload, ErrPartOrder, ErrInvalidPart, ErrPartTooSmall, ErrConflict,
// ErrNoObject, ErrPrecondition, and those of Seal.
type CompleteUpload struct {
	Bucket   Bucket
	Key      string
	UploadID [16]byte
	Parts    []PartRef
	MinPart  int64
	Size     int64 // -1, or x-amz-mp-object-size to be compared (ErrConflict)
	Version  Version
	ModTime  int64
	If       Condition
	Due      int64
	Seal     func(up *Upload, parts []Part) (etag string, sum Checksum, err error)
	Result   Object
}

// AbortUpload drops an upload and queues its parts for deletion. ErrNoUpload.
type AbortUpload struct {
	Bucket   Bucket
	Key      string
	UploadID [16]byte
	Due      int64
}

// Purge removes entries of the delete queue, their back-references, inline payloads
// and entries in the repair queue. After it is durable the extents of Done may be
// reused: those that the command found, which need not be where Entries tell. An
// entry that is no longer queued is passed over, so that a repeated Purge frees
// nothing twice.
type Purge struct {
	Entries []Garbage
	Done    []Garbage // result: the entries that were still queued, as they lay
}

// PutDoc stores a configuration document of the cluster (Bucket zero) or of a
// bucket. IfRev: -1 any, 0 must not exist, else the present revision must be
// equal (ErrConflict).
type PutDoc struct {
	Bucket BucketID
	Slot   Slot
	Path   string // "users/alice"; 1…512 bytes of UTF-8
	Value  []byte // ≤ 1 MiB
	IfRev  int64
	Rev    int64 // result: the new revision, 1 and up
}

// DeleteDoc removes a document. ErrNoDoc when there is none; IfRev as in PutDoc.
type DeleteDoc struct {
	Bucket BucketID
	Slot   Slot
	Path   string
	IfRev  int64
}

// Garbage is one entry of the delete queue.
type Garbage struct {
	Slot Slot
	Due  int64
	Pin  Version // readers that hold this pin still read the blob
	Blob layout.Blob
}
