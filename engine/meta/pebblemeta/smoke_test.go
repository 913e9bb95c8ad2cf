package pebblemeta

import (
	"context"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	cb := &meta.CreateBucket{Bucket: meta.Bucket{Name: "b"}}
	if err := s.Mutate(ctx, 0, cb); err != nil {
		t.Fatal(err)
	}
	id := layout.NewBlobID(time.Now())
	put := &meta.PutObject{Bucket: cb.Result, Object: meta.Object{Key: "k", Size: 3, Version: meta.Version{1}, Blob: layout.Blob{ID: id, Size: 3}}, Inline: []byte("abc")}
	if err := s.Mutate(ctx, 1, put); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := meta.GetBucket(s, "b")
	if err != nil || b.Objects != 1 || b.Bytes != 3 {
		t.Fatal(b, err)
	}
	o, err := meta.GetObject(s, &b, "k")
	if err != nil {
		t.Fatal(err)
	}
	v, err := meta.Inline(s, b.Slot, o.Blob.ID)
	if err != nil || string(v) != "abc" {
		t.Fatal(string(v), err)
	}
	t.Log(s.Metrics())
}
