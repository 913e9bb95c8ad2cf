package metatest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// Backend makes the stores of one machine: all are the same store, opened again.
type Backend interface {
	// Open opens the store as it was left.
	Open() (meta.Store, error)
	// Crash takes the power away: the next Open finds what was durable, and of
	// the rest whatever seed decides. The store open now is not used again.
	Crash(seed int64)
}

// RunMachine drives stores with random commands and compares them with a map
// model. backend is called once for every run.
func RunMachine(t *rapid.T, backend Backend) {
	m := &machine{t: t, backend: backend, model: newModel()}
	m.open()
	defer func() { _ = m.s.Close() }()
	t.Repeat(map[string]func(*rapid.T){
		"":               func(t *rapid.T) { m.t = t },
		"create bucket":  m.do((*machine).createBucket),
		"delete bucket":  m.do((*machine).deleteBucket),
		"put object":     m.do((*machine).putObject),
		"put object 2":   m.do((*machine).putObject),
		"delete object":  m.do((*machine).deleteObject),
		"set tags":       m.do((*machine).setTags),
		"create upload":  m.do((*machine).createUpload),
		"put part":       m.do((*machine).putPart),
		"put part 2":     m.do((*machine).putPart),
		"complete":       m.do((*machine).complete),
		"complete again": m.do((*machine).completeAgain),
		"abort":          m.do((*machine).abort),
		"purge":          m.do((*machine).purge),
		"move":           m.do((*machine).move),
		"move 2":         m.do((*machine).move),
		"restripe":       m.do((*machine).restripe),
		"queue repair":   m.do((*machine).queueRepair),
		"put doc":        m.do((*machine).putDoc),
		"delete doc":     m.do((*machine).deleteDoc),
		"reopen":         m.do((*machine).reopen),
		"crash":          m.do((*machine).crash),
		"check":          m.do(func(m *machine) { m.model.check(m.t, m.s) }),
	})
	m.model.check(t, m.s)
	m.finish()
}

type machine struct {
	t       *rapid.T
	backend Backend
	s       meta.Store
	model   *model
	seq     uint64
	applied uint64
}

func (m *machine) do(fn func(*machine)) func(*rapid.T) {
	return func(t *rapid.T) {
		m.t = t
		fn(m)
	}
}

func (m *machine) open() {
	var err error
	if m.s, err = m.backend.Open(); err != nil {
		m.t.Fatalf("open: %v", err)
	}
	if n := m.s.Applied(); n != m.applied {
		m.t.Fatalf("applied index %d, want %d", n, m.applied)
	}
}

func (m *machine) reopen() {
	m.applied = m.s.Applied()
	if err := m.s.Close(); err != nil {
		m.t.Fatalf("close: %v", err)
	}
	m.open()
}

func (m *machine) crash() {
	m.applied = m.s.Applied()
	m.backend.Crash(rapid.Int64().Draw(m.t, "seed"))
	if err := m.s.Close(); err != nil {
		m.t.Fatalf("close: %v", err)
	}
	m.open()
	m.model.check(m.t, m.s)
}

// finish empties the store by commands and checks that nothing is left behind.
func (m *machine) finish() {
	m.applied = m.s.Applied()
	for _, name := range slices.Sorted(maps.Keys(m.model.buckets)) {
		b := m.model.buckets[name]
		for _, id := range sortedIDs(b.uploads) {
			must(m.t, m.s, &meta.AbortUpload{Bucket: b.rec, Key: b.uploads[id].Key, UploadID: id})
		}
		for _, key := range slices.Sorted(maps.Keys(b.objects)) {
			must(m.t, m.s, &meta.DeleteObject{Bucket: b.rec, Key: key, IfSize: -1})
		}
		must(m.t, m.s, &meta.DeleteBucket{Name: name})
	}
	all, err := meta.DueGarbage(m.s, math.MaxInt64, math.MaxInt)
	if err != nil {
		m.t.Fatalf("delete queue: %v", err)
	}
	must(m.t, m.s, &meta.Purge{Entries: all})
	for path := range m.model.docs {
		must(m.t, m.s, &meta.DeleteDoc{Path: path, IfRev: -1})
	}
	left, err := Dump(m.s)
	if err != nil {
		m.t.Fatalf("dump: %v", err)
	}
	delete(left, string(meta.AppliedKey()))
	delete(left, "\x00\x00i") // the last bucket id is kept for good
	if len(left) > 0 {
		m.t.Fatalf("records left behind: %q", left)
	}
}

func sortedIDs[V any](m map[[16]byte]V) [][16]byte {
	return slices.SortedFunc(maps.Keys(m), func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
}

// expect runs cmd, which has to end with want.
func (m *machine) expect(cmd meta.Command, want error) bool {
	m.t.Helper()
	before := m.s.Applied()
	if err := mutate(m.t, m.s, cmd); !errors.Is(err, want) {
		m.t.Fatalf("%T: %v, want %v\n%+v", cmd, err, want, cmd)
	}
	if want != nil && m.s.Applied() != before {
		m.t.Fatalf("%T failed and was applied", cmd)
	}
	return want == nil
}

func (m *machine) id() (id [16]byte) {
	m.seq++
	binary.BigEndian.PutUint64(id[:], m.seq)
	id[15] = 7
	return id
}

func (m *machine) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(m.t, label)
}

func (m *machine) int(label string, lo, hi int64) int64 {
	return rapid.Int64Range(lo, hi).Draw(m.t, label)
}

func (m *machine) key() string {
	return m.pick("key", "a", "a\x00", "a\x00\x01", "a\x00\xff", "a/", "a/b", "a/b/c", "ab", "b", "\xff\xff", "ü/€", strings.Repeat("k", 1024))
}

// bucket picks a bucket that exists, or skips the step.
func (m *machine) bucket() *bucketModel {
	names := slices.Sorted(maps.Keys(m.model.buckets))
	if len(names) == 0 {
		m.t.Skip("no bucket")
	}
	return m.model.buckets[m.pick("bucket", names...)]
}

// blob makes a blob of any kind.
func (m *machine) blob() (layout.Blob, []byte) {
	b := layout.Blob{ID: m.id()}
	switch m.pick("blob", "none", "inline", "inline", "single", "single", "striped", "striped") {
	case "none":
		return layout.Blob{}, nil
	case "inline":
		v := []byte(strings.Repeat("x", int(m.int("size", 0, 3000))))
		b.Size = int64(len(v))
		return b, v
	case "striped":
		return m.striped(b), nil
	}
	b.Kind = layout.KindSingle
	b.Size = m.int("size", 0, 1<<40)
	b.Fragments = []layout.Fragment{m.fragment()}
	return b, nil
}

func (m *machine) etag() string {
	return m.pick("etag", strings.Repeat("0a", 16), strings.Repeat("0a", 16)+"-3", "odd", "")
}

// describe fills in an object's descriptive fields; long ones go beyond what a
// head can hold.
func (m *machine) describe(o *meta.Object) {
	o.ModTime = m.int("mtime", 0, 5) * int64(700*time.Millisecond)
	o.Owner = m.pick("owner", "", "alice")
	o.Class = m.pick("class", "", "GLACIER")
	if m.int("headers", 0, 1) == 1 {
		o.Headers = []meta.Header{{Name: "Content-Type", Value: "text/plain"}}
	}
	if m.int("long", 0, 2) == 0 {
		o.Metadata = []meta.Header{{Name: "m", Value: strings.Repeat("v", 400)}}
		o.Tags = []meta.Header{{Name: "t", Value: ""}}
	}
	if m.int("checksum", 0, 2) == 0 {
		o.Checksum = meta.Checksum{Algorithm: "CRC32C", Type: "FULL_OBJECT", Value: []byte{1, 2, 3, 4}}
	}
	if m.int("seal", 0, 2) == 0 {
		o.Seal = &meta.Seal{
			Mode: meta.SealMode(m.int("mode", 1, 3)), Ring: 7, Box: []byte(strings.Repeat("b", 73)),
			KeyID: m.pick("key id", "", "main"), BucketKey: true, Binding: [16]byte{9},
		}
	}
}

func (m *machine) condition() (c meta.Condition) {
	switch m.int("condition", 0, 8) {
	case 0:
		c.IfNoneMatchAny = true
	case 1:
		c.IfMatch = []string{"other", m.etag()}
	case 2:
		c.IfMatch = []string{"*"}
	case 3:
		c.IfNoneMatch = []string{m.etag()}
	}
	return c
}

func (m *machine) createBucket() {
	name := m.pick("name", "one", "two", "three")
	c := &meta.CreateBucket{Bucket: meta.Bucket{Name: name, Owner: m.pick("owner", "", "bob"), Created: m.int("created", 0, 9), Location: m.pick("location", "", "eu")}}
	if old, ok := m.model.buckets[name]; ok {
		m.expect(c, meta.ErrBucketExists)
		if c.Result.ID != old.rec.ID || c.Result.Owner != old.rec.Owner {
			m.t.Fatalf("existing bucket %+v, want %+v", c.Result, old.rec)
		}
		return
	}
	m.expect(c, nil)
	m.model.lastBucket++
	if c.Result.ID != m.model.lastBucket || c.Result.Slot == 0 || c.Result.Slots != 1 {
		m.t.Fatalf("new bucket %+v", c.Result)
	}
	m.model.buckets[name] = &bucketModel{
		rec:       c.Result,
		objects:   map[string]objectModel{},
		uploads:   map[[16]byte]*uploadModel{},
		docs:      map[string]docModel{},
		completed: map[[16]byte]completedModel{},
	}
}

func (m *machine) deleteBucket() {
	b := m.bucket()
	c := &meta.DeleteBucket{Name: b.rec.Name}
	if len(b.objects)+len(b.uploads) > 0 {
		m.expect(c, meta.ErrBucketNotEmpty)
		return
	}
	m.expect(c, nil)
	delete(m.model.buckets, b.rec.Name)
	m.expect(c, meta.ErrNoBucket)
	// Whoever still holds the record can do nothing with it.
	m.expect(&meta.PutObject{Bucket: b.rec, Object: meta.Object{Key: "k", Version: m.id()}}, meta.ErrNoBucket)
	m.expect(&meta.DeleteObject{Bucket: b.rec, Key: "k", IfSize: -1}, meta.ErrNoBucket)
	m.expect(&meta.CreateUpload{Bucket: b.rec, Upload: meta.Upload{ID: m.id(), Key: "k"}}, meta.ErrNoBucket)
	m.expect(&meta.PutPart{Bucket: b.rec, Key: "k", UploadID: m.id(), Part: meta.Part{Number: 1}}, meta.ErrNoBucket)
	m.expect(&meta.PutDoc{Bucket: b.rec.ID, Slot: b.rec.Slot, Path: "p", IfRev: -1}, meta.ErrNoBucket)
}

func (m *machine) putObject() {
	b := m.bucket()
	c := &meta.PutObject{Bucket: b.rec, If: m.condition(), Due: m.int("due", -3, 3)}
	o := &c.Object
	o.Key, o.Version, o.ETag = m.key(), m.id(), m.etag()
	m.describe(o)
	o.Blob, c.Inline = m.blob()
	o.Size = o.Blob.Size
	old := b.object(o.Key)
	if !m.expect(c, condition(c.If, old)) {
		return
	}
	if old != nil {
		m.model.drop(b.rec.Slot, *old, c.Due)
	}
	m.model.place(b, o.Key, o.Blob, c.Inline, o.ModTime)
	stored := *o
	stored.Blob = bare(stored.Blob)
	b.objects[o.Key] = objectModel{Object: stored}
	if m.int("again", 0, 9) == 0 {
		m.expect(c, nil) // a retry after an unknown outcome changes nothing
	}
}

func (m *machine) deleteObject() {
	b := m.bucket()
	c := &meta.DeleteObject{Bucket: b.rec, Key: m.key(), If: m.condition(), IfSize: -1, Due: m.int("due", -3, 3)}
	old := b.object(c.Key)
	if m.int("if size", 0, 5) == 0 {
		c.IfSize = m.int("size", 0, 2)
	}
	if m.int("if mtime", 0, 5) == 0 {
		c.IfMTime = m.int("mtime", 1, 4) * int64(time.Second)
	}
	want := condition(c.If, old)
	if want == nil && old != nil {
		sizeOff := c.IfSize >= 0 && c.IfSize != old.Size
		timeOff := c.IfMTime != 0 && c.IfMTime/int64(time.Second) != old.ModTime/int64(time.Second)
		if sizeOff || timeOff {
			want = meta.ErrPrecondition
		}
	}
	if !m.expect(c, want) {
		return
	}
	if c.Existed != (old != nil) {
		m.t.Fatalf("existed %t, want %t", c.Existed, old != nil)
	}
	if old != nil {
		m.model.drop(b.rec.Slot, *old, c.Due)
		delete(b.objects, c.Key)
	}
}

func (m *machine) purge() {
	due := m.int("due", -4, 4)
	if m.int("all", 0, 3) == 0 {
		due = math.MaxInt64
	}
	limit := int(m.int("max", 1, 50))
	list, err := meta.DueGarbage(m.s, due, limit)
	if err != nil {
		m.t.Fatalf("delete queue: %v", err)
	}
	ready := 0
	gone := map[layout.BlobID]bool{}
	for _, q := range m.model.queue {
		if q.Due <= due {
			ready++
		}
	}
	if len(list) != min(limit, ready) {
		m.t.Fatalf("%d entries due, want %d", len(list), min(limit, ready))
	}
	latest := int64(math.MinInt64)
	for _, g := range list {
		gone[g.Blob.ID] = true
		latest = max(latest, g.Due)
	}
	var rest []queued
	for _, q := range m.model.queue {
		if gone[q.Blob.ID] {
			continue
		}
		if q.Due < latest {
			m.t.Fatalf("entry due at %d passed over for one due at %d", q.Due, latest)
		}
		rest = append(rest, q)
	}
	m.model.queue = rest
	c := &meta.Purge{Entries: append(list, list...)}
	for _, g := range list { // what lies elsewhere now than the list says
		if _, ok := m.model.places[g.Blob.ID]; ok && m.int("move first", 0, 3) == 0 {
			m.moveBlob(g.Blob.ID)
		}
	}
	m.expect(c, nil)
	if len(c.Done) != len(list) {
		m.t.Fatalf("purged %d, want %d", len(c.Done), len(list))
	}
	for i, g := range c.Done {
		same(m.t, "purged", g, m.model.located(list[i]))
		delete(m.model.places, g.Blob.ID)
		delete(m.model.repairs, g.Blob.ID)
	}
	m.expect(c, nil)
	if len(c.Done) != 0 {
		m.t.Fatalf("purged %d twice", len(c.Done))
	}
	m.forgetCompletions(gone)
}

func (m *machine) forgetCompletions(gone map[layout.BlobID]bool) {
	for _, b := range m.model.buckets {
		for id := range b.completed {
			if gone[id] {
				delete(b.completed, id)
			}
		}
	}
}

func (m *machine) docs() (meta.BucketID, meta.Slot, map[string]docModel) {
	if m.int("cluster", 0, 1) == 1 || len(m.model.buckets) == 0 {
		return 0, 0, m.model.docs
	}
	b := m.bucket()
	return b.rec.ID, b.rec.Slot, b.docs
}

func (m *machine) putDoc() {
	id, slot, docs := m.docs()
	c := &meta.PutDoc{Bucket: id, Slot: slot, Path: m.pick("path", "p", "p/q", "r"), Value: []byte(m.pick("value", "", "v1", "v2")), IfRev: m.int("rev", -1, 2)}
	old := docs[c.Path]
	var want error
	if c.IfRev >= 0 && c.IfRev != old.rev {
		want = meta.ErrConflict
	}
	if !m.expect(c, want) {
		return
	}
	if c.Rev != old.rev+1 {
		m.t.Fatalf("revision %d after %d", c.Rev, old.rev)
	}
	docs[c.Path] = docModel{string(c.Value), c.Rev}
	d, err := meta.GetDoc(m.s, slot, id, c.Path)
	if err != nil {
		m.t.Fatalf("GetDoc: %v", err)
	}
	same(m.t, "document", fmt.Sprint(d), fmt.Sprint(meta.Doc{Path: c.Path, Value: c.Value, Rev: c.Rev}))
}

func (m *machine) deleteDoc() {
	id, slot, docs := m.docs()
	c := &meta.DeleteDoc{Bucket: id, Slot: slot, Path: m.pick("path", "p", "p/q", "r"), IfRev: m.int("rev", -1, 2)}
	old, ok := docs[c.Path]
	var want error
	if !ok {
		want = meta.ErrNoDoc
	} else if c.IfRev >= 0 && c.IfRev != old.rev {
		want = meta.ErrConflict
	}
	if m.expect(c, want) {
		delete(docs, c.Path)
	}
}
