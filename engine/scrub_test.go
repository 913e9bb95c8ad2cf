package engine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring/faultio"
)

func (r *rig) scrubbed() ScrubStatus {
	r.t.Helper()
	r.waitFor("the scrub to end", func() bool { return !r.e.ScrubStatus().Running })
	return r.e.ScrubStatus()
}

// A scrub reads everything, and what it finds bad is mended.
func TestScrub(t *testing.T) {
	r := newHealRig(t, 5, calm)
	want := r.stock("b", 12, 1)
	for i := range 20 {
		key := fmt.Sprint("small", i)
		want[key] = content(uint64(i), 500)
		r.put("b", key, want[key])
	}
	if s := r.e.ScrubStatus(); s.Running || s.Next.Before(time.Now().Add(DefaultScrubPeriod-time.Hour)) {
		t.Fatalf("%+v", s)
	}
	flipped := 0
	for key := range want {
		if blob := r.placed("b", key); blob.Kind == layout.KindStriped && flipped < 5 {
			r.scratch(&blob, flipped%3) // of 1 or 3 data fragments and two more
			flipped++
		}
	}
	if err := r.e.StartScrub(ScrubOptions{Rate: 1}); err != nil {
		t.Fatal(err)
	}
	if err := r.e.StartScrub(ScrubOptions{}); KindOf(err) != Conflict {
		t.Fatal(err)
	}
	r.e.StopScrub()
	if err := r.e.StartScrub(ScrubOptions{Rate: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	s := r.scrubbed()
	if s.Corrupt != int64(flipped) || s.Blobs != int64(len(want)) || s.Bytes < s.Total/20 || s.Finished.IsZero() {
		t.Fatalf("%+v of %d", s, flipped)
	}
	r.healed()
	if s := r.e.ScrubStatus(); s.Repaired != s.Corrupt || s.Failed != 0 {
		t.Fatalf("%+v", s)
	}
	r.whole()
	r.e.StartScrub(ScrubOptions{Rate: 1 << 30})
	if s := r.scrubbed(); s.Corrupt != 0 {
		t.Fatalf("%+v", s)
	}
	r.holds("b", want)
	r.stop()
}

// A scrub goes on where it was when the engine was closed, and begins anew after it
// was stopped.
func TestScrubResumes(t *testing.T) {
	r := newHealRig(t, 4, calm)
	for i := range 300 {
		r.put("b", fmt.Sprint(i), content(uint64(i), 3000))
	}
	if err := r.e.StartScrub(ScrubOptions{Rate: 512 << 10}); err != nil {
		t.Fatal(err)
	}
	r.waitFor("progress", func() bool { return r.e.ScrubStatus().Blobs > 0 })
	r.stopAll()
	r.start()
	if s := r.e.ScrubStatus(); !s.Running || s.Blobs == 0 || s.Blobs >= 300 {
		t.Fatalf("%+v", s)
	}
	r.e.StopScrub()
	s := r.e.ScrubStatus()
	if s.Running || !s.Finished.IsZero() {
		t.Fatalf("%+v", s)
	}
	if err := r.e.StartScrub(ScrubOptions{Rate: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	if s := r.scrubbed(); s.Blobs != 300 || s.Finished.IsZero() {
		t.Fatalf("%+v", s)
	}
	r.stop()
}

// The period begins scrubs; its length and the least rate decide how fast they are.
func TestScrubPeriod(t *testing.T) {
	r := newHealRig(t, 4, calm)
	r.stock("b", 9, 1)
	r.e.SetScrub(0, 0)
	if s := r.e.ScrubStatus(); !s.Next.IsZero() {
		t.Fatalf("%+v", s)
	}
	r.e.SetScrub(50*time.Millisecond, 1<<40)
	for range 2 {
		last := r.e.ScrubStatus().Finished
		r.waitFor("a scrub", func() bool { return r.e.ScrubStatus().Finished.After(last) })
	}
	r.e.SetScrub(time.Hour, 1000)
	r.scrubbed()
	if err := r.e.StartScrub(ScrubOptions{}); err != nil {
		t.Fatal(err)
	}
	s := r.e.ScrubStatus()
	if want := int64(scrubHaste * float64(s.Total) / 3600); s.Rate < want-1 || s.Rate > want+1 || s.Rate < 1000 {
		t.Fatalf("%+v, want a rate of %d", s, want)
	}
	r.e.StopScrub()
	r.stop()
}

// A drive that comes back is not believed: its fragments are verified.
func TestReturnIsVerified(t *testing.T) {
	r := newHealRig(t, 5, calm)
	want := r.stock("b", 12, 1)
	r.devs[3].Break(faultio.Gone)
	r.e.FailDrive(r.id(3), faultio.ErrGone)
	bad := 0
	for key := range want {
		blob := r.placed("b", key)
		for i := range blob.Fragments {
			if blob.Fragments[i].Drive == r.id(3) {
				r.scratch(&blob, i)
				bad++
			}
		}
	}
	if bad == 0 {
		t.Fatal("nothing on the drive")
	}
	r.reattach(3)
	r.waitFor("all of it to be mended", func() bool { return r.e.heal.mended.Load() == uint64(bad) })
	r.healed()
	r.whole()
	r.stop()
}

// An inline payload that does not verify is counted: there is nothing here to mend it.
func TestScrubInline(t *testing.T) {
	r := newHealRig(t, 4, calm)
	r.put("b", "k", content(1, 500))
	err := meta.InlinesAfter(r.e.store, meta.BlobCursor{}, func(at meta.BlobCursor, size int, bad error) error {
		if size != 500 || bad != nil {
			t.Errorf("%d bytes, %v", size, bad)
		}
		r.e.scrub.damaged(at, errors.New("checksum"))
		return nil
	})
	if s := r.e.ScrubStatus(); err != nil || s.Corrupt != 1 || s.Failed != 1 || s.LastError == "" {
		t.Fatalf("%v, %+v", err, s)
	}
	r.stop()
}

// FuzzScrubState: whatever the record of scrubs holds, scrubs go on.
func FuzzScrubState(f *testing.F) {
	f.Add([]byte(`{"version":1,"running":true,"slot":3,"blob":"00112233445566778899aabbccddeeff","drives":["xx"]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"running":true,"inline":true,"blob":"zz","slot":70000}`))
	f.Add([]byte(`[`))
	f.Add([]byte(`{"drives":["","00112233445566778899aabbccddeeff"]}`))
	r := newHealRig(f, 4, calm)
	for i := range 5 {
		r.put("b", fmt.Sprint(i), content(uint64(i), 3000))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		s := newScrubber(r.e)
		cmd := &meta.PutDoc{Path: scrubDoc, Value: doc, IfRev: -1}
		if r.e.mutate(t.Context(), 0, cmd) != nil {
			return
		}
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
		s.st.Rate = 1 << 40
		if s.round(); s.st.Running || len(s.st.Drives) > 0 || s.st.LastError != "" && s.st.Running {
			t.Fatalf("%+v", s.st)
		}
	})
}

// A scrub, and the verification of a drive that came back, end while clients write on.
func TestScrubEndsUnderLoad(t *testing.T) {
	polite := calm
	polite.Yield = 1 // more is written than is verified
	r := newHealRig(t, 5, polite)
	r.stock("b", 12, 1)
	var writers sync.WaitGroup
	var stop atomic.Bool
	for w := range 4 {
		writers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				size := int64(500) // with the metadata
				if w > 0 {
					size = 40_000
				}
				key := fmt.Sprint("w", w, "/", i%50)
				if _, err := r.e.Put(t.Context(), putRequest("b", key, content(uint64(i), size))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer func() { stop.Store(true); writers.Wait(); r.stop() }()
	for range 3 {
		r.e.scrub.suspect(r.e.Status().Drives[1].ID)
		if err := r.e.StartScrub(ScrubOptions{Rate: 1 << 40}); err != nil {
			t.Fatal(err)
		}
		if s := r.scrubbed(); s.Blobs == 0 || s.Corrupt != 0 || s.LastError != "" {
			t.Fatalf("%+v", s)
		}
	}
}
