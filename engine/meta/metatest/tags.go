package metatest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// setTags is a step of the machine: the record's form changes with the tags, its
// data, size and time do not.
func (m *machine) setTags() {
	b := m.bucket()
	c := &meta.SetTags{Bucket: b.rec, Key: m.key()}
	for i := range m.int("tags", 0, 3) {
		c.Tags = append(c.Tags, meta.Header{
			Name: fmt.Sprint("tag", i), Value: strings.Repeat("v", int(m.int("length", 0, 200))),
		})
	}
	old := b.object(c.Key)
	var want error
	if old == nil {
		want = meta.ErrNoObject
	} else {
		switch m.int("version", 0, 3) {
		case 0:
			c.Version = m.id()
			want = meta.ErrConflict
		case 1:
			c.Version = old.Version
		}
	}
	if !m.expect(c, want) {
		return
	}
	old.Tags = c.Tags
	b.objects[c.Key] = *old
	same(m.t, "result", c.Result, old.Object)
}

func testTags(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	expect := func(c *meta.SetTags, want error) {
		t.Helper()
		if err := mutate(t, s, c); !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	few := []meta.Header{{Name: "colour", Value: "red"}, {Name: "empty"}}
	many := make([]meta.Header, 10)
	for i := range many {
		many[i] = meta.Header{Name: fmt.Sprint(i), Value: strings.Repeat("€", 256)}
	}
	expect(&meta.SetTags{Bucket: b, Key: "k", Tags: few}, meta.ErrNoObject)
	o := meta.Object{Key: "k", Version: id(1), Size: 9, ModTime: 77, ETag: strings.Repeat("0a", 16), Blob: single(1, 9)}
	must(t, s, &meta.PutObject{Bucket: b, Object: o})
	for _, tags := range [][]meta.Header{few, many, few, many, nil, nil} {
		c := &meta.SetTags{Bucket: b, Key: "k", Version: id(1), Tags: tags}
		expect(c, nil)
		o.Tags, o.Blob = tags, bare(o.Blob)
		got, err := meta.GetObject(s, &b, "k")
		if err != nil {
			t.Fatal(err)
		}
		same(t, "object", got, o)
		same(t, "result", c.Result, o)
		if err := Verify(s); err != nil {
			t.Fatal(err)
		}
	}
	expect(&meta.SetTags{Bucket: b, Key: "k", Version: id(2), Tags: few}, meta.ErrConflict)
	expect(&meta.SetTags{Bucket: b, Key: "", Tags: few}, meta.ErrInvalid)
	expect(&meta.SetTags{Bucket: b, Key: "k", Tags: make([]meta.Header, 11)}, meta.ErrInvalid)
	expect(&meta.SetTags{Bucket: b, Key: "k", Tags: []meta.Header{{Name: strings.Repeat("n", 1<<20)}}}, meta.ErrInvalid)
	if got, err := meta.GetObject(s, &b, "k"); err != nil || got.Tags != nil {
		t.Fatalf("a refused command changed the tags: %v %v", got.Tags, err)
	}
	// Deleting the object leaves nothing of a long record behind.
	expect(&meta.SetTags{Bucket: b, Key: "k", Tags: many}, nil)
	must(t, s, &meta.DeleteObject{Bucket: b, Key: "k", IfSize: -1})
	due, err := meta.DueGarbage(s, 1<<62, 10)
	if err != nil || len(due) != 1 || due[0].Blob.Kind != layout.KindSingle {
		t.Fatalf("delete queue: %+v %v", due, err)
	}
	must(t, s, &meta.DeleteBucket{Name: "b"})
	expect(&meta.SetTags{Bucket: b, Key: "k", Tags: few}, meta.ErrNoBucket)
}
