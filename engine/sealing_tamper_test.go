package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// rewrite replaces what is stored of a blob, with all checksums of the drive
// right: what somebody could do who holds the drive.
func (r *rig) rewrite(b *layout.Blob, edit func(stored []byte) []byte) {
	r.t.Helper()
	ctx := context.Background()
	f := b.Fragments[0]
	d := r.e.drives.now().drive(f.Drive)
	rd, err := d.OpenFragment(ctx, b.ID, f.Extents, b.Size, 0, b.Size)
	if err != nil {
		r.t.Fatal(err)
	}
	stored, err := io.ReadAll(rd)
	rd.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := d.WriteFragment(ctx, b.ID, f.Extents, b.Size, bytes.NewReader(edit(stored))); err != nil {
		r.t.Fatal(err)
	}
}

// readAll reads an object by every way; each must fail as corrupt and hand out
// nothing but a beginning of data.
func (r *rig) wantTampered(name, key string, data []byte) {
	r.t.Helper()
	for way := range 3 {
		_, got, err := fetch(r.e, "b", key, way)
		if KindOf(err) != Corrupt || !errors.Is(err, seal.ErrPayload) || !bytes.HasPrefix(data, got) {
			r.t.Errorf("%s, way %d: %d bytes, %v", name, way, len(got), err)
		}
	}
}

// The drive is rewritten under a record that is right.
func TestTamperedDrive(t *testing.T) {
	const S, C = seal.ChunkStored, seal.ChunkPlain
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	ctx := context.Background()
	data, other := content(1, 18*C+100), content(2, 18*C+100)
	req := locked(putRequest("b", "k", data))
	o, err := r.e.Put(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	// The same customer's key, or even the same data key, in another blob.
	twin := putRequest("b", "twin", other)
	twin.Object.Seal, twin.DataKey = req.Object.Seal, req.DataKey
	o2, err := r.e.Put(ctx, twin)
	if err != nil {
		t.Fatal(err)
	}
	var original, foreign []byte
	r.rewrite(&o.Blob, func(b []byte) []byte { original = bytes.Clone(b); return b })
	r.rewrite(&o2.Blob, func(b []byte) []byte { foreign = bytes.Clone(b); return b })
	r.check("b", "k", data)
	for name, edit := range map[string]func(b []byte) []byte{
		"bit in the first chunk": func(b []byte) []byte { b[0] ^= 1; return b },
		"bit in a tag":           func(b []byte) []byte { b[5*S-1] ^= 1; return b },
		"bit at the end":         func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"chunks swapped":         func(b []byte) []byte { return slices.Concat(b[:S], b[2*S:3*S], b[S:2*S], b[3*S:]) },
		"frames swapped":         func(b []byte) []byte { return slices.Concat(b[16*S:17*S], b[S:16*S], b[:S], b[17*S:]) },
		"a chunk of another":     func(b []byte) []byte { copy(b[S:2*S], foreign[S:2*S]); return b },
		"all of another":         func(b []byte) []byte { return foreign },
		"zeros":                  func(b []byte) []byte { return make([]byte, len(b)) },
		"plain text":             func(b []byte) []byte { return append(bytes.Clone(data), b[len(data):]...) },
	} {
		r.rewrite(&o.Blob, edit)
		r.wantTampered(name, "k", data)
		// A range that does not touch what was changed is served.
		if got, err := fetchOf(r.e, "k", 8*C+1, C); name == "bit at the end" && (err != nil || !bytes.Equal(got, data[8*C+1:9*C+1])) {
			t.Errorf("%s: a range elsewhere: %v", name, err)
		}
		r.rewrite(&o.Blob, func([]byte) []byte { return original })
		r.check("b", "k", data)
	}
	r.stop()
}

func fetchOf(e *Engine, key string, off, n int64) ([]byte, error) {
	o, err := e.Get(context.Background(), "b", key)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return fetchRange(o, off, n, 0)
}

// The record is changed, with data on the drive that is right for another one.
func TestTamperedRecord(t *testing.T) {
	const C = seal.ChunkPlain
	r := newRig(t, rigOptions{drives: 1, cfg: Config{Grace: time.Hour}})
	r.bucket("b")
	ctx := context.Background()
	b, err := r.e.Bucket(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	data := content(1, 3*C+100)
	put := func(key string, data []byte, s *meta.Seal) meta.Object {
		req := putRequest("b", key, data)
		req.Object.Seal, req.DataKey = s, keyOf(s)
		o, err := r.e.Put(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	s, _ := newSeal()
	s2, _ := newSeal()
	first, second := put("first", data, s), put("second", content(2, 3*C+100), s2)
	same := put("same key", content(3, 3*C+100), s)
	for name, edit := range map[string]func(o *meta.Object){
		"blob of another object": func(o *meta.Object) { o.Blob = second.Blob },
		"blob and id": func(o *meta.Object) {
			o.Blob.Fragments = same.Blob.Fragments
			o.Blob.ID = same.Blob.ID
			o.Blob.ID[15] ^= 1
		},
		"seal of another object": func(o *meta.Object) { o.Seal = s2 },
		"one chunk less":         func(o *meta.Object) { o.Size = 2*C + 100; o.Blob.Size = seal.CipherSize(o.Size) },
		"whole chunks only":      func(o *meta.Object) { o.Size = 3 * C; o.Blob.Size = seal.CipherSize(o.Size) },
		"size and stored size":   func(o *meta.Object) { o.Size-- },
	} {
		forged := first
		forged.Key, forged.Version = name, meta.Version(layout.NewBlobID(time.Now()))
		edit(&forged)
		if err := r.e.mutate(ctx, b.Slot, &meta.PutObject{Bucket: b, Object: forged}); err != nil {
			t.Fatal(name, err)
		}
		for way := range 3 {
			if _, got, err := fetch(r.e, "b", name, way); KindOf(err) != Corrupt || len(got) > 0 {
				t.Errorf("%s, way %d: %d bytes, %v", name, way, len(got), err)
			}
		}
	}
	// A record that says that the data is not encrypted gets ciphertext, no more.
	forged := first
	forged.Key, forged.Seal, forged.Size = "bare", nil, first.Blob.Size
	if err := r.e.mutate(ctx, b.Slot, &meta.PutObject{Bucket: b, Object: forged}); err != nil {
		t.Fatal(err)
	}
	if _, got, err := fetch(r.e, "b", "bare", 0); err != nil || bytes.Contains(got, data[:32]) {
		t.Error("bare:", err)
	}
	r.stop()
}

// Parts exchanged in the part list do not open, though one key encrypts them all.
func TestTamperedPartList(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	s, _ := newSeal()
	r.upload("k", s, content(1, 100_000), content(2, 100_000))
	o, err := r.e.Get(context.Background(), "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	unlock(o)
	list, err := o.pieces(0, o.Info.Size)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, swap := range []bool{false, true} {
		if swap {
			list[0].blob, list[1].blob = list[1].blob, list[0].blob
		}
		u, err := (&Body{o: o, ctx: context.Background(), pieces: list}).unseal(&list[0], 0, 10)
		if swap != errors.Is(err, seal.ErrPayload) {
			t.Fatalf("swapped %v: %v", swap, err)
		}
		if u != nil {
			u.close()
		}
	}
	o.Close()
	r.stop()
}
