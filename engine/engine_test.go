package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/meta"
)

var sizes = []int64{0, 1, 100, 1 << 10, 1<<10 + 1, 16 << 10, 100_000, 1 << 20, 1<<20 + 1, 3<<20 + 12345}

func TestPutGet(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket("b")
	for i, size := range sizes {
		data := content(uint64(i), size)
		req := putRequest("b", fmt.Sprint(size), data)
		req.Body = &chunky{data, rand.New(rand.NewPCG(1, uint64(i)))}
		req.Object = meta.Object{Owner: "me", Metadata: []meta.Header{{Name: "a", Value: "b"}}}
		o, err := r.e.Put(context.Background(), req)
		if err != nil {
			t.Fatal(size, err)
		}
		if o.Key != req.Key || o.Size != size || o.ETag != etagOf(data) || o.Owner != "me" || o.ModTime == 0 {
			t.Fatalf("%+v", o)
		}
	}
	again := func() {
		for i, size := range sizes {
			r.check("b", fmt.Sprint(size), content(uint64(i), size))
			o, err := r.e.Head(context.Background(), "b", fmt.Sprint(size))
			if err != nil || o.Size != size || o.Owner != "me" || len(o.Metadata) != 1 {
				t.Fatalf("%+v, %v", o, err)
			}
		}
	}
	again()
	r.accounted()
	r.restart()
	again()
	r.accounted()
	st := r.e.Status()
	if len(st.Drives) != 2 || st.Drives[0].Used == 0 || st.Drives[1].Used == 0 || st.Readers != 0 {
		t.Fatalf("objects are not spread over the drives: %+v", st)
	}
	for _, size := range sizes {
		if ok, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: fmt.Sprint(size), IfSize: -1}); !ok || err != nil {
			t.Fatal(size, ok, err)
		}
	}
	r.drained()
	if n := r.used(); n != 0 {
		t.Fatalf("%d bytes in use after everything was deleted", n)
	}
	r.stop()
}

func TestRanges(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket("b")
	rng := rand.New(rand.NewPCG(7, 7))
	for i, size := range sizes[1:] {
		data := content(uint64(i), size)
		r.put("b", "k", data)
		o, err := r.e.Get(context.Background(), "b", "k")
		if err != nil {
			t.Fatal(err)
		}
		for way := range 30 {
			off := rng.Int64N(size)
			n := 1 + rng.Int64N(size-off)
			got, err := fetchRange(o, off, n, way)
			if err != nil || !bytes.Equal(got, data[off:off+n]) {
				t.Fatalf("%d+%d of %d: %d bytes, %v", off, n, size, len(got), err)
			}
		}
		for _, bad := range [][2]int64{{0, size + 1}, {size, 1}, {-1, 2}, {0, 0}, {1, 1<<63 - 1}} {
			_, err := o.Range(context.Background(), bad[0], bad[1])
			wantKind(t, err, InvalidRange)
		}
		o.Close()
		o.Close()
		_, err = o.Range(context.Background(), 0, 1)
		wantKind(t, err, Unavailable)
	}
	r.stop()
}

func TestBodyErrors(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket("b")
	boom := errors.New("boom")
	for _, size := range []int64{10, 5000, 2_500_000} {
		data := content(1, size)
		for _, c := range []struct {
			name   string
			body   io.Reader
			finish error
			kind   Kind
			cause  error
		}{
			{"short", bytes.NewReader(data[:size-1]), nil, ShortBody, io.ErrUnexpectedEOF},
			{"empty", strings.NewReader(""), nil, ShortBody, nil},
			{"long", bytes.NewReader(append(bytes.Clone(data), 'x')), nil, BadBody, errLongBody},
			{"broken", io.MultiReader(bytes.NewReader(data[:size/2]), errReader{boom}), nil, BadBody, boom},
			{"broken at the start", errReader{boom}, nil, BadBody, boom},
			{"broken at the end", io.MultiReader(bytes.NewReader(data), errReader{boom}), nil, BadBody, boom},
			{"broken with the last bytes", &lastError{data, boom}, nil, BadBody, boom},
			{"refused", bytes.NewReader(data), boom, BadBody, boom},
			{"stuck", stuck{}, nil, BadBody, io.ErrNoProgress},
		} {
			if c.name == "stuck" {
				c.body = io.MultiReader(bytes.NewReader(data), stuck{})
			}
			_, err := r.e.Put(context.Background(), PutRequest{
				Bucket: "b", Key: "k", Size: size, Body: c.body,
				Finish: func(*meta.Object) error { return c.finish },
			})
			if KindOf(err) != c.kind || c.cause != nil && !errors.Is(err, c.cause) {
				t.Fatalf("%s, %d bytes: %v of kind %d", c.name, size, err, KindOf(err))
			}
			_, err = r.e.Head(context.Background(), "b", "k")
			wantKind(t, err, NoObject)
			if n := r.used(); n != 0 {
				t.Fatalf("%s, %d bytes: %d bytes leaked", c.name, size, n)
			}
		}
	}
	r.stop()
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// lastError returns err together with its last bytes.
type lastError struct {
	b   []byte
	err error
}

func (r *lastError) Read(p []byte) (int, error) {
	n := copy(p, r.b)
	if r.b = r.b[n:]; len(r.b) == 0 {
		return n, r.err
	}
	return n, nil
}

func TestNames(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket("b")
	ctx := context.Background()
	for _, key := range []string{"", strings.Repeat("k", 1025), "a\xffb"} {
		_, err := r.e.Put(ctx, putRequest("b", key, nil))
		wantKind(t, err, InvalidName)
		_, err = r.e.Get(ctx, "b", key)
		wantKind(t, err, InvalidName)
		_, err = r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: key, IfSize: -1})
		wantKind(t, err, InvalidName)
		_, err = r.e.CreateUpload(ctx, "b", key, "", meta.Object{})
		wantKind(t, err, InvalidName)
	}
	for _, key := range []string{"a", "a/b", "a\x00", "a\x00b", "/", "ä", strings.Repeat("k", 1024)} {
		r.put("b", key, []byte(key))
	}
	for _, key := range []string{"a", "a/b", "a\x00", "a\x00b", "/", "ä", strings.Repeat("k", 1024)} {
		r.check("b", key, []byte(key))
	}
	_, err := r.e.Put(ctx, putRequest("none", "k", nil))
	wantKind(t, err, NoBucket)
	_, err = r.e.Get(ctx, "none", "k")
	wantKind(t, err, NoBucket)
	_, err = r.e.Get(ctx, "b", "none")
	wantKind(t, err, NoObject)
	_, err = r.e.Put(ctx, PutRequest{Bucket: "b", Key: "k", Size: -1})
	wantKind(t, err, KindInternal)
	r.stop()
}

func TestBuckets(t *testing.T) {
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	b, err := r.e.CreateBucket(ctx, "b", "me", "here")
	if err != nil || b.Owner != "me" || b.ID == 0 {
		t.Fatal(b, err)
	}
	again, err := r.e.CreateBucket(ctx, "b", "you", "there")
	wantKind(t, err, BucketExists)
	if again.Owner != "me" || again.ID != b.ID {
		t.Fatalf("%+v", again)
	}
	r.put("b", "k", content(1, 5000))
	got, err := r.e.Bucket(ctx, "b")
	if err != nil || got.ID != b.ID || got.Objects != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	list, err := r.e.ListBuckets(ctx, "", 10)
	if err != nil || len(list) != 1 || list[0].Objects != 1 || list[0].Bytes != 5000 {
		t.Fatalf("%+v, %v", list, err)
	}
	wantKind(t, r.e.DeleteBucket(ctx, "b"), BucketNotEmpty)
	if _, err := r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: "k", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	if err := r.e.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	_, err = r.e.Bucket(ctx, "b")
	wantKind(t, err, NoBucket)
	wantKind(t, r.e.DeleteBucket(ctx, "b"), NoBucket)
	_, err = r.e.Put(ctx, putRequest("b", "k", nil))
	wantKind(t, err, NoBucket)
	if b2, err := r.e.CreateBucket(ctx, "b", "you", ""); err != nil || b2.ID == b.ID {
		t.Fatal(b2, err)
	}
	r.stop()
}

func TestDocs(t *testing.T) {
	r := newRig(t, rigOptions{})
	ctx := context.Background()
	r.bucket("b")
	for _, d := range []*Docs{r.e.Docs(""), r.e.Docs("b")} {
		_, err := d.Get(ctx, "users/a")
		wantKind(t, err, NoDoc)
		rev, err := d.Put(ctx, "users/a", []byte("1"), 0)
		if err != nil || rev != 1 {
			t.Fatal(rev, err)
		}
		_, err = d.Put(ctx, "users/a", []byte("2"), 0)
		wantKind(t, err, Conflict)
		if rev, err = d.Put(ctx, "users/a", []byte("2"), 1); err != nil || rev != 2 {
			t.Fatal(rev, err)
		}
		doc, err := d.Get(ctx, "users/a")
		if err != nil || string(doc.Value) != "2" || doc.Rev != 2 {
			t.Fatal(doc, err)
		}
		if docs, err := d.List(ctx, "users/"); err != nil || len(docs) != 1 || docs[0].Path != "users/a" {
			t.Fatal(docs, err)
		}
		wantKind(t, d.Delete(ctx, "users/a", 1), Conflict)
		if err := d.Delete(ctx, "users/a", -1); err != nil {
			t.Fatal(err)
		}
		wantKind(t, d.Delete(ctx, "users/a", -1), NoDoc)
	}
	_, err := r.e.Docs("none").Get(ctx, "a")
	wantKind(t, err, NoBucket)
	r.stop()
}

func TestCloseRefusesAndWaits(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket("b")
	r.put("b", "k", content(1, 3<<20))
	o, err := r.e.Get(context.Background(), "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	b, err := o.Range(context.Background(), 0, 3<<20)
	if err != nil {
		t.Fatal(err)
	}
	o.Close() // the Body keeps the object
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantKind(t, r.e.Close(ctx), Unavailable)
	_, err = r.e.Head(context.Background(), "b", "k")
	wantKind(t, err, Unavailable)
	var out bytes.Buffer
	if _, err := b.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), content(1, 3<<20)) {
		t.Fatal("a reader in flight was disturbed:", err)
	}
	b.Close()
	b.Close()
	_, err = b.Read(make([]byte, 1))
	wantKind(t, err, KindInternal)
	r.stop()
	if s := r.e.Status(); len(s.Drives) != 0 {
		t.Fatal("status after Close")
	}
}
