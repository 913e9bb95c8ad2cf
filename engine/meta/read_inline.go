package meta

import (
	"fmt"

	"github.com/sluicehq/sluice/engine/layout"
)

// InlinesAfter calls fn for every inline payload behind after, in the order of Blobs:
// with its size in bytes, or, where it does not verify, with the error. An error of fn
// ends it.
func InlinesAfter(r Reader, after BlobCursor, fn func(at BlobCursor, size int, bad error) error) error {
	return walkBehind(r, typeInline, after, func(s Slot, rest []byte, it Iterator) (bool, error) {
		if len(rest) != 16 {
			return false, fmt.Errorf("%w: key of an inline payload", ErrBadRecord)
		}
		at := BlobCursor{Slot: s, Blob: layout.BlobID(rest)}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		payload, bad := decodeInline(v)
		return true, fn(at, len(payload), bad)
	})
}
