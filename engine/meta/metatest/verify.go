package metatest

import (
	"errors"
	"fmt"
	"math"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// state is everything a store holds, read through the public functions.
type state struct {
	buckets map[string]meta.Bucket
	objects map[string]map[string]meta.Object // by bucket name and key
	parts   map[meta.Version][]meta.Part
	uploads map[[16]byte]meta.Upload
	upParts map[[16]byte][]meta.Part
	payload map[layout.BlobID]string
	garbage []meta.Garbage
	blobs   map[layout.BlobID]meta.BackRef
	repairs []meta.Repair
}

// load reads the whole state, in small pages so that paging is exercised.
func load(r meta.Reader) (*state, error) {
	st := &state{
		buckets: map[string]meta.Bucket{},
		objects: map[string]map[string]meta.Object{},
		parts:   map[meta.Version][]meta.Part{},
		uploads: map[[16]byte]meta.Upload{},
		upParts: map[[16]byte][]meta.Part{},
		payload: map[layout.BlobID]string{},
		blobs:   map[layout.BlobID]meta.BackRef{},
	}
	if err := meta.ListBuckets(r, "", func(b meta.Bucket) bool {
		st.buckets[b.Name] = b
		return true
	}); err != nil {
		return nil, err
	}
	for name, b := range st.buckets {
		if err := st.loadObjects(r, b); err != nil {
			return nil, fmt.Errorf("objects of %s: %w", name, err)
		}
		if err := st.loadUploads(r, b); err != nil {
			return nil, fmt.Errorf("uploads of %s: %w", name, err)
		}
	}
	var err error
	if st.garbage, err = meta.DueGarbage(r, math.MaxInt64, math.MaxInt); err != nil {
		return nil, err
	}
	if err := meta.Blobs(r, func(ref meta.BackRef) error {
		if _, twice := st.blobs[ref.Blob.ID]; twice {
			return fmt.Errorf("blob %v has two back-references", ref.Blob.ID)
		}
		st.blobs[ref.Blob.ID] = ref
		return nil
	}); err != nil {
		return nil, err
	}
	st.repairs, err = loadRepairs(r)
	return st, err
}

func (st *state) inline(r meta.Reader, s meta.Slot, b *layout.Blob) error {
	if b.Kind != layout.KindInline || b.ID.IsZero() {
		return nil
	}
	v, err := meta.Inline(r, s, b.ID)
	if err != nil {
		return err
	}
	if int64(len(v)) != b.Size {
		return fmt.Errorf("inline blob %v has %d bytes, not %d", b.ID, len(v), b.Size)
	}
	st.payload[b.ID] = string(v)
	return nil
}

func (st *state) loadObjects(r meta.Reader, b meta.Bucket) error {
	objects := map[string]meta.Object{}
	st.objects[b.Name] = objects
	for req := (meta.ListObjectsRequest{Max: 7}); ; {
		page, err := meta.ListObjects(r, &b, req)
		if err != nil {
			return err
		}
		for _, it := range page.Items {
			o, err := meta.GetObject(r, &b, it.Key)
			if err != nil {
				return fmt.Errorf("%q: %w", it.Key, err)
			}
			if o.Size != it.Size || o.ETag != it.ETag || o.ModTime != it.ModTime || o.Key != it.Key {
				return fmt.Errorf("%q: listing %+v differs from object %+v", it.Key, it, o)
			}
			if err := st.inline(r, b.Slot, &o.Blob); err != nil {
				return err
			}
			if o.PartCount > 0 {
				ps, _, err := meta.LoadParts(r, &b, &o, 0, -1)
				if err != nil {
					return err
				}
				st.parts[o.Version] = ps
				for i := range ps {
					if err := st.inline(r, b.Slot, &ps[i].Blob); err != nil {
						return err
					}
				}
			}
			objects[it.Key] = o
		}
		if !page.Truncated {
			return nil
		}
		req.After = page.Next
	}
}

func (st *state) loadUploads(r meta.Reader, b meta.Bucket) error {
	for req := (meta.ListUploadsRequest{Max: 3}); ; {
		page, err := meta.ListUploads(r, &b, req)
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			st.uploads[u.ID] = u
			for after := int32(0); ; {
				ps, more, err := meta.ListParts(r, &b, u.ID, after, 2)
				if err != nil {
					return err
				}
				for i := range ps {
					after = ps[i].Number
					if err := st.inline(r, b.Slot, &ps[i].Blob); err != nil {
						return err
					}
				}
				st.upParts[u.ID] = append(st.upParts[u.ID], ps...)
				if !more {
					break
				}
			}
		}
		if !page.Truncated {
			return nil
		}
		req.KeyMarker, req.UploadIDMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// Verify checks that a store's records agree with each other: counters with
// listings, and every blob on drives with exactly one owner among objects,
// uploads and the delete queue.
func Verify(r meta.Reader) error {
	st, err := load(r)
	if err != nil {
		return err
	}
	var errs []error
	for name, b := range st.buckets {
		var size int64
		for _, o := range st.objects[name] {
			size += o.Size
		}
		if n := int64(len(st.objects[name])); n != b.Objects || size != b.Bytes {
			errs = append(errs, fmt.Errorf("bucket %s: counters %d/%d, objects %d/%d", name, b.Objects, b.Bytes, n, size))
		}
	}
	owners := map[layout.BlobID]int{}
	own := func(b *layout.Blob) {
		if !b.ID.IsZero() && b.Kind != layout.KindInline {
			owners[b.ID]++
		}
	}
	for _, objects := range st.objects {
		for _, o := range objects {
			own(&o.Blob)
		}
	}
	for _, ps := range st.parts {
		for i := range ps {
			own(&ps[i].Blob)
		}
	}
	for _, ps := range st.upParts {
		for i := range ps {
			own(&ps[i].Blob)
		}
	}
	for i := range st.garbage {
		own(&st.garbage[i].Blob)
	}
	for id, n := range owners {
		if _, ok := st.blobs[id]; !ok || n != 1 {
			errs = append(errs, fmt.Errorf("blob %v: %d owners, back-reference %t", id, n, ok))
		}
	}
	for id := range st.blobs {
		if owners[id] == 0 {
			errs = append(errs, fmt.Errorf("blob %v: back-reference without owner", id))
		}
	}
	return errors.Join(append(errs, st.verifyRepairs(), verifyPlaces(r, st), verifyAudit(r, st))...)
}

// Dump returns every key and value of a store.
func Dump(r meta.Reader) (map[string]string, error) {
	all := map[string]string{}
	it := r.Iter([]byte{0}, nil)
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		all[string(it.Key())] = string(v)
	}
	return all, errors.Join(it.Err(), it.Close())
}
