package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/meta"
)

// machine drives an engine and a map side by side.
type machine struct {
	r       *rig
	model   map[string][]byte
	uploads []*modelUpload
	seed    uint64
}

// modelUpload is an upload in progress and the parts it should have.
type modelUpload struct {
	id    [16]byte
	key   string
	parts map[int32][]byte
	seal  *meta.Seal
}

func TestStateMachine(t *testing.T) {
	var runs atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		if raceDetector && runs.Add(1) > 20 {
			return // it is ten times slower then
		}
		r := newRig(t, rigOptions{drives: rapid.IntRange(1, 6).Draw(rt, "drives")})
		r.bucket("b")
		m := &machine{r: r, model: make(map[string][]byte)}
		rt.Repeat(map[string]func(*rapid.T){
			"put":      m.put,
			"get":      m.get,
			"range":    m.ranges,
			"delete":   m.remove,
			"list":     m.list,
			"begin":    m.begin,
			"part":     m.part,
			"complete": m.complete,
			"abort":    m.abort,
			"restart":  m.restart,
		})
		m.end(rt)
	})
}

func drawKey(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "a/", "a/b", "a/c", "a\x00", "b/x/y", "b/x/z", "ö"}).Draw(t, "key")
}

func (m *machine) drawData(t *rapid.T) []byte {
	m.seed++
	size := rapid.OneOf(
		rapid.Int64Range(0, 2000), rapid.Int64Range(4000, 200_000), rapid.Int64Range(1<<20-2, 1<<20+2), rapid.Just(int64(2_500_000)),
	).Draw(t, "size")
	return content(m.seed, size)
}

func (m *machine) put(t *rapid.T) {
	key, data := drawKey(t), m.drawData(t)
	req := putRequest("b", key, data)
	if rapid.Bool().Draw(t, "encrypted") {
		req = locked(req)
	}
	old, exists := m.model[key]
	refuse := false
	switch rapid.IntRange(0, 5).Draw(t, "condition") {
	case 0:
		req.If.IfNoneMatchAny = true
		refuse = exists
	case 1:
		req.If.IfMatch = []string{etagOf(old)}
		refuse = !exists
	case 2:
		req.If.IfMatch = []string{"other"}
		refuse = true
	case 3:
		req.If.IfNoneMatch = []string{etagOf(old)}
		refuse = exists
	}
	_, err := m.r.e.Put(context.Background(), req)
	switch {
	case !refuse && err != nil:
		t.Fatal(err)
	case refuse && KindOf(err) != PreconditionFailed && KindOf(err) != NoObject:
		t.Fatalf("condition %+v on %v: %v", req.If, exists, err)
	case !refuse:
		m.model[key] = data
	}
}

func (m *machine) get(t *rapid.T) {
	key := drawKey(t)
	want, exists := m.model[key]
	o, got, err := fetch(m.r.e, "b", key, rapid.IntRange(0, 2).Draw(t, "way"))
	switch {
	case !exists && KindOf(err) != NoObject:
		t.Fatalf("%q: %v", key, err)
	case exists && (err != nil || !bytes.Equal(got, want) || o.ETag != etagOf(want)):
		t.Fatalf("%q: %d bytes, want %d; %v", key, len(got), len(want), err)
	}
}

func (m *machine) ranges(t *rapid.T) {
	key := drawKey(t)
	want := m.model[key]
	if len(want) == 0 {
		return
	}
	off := rapid.IntRange(0, len(want)-1).Draw(t, "off")
	n := rapid.IntRange(1, len(want)-off).Draw(t, "n")
	o, err := m.r.e.Get(context.Background(), "b", key)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	got, err := fetchRange(o, int64(off), int64(n), rapid.IntRange(0, 2).Draw(t, "way"))
	if err != nil || !bytes.Equal(got, want[off:off+n]) {
		t.Fatalf("%q %d+%d: %d bytes, %v", key, off, n, len(got), err)
	}
	for number := int32(1); number <= o.Info.PartCount; number++ {
		p, off, err := o.Part(number)
		if err != nil || off+p.Size > int64(len(want)) || p.ETag != etagOf(want[off:off+p.Size]) {
			t.Fatalf("part %d: %+v at %d, %v", number, p, off, err)
		}
	}
}

func (m *machine) remove(t *rapid.T) {
	key := drawKey(t)
	existed, err := m.r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: key, IfSize: -1})
	if _, want := m.model[key]; err != nil || existed != want {
		t.Fatal(existed, want, err)
	}
	delete(m.model, key)
}

func (m *machine) list(t *rapid.T) {
	req := meta.ListObjectsRequest{
		Prefix:    rapid.SampledFrom([]string{"", "a", "a/", "b/x"}).Draw(t, "prefix"),
		Delimiter: rapid.SampledFrom([]string{"", "/"}).Draw(t, "delimiter"),
		Max:       rapid.IntRange(1, 4).Draw(t, "max"),
	}
	var want, got []string
	for _, k := range slices.Sorted(maps.Keys(m.model)) {
		rest, ok := strings.CutPrefix(k, req.Prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, "/"); req.Delimiter != "" && i >= 0 {
			k = req.Prefix + rest[:i+1] + " prefix"
		}
		if !slices.Contains(want, k) {
			want = append(want, k)
		}
	}
	for {
		page, err := m.r.e.List(context.Background(), "b", req)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page.Items {
			if it.Size != int64(len(m.model[it.Key])) || it.ETag != etagOf(m.model[it.Key]) {
				t.Fatalf("%+v", it)
			}
			got = append(got, it.Key)
		}
		for _, p := range page.Prefixes {
			got = append(got, p+" prefix")
		}
		if !page.Truncated {
			break
		}
		req.After = page.Next
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Fatalf("%+v: %q, want %q", req, got, want)
	}
}

func (m *machine) begin(t *rapid.T) {
	key := drawKey(t)
	o := meta.Object{Owner: "me"}
	if rapid.Bool().Draw(t, "encrypted") {
		o.Seal, _ = newSeal()
	}
	up, err := m.r.e.CreateUpload(context.Background(), "b", key, "me", o)
	if err != nil {
		t.Fatal(err)
	}
	m.uploads = append(m.uploads, &modelUpload{up.ID, key, make(map[int32][]byte), o.Seal})
}

func (m *machine) drawUpload(t *rapid.T) int {
	if len(m.uploads) == 0 {
		return -1
	}
	return rapid.IntRange(0, len(m.uploads)-1).Draw(t, "upload")
}

func (m *machine) part(t *rapid.T) {
	i := m.drawUpload(t)
	if i < 0 {
		return
	}
	u, data := m.uploads[i], m.drawData(t)
	number := rapid.Int32Range(1, 5).Draw(t, "number")
	_, err := m.r.e.PutPart(context.Background(), PutPartRequest{
		Bucket: "b", Key: u.key, UploadID: u.id, Number: number, Size: int64(len(data)), Body: bytes.NewReader(data),
		Finish:  func(p *meta.Part) error { p.ETag = etagOf(data); return nil },
		DataKey: keyOf(u.seal),
	})
	if err != nil {
		t.Fatal(err)
	}
	u.parts[number] = data
	_, parts, _, err := m.r.e.ListParts(context.Background(), "b", u.key, u.id, 0, 1000)
	if err != nil || len(parts) != len(u.parts) {
		t.Fatal(parts, err)
	}
}

func (m *machine) complete(t *rapid.T) {
	i := m.drawUpload(t)
	if i < 0 {
		return
	}
	u := m.uploads[i]
	var refs []meta.PartRef
	var all []byte
	for _, n := range slices.Sorted(maps.Keys(u.parts)) {
		if last := len(all) > 0; last && rapid.IntRange(0, 3).Draw(t, "skip") == 0 || len(u.parts[n]) == 0 {
			continue
		}
		refs = append(refs, meta.PartRef{Number: n, ETag: etagOf(u.parts[n])})
		all = append(all, u.parts[n]...)
	}
	o, err := m.r.e.CompleteUpload(context.Background(), CompleteRequest{
		Bucket: "b", Key: u.key, UploadID: u.id, Parts: refs, Size: int64(len(all)),
		Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) {
			return etagOf(all), meta.Checksum{}, nil
		},
	})
	if len(refs) == 0 {
		if KindOf(err) != InvalidPart {
			t.Fatal(err)
		}
		return
	}
	if err != nil || o.Size != int64(len(all)) || int(o.PartCount) != len(refs) {
		t.Fatalf("%+v, %v", o, err)
	}
	m.model[u.key] = all
	m.uploads = slices.Delete(m.uploads, i, i+1)
}

func (m *machine) abort(t *rapid.T) {
	i := m.drawUpload(t)
	if i < 0 {
		return
	}
	u := m.uploads[i]
	if err := m.r.e.AbortUpload(context.Background(), "b", u.key, u.id); err != nil {
		t.Fatal(err)
	}
	if err := m.r.e.AbortUpload(context.Background(), "b", u.key, u.id); KindOf(err) != NoUpload {
		t.Fatal(err)
	}
	m.uploads = slices.Delete(m.uploads, i, i+1)
}

func (m *machine) restart(*rapid.T) {
	m.r.restart()
	m.r.accounted()
}

// end checks everything once more, after a restart, and then that nothing of it
// stays behind.
func (m *machine) end(t *rapid.T) {
	m.r.restart()
	m.r.drained()
	m.r.accounted()
	ctx := context.Background()
	for key, want := range m.model {
		_, got, err := fetch(m.r.e, "b", key, 0)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q: %d bytes, want %d; %v", key, len(got), len(want), err)
		}
	}
	list, err := m.r.e.ListBuckets(ctx, "", 2)
	if err != nil || len(list) != 1 || list[0].Objects != int64(len(m.model)) {
		t.Fatal(fmt.Sprint(list, err))
	}
	for key := range m.model {
		if _, err := m.r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: key, IfSize: -1}); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range m.uploads {
		if err := m.r.e.AbortUpload(ctx, "b", u.key, u.id); err != nil {
			t.Fatal(err)
		}
	}
	m.r.drained()
	if n := m.r.used(); n != 0 {
		t.Fatalf("%d bytes in use after everything was deleted", n)
	}
	m.r.stop()
	m.r.arena.Close()
}
