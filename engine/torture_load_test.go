package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/sluicehq/sluice/engine/meta"
)

func (s *torture) over() bool { return s.dark.Load() || s.rest.Load() || s.t.Failed() }

func (s *torture) size(rng *rand.Rand) int64 {
	switch rng.IntN(8) {
	case 0:
		return 1 + rng.Int64N(1024) // inline
	case 1, 2:
		return 1025 + rng.Int64N(100_000) // mirrored
	case 3:
		return 1<<20 + rng.Int64N(3<<20) // several rows
	}
	return 100_000 + rng.Int64N(500_000)
}

func (s *torture) writer(rng *rand.Rand) {
	for !s.over() {
		key := s.keys[rng.IntN(len(s.keys))]
		w := &write{seed: s.seeds.Add(1), size: s.size(rng)}
		if rng.IntN(8) == 0 {
			w.deleted, w.size = true, 0
		}
		s.h.begin(key, w)
		encrypt := rng.IntN(2) == 0
		for try := 0; ; try++ {
			err := s.attempt(rng, key, w, encrypt)
			if err == nil {
				s.h.acknowledge(w)
				s.acks.Add(1)
				break
			}
			if s.dark.Load() || KindOf(err) == UnknownOutcome && s.soonDark() {
				return
			}
			if kind := KindOf(err); kind != Unavailable && kind != NoSpace || try == 30 {
				if s.soonDark() {
					return
				}
				s.t.Errorf("write of %d bytes failed, try %d: %v; %v", w.size, try, err, s.f.told())
				return
			}
			s.again.Add(1)
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// soonDark waits for the flag that goes up a moment after the power is cut.
func (s *torture) soonDark() bool {
	for i := 0; i < 10_000 && !s.dark.Load(); i++ {
		time.Sleep(time.Millisecond)
	}
	return s.dark.Load()
}

func (s *torture) attempt(rng *rand.Rand, key string, w *write, encrypt bool) error {
	if w.deleted {
		_, err := s.f.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: key, IfSize: -1})
		return err
	}
	data := w.data()
	switch {
	case !encrypt && w.size > 2 && w.seed%4 == 0:
		return s.multipart(rng, key, data)
	case w.size > 2 && w.seed%4 == 1:
		return s.copy(rng, key, data, encrypt)
	}
	req := putRequest("b", key, data)
	req.Body = &chunky{data, rng}
	if encrypt {
		req = locked(req)
	}
	_, err := s.f.e.Put(context.Background(), req)
	return err
}

// multipart stores data in a few parts, some of them twice.
func (s *torture) multipart(rng *rand.Rand, key string, data []byte) error {
	ctx := context.Background()
	up, err := s.f.e.CreateUpload(ctx, "b", key, "someone", meta.Object{})
	if err != nil {
		return err
	}
	var refs []meta.PartRef
	for rest := data; len(rest) > 0; {
		part := rest[:min(len(rest), 1+rng.IntN(len(data)))]
		rest = rest[len(part):]
		number := int32(len(refs) + 1)
		put := func(data []byte) error {
			_, err := s.f.e.PutPart(ctx, PutPartRequest{
				Bucket: "b", Key: key, UploadID: up.ID, Number: number, Size: int64(len(data)), Body: lend(&chunky{data, rng}),
				Finish: func(p *meta.Part) error { p.ETag = etagOf(data); return nil },
			})
			return err
		}
		if rng.IntN(4) == 0 {
			err = put(part[:1+rng.IntN(len(part))])
		}
		if err == nil {
			err = put(part)
		}
		if err != nil {
			_ = s.f.e.AbortUpload(ctx, "b", key, up.ID)
			return err
		}
		refs = append(refs, meta.PartRef{Number: number, ETag: etagOf(part)})
	}
	_, err = s.f.e.CompleteUpload(ctx, CompleteRequest{
		Bucket: "b", Key: key, UploadID: up.ID, Parts: refs, Size: -1,
		Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) {
			return fmt.Sprintf("%s-%d", etagOf(nil), len(refs)), meta.Checksum{}, nil
		},
	})
	return err
}

// copy stores data and copies it to key. What it copies from is nobody else's.
func (s *torture) copy(rng *rand.Rand, key string, data []byte, encrypt bool) error {
	ctx := context.Background()
	from := fmt.Sprintf("from-%d", s.sources.Add(1))
	req := putRequest("b", from, data)
	if rng.IntN(2) == 0 {
		req = locked(req)
	}
	if _, err := s.f.e.Put(ctx, req); err != nil {
		return err
	}
	o, err := s.f.e.Get(ctx, "b", from)
	if err != nil {
		return err
	}
	defer o.Close()
	unlock(o)
	body, err := o.Range(ctx, 0, o.Info.Size)
	if err != nil {
		return err
	}
	defer body.Close()
	req = putRequest("b", key, data)
	req.Body = struct{ io.Reader }{body}
	if encrypt {
		req = locked(req)
	}
	if _, err := s.f.e.Put(ctx, req); err != nil {
		if KindOf(err) == BadBody { // of the source
			err = errors.Unwrap(err)
		}
		return err
	}
	_, err = s.f.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: from, IfSize: -1})
	return err
}

// scratch flips a bit at rest in one fragment of every fifth blob that has all of them.
func (s *torture) scratch() {
	n := 0
	err := meta.Blobs(s.f.e.store, func(ref meta.BackRef) error {
		if n++; n%5 != 0 || ref.Blob.Missing() > 0 {
			return nil
		}
		i := s.rng.IntN(len(ref.Blob.Fragments))
		f := &ref.Blob.Fragments[i]
		for _, b := range s.f.bays {
			if b.id == f.Drive && b.fault == "" && len(f.Extents) > 0 {
				b.dev.Corrupt(f.Extents[0].Off + s.rng.Int64N(min(f.Extents[0].Len, 40_000)))
				s.scratched++
			}
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
	s.tell("bits flipped at rest")
}

// errands are what administrators do meanwhile.
func (s *torture) errands() {
	switch s.rng.IntN(6) {
	case 0:
		s.tell("scrub")
		_ = s.f.e.StartScrub(ScrubOptions{Rate: 64 << 20}) // one may be running
	case 1:
		s.tell("rebalance")
		s.f.e.Rebalance(true)
	case 2:
		n := s.rng.IntN(len(s.f.bays))
		if s.f.bays[n].fault != "" {
			return
		}
		s.tell("drain of drive %d begun and ended", n)
		if err := s.f.e.DrainDrive(s.f.bays[n].id, true); err != nil {
			s.t.Error(err)
		}
		s.work()
		if err := s.f.e.DrainDrive(s.f.bays[n].id, false); err != nil {
			s.t.Error(err)
		}
	case 3:
		s.tell("check")
		res, err := s.f.e.Check(context.Background(), CheckOptions{Deep: s.rng.IntN(2) == 0})
		if err != nil {
			s.t.Errorf("check: %v; %v", err, s.f.told())
		}
		for _, p := range res.Problems {
			// Drives that are about to fail do not verify, and deep checks find what scratch did.
			if p.Kind != ProblemCorrupt && p.Kind != ProblemUnread && p.Kind != ProblemSameDrive {
				s.t.Errorf("check found %+v; %v", p, s.f.told())
			}
		}
	}
}

// readPatience is how long a read may take at most, whatever hangs.
const readPatience = 10 * time.Second

func (s *torture) reader(rng *rand.Rand) {
	for !s.over() {
		key := s.keys[rng.IntN(len(s.keys))]
		since := s.h.clock.Load()
		begun := time.Now()
		_, data, err := fetch(s.f.e, "b", key, rng.IntN(3))
		took := time.Since(begun)
		if rng.IntN(3) == 0 {
			s.readRange(rng, key, since)
		}
		if err != nil && KindOf(err) != NoObject {
			if !s.soonDark() {
				s.t.Errorf("read of %s failed after %s: %v; %v", key, took, err, s.f.told())
			}
			return
		}
		if took > readPatience {
			s.t.Errorf("read of %s took %s; %v", key, took, s.f.told())
		}
		if match(s.h.possible(key, since), err == nil, data) == nil && !s.dark.Load() {
			s.t.Errorf("read of %s found %d bytes (%v) that nobody wrote; possible were %v", key, len(data), err, s.h.possible(key, since))
		}
		s.reads.Add(1)
		time.Sleep(200 * time.Microsecond)
	}
}

// readRange reads a part of an object.
func (s *torture) readRange(rng *rand.Rand, key string, since int64) {
	o, err := s.f.e.Get(context.Background(), "b", key)
	if err != nil || o.Info.Size == 0 {
		if err == nil {
			o.Close()
		}
		return // the reader of the whole object reports it
	}
	defer o.Close()
	off := rng.Int64N(o.Info.Size)
	n := 1 + rng.Int64N(o.Info.Size-off)
	data, err := fetchRange(o, off, n, rng.IntN(3))
	if err != nil {
		if !s.soonDark() {
			s.t.Errorf("read of %d+%d of %s failed: %v; %v", off, n, key, err, s.f.told())
		}
		return
	}
	for _, w := range s.h.possible(key, since) {
		if w.size == o.Info.Size && bytes.Equal(w.data()[off:off+n], data) {
			return
		}
	}
	if !s.dark.Load() {
		s.t.Errorf("read of %d+%d of %s found what nobody wrote; %v", off, n, key, s.f.told())
	}
}
