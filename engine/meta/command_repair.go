package meta

import "github.com/sluicehq/sluice/engine/layout"

// Move gives one fragment of a blob another place.
type Move struct {
	Number int
	From   layout.Fragment // as the proposer found it; compared
	To     layout.Fragment // without extents: the fragment is missing from now on
}

// MoveFragments gives fragments of a blob other places, in its back-reference and
// nowhere else, and takes it off the repair queue when nothing is missing or bad any
// more. Where the blob is gone, or a fragment is not where From says, nothing
// happens and Moved is false: the extents of every To are then the caller's to free.
// Once it is durable with Moved set, those of every From are. A move that was applied
// before succeeds again, as long as every fragment is where it put it. ErrInvalid:
// a number that the blob does not have or that comes twice, extents that are none,
// or a To that shares an extent with its From.
type MoveFragments struct {
	Slot  Slot
	Blob  layout.BlobID
	Moves []Move
	Now   int64 // time of the entry in the repair queue, where a fragment goes missing
	Moved bool  // result
}

// Restripe gives a blob another geometry and, with it, other places: To, which holds
// the same stored bytes under the same id, in as many fragments as its geometry asks
// for, all of them with a place and none where one of From lies. It replaces the
// placement in the back-reference and takes the blob off the repair queue. The records
// of objects and parts stay as they are; their geometry tells only how the blob was
// born. Where the blob is gone, or does not lie as From says in every respect, nothing
// happens and Moved is false: the extents of To are then the caller's to free. Once it
// is durable with Moved set, those of From are. One that was applied before succeeds
// again as long as the blob lies as To says. ErrInvalid: From and To differ in id or
// size, or To is none that a blob can have.
type Restripe struct {
	Slot     Slot
	From, To layout.Blob
	Moved    bool // result
}

// QueueRepair puts a blob on the repair queue because fragments do not verify (Bad,
// by number), or to have missing ones made. A blob that is gone is passed over, and
// so are a bad fragment that is missing anyway and a blob that lacks nothing. What
// is known to be bad of a queued blob is added to.
type QueueRepair struct {
	Slot   Slot
	Blob   layout.BlobID
	Bad    uint32
	Now    int64
	Queued bool // result: the blob is on the queue
}

// Repair is an entry of the repair queue, with the blob as it lies now.
type Repair struct {
	BackRef
	Bad   uint32 // fragments that have a place and do not verify, by number
	Since int64
}

// BlobCursor is a place in the order of Blobs: that of slots, then of ids. The zero
// cursor is before the first.
type BlobCursor struct {
	Slot Slot
	Blob layout.BlobID
}
