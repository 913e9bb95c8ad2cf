package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// framePlain is the plain bytes of a full frame of 1 MiB of an encrypted payload.
const framePlain = drive.FramePayload / seal.ChunkStored * seal.ChunkPlain

// newSeal makes a data key and a seal from which keyOf finds it again.
func newSeal() (*meta.Seal, *seal.DataKey) {
	k := seal.NewDataKey()
	s := &meta.Seal{Mode: meta.SealS3, Ring: 1}
	s.Box = k.Wrap(&[32]byte{0x7E}, s.Binding[:])
	return s, &k
}

// keyOf returns the data key of a seal; nil: not encrypted.
func keyOf(s *meta.Seal) *seal.DataKey {
	if s == nil {
		return nil
	}
	k, err := seal.UnwrapDataKey(&[32]byte{0x7E}, s.Box, s.Binding[:])
	if err != nil {
		panic(err)
	}
	return &k
}

// locked makes the request one for an encrypted object.
func locked(req PutRequest) PutRequest {
	req.Object.Seal, req.DataKey = newSeal()
	return req
}

// unlock gives an encrypted object its key.
func unlock(o *Object) {
	if o.Info.Seal != nil && o.key == nil {
		o.Unlock(keyOf(o.Info.Seal))
	}
}

// sealedSizes are sizes at which something changes: inline or on a drive, one
// chunk more, one frame more.
var sealedSizes = []int64{
	0, 1, 1000, 1 << 10, 1<<10 + 1, seal.ChunkPlain - 1, seal.ChunkPlain, seal.ChunkPlain + 1,
	framePlain - 1, framePlain, framePlain + 1, 2*framePlain + 2*seal.ChunkPlain + 5,
}

func TestSealedPutGet(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket("b")
	for i, size := range sealedSizes {
		key, data := fmt.Sprint(size), content(uint64(i), size)
		o, err := r.e.Put(context.Background(), locked(putRequest("b", key, data)))
		if err != nil {
			t.Fatal(err)
		}
		if o.Size != size || o.Blob.Size != seal.CipherSize(size) || o.Seal == nil {
			t.Fatalf("%+v", o)
		}
		if inline := o.Blob.Kind == layout.KindInline; inline != (size <= r.cfg.InlineMax) {
			t.Errorf("%d bytes inline: %v", size, inline)
		}
		r.check("b", key, data)
	}
	list, err := r.e.ListBuckets(context.Background(), "", 1)
	var sum int64
	for _, size := range sealedSizes {
		sum += size
	}
	if err != nil || list[0].Bytes != sum || list[0].Objects != int64(len(sealedSizes)) {
		t.Fatalf("%+v, %v; want %d bytes", list, err, sum)
	}
	r.restart()
	r.accounted()
	for i, size := range sealedSizes {
		r.check("b", fmt.Sprint(size), content(uint64(i), size))
	}
	r.stop()
}

// Nothing of what clients send lies on the drives or in the metadata when it is
// encrypted.
func TestSealedIsNotReadable(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	marker := []byte("PLAIN-TEXT-MARKER")
	for _, size := range []int{len(marker), 900, 70_000, 1_100_000} {
		data := bytes.Repeat(marker, size/len(marker))
		o, err := r.e.Put(context.Background(), locked(putRequest("b", fmt.Sprint(size), data)))
		if err != nil {
			t.Fatal(err)
		}
		if o.Blob.Kind == layout.KindInline {
			b, err := r.e.Bucket(context.Background(), "b")
			if err != nil {
				t.Fatal(err)
			}
			stored, err := meta.Inline(r.e.store, b.Slot, o.Blob.ID)
			if err != nil || int64(len(stored)) != o.Blob.Size || bytes.Contains(stored, marker[:6]) {
				t.Errorf("inline %q, %v", stored, err)
			}
			continue
		}
		stored, err := io.ReadAll(openStored(t, r, &o.Blob))
		if err != nil || int64(len(stored)) != o.Blob.Size || bytes.Contains(stored, marker[:6]) {
			t.Errorf("%d bytes of %d stored, or readable; %v", len(stored), o.Blob.Size, err)
		}
	}
	r.stop()
}

func openStored(t *testing.T, r *rig, b *layout.Blob) io.Reader {
	t.Helper()
	f := b.Fragments[0]
	rd, err := r.e.drives.now().drive(f.Drive).OpenFragment(context.Background(), b.ID, f.Extents, b.Size, 0, b.Size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rd.Close() })
	return readCloser{rd}
}

// readCloser closes at the end, so that the engine can be stopped.
type readCloser struct{ *drive.Reader }

func (r readCloser) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		r.Close()
	}
	return n, err
}

func TestSealedNeedsItsKey(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	ctx := context.Background()
	for _, size := range []int64{100, 200_000} {
		data := content(1, size)
		if _, err := r.e.Put(ctx, locked(putRequest("b", "k", data))); err != nil {
			t.Fatal(err)
		}
		o, err := r.e.Get(ctx, "b", "k")
		if err != nil {
			t.Fatal(err)
		}
		_, err = o.Range(ctx, 0, size)
		wantKind(t, err, Locked)
		_, other := newSeal()
		o.Unlock(other)
		for _, off := range []int64{0, size - 1} {
			_, err = o.Range(ctx, off, 1)
			wantKind(t, err, Corrupt)
			if !errors.Is(err, seal.ErrPayload) {
				t.Errorf("wrong key: %v", err)
			}
		}
		o.Close()
	}
	s, k := newSeal()
	req := putRequest("b", "k", nil)
	req.DataKey = k
	_, err := r.e.Put(ctx, req)
	wantKind(t, err, KindInternal)
	req.DataKey, req.Object.Seal = nil, s
	_, err = r.e.Put(ctx, req)
	wantKind(t, err, KindInternal)
	for _, sealed := range []*meta.Seal{nil, s} {
		up, err := r.e.CreateUpload(ctx, "b", "k", "", meta.Object{Seal: sealed})
		if err != nil {
			t.Fatal(err)
		}
		part := PutPartRequest{Bucket: "b", Key: "k", UploadID: up.ID, Number: 1, Size: 1, Body: bytes.NewReader([]byte("x"))}
		if sealed == nil {
			part.DataKey = k
		}
		_, err = r.e.PutPart(ctx, part)
		wantKind(t, err, KindInternal)
	}
	r.stop()
}

// upload stores parts as one encrypted multipart object.
func (r *rig) upload(key string, s *meta.Seal, parts ...[]byte) meta.Object {
	r.t.Helper()
	ctx := context.Background()
	up, err := r.e.CreateUpload(ctx, "b", key, "", meta.Object{Seal: s})
	if err != nil {
		r.t.Fatal(err)
	}
	var refs []meta.PartRef
	for i, data := range parts {
		p, err := r.e.PutPart(ctx, PutPartRequest{
			Bucket: "b", Key: key, UploadID: up.ID, Number: int32(2*i + 1), Size: int64(len(data)), Body: iotest.OneByteReader(bytes.NewReader(data)),
			Finish:  func(p *meta.Part) error { p.ETag = etagOf(data); return nil },
			DataKey: keyOf(s),
		})
		if err != nil || p.Size != int64(len(data)) {
			r.t.Fatal(p, err)
		}
		refs = append(refs, meta.PartRef{Number: p.Number, ETag: p.ETag})
	}
	o, err := r.e.CompleteUpload(ctx, CompleteRequest{
		Bucket: "b", Key: key, UploadID: up.ID, Parts: refs, Size: -1,
		Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) { return "whole", meta.Checksum{}, nil },
	})
	if err != nil || o.Seal == nil {
		r.t.Fatal(o, err)
	}
	return o
}

// Every range of encrypted objects, of one blob or of parts, is the range of the
// bytes that were sent.
func TestSealedRanges(t *testing.T) {
	r := newRig(t, rigOptions{drives: 2})
	r.bucket("b")
	const C = seal.ChunkPlain
	objects := map[string][]byte{"one": content(1, framePlain+C+77), "inline": content(2, 700)}
	for key, data := range objects {
		if _, err := r.e.Put(context.Background(), locked(putRequest("b", key, data))); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := newSeal()
	parts := [][]byte{content(3, 2*C), content(4, 5), content(5, 500), content(6, C+1), content(7, 3)}
	r.upload("parts", s, parts...)
	objects["parts"] = bytes.Join(parts, nil)
	var edges []int64
	for _, at := range []int64{0, 1, C, 2 * C, 2*C + 5, 2*C + 505, 3*C + 505, framePlain, framePlain + C} {
		edges = append(edges, at-1, at, at+1)
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"one", "inline", "parts"}).Draw(t, "key")
		want := objects[key]
		at := func(label string) int64 {
			v := rapid.OneOf(rapid.SampledFrom(edges), rapid.Int64Range(0, int64(len(want)))).Draw(t, label)
			return min(max(v, 0), int64(len(want)))
		}
		lo, hi := at("lo"), at("hi")
		if lo, hi = min(lo, hi), max(lo, hi); lo == hi {
			return
		}
		o, err := r.e.Get(context.Background(), "b", key)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		for way := range 3 {
			got, err := fetchRange(o, lo, hi-lo, way)
			if err != nil || !bytes.Equal(got, want[lo:hi]) {
				t.Fatalf("%s [%d, %d) way %d: %d bytes, %v", key, lo, hi, way, len(got), err)
			}
		}
	})
	r.stop()
}

// A Body that has no heap memory to be had, and readers that ask for little or
// much, get the same bytes.
func TestSealedReads(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	data := content(9, 2*framePlain+3*seal.ChunkPlain+17)
	if _, err := r.e.Put(context.Background(), locked(putRequest("b", "k", data))); err != nil {
		t.Fatal(err)
	}
	for _, starved := range []bool{false, true} {
		if starved {
			if err := r.e.frames.loans.Acquire(context.Background(), heapSize); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range []int{7777, seal.ChunkPlain, 300_000, framePlain, 3 << 20} {
			o, err := r.e.Get(context.Background(), "b", "k")
			if err != nil {
				t.Fatal(err)
			}
			unlock(o)
			b, err := o.Range(context.Background(), 0, o.Info.Size)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Read(make([]byte, 0)); err != nil {
				t.Fatal(err)
			}
			var got []byte
			for buf := make([]byte, step); ; {
				n, err := b.Read(buf)
				if got = append(got, buf[:n]...); err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if !r.settled() {
					t.Fatal("a Body that was read from holds arena buffers")
				}
			}
			if !bytes.Equal(got, data) {
				t.Fatalf("step %d, starved %v: %d bytes differ", step, starved, len(got))
			}
			b.Close()
			o.Close()
		}
	}
	r.e.frames.loans.Release(heapSize)
	r.stop()
}

// Bodies that end early, late or in an error leave nothing behind.
func TestSealedBadBodies(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	broken := errors.New("broken")
	for _, size := range []int64{100, 200_000} {
		data := content(1, size)
		for name, c := range map[string]struct {
			body io.Reader
			kind Kind
		}{
			"short":  {bytes.NewReader(data[:size-1]), ShortBody},
			"empty":  {bytes.NewReader(nil), ShortBody},
			"long":   {io.MultiReader(bytes.NewReader(data), bytes.NewReader([]byte("x"))), BadBody},
			"broken": {io.MultiReader(bytes.NewReader(data[:size-1]), iotest.ErrReader(broken)), BadBody},
		} {
			req := locked(PutRequest{Bucket: "b", Key: "k", Size: size, Body: c.body})
			_, err := r.e.Put(context.Background(), req)
			wantKind(t, err, c.kind)
			if name == "broken" && !errors.Is(err, broken) {
				t.Errorf("%v", err)
			}
			if r.used() != 0 || r.arena.InUse() != 0 {
				t.Fatalf("%s: %d bytes in use, %d on loan", name, r.used(), r.arena.InUse())
			}
		}
	}
	r.stop()
}

// sealer keeps io.Reader's promises whatever room it is given.
func TestSealer(t *testing.T) {
	k := seal.NewDataKey()
	lock := locker{key: &k, bucket: 7}
	id := layout.BlobID{1}
	for _, size := range []int64{1, seal.ChunkPlain, 3*seal.ChunkPlain + 5} {
		data := content(1, size)
		open := func() io.Reader {
			return lock.reader(&bodyReader{r: bytes.NewReader(data), left: size}, id)
		}
		want, err := io.ReadAll(open())
		if err != nil || int64(len(want)) != seal.CipherSize(size) {
			t.Fatal(len(want), err)
		}
		if err := iotest.TestReader(open(), want); err != nil {
			t.Error(err)
		}
		whole := make([]byte, len(want)+100)
		if n, err := io.ReadFull(open(), whole[:len(want)]); err != nil || !bytes.Equal(whole[:n], want) {
			t.Errorf("in one read: %d, %v", n, err)
		}
		if n, err := open().Read(whole); n != len(want) || err != nil || !bytes.Equal(whole[:n], want) {
			t.Errorf("with room to spare: %d, %v", n, err)
		}
	}
}

// Copies decrypt with one key and encrypt with another, and do not wait for
// themselves.
func TestSealedCopies(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1, arena: 8 << 20})
	r.bucket("b")
	data := content(1, 2_500_000)
	if _, err := r.e.Put(context.Background(), locked(putRequest("b", "k", data))); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 12)
	for i := range cap(done) {
		go func() {
			o, err := r.e.Get(context.Background(), "b", "k")
			if err != nil {
				done <- err
				return
			}
			defer o.Close()
			unlock(o)
			b, err := o.Range(context.Background(), 0, o.Info.Size)
			if err != nil {
				done <- err
				return
			}
			defer b.Close()
			_, err = r.e.Put(context.Background(), locked(PutRequest{Bucket: "b", Key: fmt.Sprint(i), Size: o.Info.Size, Body: struct{ io.Reader }{b}}))
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for i := range cap(done) {
		r.check("b", fmt.Sprint(i), data)
	}
	r.stop()
}
