package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// CheckOptions of Check.
type CheckOptions struct {
	Deep     bool // read and verify every fragment, too
	Problems int  // most to be returned; 0: 1,000
	// Progress is called now and then, from Check's goroutine.
	Progress func(CheckResult)
}

// CheckResult is what a check has found so far.
type CheckResult struct {
	Buckets, Objects, Parts, Uploads, Blobs, Inline int64
	Fragments, Bytes                                int64 // of fragments verified, with Deep
	Degraded                                        int64 // blobs with a fragment missing or on a drive that is not there
	Unreadable                                      int64 // blobs of which too few fragments are there
	ProblemCount                                    int64
	Problems                                        []Problem
}

// Problem is something that must not be.
type Problem struct {
	Kind   string // one of the Problem constants
	Bucket string
	Key    string
	Blob   layout.BlobID
	Drive  layout.DriveID
	Detail string
}

// Kinds of problems. Those of records break what engine/FORMAT.md says always holds;
// one may bring others along, as a head that does not decode leaves its blob without
// an owner.
const (
	ProblemBadRecord   = "bad record"       // a key or a record does not decode
	ProblemUnknown     = "unknown record"   // a key of a type that there is not
	ProblemBucket      = "bucket"           // a bucket's record and its marker do not match
	ProblemStray       = "stray record"     // a record of a bucket or an upload that does not exist
	ProblemCounter     = "counter"          // a bucket's counters are not the sums they stand for
	ProblemHead        = "head"             // a head and its full record do not match
	ProblemPartList    = "part list"        // a part list is incomplete, or nobody's, or does not add up
	ProblemSize        = "size"             // an object or a part is not as long as its data
	ProblemMissingBlob = "missing blob"     // where a blob lies that is named is not known
	ProblemOrphanBlob  = "orphan blob"      // a blob that nobody names
	ProblemSharedBlob  = "shared blob"      // a blob or a payload that is named more than once
	ProblemOwner       = "owner"            // a back-reference tells otherwise than who names the blob
	ProblemInline      = "inline payload"   // is missing, or nobody's, or does not verify
	ProblemDeleteQueue = "delete queue"     // and what it is to remove do not match
	ProblemRepairQueue = "repair queue"     // and what blobs lack do not match
	ProblemPlacement   = "placement"        // a fragment's extents cannot be what they are said to be
	ProblemOverlap     = "overlap"          // fragments share space
	ProblemSpace       = "space"            // a fragment lies where the drive has free space
	ProblemSameDrive   = "same drive"       // a warning: two fragments of a blob, where one drive would take both
	ProblemLeak        = "leaked space"     // a warning: is in use for nothing, until the drive is opened anew
	ProblemCorrupt     = "corrupt fragment" // does not verify; it is on the repair queue
	ProblemUnread      = "unread fragment"  // could not be verified: the drive does not answer
)

// Warning reports whether the problem puts no data at risk by itself: an administrator
// should know, and nothing is to be done at once.
func (p *Problem) Warning() bool { return p.Kind == ProblemSameDrive || p.Kind == ProblemLeak }

// problemOf names what an audit of the metadata finds.
func problemOf(kind meta.FindingKind) string {
	return [...]string{
		meta.FoundBadRecord: ProblemBadRecord, meta.FoundUnknown: ProblemUnknown, meta.FoundBucket: ProblemBucket,
		meta.FoundStray: ProblemStray, meta.FoundCounter: ProblemCounter, meta.FoundHead: ProblemHead,
		meta.FoundPartList: ProblemPartList, meta.FoundSize: ProblemSize, meta.FoundMissingBlob: ProblemMissingBlob,
		meta.FoundOrphanBlob: ProblemOrphanBlob, meta.FoundSharedBlob: ProblemSharedBlob, meta.FoundOwner: ProblemOwner,
		meta.FoundInline: ProblemInline, meta.FoundDeleteQueue: ProblemDeleteQueue, meta.FoundRepairQueue: ProblemRepairQueue,
	}[kind]
}

const (
	defaultProblems = 1000
	progressEvery   = 200 * time.Millisecond
)

// Check holds metadata and drives against each other, while both are in use: every
// record that FORMAT.md's "What always holds" speaks of, the places of all fragments,
// and what the drives take to be in use; with Deep, every fragment is read, too, and
// what does not verify is put on the repair queue. It works on snapshots, looks again
// before it reports what may have changed since, and steps back while clients are
// active. It returns kind Unavailable when the engine closes meanwhile.
//
// Memory: 24 bytes for each blob, inline payload, part list and upload of a slot, at
// most 2^20 of each kind at a time (a bucket of a million objects takes 24 MB), and a
// bit for each 4 KiB or so that is in use on the drives that are looked at together,
// at most 64 MiB.
func (e *Engine) Check(ctx context.Context, o CheckOptions) (CheckResult, error) {
	if err := e.gate.enter(); err != nil {
		return CheckResult{}, wrap("check", err)
	}
	defer e.gate.leave()
	if o.Problems <= 0 {
		o.Problems = defaultProblems
	}
	c := &check{e: e, o: o, budget: mapBudget, begun: time.Now()}
	for _, step := range []func(context.Context) error{c.places, c.records, c.leaks, c.deep} {
		if err := step(ctx); err != nil {
			return c.result(), wrap("check", err)
		}
	}
	return c.result(), nil
}

// check is a Check under way.
type check struct {
	e         *Engine
	o         CheckOptions
	res       CheckResult
	budget    int64     // bytes of maps of drives at a time
	begun     time.Time // of the work since the last rest
	shown     time.Time
	rivals    int // searches for the other of two fragments that overlap
	suspected map[layout.DriveID][]layout.Extent
	names     map[meta.BucketID]string // of buckets; nil: not read yet
}

// result returns what there is so far, for others to keep.
func (c *check) result() CheckResult {
	r := c.res
	r.Problems = append([]Problem(nil), r.Problems...)
	return r
}

// report adds a problem.
func (c *check) report(p Problem) {
	if c.res.ProblemCount++; len(c.res.Problems) >= c.o.Problems {
		return
	}
	c.res.Problems = append(c.res.Problems, p)
	c.e.log.Warn("check", "problem", p.Kind, "bucket", p.Bucket, "key", p.Key, "blob", p.Blob, "drive", p.Drive, "detail", p.Detail)
}

// reportBlob adds a problem of a fragment.
func (c *check) reportBlob(kind string, ref *meta.BackRef, id layout.DriveID, format string, args ...any) {
	c.report(Problem{
		Kind: kind, Bucket: c.bucketName(ref.Bucket), Key: ref.Key, Blob: ref.Blob.ID, Drive: id,
		Detail: fmt.Sprintf(format, args...),
	})
}

// bucketName returns the name of a bucket as of the first time that one was asked for.
func (c *check) bucketName(id meta.BucketID) string {
	if c.names == nil {
		c.names = make(map[meta.BucketID]string)
		// An error is the audit's to report.
		_ = meta.ListBuckets(c.e.store, "", func(b meta.Bucket) bool {
			c.names[b.ID] = b.Name
			return len(c.names) < 100_000
		})
	}
	if name, ok := c.names[id]; ok {
		return name
	}
	return fmt.Sprintf("bucket %d", id)
}

// pause is called after a little work. It shows how far the check has come, and rests
// as long as that work took while clients are active.
func (c *check) pause(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.e.gate.shut() {
		return fail(Unavailable, errClosing)
	}
	if c.o.Progress != nil && time.Since(c.shown) >= progressEvery {
		c.o.Progress(c.result())
		c.shown = time.Now()
	}
	if fresh, _ := c.e.heal.yield.clients(); fresh && c.e.cfg.Timing.Yield >= 0 {
		rest(ctx, min(time.Since(c.begun), maxRest))
	}
	c.begun = time.Now()
	return nil
}

// records audits the metadata, a slot at a time.
func (c *check) records(ctx context.Context) error {
	slots, err := meta.Slots(c.e.store)
	if err != nil {
		return err
	}
	for _, s := range slots {
		if err := c.slot(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (c *check) slot(ctx context.Context, s meta.Slot) (err error) {
	snap := c.e.store.Snapshot()
	defer func() {
		if cerr := snap.Close(); err == nil {
			err = cerr
		}
	}()
	a := meta.Audit{
		Reader: snap, Slot: s,
		Stored: func(sealed bool, size int64) int64 {
			if sealed {
				return seal.CipherSize(size)
			}
			return size
		},
		Found: func(f meta.Finding) error {
			c.report(Problem{Kind: problemOf(f.Kind), Bucket: f.Bucket, Key: f.Key, Blob: f.Blob, Detail: f.Detail})
			return nil
		},
	}
	before := c.res
	count := func() {
		c.res.Buckets, c.res.Objects = before.Buckets+a.Count.Buckets, before.Objects+a.Count.Objects
		c.res.Parts, c.res.Uploads = before.Parts+a.Count.Parts, before.Uploads+a.Count.Uploads
		c.res.Blobs, c.res.Inline = before.Blobs+a.Count.Blobs, before.Inline+a.Count.Inline
	}
	a.Tick = func(int) error {
		count()
		return c.pause(ctx)
	}
	err = a.Run(ctx)
	count()
	return err
}
