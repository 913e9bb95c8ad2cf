package engine

import (
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// walk is one over all blobs, in the order of slots and ids, that ends however fast
// clients write: it leaves out what was born since it began. Ids sort by birth. What
// has its birth in the future, after a clock was set back, is older than it seems and
// is not left out.
type walk struct {
	e     *Engine
	since time.Time
}

// walkSince returns the walk that began at since, or now if that is no time past.
func (e *Engine) walkSince(since time.Time) walk {
	if now := e.now(); since.IsZero() || since.After(now) {
		since = now
	}
	return walk{e, since}
}

// leavesOut tells whether a blob was born since the walk began.
func (w walk) leavesOut(id layout.BlobID) bool {
	born := id.Birth()
	return born.After(w.since) && !born.After(w.e.now())
}

// behind returns where to go on after a batch that ended with last.
func (w walk) behind(last meta.BlobCursor) meta.BlobCursor {
	if w.leavesOut(last.Blob) {
		last.Blob = layout.NewBlobID(w.e.now())
	}
	return last
}
