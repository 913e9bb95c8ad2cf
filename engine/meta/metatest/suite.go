package metatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// Run checks the stores that open makes. Each call of open returns a new,
// empty store, which the suite closes.
func Run(t *testing.T, open func(t *testing.T) meta.Store) {
	tests := []struct {
		name string
		fn   func(t *testing.T, s meta.Store)
	}{
		{"Buckets", testBuckets},
		{"Objects", testObjects},
		{"Tags", testTags},
		{"Limits", testLimits},
		{"ManyParts", testManyParts},
		{"Snapshot", testSnapshot},
		{"Iterator", testIterator},
		{"Transaction", testTransaction},
		{"Repair", testRepair},
		{"Audit", testAudit},
		{"Corruption", testCorruption},
		{"Listing", testListing},
		{"ListingSkips", testListingSkips},
		{"ListUploads", testListUploads},
		{"Documents", testDocuments},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			defer func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			tt.fn(t, s)
			if t.Failed() || tt.name == "Corruption" {
				return
			}
			if err := Verify(s); err != nil {
				t.Errorf("verify: %v", err)
			}
		})
	}
	t.Run("Deterministic", func(t *testing.T) { testDeterministic(t, open(t), open(t)) })
	t.Run("Closed", func(t *testing.T) { testClosed(t, open(t)) })
}

func newBucket(t testing.TB, s meta.Store, name string) meta.Bucket {
	t.Helper()
	c := &meta.CreateBucket{Bucket: meta.Bucket{Name: name, Owner: "alice", Created: 5}}
	must(t, s, c)
	return c.Result
}

func id(n int) (id [16]byte) {
	copy(id[:], fmt.Sprintf("%016d", n))
	return id
}

func single(n int, size int64) layout.Blob {
	return layout.Blob{ID: id(n), Size: size, Kind: layout.KindSingle, Fragments: []layout.Fragment{{
		Drive:   layout.DriveID{1},
		Extents: []layout.Extent{{Off: int64(n) << 20, Len: 1 << 20}},
	}}}
}

// put stores an object without data.
func put(t testing.TB, s meta.Store, b meta.Bucket, key string, n int) {
	t.Helper()
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: key, Version: id(n)}})
}

func testBuckets(t *testing.T, s meta.Store) {
	if _, err := meta.GetBucket(s, "none"); !errors.Is(err, meta.ErrNoBucket) {
		t.Fatalf("GetBucket: %v", err)
	}
	names := []string{"a", "a-b", "b", "z"}
	for i := len(names) - 1; i >= 0; i-- {
		newBucket(t, s, names[i])
	}
	for _, after := range append([]string{"", "0", "a-", "zz"}, names...) {
		var got, want []string
		if err := meta.ListBuckets(s, after, func(b meta.Bucket) bool {
			got = append(got, b.Name)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if n > after {
				want = append(want, n)
			}
		}
		same(t, "buckets after "+after, got, want)
	}
	n := 0
	if err := meta.ListBuckets(s, "", func(meta.Bucket) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Fatalf("stopped after %d: %v", n, err)
	}
	old, _ := meta.GetBucket(s, "a")
	must(t, s, &meta.DeleteBucket{Name: "a"})
	if b := newBucket(t, s, "a"); b.ID == old.ID {
		t.Fatal("bucket id used twice")
	}
}

func testObjects(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	if _, err := meta.GetObject(s, &b, "k"); !errors.Is(err, meta.ErrNoObject) {
		t.Fatalf("GetObject: %v", err)
	}
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Version: id(1), Size: 3, Blob: layout.Blob{ID: id(1), Size: 3}}, Inline: []byte("one")})
	c := &Counting{Reader: s}
	o, err := meta.GetObject(c, &b, "k")
	if err != nil || c.Gets != 1 || c.Iters != 0 {
		t.Fatalf("GetObject of a short record: %d gets, %d iterators: %v", c.Gets, c.Iters, err)
	}
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Version: id(2), Size: 9, Blob: single(2, 9)}, Due: 7})
	// Who read the record before may still read its data until it is purged.
	if v, err := meta.Inline(s, b.Slot, o.Blob.ID); err != nil || string(v) != "one" {
		t.Fatalf("replaced payload: %q %v", v, err)
	}
	due, err := meta.DueGarbage(s, 6, 10)
	if err != nil || len(due) != 0 {
		t.Fatalf("due early: %v %v", due, err)
	}
	due, err = meta.DueGarbage(s, 7, 10)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "due", due, []meta.Garbage{{Slot: b.Slot, Due: 7, Pin: id(1), Blob: layout.Blob{ID: id(1), Size: 3}}})
	must(t, s, &meta.Purge{Entries: due})
	if _, err := meta.Inline(s, b.Slot, o.Blob.ID); !errors.Is(err, meta.ErrBadRecord) {
		t.Fatalf("purged payload: %v", err)
	}
	if v, err := meta.Inline(s, b.Slot, layout.BlobID{}); err != nil || len(v) != 0 {
		t.Fatalf("payload of no blob: %q %v", v, err)
	}
	must(t, s, &meta.DeleteObject{Bucket: b, Key: "k", IfSize: -1, Due: 8})
	if due, err = meta.DueGarbage(s, math.MaxInt64, 10); err != nil {
		t.Fatal(err)
	}
	same(t, "due", due, []meta.Garbage{{Slot: b.Slot, Due: 8, Pin: id(2), Blob: single(2, 9)}})
}

func testLimits(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	long := strings.Repeat("k", 1025)
	inline := layout.Blob{ID: id(1), Size: 2}
	odd := single(1, 1)
	odd.Kind = layout.KindStriped + 1
	gone := mirrored(1, false)
	gone.Fragments[0].Extents = nil
	flat := mirrored(1, true)
	flat.Data = 0
	for _, cmd := range []meta.Command{
		&meta.CreateBucket{},
		&meta.CreateBucket{Bucket: meta.Bucket{Name: strings.Repeat("b", 256)}},
		&meta.PutObject{Bucket: b},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: long}},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Size: -1}},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", PartCount: 1}},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k"}, Inline: []byte("x")},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Blob: inline}, Inline: []byte("x")},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Blob: single(1, -1)}},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Blob: layout.Blob{ID: id(1), Kind: layout.KindSingle}}},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Blob: odd}},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Blob: gone}},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Blob: flat}},
		&meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Seal: &meta.Seal{}}},
		&meta.DeleteObject{Bucket: b, Key: long},
		&meta.CreateUpload{Bucket: b},
		&meta.CreateUpload{Bucket: b, Upload: meta.Upload{Key: "k", Object: meta.Object{Seal: &meta.Seal{Mode: 9}}}},
		&meta.PutPart{Bucket: b, Key: "k", Part: meta.Part{Number: 0}},
		&meta.PutPart{Bucket: b, Key: "k", Part: meta.Part{Number: 10001}},
		&meta.PutDoc{},
		&meta.PutDoc{Path: strings.Repeat("p", 513)},
		&meta.PutDoc{Path: "p", Slot: 3},
		&meta.PutDoc{Path: "p", Value: make([]byte, 1<<20+1)},
	} {
		mustFail(t, s, cmd, meta.ErrInvalid)
	}
	put(t, s, b, strings.Repeat("k", 1024), 1)
	must(t, s, &meta.PutDoc{Path: strings.Repeat("p", 512), Value: make([]byte, 1<<20), IfRev: 0})
}

// testManyParts completes 10,000 parts and reads ranges of them.
func testManyParts(t *testing.T, s meta.Store) {
	const parts = 10000
	b := newBucket(t, s, "b")
	up := meta.Upload{ID: id(1), Key: "big"}
	must(t, s, &meta.CreateUpload{Bucket: b, Upload: up})
	c := &meta.CompleteUpload{Bucket: b, Key: "big", UploadID: up.ID, Size: -1, Version: id(7), Seal: seal}
	starts := make([]int64, parts+1)
	errs := make(chan error, parts)
	for n := 1; n <= parts; n++ {
		size := int64(5 + n%3)
		starts[n] = starts[n-1] + size
		cmd := &meta.PutPart{Bucket: b, Key: "big", UploadID: up.ID, Part: meta.Part{Number: int32(n), Size: size, ETag: "e", Blob: single(n, size)}}
		go func() { errs <- s.Mutate(context.Background(), b.Slot, cmd) }()
		c.Parts = append(c.Parts, meta.PartRef{Number: int32(n), ETag: "e"})
	}
	for range parts {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	must(t, s, c)
	o, err := meta.GetObject(s, &b, "big")
	if err != nil || o.Size != starts[parts] || o.PartCount != parts {
		t.Fatalf("%+v %v", o, err)
	}
	for _, first := range []int{1, 2, 64, 65, 5000, 9984, 9985, 10000} {
		for _, count := range []int{1, 2, 64, 130} {
			last := min(first+count-1, parts)
			cr := &Counting{Reader: s}
			got, start, err := meta.LoadParts(cr, &b, &o, starts[first-1]+1, starts[last]-starts[first-1]-1)
			if err != nil || start != starts[first-1] || len(got) != last-first+1 || got[0].Number != int32(first) || got[len(got)-1].Number != int32(last) {
				t.Fatalf("parts %d-%d: %d parts at %d: %v", first, last, len(got), start, err)
			}
			if most := 1 + (count+62)/64 + 1; cr.Gets > most || cr.Iters > 0 {
				t.Fatalf("parts %d-%d cost %d gets, want at most %d", first, last, cr.Gets, most)
			}
		}
		cr := &Counting{Reader: s}
		p, start, err := meta.LoadPart(cr, &b, &o, int32(first))
		if err != nil || p.Number != int32(first) || start != starts[first-1] || cr.Gets != 1 {
			t.Fatalf("part %d: %+v at %d: %v", first, p, start, err)
		}
	}
	for _, n := range []int32{0, -1, parts + 1} {
		if _, _, err := meta.LoadPart(s, &b, &o, n); !errors.Is(err, meta.ErrInvalidPart) {
			t.Fatalf("part %d: %v", n, err)
		}
	}
	if got, _, err := meta.LoadParts(s, &b, &o, o.Size, -1); err != nil || len(got) != 0 {
		t.Fatalf("beyond the end: %d %v", len(got), err)
	}
	must(t, s, &meta.DeleteObject{Bucket: b, Key: "big", IfSize: -1, Due: 1})
	// A reader that holds the record can still find the parts.
	if got, _, err := meta.LoadParts(s, &b, &o, 0, -1); err != nil || len(got) != parts {
		t.Fatalf("parts of a deleted object: %d %v", len(got), err)
	}
	due, err := meta.DueGarbage(s, math.MaxInt64, math.MaxInt)
	if err != nil || len(due) != parts+2 {
		t.Fatalf("%d entries queued: %v", len(due), err)
	}
	must(t, s, &meta.Purge{Entries: due})
	if _, _, err := meta.LoadParts(s, &b, &o, 0, -1); !errors.Is(err, meta.ErrBadRecord) {
		t.Fatalf("parts of a purged object: %v", err)
	}
	left, err := Dump(s)
	if err != nil || len(left) != 6 { // applied index, last id, bucket, marker, two counters
		t.Fatalf("%d records left: %v", len(left), err)
	}
}

func testSnapshot(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	put(t, s, b, "old", 1)
	snap := s.Snapshot()
	before, err := Dump(snap)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, b, "new", 2)
	must(t, s, &meta.DeleteObject{Bucket: b, Key: "old", IfSize: -1})
	if _, err := meta.GetObject(snap, &b, "new"); !errors.Is(err, meta.ErrNoObject) {
		t.Errorf("new object in an old snapshot: %v", err)
	}
	if _, err := meta.GetObject(snap, &b, "old"); err != nil {
		t.Errorf("old object: %v", err)
	}
	after, err := Dump(snap)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "snapshot", after, before)
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
}

func testIterator(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	for i, k := range []string{"a", "c", "e", "g"} {
		put(t, s, b, k, i+1)
	}
	prefix := fmt.Appendf(nil, "\x00%ch\x00\x00\x00\x00\x00\x00\x00%c", byte(b.Slot), byte(b.ID))
	at := func(k string) []byte { return append(bytes.Clone(prefix), k...) }
	it := s.Iter(at("b"), at("g"))
	var got []string
	for ok := it.Next(); ok; ok = it.Next() {
		got = append(got, string(it.Key()[len(prefix):]))
	}
	same(t, "bounded keys", got, []string{"c", "e"})
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		t.Fatal(err)
	}
	it = s.Iter(at(""), at("z"))
	if !it.Next() || !it.SeekGE(at("d")) || !bytes.Equal(it.Key(), at("e")) || !it.Next() || !bytes.Equal(it.Key(), at("g")) || it.Next() {
		t.Fatalf("seek in an iterator")
	}
	if it.SeekGE(at("h")) {
		t.Fatalf("key beyond the last: %q", it.Key())
	}
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		t.Fatal(err)
	}
}

// script is a command made of a function.
type script func(tx meta.Tx) error

// Apply implements meta.Command.
func (f script) Apply(tx meta.Tx) error { return f(tx) }

func testTransaction(t *testing.T, s meta.Store) {
	ctx := context.Background()
	before, err := Dump(s)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	write := func(tx meta.Tx) {
		tx.Put([]byte("\x00\x00fzzzz"), []byte("v"))
		tx.AddCounter([]byte("\x00\x00fn"), 1)
		tx.Delete([]byte("\x00\x00fm"))
	}
	if err := s.Mutate(ctx, 0, script(func(tx meta.Tx) error { write(tx); return boom })); !errors.Is(err, boom) {
		t.Fatalf("failing command: %v", err)
	}
	if err := s.Mutate(ctx, 0, script(func(tx meta.Tx) error { write(tx); panic("bug") })); err == nil {
		t.Fatal("a panicking command succeeded")
	}
	after, err := Dump(s)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "state after failed commands", after, before)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Mutate(cancelled, 0, script(func(meta.Tx) error { t.Error("applied"); return nil })); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	key := []byte("\x00\x05n")
	for _, d := range []int64{5, -8, math.MaxInt64} {
		if err := s.Mutate(ctx, 0, script(func(tx meta.Tx) error { tx.AddCounter(key, d); return nil })); err != nil {
			t.Fatal(err)
		}
	}
	v, ok, err := s.Get(key)
	if err != nil || !ok || !bytes.Equal(v, []byte{0x7F, 255, 255, 255, 255, 255, 255, 252}) {
		t.Fatalf("counter %x %t %v", v, ok, err)
	}
	if err := s.Mutate(ctx, 0, script(func(tx meta.Tx) error { tx.Delete(key); return nil })); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Get(key); ok || err != nil {
		t.Fatalf("deleted counter: %t %v", ok, err)
	}
}

// testCorruption changes single bytes of every record: reads fail or return
// something, but nothing panics, and payloads never come back altered.
func testCorruption(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	blob := layout.Blob{ID: id(1), Size: 3}
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Version: id(1), Blob: blob, Size: 3}, Inline: []byte("one")})
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "l", Version: id(2), Blob: single(2, 4), Size: 4, Metadata: []meta.Header{{Name: "m", Value: strings.Repeat("v", 400)}}}})
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "m", Version: id(3), Blob: mirrored(3, false), Size: 9}})
	must(t, s, &meta.PutDoc{Path: "p", Value: []byte("v")})
	all, err := Dump(s)
	if err != nil {
		t.Fatal(err)
	}
	write := func(k, v string) {
		if err := s.Mutate(context.Background(), 0, script(func(tx meta.Tx) error { tx.Put([]byte(k), []byte(v)); return nil })); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range all {
		if k[2] == 'n' || k == string(meta.AppliedKey()) {
			continue // counters are sums, not records
		}
		for i := 0; i <= len(v) && i < 80; i++ {
			bad := []byte(v[:i])
			if i < len(v) && i%2 == 0 {
				bad = []byte(v)
				bad[i] ^= 0xFF
			}
			write(k, string(bad))
			_ = Verify(s)
			if got, err := meta.Inline(s, b.Slot, blob.ID); err == nil && string(got) != "one" {
				t.Fatalf("payload %q", got)
			}
		}
		write(k, "\x02"+v[min(1, len(v)):])
		if k[2] == 'B' {
			if _, err := meta.GetBucket(s, "b"); !errors.Is(err, meta.ErrNewer) {
				t.Fatalf("newer record: %v", err)
			}
		}
		write(k, v)
	}
}

func testDocuments(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	for _, p := range []string{"users/alice", "users/bob", "usersx", "groups/g"} {
		must(t, s, &meta.PutDoc{Path: p, Value: []byte(p), IfRev: 0})
		must(t, s, &meta.PutDoc{Bucket: b.ID, Slot: b.Slot, Path: p, IfRev: -1})
	}
	var got []string
	if err := meta.ListDocs(s, 0, 0, "users/", func(d meta.Doc) bool {
		got = append(got, d.Path+"="+string(d.Value))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	same(t, "documents", got, []string{"users/alice=users/alice", "users/bob=users/bob"})
	if _, err := meta.GetDoc(s, 0, 0, "users"); !errors.Is(err, meta.ErrNoDoc) {
		t.Fatalf("GetDoc: %v", err)
	}
	mustFail(t, s, &meta.PutDoc{Path: "usersx", IfRev: 0}, meta.ErrConflict)
	mustFail(t, s, &meta.DeleteDoc{Path: "none", IfRev: -1}, meta.ErrNoDoc)
	must(t, s, &meta.DeleteBucket{Name: "b"}) // takes its documents along
	n := 0
	if err := meta.ListDocs(s, b.Slot, b.ID, "", func(meta.Doc) bool { n++; return true }); err != nil || n != 0 {
		t.Fatalf("%d documents of a deleted bucket: %v", n, err)
	}
}

// testDeterministic applies the same commands to two stores.
func testDeterministic(t *testing.T, a, b meta.Store) {
	var dumps []map[string]string
	for _, s := range []meta.Store{a, b} {
		bk := newBucket(t, s, "b")
		for i := range 300 {
			o := meta.Object{Key: fmt.Sprint("k", i%40), Version: id(i), Blob: single(i, 9), Size: 9}
			o.Metadata = []meta.Header{{Name: "n", Value: strings.Repeat("v", i)}}
			must(t, s, &meta.PutObject{Bucket: bk, Object: o, Due: int64(i)})
		}
		for u := range 5 {
			uid := id(1000 + u)
			must(t, s, &meta.CreateUpload{Bucket: bk, Upload: meta.Upload{ID: uid, Key: "k1"}})
			for n := range 9 {
				must(t, s, &meta.PutPart{Bucket: bk, Key: "k1", UploadID: uid, Part: meta.Part{Number: int32(n + 1), ETag: "e", Blob: single(10000+u*100+n, 3), Size: 3}})
			}
			must(t, s, &meta.CompleteUpload{Bucket: bk, Key: "k1", UploadID: uid, Size: -1, Version: id(2000 + u), Seal: seal,
				Parts: []meta.PartRef{{Number: 2, ETag: "e"}, {Number: 5, ETag: "e"}}})
		}
		d, err := Dump(s)
		if err != nil {
			t.Fatal(err)
		}
		dumps = append(dumps, d)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "dump", dumps[1], dumps[0])
}

func testClosed(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
	if _, _, err := s.Get(meta.AppliedKey()); !errors.Is(err, meta.ErrClosed) {
		t.Fatalf("Get: %v", err)
	}
	if _, err := meta.ListObjects(s, &b, meta.ListObjectsRequest{Max: 1}); !errors.Is(err, meta.ErrClosed) {
		t.Fatalf("ListObjects: %v", err)
	}
	snap := s.Snapshot()
	if _, _, err := snap.Get(meta.AppliedKey()); !errors.Is(err, meta.ErrClosed) {
		t.Fatalf("Get of a snapshot: %v", err)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Mutate(context.Background(), 0, &meta.DeleteBucket{Name: "b"}); !errors.Is(err, meta.ErrClosed) {
		t.Fatalf("Mutate: %v", err)
	}
}
