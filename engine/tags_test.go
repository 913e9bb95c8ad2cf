package engine

import (
	"context"
	"reflect"
	"testing"

	"github.com/sluicehq/sluice/engine/meta"
)

func TestSetTags(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket("b")
	o, err := r.e.Put(context.Background(), putRequest("b", "k", []byte("payload")))
	if err != nil {
		t.Fatal(err)
	}
	tags := []meta.Header{{Name: "a", Value: "1"}}
	got, err := r.e.SetTags(context.Background(), "b", "k", o.Version, tags)
	if err != nil || !reflect.DeepEqual(got.Tags, tags) || got.ModTime != o.ModTime || got.Version != o.Version {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, row := range []struct {
		bucket, key string
		version     meta.Version
		kind        Kind
	}{
		{"none", "k", meta.Version{}, NoBucket},
		{"b", "none", meta.Version{}, NoObject},
		{"b", "k", meta.Version{1}, Conflict},
		{"b", "", meta.Version{}, InvalidName},
	} {
		if _, err := r.e.SetTags(context.Background(), row.bucket, row.key, row.version, tags); err == nil || KindOf(err) != row.kind {
			t.Errorf("%+v: %v", row, err)
		}
	}
	r.restart()
	head, err := r.e.Head(context.Background(), "b", "k")
	if err != nil || !reflect.DeepEqual(head.Tags, tags) {
		t.Fatalf("after a restart: %+v, %v", head.Tags, err)
	}
}
