package metatest

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// model is what a store should hold: plain maps, no keys, no records.
type model struct {
	lastBucket meta.BucketID
	buckets    map[string]*bucketModel
	docs       map[string]docModel // of the cluster
	queue      []queued
	payload    map[layout.BlobID]string // inline payloads of objects and parts
	// places are the back-references; the blobs of objects, parts and the queue
	// tell no places.
	places  map[layout.BlobID]meta.BackRef
	repairs map[layout.BlobID]repairModel
}

// repairModel is an entry of the repair queue.
type repairModel struct {
	bad   uint32
	since int64
}

type bucketModel struct {
	rec       meta.Bucket
	objects   map[string]objectModel
	uploads   map[[16]byte]*uploadModel
	docs      map[string]docModel
	completed map[[16]byte]completedModel
}

type objectModel struct {
	meta.Object
	parts []meta.Part
}

type uploadModel struct {
	meta.Upload
	parts map[int32]meta.Part
}

type completedModel struct {
	key     string
	version meta.Version
}

type docModel struct {
	value string
	rev   int64
}

// queued is an entry of the delete queue. Only its id, time, pin and place are
// compared for entries that occupy no drive space.
type queued struct {
	meta.Garbage
}

func newModel() *model {
	return &model{
		buckets: map[string]*bucketModel{},
		docs:    map[string]docModel{},
		payload: map[layout.BlobID]string{},
		places:  map[layout.BlobID]meta.BackRef{},
		repairs: map[layout.BlobID]repairModel{},
	}
}

// bare is a blob as the records of objects and parts have it.
func bare(b layout.Blob) layout.Blob {
	b.Fragments = nil
	return b
}

// place notes where a blob lies that b was written with at now.
func (m *model) place(b *bucketModel, key string, blob layout.Blob, inline []byte, now int64) {
	switch {
	case blob.ID.IsZero():
	case blob.Kind == layout.KindInline:
		m.payload[blob.ID] = string(inline)
	default:
		m.places[blob.ID] = meta.BackRef{Slot: b.rec.Slot, Blob: blob, Bucket: b.rec.ID, Key: key}
		if missing(&blob) > 0 {
			m.repairs[blob.ID] = repairModel{since: now}
		}
	}
}

// missing counts the fragments that ought to have a place and have none.
func missing(b *layout.Blob) (n int) {
	g := b.Geometry()
	for i, f := range b.Fragments {
		if g.FragmentSize(i) > 0 && len(f.Extents) == 0 {
			n++
		}
	}
	return n
}

// located is a queued entry as the store returns it.
func (m *model) located(g meta.Garbage) meta.Garbage {
	if ref, ok := m.places[g.Blob.ID]; ok {
		g.Blob = ref.Blob
	}
	return g
}

func (m *model) enqueue(s meta.Slot, due int64, pin meta.Version, b layout.Blob) {
	if !b.ID.IsZero() {
		m.queue = append(m.queue, queued{meta.Garbage{Slot: s, Due: due, Pin: pin, Blob: bare(b)}})
	}
}

// drop queues what an object consists of.
func (m *model) drop(s meta.Slot, o objectModel, due int64) {
	if o.PartCount == 0 {
		m.enqueue(s, due, o.Version, o.Blob)
		return
	}
	for _, p := range o.parts {
		m.enqueue(s, due, o.Version, p.Blob)
	}
	m.enqueue(s, due, o.Version, layout.Blob{ID: layout.BlobID(o.Version)})
}

// condition is the rule of RFC 9110 that the commands follow.
func condition(c meta.Condition, o *objectModel) error {
	if len(c.IfMatch) > 0 {
		if o == nil {
			return meta.ErrNoObject
		}
		if !slices.Contains(c.IfMatch, "*") && !slices.Contains(c.IfMatch, o.ETag) {
			return meta.ErrPrecondition
		}
	}
	if o != nil && (c.IfNoneMatchAny || slices.Contains(c.IfNoneMatch, o.ETag)) {
		return meta.ErrPrecondition
	}
	return nil
}

func (b *bucketModel) object(key string) *objectModel {
	if o, ok := b.objects[key]; ok {
		return &o
	}
	return nil
}

// check compares a store with the model.
func (m *model) check(t rapid.TB, r meta.Reader) {
	t.Helper()
	if err := Verify(r); err != nil {
		t.Fatalf("verify: %v", err)
	}
	st, err := load(r)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if got, want := slices.Sorted(maps.Keys(st.buckets)), slices.Sorted(maps.Keys(m.buckets)); !slices.Equal(got, want) {
		t.Fatalf("buckets %q, want %q", got, want)
	}
	uploads := 0
	for name, b := range m.buckets {
		want := b.rec
		for _, o := range b.objects {
			want.Objects++
			want.Bytes += o.Size
		}
		same(t, "bucket", st.buckets[name], want)
		if len(st.objects[name]) != len(b.objects) {
			t.Fatalf("bucket %s: %d objects, want %d", name, len(st.objects[name]), len(b.objects))
		}
		for key, o := range b.objects {
			same(t, "object", st.objects[name][key], o.Object)
			if o.PartCount > 0 {
				same(t, "parts", st.parts[o.Version], o.parts)
			}
		}
		uploads += len(b.uploads)
		for id, u := range b.uploads {
			same(t, "upload", st.uploads[id], u.Upload)
			parts := slices.SortedFunc(maps.Values(u.parts), func(x, y meta.Part) int { return cmp.Compare(x.Number, y.Number) })
			same(t, "upload parts", st.upParts[id], parts)
		}
		m.checkDocs(t, r, b.rec.Slot, b.rec.ID, b.docs)
	}
	if len(st.uploads) != uploads {
		t.Fatalf("%d uploads, want %d", len(st.uploads), uploads)
	}
	for id, v := range st.payload {
		same(t, "payload", v, m.payload[id])
	}
	m.checkDocs(t, r, 0, 0, m.docs)
	m.checkQueue(t, st.garbage)
	m.checkBlobs(t, st.blobs)
	m.checkRepairs(t, st.repairs)
}

func same(t rapid.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\n got %+v\nwant %+v", what, got, want)
	}
}

func (m *model) checkDocs(t rapid.TB, r meta.Reader, s meta.Slot, b meta.BucketID, docs map[string]docModel) {
	t.Helper()
	got := map[string]docModel{}
	if err := meta.ListDocs(r, s, b, "", func(d meta.Doc) bool {
		got[d.Path] = docModel{string(d.Value), d.Rev}
		return true
	}); err != nil {
		t.Fatalf("documents: %v", err)
	}
	if !maps.Equal(got, docs) {
		t.Fatalf("documents %v, want %v", got, docs)
	}
}

// checkQueue compares the delete queue as a set and checks that it is in order.
func (m *model) checkQueue(t rapid.TB, got []meta.Garbage) {
	t.Helper()
	if !slices.IsSortedFunc(got, func(a, b meta.Garbage) int { return cmp.Compare(a.Due, b.Due) }) {
		t.Fatalf("delete queue out of order: %+v", got)
	}
	if len(got) != len(m.queue) {
		t.Fatalf("delete queue has %d entries, want %d:\n%+v\n%+v", len(got), len(m.queue), got, m.queue)
	}
	byID := map[layout.BlobID]meta.Garbage{}
	for _, q := range m.queue {
		byID[q.Blob.ID] = q.Garbage
	}
	for _, g := range got {
		same(t, "delete queue", g, m.located(byID[g.Blob.ID]))
	}
}

// checkBlobs compares what occupies drive space.
func (m *model) checkBlobs(t rapid.TB, got map[layout.BlobID]meta.BackRef) {
	t.Helper()
	want := map[layout.BlobID]layout.Blob{}
	add := func(b layout.Blob) {
		if b.Kind != layout.KindInline {
			want[b.ID] = b
		}
	}
	for _, b := range m.buckets {
		for _, o := range b.objects {
			add(o.Blob)
			for _, p := range o.parts {
				add(p.Blob)
			}
		}
		for _, u := range b.uploads {
			for _, p := range u.parts {
				add(p.Blob)
			}
		}
	}
	for _, q := range m.queue {
		add(q.Blob)
	}
	if len(got) != len(want) {
		t.Fatalf("%d blobs, want %d", len(got), len(want))
	}
	for id, b := range want {
		same(t, "back-reference", got[id], m.places[id])
		if is := got[id].Blob; is.ID != b.ID || is.Size != b.Size { // it may have been spread otherwise
			t.Fatalf("blob %+v, its owner tells of %+v", is, b)
		}
	}
}

// checkRepairs compares the repair queue as a set; its order was checked on loading.
func (m *model) checkRepairs(t rapid.TB, got []meta.Repair) {
	t.Helper()
	if len(got) != len(m.repairs) {
		t.Fatalf("repair queue has %d entries, want %d:\n%+v\n%+v", len(got), len(m.repairs), got, m.repairs)
	}
	for _, r := range got {
		want := m.repairs[r.Blob.ID]
		same(t, "repair queue", r, meta.Repair{BackRef: m.places[r.Blob.ID], Bad: want.bad, Since: want.since})
	}
}
