package metatest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/meta"
)

// expectPage lists by brute force.
func expectPage(keys []string, req meta.ListObjectsRequest) (page meta.ListObjectsPage, names []string) {
	if req.Max <= 0 {
		return page, nil
	}
	keys = slices.Sorted(slices.Values(keys))
	for _, k := range keys {
		if !strings.HasPrefix(k, req.Prefix) {
			continue
		}
		entry, isPrefix := k, false
		if req.Delimiter != "" {
			if head, _, ok := strings.Cut(k[len(req.Prefix):], req.Delimiter); ok {
				entry, isPrefix = req.Prefix+head+req.Delimiter, true
			}
		}
		if req.After != "" && entry <= req.After {
			continue
		}
		if isPrefix && slices.Contains(page.Prefixes, entry) {
			continue
		}
		if len(names)+len(page.Prefixes) == min(req.Max, 1000) {
			page.Truncated = true
			break
		}
		page.Next = entry
		if isPrefix {
			page.Prefixes = append(page.Prefixes, entry)
		} else {
			names = append(names, entry)
		}
	}
	return page, names
}

// testListing compares every combination of request fields with brute force.
func testListing(t *testing.T, s meta.Store) {
	other := newBucket(t, s, "other")
	b := newBucket(t, s, "b")
	after := newBucket(t, s, "zafter")
	keys := []string{
		"a", "a/", "a/b", "a/b/c", "a/b/d", "a/c", "a0", "ab", "b//x", "b/x", "c",
		"c\x00", "c\x00/\x01", "c\x01", "d\n", "é/ü", "\x7f", "\xff", "\xff\xff", "\xff\xff/", "\xff/z",
	}
	for i, k := range keys {
		put(t, s, b, k, i+1)
	}
	put(t, s, other, "a/other", 100)
	put(t, s, after, "a/after", 101)
	probes := append([]string{"", "a/b/", "a/z", "b/", "b//", "c\x00/", "d", "zz", "\xff/", "\xff\xff\xff"}, keys...)
	for _, prefix := range probes {
		for _, delim := range []string{"", "/", "//", "b", "\x00", "\xff", "/b/"} {
			for _, after := range probes {
				for _, limit := range []int{-1, 0, 1, 2, 1000, 5000} {
					req := meta.ListObjectsRequest{Prefix: prefix, Delimiter: delim, After: after, Max: limit}
					want, names := expectPage(keys, req)
					got, err := meta.ListObjects(s, &b, req)
					if err != nil {
						t.Fatalf("%+v: %v", req, err)
					}
					var gotNames []string
					for _, it := range got.Items {
						gotNames = append(gotNames, it.Key)
					}
					got.Items = nil
					if !slices.Equal(gotNames, names) || !slices.Equal(got.Prefixes, want.Prefixes) || got.Truncated != want.Truncated || got.Next != want.Next {
						t.Fatalf("%+v\n got %q %+v\nwant %q %+v", req, gotNames, got, names, want)
					}
				}
			}
		}
	}
}

// Fill puts n empty objects named by key into a bucket, quickly.
func Fill(t testing.TB, s meta.Store, b meta.Bucket, n int, key func(int) string) {
	t.Helper()
	const each = 2000
	for at := 0; at < n; at += each {
		err := s.Mutate(context.Background(), b.Slot, script(func(tx meta.Tx) error {
			for i := at; i < min(at+each, n); i++ {
				c := &meta.PutObject{Bucket: b, Object: meta.Object{Key: key(i), Version: id(i + 1), Owner: "alice", ETag: strings.Repeat("0123456789abcdef", 2)}}
				if err := c.Apply(tx); err != nil {
					return err
				}
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// testListingSkips counts iterator steps over 16,000 keys below 50 prefixes.
func testListingSkips(t *testing.T, s meta.Store) {
	const n, dirs = 16_000, 50
	b := newBucket(t, s, "b")
	Fill(t, s, b, n, func(i int) string { return fmt.Sprintf("dir%02d/sub%d/key%06d", i%dirs, i%4, i) })
	c := &Counting{Reader: s}
	page, err := meta.ListObjects(c, &b, meta.ListObjectsRequest{Delimiter: "/", Max: 1000})
	if err != nil || len(page.Prefixes) != dirs || len(page.Items) != 0 || page.Truncated {
		t.Fatalf("%d prefixes, %d items: %v", len(page.Prefixes), len(page.Items), err)
	}
	if c.Steps > dirs+1 || c.Gets > 0 || c.Iters != 1 {
		t.Fatalf("%d steps, %d gets, %d iterators for %d prefixes", c.Steps, c.Gets, c.Iters, dirs)
	}
	*c = Counting{Reader: s}
	page, err = meta.ListObjects(c, &b, meta.ListObjectsRequest{Delimiter: "/", Prefix: "dir07/", After: "dir07/sub1/key", Max: 1000})
	if err != nil || len(page.Prefixes) != 1 || page.Prefixes[0] != "dir07/sub3/" || c.Steps > 3 {
		t.Fatalf("%q in %d steps: %v", page.Prefixes, c.Steps, err)
	}
	*c = Counting{Reader: s}
	seen := 0
	for req := (meta.ListObjectsRequest{Max: 1000}); ; req.After = page.Next {
		if page, err = meta.ListObjects(c, &b, req); err != nil {
			t.Fatal(err)
		}
		seen += len(page.Items)
		if !page.Truncated {
			break
		}
	}
	if seen != n || c.Steps > n+n/1000 {
		t.Fatalf("%d keys in %d steps", seen, c.Steps)
	}
	bk, err := meta.GetBucket(s, "b")
	if err != nil || bk.Objects != n || bk.Bytes != 0 {
		t.Fatalf("counters %d/%d: %v", bk.Objects, bk.Bytes, err)
	}
}

func testListUploads(t *testing.T, s meta.Store) {
	b := newBucket(t, s, "b")
	keys := []string{"a", "a\x00", "a\x00b/c", "a/x", "a/y", "a0", "b"}
	type entry struct {
		key string
		id  [16]byte
	}
	var all []entry
	for i, k := range keys {
		for j := range 2 {
			e := entry{k, id(10*i + j + 1)}
			must(t, s, &meta.CreateUpload{Bucket: b, Upload: meta.Upload{ID: e.id, Key: k}})
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(x, y entry) int {
		if c := strings.Compare(x.key, y.key); c != 0 {
			return c
		}
		return slices.Compare(x.id[:], y.id[:])
	})
	for _, prefix := range []string{"", "a", "a/", "a\x00", "z"} {
		for _, delim := range []string{"", "/", "\x00"} {
			for limit := 1; limit <= 4; limit++ {
				var want, got []string
				for _, e := range all {
					if !strings.HasPrefix(e.key, prefix) {
						continue
					}
					name := fmt.Sprintf("%q %s", e.key, e.id)
					if head, _, ok := strings.Cut(e.key[len(prefix):], delim); ok && delim != "" {
						name = fmt.Sprintf("%q", prefix+head+delim)
					}
					if len(want) == 0 || want[len(want)-1] != name {
						want = append(want, name)
					}
				}
				for req := (meta.ListUploadsRequest{Prefix: prefix, Delimiter: delim, Max: limit}); ; {
					page, err := meta.ListUploads(s, &b, req)
					if err != nil {
						t.Fatal(err)
					}
					for _, u := range page.Uploads {
						got = append(got, fmt.Sprintf("%q %s", u.Key, u.ID))
					}
					for _, p := range page.Prefixes {
						got = append(got, fmt.Sprintf("%q", p))
					}
					if !page.Truncated {
						break
					}
					req.KeyMarker, req.UploadIDMarker = page.NextKeyMarker, page.NextUploadIDMarker
				}
				slices.Sort(want)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Fatalf("prefix %q delimiter %q max %d:\n got %q\nwant %q", prefix, delim, limit, got, want)
				}
			}
		}
	}
	page, err := meta.ListUploads(s, &b, meta.ListUploadsRequest{KeyMarker: "a", Max: 1})
	if err != nil || len(page.Uploads) != 1 || page.Uploads[0].Key != "a\x00" {
		t.Fatalf("after key a: %+v %v", page, err)
	}
	if _, err := meta.GetUpload(s, &b, "a", id(99)); err == nil {
		t.Fatal("upload that never was")
	}
	u, err := meta.GetUpload(s, &b, "a/x", all[slices.IndexFunc(all, func(e entry) bool { return e.key == "a/x" })].id)
	if err != nil || u.Key != "a/x" || u.Bucket != b.ID {
		t.Fatalf("%+v %v", u, err)
	}
}
