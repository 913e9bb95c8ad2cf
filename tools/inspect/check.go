package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// checker holds what a check has found.
type checker struct {
	w        io.Writer
	m        *metadata
	drives   map[layout.DriveID]*disk
	quick    bool
	used     map[layout.DriveID][]claim
	unknown  map[layout.DriveID]int64 // fragments on drives that were not given
	buf      []byte
	problems int64
	blobs    int64
	frames   int64
	missing  int64
	degraded int64
	lost     int64
}

// claim is an extent that a blob has on a drive.
type claim struct {
	layout.Extent
	blob layout.BlobID
}

func (c *checker) problem(format string, args ...any) {
	c.problems++
	fmt.Fprintf(c.w, format+"\n", args...)
}

// check verifies the metadata against itself, and every fragment that it names.
func check(ctx context.Context, out io.Writer, args []string, o *options) (err error) {
	m, err := openMetadata(ctx, args[0], o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	drives, err := openDrives(out, args[1:])
	defer closeDrives(drives)
	if err != nil {
		return err
	}
	c := &checker{
		w: out, m: m, drives: drives, quick: o.quick,
		used: map[layout.DriveID][]claim{}, unknown: map[layout.DriveID]int64{}, buf: make([]byte, layout.MaxUnit),
	}
	if len(drives) < len(args)-1 {
		c.problems++
	}
	for id, d := range drives {
		if now := uint32(d.super.metaGen); now > m.newest() && m.newest() > 0 {
			c.problem("metadata: drive %s knows generation %d: this copy is stale, use another", id, now)
		}
	}
	if err := c.records(ctx); err != nil {
		return err
	}
	err = meta.BackRefs(m.store, meta.BlobCursor{}, func(ref meta.BackRef, fault error) error {
		if fault != nil {
			return nil // told by the audit
		}
		c.blob(&ref)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	c.overlaps()
	for id, n := range c.unknown {
		c.problem("drive %s was not given: %d fragments on it were not looked at", id, n)
	}
	fmt.Fprintf(out, "%d blobs, %d frames read, %d fragments missing, %d blobs with less protection than they should have, %d blobs unreadable; %d problems\n",
		c.blobs, c.frames, c.missing, c.degraded, c.lost, c.problems)
	if c.problems > 0 {
		return errProblems
	}
	return nil
}

// records audits the metadata.
func (c *checker) records(ctx context.Context) error {
	slots, err := meta.Slots(c.m.store)
	if err != nil {
		return err
	}
	for _, slot := range slots {
		a := meta.Audit{
			Reader: c.m.store, Slot: slot,
			Stored: func(sealed bool, size int64) int64 {
				if sealed {
					return seal.CipherSize(size)
				}
				return size
			},
			Found: func(f meta.Finding) error {
				c.problem("metadata: slot %d, bucket %q, key %q, blob %s: %s", f.Slot, f.Bucket, f.Key, f.Blob, f.Detail)
				return nil
			},
		}
		if err := a.Run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// blob checks the fragments of one blob.
func (c *checker) blob(ref *meta.BackRef) {
	b := &ref.Blob
	g := b.Geometry()
	c.blobs++
	if len(b.Fragments) != g.Fragments() {
		c.problem("blob %s (%q): %d fragments in its record, %d by its geometry", b.ID, ref.Key, len(b.Fragments), g.Fragments())
		return
	}
	good, seen := 0, map[layout.DriveID]bool{}
	for i := range b.Fragments {
		err := c.fragment(b, i)
		switch {
		case err == nil:
			good++
		case errors.Is(err, errAbsent):
			c.unknown[b.Fragments[i].Drive]++
		default:
			c.problem("blob %s (%q), fragment %d on drive %s: %v", b.ID, ref.Key, i, b.Fragments[i].Drive, err)
		}
		if len(b.Fragments[i].Extents) > 0 {
			if seen[b.Fragments[i].Drive] {
				c.problem("blob %s (%q): two fragments on drive %s", b.ID, ref.Key, b.Fragments[i].Drive)
			}
			seen[b.Fragments[i].Drive] = true
		}
	}
	if good < g.Fragments() {
		c.degraded++
	}
	if good < g.Data {
		c.lost++
		c.problem("blob %s (%q): %d of its fragments are good, %d are needed to read it", b.ID, ref.Key, good, g.Data)
	}
}

// fragment checks one fragment: its place, and unless quick its frames.
func (c *checker) fragment(b *layout.Blob, i int) error {
	f, g := &b.Fragments[i], b.Geometry()
	size := g.FragmentSize(i)
	if size == 0 {
		return nil
	}
	if len(f.Extents) == 0 {
		c.missing++
		return errors.New("it is missing, and waits for repair")
	}
	for _, e := range f.Extents {
		c.used[f.Drive] = append(c.used[f.Drive], claim{e, b.ID})
	}
	d := c.drives[f.Drive]
	if d == nil {
		return errAbsent
	}
	for _, e := range f.Extents {
		if e.Off < dataStart || e.Off%d.super.unit != 0 || e.Len <= 0 || e.Len%d.super.unit != 0 {
			return fmt.Errorf("extent %d+%d is not one of units of %d behind %d", e.Off, e.Len, d.super.unit, dataStart)
		}
		if e.Off > d.size-e.Len && e.Off+e.Len-d.size >= d.super.unit {
			return fmt.Errorf("extent %d+%d ends beyond the drive's %d bytes", e.Off, e.Len, d.size)
		}
	}
	if c.quick {
		return nil
	}
	rows := (size + g.Unit - 1) / g.Unit
	for row := range rows {
		c.frames++
		if _, err := unitOf(c.drives, b, i, row, c.buf); err != nil {
			return fmt.Errorf("frame %d: %w", row, err)
		}
	}
	return nil
}

// overlaps looks for space that two blobs claim.
func (c *checker) overlaps() {
	for id, claims := range c.used {
		slices.SortFunc(claims, func(a, b claim) int {
			switch {
			case a.Off < b.Off:
				return -1
			case a.Off > b.Off:
				return 1
			}
			return 0
		})
		for i := 1; i < len(claims); i++ {
			if a, b := claims[i-1], claims[i]; b.Off < a.Off+a.Len {
				c.problem("drive %s: blob %s at %d+%d and blob %s at %d+%d claim the same bytes", id, a.blob, a.Off, a.Len, b.blob, b.Off, b.Len)
			}
		}
	}
}
