package metatest

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// loadRepairs reads the repair queue in pages of several sizes, which have to agree.
func loadRepairs(r meta.Reader) ([]meta.Repair, error) {
	all, err := meta.Repairs(r, meta.BlobCursor{}, math.MaxInt)
	if err != nil {
		return nil, err
	}
	var paged []meta.Repair
	for after := (meta.BlobCursor{}); ; {
		page, err := meta.Repairs(r, after, 2)
		if err != nil {
			return nil, err
		}
		for _, p := range page {
			if p.Slot < after.Slot || p.Slot == after.Slot && string(p.Blob.ID[:]) <= string(after.Blob[:]) {
				return nil, fmt.Errorf("repair queue out of order: %v behind %v", p.Blob.ID, after)
			}
			after = meta.BlobCursor{Slot: p.Slot, Blob: p.Blob.ID}
		}
		if paged = append(paged, page...); len(page) < 2 {
			break
		}
	}
	if !reflect.DeepEqual(paged, all) {
		return nil, fmt.Errorf("repair queue in pages\n%+v\nat once\n%+v", paged, all)
	}
	if n, err := meta.CountRepairs(r, math.MaxInt64); err != nil || n != int64(len(all)) {
		return nil, fmt.Errorf("%d entries in the repair queue, %d of them with a blob: %v", n, len(all), err)
	}
	return all, nil
}

// verifyRepairs checks that the repair queue holds exactly the blobs that lack
// something.
func (st *state) verifyRepairs() error {
	var errs []error
	queued := map[layout.BlobID]bool{}
	for i := range st.repairs {
		r := &st.repairs[i]
		queued[r.Blob.ID] = true
		if r.Bad == 0 && missing(&r.Blob) == 0 {
			errs = append(errs, fmt.Errorf("blob %v is queued for repair and lacks nothing", r.Blob.ID))
		}
		for n := range 32 {
			if r.Bad&(1<<n) != 0 && (n >= len(r.Blob.Fragments) || len(r.Blob.Fragments[n].Extents) == 0) {
				errs = append(errs, fmt.Errorf("blob %v: fragment %d is bad and has no place", r.Blob.ID, n))
			}
		}
	}
	for id, ref := range st.blobs {
		if missing(&ref.Blob) > 0 && !queued[id] {
			errs = append(errs, fmt.Errorf("blob %v lacks fragments and is not queued for repair", id))
		}
	}
	return errors.Join(errs...)
}

// verifyPlaces checks that the ways to read a back-reference agree.
func verifyPlaces(r meta.Reader, st *state) error {
	var after meta.BlobCursor
	for n := 0; ; n++ {
		var first meta.BackRef
		found := false
		err := meta.BlobsAfter(r, after, func(ref meta.BackRef) error {
			first, found = ref, true
			return errors.ErrUnsupported
		})
		if found != errors.Is(err, errors.ErrUnsupported) || !found && err != nil {
			return fmt.Errorf("blobs after %v: found %t, %w", after, found, err)
		}
		if !found {
			if n != len(st.blobs) {
				return fmt.Errorf("%d blobs one by one, %d at once", n, len(st.blobs))
			}
			return nil
		}
		id := first.Blob.ID
		b, ok, err := meta.Locate(r, first.Slot, id)
		if err != nil || !ok || !reflect.DeepEqual(first, st.blobs[id]) || !reflect.DeepEqual(b, first.Blob) {
			return fmt.Errorf("blob %v: located %t, %w", id, ok, err)
		}
		ref, ok, err := meta.LocateRef(r, first.Slot, id)
		if err != nil || !ok || !reflect.DeepEqual(ref, first) {
			return fmt.Errorf("blob %v: reference located %t, %w", id, ok, err)
		}
		after = meta.BlobCursor{Slot: first.Slot, Blob: id}
	}
}

// mirrored is a blob of two copies, the second of which may be missing.
func mirrored(n int, whole bool) layout.Blob {
	b := layout.Blob{ID: id(n), Size: 9, Kind: layout.KindStriped, Data: 1, Parity: 1, Unit: layout.UnitStep}
	b.Fragments = []layout.Fragment{place(n, 1), {}}
	if whole {
		b.Fragments[1] = place(n, 2)
	}
	return b
}

func place(n int, drive byte) layout.Fragment {
	return layout.Fragment{Drive: layout.DriveID{drive}, Extents: []layout.Extent{{Off: int64(n) << 20, Len: 1 << 20}}}
}

func repairs(t testing.TB, r meta.Reader) []meta.Repair {
	t.Helper()
	list, err := loadRepairs(r)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func testRepair(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	lacking, whole := mirrored(1, false), mirrored(2, true)
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "k", Version: id(1), Size: 9, ModTime: 33, Blob: lacking}})
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "l", Version: id(2), Size: 9, Blob: whole}})
	up := meta.Upload{ID: id(9), Key: "u"}
	must(t, s, &meta.CreateUpload{Bucket: b, Upload: up})
	must(t, s, &meta.PutPart{Bucket: b, Key: "u", UploadID: up.ID, Part: meta.Part{Number: 1, Size: 9, ModTime: 44, Blob: mirrored(3, false)}})
	if o, err := meta.GetObject(s, &b, "k"); err != nil || o.Blob.Fragments != nil || o.Blob.Data != 1 || o.Blob.Unit != layout.UnitStep {
		t.Fatalf("a record tells of its blob %+v, %v", o.Blob, err)
	}
	first := meta.Repair{BackRef: meta.BackRef{Slot: b.Slot, Bucket: b.ID, Key: "k", Blob: lacking}, Since: 33}
	part := meta.Repair{BackRef: meta.BackRef{Slot: b.Slot, Bucket: b.ID, Key: "u", Blob: mirrored(3, false)}, Since: 44}
	same(t, "queue", repairs(t, s), []meta.Repair{first, part})
	if n, err := meta.CountRepairs(s, 1); n != 1 || err != nil {
		t.Fatalf("counted %d, at most 1: %v", n, err)
	}
	if list, err := meta.Repairs(s, meta.BlobCursor{}, 0); len(list) != 0 || err != nil {
		t.Fatalf("a page of none: %+v %v", list, err)
	}

	q := &meta.QueueRepair{Slot: b.Slot, Blob: whole.ID, Bad: 2 | 1<<9, Now: 55}
	if must(t, s, q); !q.Queued {
		t.Fatal("a bad fragment was not queued")
	}
	second := meta.Repair{BackRef: meta.BackRef{Slot: b.Slot, Bucket: b.ID, Key: "l", Blob: whole}, Bad: 2, Since: 55}
	same(t, "queue", repairs(t, s), []meta.Repair{first, second, part})

	testUndecodable(t, s, b, lacking.ID)
	testMoves(t, s, b, lacking, whole)
	testRestripe(t, s, b, whole)
	same(t, "queue", repairs(t, s), []meta.Repair{part})
	must(t, s, &meta.AbortUpload{Bucket: b, Key: "u", UploadID: up.ID})
	must(t, s, &meta.DeleteBucket{Name: mustEmpty(t, s, b)})
	due, err := meta.DueGarbage(s, math.MaxInt64, 10)
	if err != nil || len(due) != 3 {
		t.Fatalf("queued %+v, %v", due, err)
	}
	mv := &meta.MoveFragments{Slot: b.Slot, Blob: whole.ID, Moves: []meta.Move{{Number: 0, From: whole.Fragments[0], To: place(7, 7)}}}
	if must(t, s, mv); !mv.Moved {
		t.Fatal("a blob that waits to be purged did not move")
	}
	p := &meta.Purge{Entries: due}
	must(t, s, p)
	for _, g := range p.Done {
		if g.Blob.ID == whole.ID && g.Blob.Fragments[0].Drive != (layout.DriveID{7}) {
			t.Fatalf("purged where the blob was when the queue was read: %+v", g)
		}
	}
	if mv.Moves[0].From, mv.Moves[0].To = place(7, 7), place(8, 8); len(p.Done) != 3 || len(repairs(t, s)) != 0 {
		t.Fatalf("left after the purge: %+v", repairs(t, s))
	}
	if must(t, s, mv); mv.Moved {
		t.Fatal("a blob that is gone was moved")
	}
	if must(t, s, q); q.Queued {
		t.Fatal("a blob that is gone was queued")
	}
}

// testUndecodable: entries that do not decode do not hold up the rest.
func testUndecodable(t *testing.T, s meta.Store, b meta.Bucket, blob layout.BlobID) {
	slot := string([]byte{0, byte(b.Slot)})
	for _, key := range []string{slot + "q" + string(blob[:]), slot + "b" + string(blob[:]), slot + "q!"} {
		was, ok, err := s.Get([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		must(t, s, script(func(tx meta.Tx) error { tx.Put([]byte(key), []byte{1}); return nil }))
		list, err := meta.Repairs(s, meta.BlobCursor{}, 10)
		if want := 3; err != nil || len(list) != want && !ok || len(list) != want-1 && ok {
			t.Fatalf("with %q damaged: %+v, %v", key, list, err)
		}
		must(t, s, script(func(tx meta.Tx) error {
			if tx.Delete([]byte(key)); ok {
				tx.Put([]byte(key), was)
			}
			return nil
		}))
	}
}

// testMoves gives both blobs what they lack.
func testMoves(t *testing.T, s meta.Store, b meta.Bucket, lacking, whole layout.Blob) {
	mend := &meta.MoveFragments{Slot: b.Slot, Blob: lacking.ID, Moves: []meta.Move{{Number: 1, To: place(1, 4)}}}
	if must(t, s, mend); !mend.Moved {
		t.Fatal("not moved")
	}
	elsewhere := &meta.MoveFragments{Slot: b.Slot, Blob: whole.ID, Moves: []meta.Move{
		{Number: 0, From: whole.Fragments[0], To: place(2, 5)}, {Number: 1, From: place(2, 3), To: place(2, 6)}}}
	if must(t, s, elsewhere); elsewhere.Moved {
		t.Fatal("moved from where it was not")
	}
	for name, moves := range map[string][]meta.Move{
		"negative":   {{Number: -1}},
		"beyond":     {{Number: 2, To: place(1, 1)}},
		"far beyond": {{Number: 40, To: place(1, 1)}},
		"twice":      {{Number: 0, From: whole.Fragments[0], To: place(9, 1)}, {Number: 0, From: whole.Fragments[0], To: place(9, 2)}},
		"nowhere":    {{Number: 0, From: whole.Fragments[0], To: layout.Fragment{Extents: []layout.Extent{{Off: 1}}}}},
		"onto itself": {{Number: 0, From: whole.Fragments[0], To: layout.Fragment{Drive: whole.Fragments[0].Drive,
			Extents: []layout.Extent{{Off: whole.Fragments[0].Extents[0].Off + 4096, Len: 4096}}}}},
	} {
		t.Log(name)
		mustFail(t, s, &meta.MoveFragments{Slot: b.Slot, Blob: whole.ID, Moves: moves}, meta.ErrInvalid)
	}
	// The bad one goes missing, with the other staying, and then gets a place.
	lose := &meta.MoveFragments{Slot: b.Slot, Blob: whole.ID, Now: 66, Moves: []meta.Move{{Number: 1, From: whole.Fragments[1]}}}
	must(t, s, lose)
	if list := repairs(t, s); !lose.Moved || len(list) != 2 || list[0].Bad != 0 || list[0].Since != 55 {
		t.Fatalf("moved %t, queue %+v", lose.Moved, list)
	}
	again := &meta.MoveFragments{Slot: b.Slot, Blob: whole.ID, Moves: []meta.Move{{Number: 1, To: place(2, 2)}}}
	if must(t, s, again); !again.Moved {
		t.Fatal("not moved back")
	}
	if got, ok, err := meta.Locate(s, b.Slot, whole.ID); err != nil || !ok || !reflect.DeepEqual(got, whole) {
		t.Fatalf("located %+v %t %v", got, ok, err)
	}
	nothing := &meta.QueueRepair{Slot: b.Slot, Blob: whole.ID}
	if must(t, s, nothing); nothing.Queued {
		t.Fatal("queued though it lacks nothing")
	}
}

// testRestripe spreads whole otherwise and back.
func testRestripe(t *testing.T, s meta.Store, b meta.Bucket, whole layout.Blob) {
	to := layout.Blob{ID: whole.ID, Size: whole.Size, Kind: layout.KindSingle, Fragments: []layout.Fragment{place(5, 9)}}
	must(t, s, &meta.QueueRepair{Slot: b.Slot, Blob: whole.ID, Bad: 1})
	c := &meta.Restripe{Slot: b.Slot, From: whole, To: to}
	if must(t, s, c); !c.Moved || len(repairs(t, s)) != 1 {
		t.Fatalf("moved %t, queue %+v", c.Moved, repairs(t, s))
	}
	if got, ok, err := meta.Locate(s, b.Slot, whole.ID); err != nil || !ok || !reflect.DeepEqual(got, to) {
		t.Fatalf("located %+v %t %v", got, ok, err)
	}
	stale := &meta.Restripe{Slot: b.Slot, From: whole, To: mirrored(6, true)}
	stale.To.ID = whole.ID
	if must(t, s, stale); stale.Moved {
		t.Fatal("moved from where it was not")
	}
	for name, edit := range map[string]func(*layout.Blob){
		"another blob":  func(b *layout.Blob) { b.ID = id(77) },
		"longer":        func(b *layout.Blob) { b.Size++ },
		"inline":        func(b *layout.Blob) { *b = layout.Blob{ID: b.ID, Size: b.Size} },
		"odd unit":      func(b *layout.Blob) { b.Unit++ },
		"missing":       func(b *layout.Blob) { b.Fragments[1] = layout.Fragment{} },
		"too few":       func(b *layout.Blob) { b.Fragments = b.Fragments[:1] },
		"onto itself":   func(b *layout.Blob) { b.Fragments[1] = to.Fragments[0] },
		"on each other": func(b *layout.Blob) { b.Fragments[1] = b.Fragments[0] },
	} {
		t.Log(name)
		bad := &meta.Restripe{Slot: b.Slot, From: to, To: mirrored(6, true)}
		bad.To.ID = whole.ID
		edit(&bad.To)
		mustFail(t, s, bad, meta.ErrInvalid)
	}
	back := &meta.Restripe{Slot: b.Slot, From: to, To: whole}
	if must(t, s, back); !back.Moved {
		t.Fatal("not spread back")
	}
	gone := &meta.Restripe{Slot: b.Slot, From: mirrored(88, true), To: mirrored(88, true)}
	gone.To.Fragments = []layout.Fragment{place(90, 1), place(90, 2)}
	if must(t, s, gone); gone.Moved {
		t.Fatal("a blob that is gone was moved")
	}
}

// mustEmpty deletes the objects of a bucket and returns its name.
func mustEmpty(t *testing.T, s meta.Store, b meta.Bucket) string {
	t.Helper()
	for _, k := range []string{"k", "l"} {
		must(t, s, &meta.DeleteObject{Bucket: b, Key: k, IfSize: -1})
	}
	return b.Name
}
