package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// Kind classifies an error for the frontend.
type Kind uint8

// Kinds of error.
const (
	KindInternal Kind = iota
	NoBucket
	BucketExists
	BucketNotEmpty
	NoObject
	NoUpload
	NoDoc
	InvalidPart
	PartOrder
	PartTooSmall
	PreconditionFailed
	Conflict     // a concurrent change; the client may retry
	InvalidRange // the range lies beyond the object
	Corrupt      // stored data failed its checksum
	NoSpace      // the drives are full
	Unavailable  // the drive or store is out of service, or shutting down
	UnknownOutcome
	BadBody   // the request body failed: Err is what it returned
	ShortBody // the request body ended before the length told
	InvalidName
	Locked  // the object is encrypted and no key was given
	NoDrive // the cluster has no such drive
)

// Error is what every engine method returns.
type Error struct {
	Kind Kind
	Op   string // "put", "get", …
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("engine: %s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err, KindInternal for errors of other packages.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// Causes that the engine itself finds.
var (
	errClosing    = errors.New("the engine is closing")
	errName       = errors.New("key is not 1 to 1024 bytes of UTF-8")
	errSize       = errors.New("size out of range")
	errLongBody   = errors.New("body is longer than told")
	errShortBody  = fmt.Errorf("body is shorter than told: %w", io.ErrUnexpectedEOF)
	errRange      = errors.New("range is not within the object")
	errPart       = errors.New("no such part")
	errNoDrive    = errors.New("the drive that holds the data is absent")
	errNoDrives   = errors.New("no drive is in service")
	errStore      = errors.New("the metadata store is out of service")
	errMetaFull   = errors.New("the metadata store is at its reserve")
	errPlacement  = errors.New("blob of a kind that this release does not read")
	errBodyClosed = errors.New("body is closed")
	errLocked     = errors.New("the object is encrypted, and no key was given")
	errSealedSize = errors.New("stored size does not fit the size of the data")
	errKeySeal    = errors.New("a data key and a seal go together")
	errParity     = errors.New("parity out of range")

	errOutOfService = errors.New("too many of the drives written to were taken out of service")

	errUnknownDrive = errors.New("no such drive")
	errInFlight     = errors.New("the device has operations in flight")
	errTakenOut     = errors.New("taken out of service by the administrator")
	errForgotten    = errors.New("not a drive of the cluster any more")
)

// kinds translates the errors of the packages below; the first match counts.
// ErrUnknownOutcome comes first: whatever caused it, the outcome is unknown.
func kinds(err error) (Kind, bool) {
	for _, k := range [...]struct {
		err  error
		kind Kind
	}{
		{meta.ErrUnknownOutcome, UnknownOutcome},
		{meta.ErrNoBucket, NoBucket},
		{meta.ErrBucketExists, BucketExists},
		{meta.ErrBucketNotEmpty, BucketNotEmpty},
		{meta.ErrNoObject, NoObject},
		{meta.ErrNoUpload, NoUpload},
		{meta.ErrNoDoc, NoDoc},
		{meta.ErrInvalidPart, InvalidPart},
		{meta.ErrPartOrder, PartOrder},
		{meta.ErrPartTooSmall, PartTooSmall},
		{meta.ErrPrecondition, PreconditionFailed},
		{meta.ErrConflict, Conflict},
		{meta.ErrInvalid, KindInternal},
		{meta.ErrBadRecord, Corrupt},
		{meta.ErrNewer, Corrupt},
		{meta.ErrClosed, Unavailable},
		{drive.ErrCorrupt, Corrupt},
		{seal.ErrPayload, Corrupt},
		{drive.ErrNoSpace, NoSpace},
		{drive.ErrFailed, Unavailable},
		{drive.ErrTimeout, Unavailable},
		{context.Canceled, Unavailable},
		{context.DeadlineExceeded, Unavailable},
	} {
		if errors.Is(err, k.err) {
			return k.kind, true
		}
	}
	return KindInternal, false
}

// wrap is where errors of the packages below become Errors.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		if e.Op == "" {
			e.Op = op
		}
		return e
	}
	kind, _ := kinds(err)
	return &Error{Kind: kind, Op: op, Err: err}
}

// fail makes an Error whose Op wrap fills in.
func fail(kind Kind, err error) error { return &Error{Kind: kind, Err: err} }

// driveError classifies an error of a drive: what is not known better means
// that the drive cannot do its work.
func driveError(err error) error {
	if kind, ok := kinds(err); ok {
		return fail(kind, err)
	}
	return fail(Unavailable, err)
}

// definite reports whether err of Store.Mutate proves that the command has not
// been applied and never will be. Only then may the blobs it names be dropped.
// The context's own error is such a proof: the store says ErrUnknownOutcome once
// it has begun a command.
func definite(err error) bool {
	kind, ok := kinds(err)
	return ok && kind != UnknownOutcome
}
