package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// verify runs a check and fails unless it finds exactly the kinds given.
func (r *rig) verify(o CheckOptions, kinds ...string) CheckResult {
	r.t.Helper()
	res, err := r.e.Check(context.Background(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, p := range res.Problems {
		got = append(got, p.Kind)
	}
	slices.Sort(got)
	slices.Sort(kinds)
	if !slices.Equal(slices.Compact(got), slices.Compact(kinds)) {
		r.t.Fatalf("found %q, want %q: %+v", got, kinds, res.Problems)
	}
	return res
}

// A check of an engine at work finds nothing.
func TestCheckBusy(t *testing.T) {
	r := newRig(t, rigOptions{drives: 4, arena: 96 << 20})
	r.bucket("b")
	r.put("b", "small", content(1, 900)) // the clients may happen to leave none of either
	r.put("b", "large", content(2, 2_000_000))
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() { r.mixed(uint64(w), &stop) })
	}
	wg.Go(func() { r.shuffle(&stop) })
	end := time.Now().Add(3 * time.Second)
	var seen CheckResult
	for n := 0; n < 3 || time.Now().Before(end); n++ {
		seen = r.verify(CheckOptions{Deep: n%2 == 1})
	}
	stop.Store(true)
	wg.Wait()
	if seen.Blobs == 0 || seen.Objects == 0 || seen.Inline == 0 {
		t.Errorf("nothing was looked at: %+v", seen)
	}
	r.drained()
	seen = r.verify(CheckOptions{Deep: true})
	if seen.Buckets != 1 || seen.Fragments < seen.Blobs || seen.Bytes == 0 || seen.Unreadable != 0 {
		t.Errorf("%+v", seen)
	}
	r.stop()
}

// mixed is a client that does a bit of everything.
func (r *rig) mixed(seed uint64, stop *atomic.Bool) {
	rng := rand.New(rand.NewPCG(seed, 7))
	ctx := context.Background()
	for n := uint64(0); !stop.Load(); n++ {
		key := fmt.Sprint("k", rng.IntN(12))
		data := content(seed<<32|n, rng.Int64N([]int64{2, 900, 100_000, 3_000_000}[rng.IntN(4)]))
		var err error
		switch rng.IntN(8) {
		case 0:
			_, err = r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: key, IfSize: -1})
		case 1:
			_, err = r.e.SetTags(ctx, "b", key, meta.Version{}, []meta.Header{{Name: "t", Value: strings.Repeat("v", rng.IntN(250))}})
			if KindOf(err) == NoObject {
				err = nil
			}
		case 2:
			err = r.threeParts(key, data, rng)
		case 3:
			_, _, err = fetch(r.e, "b", key, rng.IntN(3))
			if KindOf(err) == NoObject {
				err = nil
			}
		case 4:
			name := fmt.Sprint("other", seed)
			if _, err = r.e.CreateBucket(ctx, name, "o", ""); err == nil {
				_, err = r.e.Put(ctx, putRequest(name, key, data))
			}
			if err == nil {
				_, err = r.e.Delete(ctx, DeleteRequest{Bucket: name, Key: key, IfSize: -1})
			}
			if err == nil {
				err = r.e.DeleteBucket(ctx, name)
			}
		default:
			req := putRequest("b", key, data)
			if rng.IntN(3) == 0 {
				req = locked(req)
			}
			_, err = r.e.Put(ctx, req)
		}
		if err != nil {
			r.t.Errorf("%q: %v", key, err)
			return
		}
	}
}

// threeParts makes an object of three parts, or gives it up.
func (r *rig) threeParts(key string, data []byte, rng *rand.Rand) error {
	ctx := context.Background()
	up, err := r.e.CreateUpload(ctx, "b", key, "me", meta.Object{})
	if err != nil {
		return err
	}
	data = append(data, 1) // no part is empty
	var refs []meta.PartRef
	for n := int32(1); n <= 3; n++ {
		if _, err := r.e.PutPart(ctx, PutPartRequest{
			Bucket: "b", Key: key, UploadID: up.ID, Number: n, Size: int64(len(data)), Body: bytes.NewReader(data),
			Finish: func(p *meta.Part) error { p.ETag = etagOf(data); return nil },
		}); err != nil {
			return err
		}
		if n != 2 {
			refs = append(refs, meta.PartRef{Number: n, ETag: etagOf(data)})
		}
	}
	if rng.IntN(3) == 0 {
		return r.e.AbortUpload(ctx, "b", key, up.ID)
	}
	_, err = r.e.CompleteUpload(ctx, CompleteRequest{
		Bucket: "b", Key: key, UploadID: up.ID, Parts: refs, Size: -1,
		Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) {
			return etagOf(data), meta.Checksum{}, nil
		},
	})
	return err
}

// shuffle has fragments made anew all the time, as if they did not verify.
func (r *rig) shuffle(stop *atomic.Bool) {
	for !stop.Load() {
		snap := r.e.store.Snapshot()
		var refs []meta.BackRef
		err := meta.Blobs(snap, func(ref meta.BackRef) error { refs = append(refs, ref); return nil })
		snap.Close()
		if err != nil {
			r.t.Error(err)
			return
		}
		for i := range refs {
			if i%5 == 0 && len(refs[i].Blob.Fragments) > 1 {
				r.e.suspectFragment(refs[i].Slot, refs[i].Blob.ID, i%len(refs[i].Blob.Fragments))
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// rawCommand is a command made of a function.
type rawCommand func(tx meta.Tx) error

// Apply implements meta.Command.
func (f rawCommand) Apply(tx meta.Tx) error { return f(tx) }

// firstRecord returns the first key of a type in a slot, and its value.
func (r *rig) firstRecord(slot byte, t byte) (key, value []byte) {
	r.t.Helper()
	lo := []byte{0, slot, t}
	it := r.e.store.Iter(lo, []byte{0, slot, t + 1})
	defer it.Close()
	if !it.Next() {
		r.t.Fatalf("no record of type %q", t)
	}
	v, err := it.Value()
	if err != nil {
		r.t.Fatal(err)
	}
	return bytes.Clone(it.Key()), bytes.Clone(v)
}

func (r *rig) raw(f rawCommand) {
	r.t.Helper()
	if err := r.e.store.Mutate(context.Background(), 0, f); err != nil {
		r.t.Fatal(err)
	}
}

// Records that are wrong are found and named, as what a change of each type brings.
func TestCheckRecords(t *testing.T) {
	r := newRig(t, rigOptions{drives: 3, cfg: Config{Timing: lasting}})
	r.bucket("b")
	r.put("b", "small", content(1, 100))
	r.put("b", "large", content(2, 200_000))
	if err := r.threeParts("parts", content(3, 100), rand.New(rand.NewPCG(4, 4))); err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.CreateUpload(context.Background(), "b", "begun", "me", meta.Object{}); err != nil {
		t.Fatal(err)
	}
	r.drained()
	r.verify(CheckOptions{Deep: true})
	b, err := r.e.Bucket(context.Background(), "b")
	if err != nil {
		t.Fatal(err)
	}
	slot := byte(b.Slot)
	drop := func(slot, t byte) rawCommand {
		key, _ := r.firstRecord(slot, t)
		return func(tx meta.Tx) error { tx.Delete(key); return nil }
	}
	alter := func(slot, t byte, edit func([]byte) []byte) rawCommand {
		key, v := r.firstRecord(slot, t)
		return func(tx meta.Tx) error { tx.Put(key, edit(v)); return nil }
	}
	short := func(v []byte) []byte { return v[:1] }
	for name, c := range map[string]struct {
		slot, typ byte
		damage    rawCommand
		kinds     []string
	}{
		"head":        {slot, 'h', drop(slot, 'h'), []string{ProblemCounter, ProblemOrphanBlob}},
		"bad head":    {slot, 'h', alter(slot, 'h', short), []string{ProblemBadRecord, ProblemCounter, ProblemOrphanBlob}},
		"blob":        {slot, 'b', drop(slot, 'b'), []string{ProblemMissingBlob, ProblemLeak}},
		"bad blob":    {slot, 'b', alter(slot, 'b', short), []string{ProblemBadRecord, ProblemLeak}},
		"other blob":  {slot, 'b', alter(slot, 'b', func(v []byte) []byte { return bytes.Replace(v, []byte("large"), []byte("lurge"), 1) }), []string{ProblemOwner}},
		"payload":     {slot, 'd', drop(slot, 'd'), []string{ProblemInline}},
		"bad payload": {slot, 'd', alter(slot, 'd', func(v []byte) []byte { v[len(v)-1] ^= 1; return v }), []string{ProblemInline}},
		"counter":     {slot, 'n', alter(slot, 'n', func(v []byte) []byte { v[7]++; return v }), []string{ProblemCounter}},
		"marker":      {slot, 'e', drop(slot, 'e'), []string{ProblemBucket, ProblemStray, ProblemOrphanBlob, ProblemInline, ProblemPartList}},
		"upload":      {slot, 'u', alter(slot, 'u', short), []string{ProblemBadRecord}},
		"part list":   {slot, 'x', drop(slot, 'x'), []string{ProblemPartList, ProblemInline}},
		"completion":  {slot, 'c', drop(slot, 'c'), []string{ProblemDeleteQueue}},
		"bucket":      {0, 'B', drop(0, 'B'), []string{ProblemBucket}},
		"unknown":     {slot, 'Z', func(tx meta.Tx) error { tx.Put([]byte{0, slot, 'Z'}, nil); return nil }, []string{ProblemUnknown}},
		"repair": {slot, 'q', func(tx meta.Tx) error {
			tx.Put(append([]byte{0, slot, 'q'}, make([]byte, 16)...), append([]byte{1, 0}, make([]byte, 8)...))
			return nil
		}, []string{ProblemRepairQueue}},
		"strays": {slot, 'h', func(tx meta.Tx) error { tx.Put([]byte{0, slot, 'h', 9, 9, 9, 9, 9, 9, 9, 9, 'k'}, nil); return nil }, []string{ProblemStray}},
	} {
		before := r.typed(c.slot, c.typ)
		r.raw(c.damage)
		t.Log(name)
		r.verify(CheckOptions{}, c.kinds...)
		r.putBack(c.slot, c.typ, before)
	}
	r.verify(CheckOptions{Deep: true})
	r.stop()
}

// typed returns all records of a type; putBack restores them.
func (r *rig) typed(slot, t byte) map[string]string {
	r.t.Helper()
	all := make(map[string]string)
	it := r.e.store.Iter([]byte{0, slot, t}, []byte{0, slot, t + 1})
	defer it.Close()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			r.t.Fatal(err)
		}
		all[string(it.Key())] = string(v)
	}
	return all
}

func (r *rig) putBack(slot, t byte, was map[string]string) {
	r.t.Helper()
	now := r.typed(slot, t)
	r.raw(func(tx meta.Tx) error {
		for k := range now {
			if _, ok := was[k]; !ok {
				tx.Delete([]byte(k))
			}
		}
		for k, v := range was {
			if now[k] != v {
				tx.Put([]byte(k), []byte(v))
			}
		}
		return nil
	})
}

// Places that cannot be right are found, and named with the blob and the drive.
func TestCheckPlaces(t *testing.T) {
	r := newRig(t, rigOptions{drives: 4, cfg: Config{Timing: lasting, Grace: time.Hour}})
	r.bucket("b")
	r.put("b", "one", content(1, 9_000_000))
	r.put("b", "two", content(2, 9_000_000))
	r.verify(CheckOptions{Deep: true})
	b, err := r.e.Bucket(context.Background(), "b")
	if err != nil {
		t.Fatal(err)
	}
	one, two := r.placed("b", "one"), r.placed("b", "two")
	f := one.Fragments[0]
	d := r.e.drives.now().byID[f.Drive].d
	var rival layout.Fragment
	for _, x := range two.Fragments {
		if x.Drive == f.Drive {
			rival = x
		}
	}
	spare, err := d.Reserve(context.Background(), 5_000_000)
	if err != nil {
		t.Fatal(err)
	}
	r.verify(CheckOptions{}, ProblemLeak)
	d.Free(spare)
	at := func(edit func(*layout.Fragment)) layout.Fragment {
		to := layout.Fragment{Drive: f.Drive, Extents: slices.Clone(f.Extents)}
		edit(&to)
		return to
	}
	for name, c := range map[string]struct {
		to    layout.Fragment
		kinds []string
	}{
		"unaligned": {at(func(to *layout.Fragment) { to.Extents = []layout.Extent{{Off: spare[0].Off + 1, Len: spare[0].Len}} }), []string{ProblemPlacement, ProblemLeak}},
		"outside":   {at(func(to *layout.Fragment) { to.Extents = []layout.Extent{{Off: 1 << 48, Len: spare[0].Len}} }), []string{ProblemPlacement, ProblemLeak}},
		"short":     {at(func(to *layout.Fragment) { to.Extents = []layout.Extent{{Off: spare[0].Off, Len: d.Unit()}} }), []string{ProblemPlacement, ProblemLeak}},
		"nowhere":   {at(func(to *layout.Fragment) { to.Drive = layout.DriveID{9} }), []string{ProblemPlacement, ProblemLeak}},
		"free":      {at(func(to *layout.Fragment) { to.Extents = spare }), []string{ProblemSpace, ProblemLeak}},
		"shared":    {rival, []string{ProblemOverlap, ProblemLeak}},
	} {
		move := &meta.MoveFragments{Slot: b.Slot, Blob: one.ID, Moves: []meta.Move{{Number: 0, From: f, To: c.to}}}
		if err := r.e.mutate(context.Background(), b.Slot, move); err != nil || !move.Moved {
			t.Fatal(name, move.Moved, err)
		}
		t.Log(name)
		res := r.verify(CheckOptions{}, c.kinds...)
		for _, p := range res.Problems {
			if p.Kind == ProblemLeak {
				continue
			}
			named := p.Blob == one.ID && p.Key == "one" || p.Blob == two.ID && p.Key == "two" && p.Kind == ProblemOverlap
			if !named || p.Drive != c.to.Drive || p.Bucket != "b" || p.Warning() {
				t.Errorf("%s: %+v", name, p)
			}
			if p.Kind == ProblemOverlap && (!strings.Contains(p.Detail, `"one"`) && !strings.Contains(p.Detail, `"two"`)) {
				t.Errorf("the rival is not named: %+v", p)
			}
		}
		back := &meta.MoveFragments{Slot: b.Slot, Blob: one.ID, Moves: []meta.Move{{Number: 0, From: c.to, To: f}}}
		if err := r.e.mutate(context.Background(), b.Slot, back); err != nil || !back.Moved {
			t.Fatal(name, back.Moved, err)
		}
		r.verify(CheckOptions{})
	}
	// Two fragments on one drive are worth a warning.
	number := slices.IndexFunc(r.e.drives.now().all, func(m *member) bool { return m.id == one.Fragments[1].Drive })
	was := r.move("b", "one", 0, number)
	r.e.drives.now().byID[was.Drive].d.Free(was.Extents)
	res := r.verify(CheckOptions{Deep: true}, ProblemSameDrive)
	if p := res.Problems[0]; !p.Warning() || p.Blob != one.ID {
		t.Errorf("%+v", p)
	}
	r.stop()
}

// A deep check finds flipped bits, and puts what does not verify on the repair queue.
func TestCheckDeep(t *testing.T) {
	r := newRig(t, rigOptions{drives: 4, cfg: Config{Timing: lasting}})
	r.bucket("b")
	for i := range 5 {
		r.put("b", fmt.Sprint("k", i), content(uint64(i), 300_000))
	}
	want := r.verify(CheckOptions{Deep: true})
	blob := r.placed("b", "k3")
	for n, m := range r.e.drives.now().all {
		if m.id == blob.Fragments[1].Drive {
			r.devs[n].Corrupt(blob.Fragments[1].Extents[0].Off + 5000)
		}
	}
	r.verify(CheckOptions{})
	res := r.verify(CheckOptions{Deep: true}, ProblemCorrupt)
	p := res.Problems[0]
	if len(res.Problems) != 1 || p.Blob != blob.ID || p.Key != "k3" || p.Drive != blob.Fragments[1].Drive || res.Fragments != want.Fragments {
		t.Fatalf("%+v of %d fragments, want %d", res.Problems, res.Fragments, want.Fragments)
	}
	// The healer hears of it, and makes the fragment anew.
	was := blob.Fragments[1]
	for end := time.Now().Add(10 * time.Second); overlap(was.Extents, blob.Fragments[1].Extents); blob = r.placed("b", "k3") {
		if time.Sleep(5 * time.Millisecond); time.Now().After(end) {
			t.Fatalf("not repaired: %+v", r.e.HealStatus())
		}
	}
	r.verify(CheckOptions{Deep: true})
	// A drive that does not answer leaves the check incomplete, and that is said.
	gone := r.e.drives.now().byID[blob.Fragments[0].Drive]
	gone.d.Abandon(errors.New("pulled"))
	r.verify(CheckOptions{Deep: true}, ProblemUnread)
	r.stop()
}

// Blobs that lack drives are counted, and are no problem.
func TestCheckDegraded(t *testing.T) {
	r := newRig(t, rigOptions{drives: 4, cfg: Config{Timing: lasting}})
	r.bucket("b")
	r.put("b", "k", content(1, 900_000))
	r.put("b", "small", content(2, 10))
	blob := r.placed("b", "k")
	for n := range blob.Fragments {
		r.e.FailDrive(blob.Fragments[n].Drive, errors.New("pulled"))
		res := r.verify(CheckOptions{Deep: true})
		unreadable := int64(0)
		if len(blob.Fragments)-n-1 < int(blob.Data) {
			unreadable = 1
		}
		if res.Degraded != 1 || res.Unreadable != unreadable {
			t.Fatalf("%d drives out: %+v", n+1, res)
		}
	}
}

// A check ends with its context and with the engine, keeps to its limits, and tells
// how far it is.
func TestCheckEnds(t *testing.T) {
	r := newRig(t, rigOptions{drives: 2, cfg: Config{Timing: lasting}})
	r.bucket("b")
	for i := range 40 {
		r.put("b", fmt.Sprint("k", i), content(uint64(i), 20_000))
	}
	ctx, cancel := context.WithCancel(context.Background())
	shows := 0
	_, err := r.e.Check(ctx, CheckOptions{Deep: true, Progress: func(p CheckResult) {
		shows++
		cancel()
	}})
	if !errors.Is(err, context.Canceled) || shows != 1 {
		t.Fatalf("after %d shows: %v", shows, err)
	}
	r.raw(func(tx meta.Tx) error {
		for i := range byte(20) {
			tx.Put([]byte{0, 1, 'A' + i%26, i}, nil)
		}
		return nil
	})
	res, err := r.e.Check(context.Background(), CheckOptions{Problems: 3})
	if err != nil || len(res.Problems) != 3 || res.ProblemCount < 15 {
		t.Fatalf("%+v, %v", res, err)
	}
	closed := make(chan error, 1)
	_, err = r.e.Check(context.Background(), CheckOptions{Deep: true, Progress: func(CheckResult) {
		if shows++; shows == 2 {
			go func() { closed <- r.e.Close(context.Background()) }()
			for !r.e.gate.shut() {
				time.Sleep(time.Millisecond)
			}
		}
	}})
	wantKind(t, err, Unavailable)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	_, err = r.e.Check(context.Background(), CheckOptions{})
	wantKind(t, err, Unavailable)
}

// Every finding has a name of its own.
func TestProblemKinds(t *testing.T) {
	seen := make(map[string]bool)
	for k := meta.FoundBadRecord; k <= meta.FoundRepairQueue; k++ {
		name := problemOf(k)
		if name == "" || seen[name] {
			t.Errorf("finding %d is %q", k, name)
		}
		seen[name] = true
	}
}
