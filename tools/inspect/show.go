package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// recordTypes names the types of keys (engine/FORMAT.md, part 2, "Keys").
func recordTypes() map[byte]string {
	return map[byte]string{
		'a': "applied index", 'B': "buckets", 'i': "last bucket id", 'b': "back-references", 'c': "completions", 'd': "inline payloads",
		'e': "existence markers", 'f': "documents", 'g': "delete queue", 'h': "heads", 'n': "counters", 'o': "full objects",
		'p': "parts", 'q': "repair queue", 'u': "uploads", 'x': "part lists",
	}
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// showMeta counts the records of each type, or lists some.
func showMeta(ctx context.Context, out io.Writer, args []string, o *options) (err error) {
	m, err := openMetadata(ctx, args[0], o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	defer w.Flush()
	if o.list != "" {
		return listRecords(w, m.store, o.list)
	}
	fmt.Fprintf(w, "store\t%s\ngeneration\t%s\nencrypted\t%t\napplied\t%d\n\n", m.dir, m.generation(), m.store.Encrypted(), m.store.Applied())
	type sum struct{ records, keys, values int64 }
	sums := map[byte]*sum{}
	it := m.store.Iter([]byte{0}, nil)
	for n := 0; it.Next(); n++ {
		key := it.Key()
		value, err := it.Value()
		if err == nil && n%4096 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
		var t byte
		if len(key) > 2 {
			t = key[2]
		}
		if sums[t] == nil {
			sums[t] = &sum{}
		}
		sums[t].records++
		sums[t].keys += int64(len(key))
		sums[t].values += int64(len(value))
	}
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		return err
	}
	types := make([]byte, 0, len(sums))
	for t := range sums {
		types = append(types, t)
	}
	slices.Sort(types)
	names, unknown := recordTypes(), false
	fmt.Fprintln(w, "TYPE\tWHAT\tRECORDS\tKEY BYTES\tVALUE BYTES")
	for _, t := range types {
		name, ok := names[t]
		if !ok {
			name, unknown = "unknown", true
		}
		fmt.Fprintf(w, "%q\t%s\t%d\t%d\t%d\n", t, name, sums[t].records, sums[t].keys, sums[t].values)
	}
	if unknown {
		return errProblems
	}
	return nil
}

// listRecords prints the records that have a meaning of their own.
func listRecords(w io.Writer, r meta.Reader, what string) error {
	switch what {
	case "buckets":
		fmt.Fprintln(w, "NAME\tID\tSLOT\tOWNER\tLOCATION\tOBJECTS\tBYTES\tCREATED")
		return meta.ListBuckets(r, "", func(b meta.Bucket) bool {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%d\t%d\t%s\n", b.Name, b.ID, b.Slot, b.Owner, b.Location, b.Objects, b.Bytes, stamp(b.Created))
			return true
		})
	case "objects":
		fmt.Fprintln(w, "BUCKET\tKEY\tSIZE\tETAG\tCLASS\tMODIFIED")
		return eachBucket(r, func(b *meta.Bucket) error { return listObjects(w, r, b) })
	case "uploads":
		fmt.Fprintln(w, "BUCKET\tKEY\tUPLOAD\tINITIATOR\tINITIATED")
		return eachBucket(r, func(b *meta.Bucket) error { return listUploads(w, r, b) })
	case "blobs":
		fmt.Fprintln(w, "BLOB\tSLOT\tBUCKET\tKEY\tSIZE\tGEOMETRY\tMISSING")
		bad := false
		err := meta.BackRefs(r, meta.BlobCursor{}, func(ref meta.BackRef, fault error) error {
			if fault != nil {
				bad = true
				fmt.Fprintf(w, "%s\t%d\t\t\t\t%v\n", ref.Blob.ID, ref.Slot, fault)
				return nil
			}
			fmt.Fprintf(w, "%s\t%d\t%d\t%q\t%d\t%s\t%d\n", ref.Blob.ID, ref.Slot, ref.Bucket, ref.Key, ref.Blob.Size, shape(&ref.Blob), ref.Blob.Missing())
			return nil
		})
		if err == nil && bad {
			err = errProblems
		}
		return err
	case "documents":
		fmt.Fprintln(w, "OF\tPATH\tREVISION\tBYTES")
		list := func(of string, s meta.Slot, id meta.BucketID) error {
			return meta.ListDocs(r, s, id, "", func(doc meta.Doc) bool {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", of, doc.Path, doc.Rev, len(doc.Value))
				return true
			})
		}
		if err := list("cluster", 0, 0); err != nil {
			return err
		}
		return eachBucket(r, func(b *meta.Bucket) error { return list(b.Name, b.Slot, b.ID) })
	case "deletes":
		fmt.Fprintln(w, "DUE\tSLOT\tBLOB\tSIZE\tFRAGMENTS")
		queue, err := meta.DueGarbage(r, math.MaxInt64, math.MaxInt32)
		for _, g := range queue {
			fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\n", stamp(g.Due), g.Slot, g.Blob.ID, g.Blob.Size, len(g.Blob.Fragments))
		}
		return err
	case "repairs":
		fmt.Fprintln(w, "SINCE\tSLOT\tBLOB\tKEY\tMISSING\tBAD")
		queue, err := meta.Repairs(r, meta.BlobCursor{}, math.MaxInt32)
		for _, q := range queue {
			fmt.Fprintf(w, "%s\t%d\t%s\t%q\t%d\t%v\n", stamp(q.Since), q.Slot, q.Blob.ID, q.Key, q.Blob.Missing(), q.Bad)
		}
		return err
	}
	return usageError{fmt.Errorf("--list %q: buckets, objects, uploads, blobs, documents, deletes or repairs", what)}
}

func eachBucket(r meta.Reader, fn func(b *meta.Bucket) error) (err error) {
	walked := meta.ListBuckets(r, "", func(b meta.Bucket) bool {
		err = fn(&b)
		return err == nil
	})
	return errors.Join(err, walked)
}

func listObjects(w io.Writer, r meta.Reader, b *meta.Bucket) error {
	for req := (meta.ListObjectsRequest{Max: 1000}); ; {
		page, err := meta.ListObjects(r, b, req)
		if err != nil {
			return fmt.Errorf("bucket %s: %w", b.Name, err)
		}
		for _, it := range page.Items {
			fmt.Fprintf(w, "%s\t%q\t%d\t%s\t%s\t%s\n", b.Name, it.Key, it.Size, it.ETag, it.Class, stamp(it.ModTime))
			req.After = it.Key
		}
		if !page.Truncated || len(page.Items) == 0 {
			return nil
		}
	}
}

func listUploads(w io.Writer, r meta.Reader, b *meta.Bucket) error {
	for req := (meta.ListUploadsRequest{Max: 1000}); ; {
		page, err := meta.ListUploads(r, b, req)
		if err != nil {
			return fmt.Errorf("bucket %s: %w", b.Name, err)
		}
		for _, u := range page.Uploads {
			fmt.Fprintf(w, "%s\t%q\t%x\t%s\t%s\n", b.Name, u.Key, u.ID, u.Initiator, stamp(u.Initiated))
		}
		if !page.Truncated {
			return nil
		}
		req.KeyMarker, req.UploadIDMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// shape is a blob's geometry in short.
func shape(b *layout.Blob) string {
	g := b.Geometry()
	switch b.Kind {
	case layout.KindInline:
		return "inline"
	case layout.KindSingle:
		return "single"
	}
	return fmt.Sprintf("%d+%d units of %d KiB", g.Data, g.Parity, g.Unit>>10)
}

// showObject prints an object's record and where each fragment of it lies.
func showObject(ctx context.Context, out io.Writer, args []string, o *options) (err error) {
	m, err := openMetadata(ctx, args[0], o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	b, obj, err := m.object(args[1], args[2])
	if err != nil {
		return err
	}
	pieces, err := m.pieces(&b, &obj)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "bucket\t%s (id %d, slot %d)\nkey\t%q\nversion\t%x\n", b.Name, b.ID, b.Slot, obj.Key, obj.Version)
	fmt.Fprintf(w, "size\t%d\nmodified\t%s\netag\t%s\nclass\t%s\nparts\t%d\n", obj.Size, stamp(obj.ModTime), obj.ETag, obj.Class, obj.PartCount)
	if obj.Checksum.Algorithm != "" {
		fmt.Fprintf(w, "checksum\t%s %s %x\n", obj.Checksum.Algorithm, obj.Checksum.Type, obj.Checksum.Value)
	}
	if s := obj.Seal; s != nil {
		fmt.Fprintf(w, "encrypted\tmode %d, ring key %d, KMS key %q\n", s.Mode, s.Ring, s.KeyID)
	}
	for _, h := range append(slices.Clone(obj.Headers), obj.Metadata...) {
		fmt.Fprintf(w, "header\t%s: %q\n", h.Name, h.Value)
	}
	bad := false
	for i := range pieces {
		if err := showPiece(w, m, &b, &pieces[i]); err != nil {
			bad = true
			fmt.Fprintf(w, "fault\t%v\n", err)
		}
	}
	if bad {
		return errProblems
	}
	return nil
}

func showPiece(w io.Writer, m *metadata, b *meta.Bucket, p *piece) error {
	blob := p.blob.Blob
	if p.part > 0 {
		fmt.Fprintf(w, "\npart\t%d of %d bytes\n", p.part, p.size)
	}
	if blob.ID.IsZero() {
		return nil
	}
	fmt.Fprintf(w, "blob\t%s of %d bytes, %s\n", blob.ID, blob.Size, shape(&blob))
	if blob.Kind == layout.KindInline {
		_, err := meta.Inline(m.store, b.Slot, blob.ID)
		return err
	}
	placed, ok, err := meta.Locate(m.store, b.Slot, blob.ID)
	switch {
	case err != nil:
		return err
	case !ok:
		return errors.New("the blob has no back-reference")
	}
	g := placed.Geometry()
	fmt.Fprintln(w, "FRAGMENT\tBYTES\tDRIVE\tEXTENTS (offset+length)")
	for i, f := range placed.Fragments {
		kind := "data"
		if i >= g.Data {
			kind = "parity"
		}
		places := ""
		for _, e := range f.Extents {
			places += fmt.Sprintf("%d+%d ", e.Off, e.Len)
		}
		if places == "" {
			places = "missing"
			if g.FragmentSize(i) == 0 {
				places = "empty"
			}
		}
		fmt.Fprintf(w, "%d %s\t%d\t%s\t%s\n", i, kind, g.FragmentSize(i), f.Drive, places)
	}
	return nil
}
