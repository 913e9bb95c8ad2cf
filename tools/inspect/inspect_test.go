package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/engine/seal/kms"
	"github.com/sluicehq/sluice/ioring"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is what a real engine left behind.
type rig struct {
	t       testing.TB
	dir     string
	drives  []string          // directories
	state   string            // state directory
	objects map[string][]byte // by key, in the bucket "bkt"
	sealed  map[string]bool
}

// newRig writes objects of every form through an engine over n drives, and closes it.
// With encrypted, the store and some objects are.
func newRig(t testing.TB, n int, encrypted bool) *rig {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	r := &rig{t: t, dir: dir, state: filepath.Join(dir, "state"), objects: map[string][]byte{}, sealed: map[string]bool{}}
	must(t, os.Mkdir(r.state, 0o700))
	arena, err := ioring.NewArena(64 << 20)
	must(t, err)
	var opened []*drive.Drive
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("d%d", i))
		must(t, os.Mkdir(path, 0o700))
		dev, err := ioring.Open(filepath.Join(path, "data"), arena, ioring.Options{Mode: ioring.ModePread, CPU: -1})
		must(t, err)
		d, err := drive.Open(ctx, dev, drive.Options{Arena: arena, Limit: 256 << 20, Cluster: [16]byte{1}})
		must(t, err)
		opened, r.drives = append(opened, d), append(r.drives, path)
	}
	home := filepath.Join(r.drives[0], "meta")
	must(t, os.Mkdir(home, 0o700))
	opts := pebblemeta.Options{}
	var backend keyring.Backend
	if encrypted {
		local, err := kms.OpenLocal(filepath.Join(r.state, "kek.keys"), "sluice", true)
		must(t, err)
		backend = keyring.Backend{ID: "0000000000000000", KMS: local}
		wrapped, key, err := keyring.NewStoreKey(ctx, backend, time.Now())
		must(t, err)
		must(t, wrapped.Write(home))
		must(t, wrapped.Write(r.state))
		opts.Key = key
	}
	store, err := pebblemeta.Open(home, opts)
	must(t, err)
	e, err := engine.Open(ctx, engine.Config{Drives: opened, Store: store})
	must(t, err)
	_, err = e.CreateBucket(ctx, "bkt", "root", "us-east-1")
	must(t, err)
	var ring *keyring.Ring
	if encrypted {
		id, err := json.Marshal(map[string]string{"id": strings.Repeat("01", 16)})
		must(t, err)
		_, err = e.Docs("").Put(ctx, "system/identity", id, 0)
		must(t, err)
		ring, err = keyring.Open(ctx, keyring.Config{Docs: testDocs{e.Docs("")}, Cluster: strings.Repeat("01", 16), Current: backend})
		must(t, err)
	}
	r.fill(ctx, e, ring)
	must(t, e.Close(ctx))
	must(t, arena.Close())
	return r
}

// testDocs gives the ring the engine's documents.
type testDocs struct{ d *engine.Docs }

func (d testDocs) Get(ctx context.Context, path string) ([]byte, int64, bool, error) {
	doc, err := d.d.Get(ctx, path)
	if engine.KindOf(err) == engine.NoDoc {
		return nil, 0, false, nil
	}
	return doc.Value, doc.Rev, err == nil, err
}

func (d testDocs) List(ctx context.Context, prefix string, fn func(string, []byte, int64) error) error {
	docs, err := d.d.List(ctx, prefix)
	for i := 0; err == nil && i < len(docs); i++ {
		err = fn(docs[i].Path, docs[i].Value, docs[i].Rev)
	}
	return err
}

func (d testDocs) Put(ctx context.Context, path string, value []byte, ifRev int64) (int64, error) {
	return d.d.Put(ctx, path, value, ifRev)
}

func (d testDocs) Delete(ctx context.Context, path string, ifRev int64) error {
	return d.d.Delete(ctx, path, ifRev)
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed)})
	src.Read(b)
	return b
}

func (r *rig) fill(ctx context.Context, e *engine.Engine, ring *keyring.Ring) {
	b, err := e.Bucket(ctx, "bkt")
	must(r.t, err)
	newSeal := func(key string) (*meta.Seal, *seal.DataKey) {
		if ring == nil {
			return nil, nil
		}
		s := &meta.Seal{Mode: meta.SealS3, Binding: [16]byte{9}}
		data, w, err := ring.New(ctx, "", sealBinding(s, b.ID, key))
		must(r.t, err)
		s.Ring, s.Box = w.Ring, w.Box
		r.sealed[key] = true
		return s, &data
	}
	for key, size := range map[string]int{"empty": 0, "inline": 3000, "small": 70_000, "large": 5<<20 + 12_345} {
		body := random(uint64(len(key)), size)
		sum := md5.Sum(body)
		s, data := newSeal(key)
		_, err := e.Put(ctx, engine.PutRequest{
			Bucket: "bkt", Key: key, Size: int64(size), Body: bytes.NewReader(body), Object: meta.Object{Seal: s}, DataKey: data,
			Finish: func(o *meta.Object) error { o.ETag = hex.EncodeToString(sum[:]); return nil },
		})
		must(r.t, err)
		r.objects[key] = body
	}
	s, data := newSeal("multi")
	up, err := e.CreateUpload(ctx, "bkt", "multi", "me", meta.Object{Seal: s})
	must(r.t, err)
	var refs []meta.PartRef
	for n := int32(1); n <= 2; n++ {
		body := random(uint64(100+n), 5<<20+int(n))
		p, err := e.PutPart(ctx, engine.PutPartRequest{
			Bucket: "bkt", Key: "multi", UploadID: up.ID, Number: n, Size: int64(len(body)), Body: bytes.NewReader(body), DataKey: data,
			Finish: func(p *meta.Part) error { p.ETag = strings.Repeat("a", 32); return nil },
		})
		must(r.t, err)
		refs = append(refs, meta.PartRef{Number: n, ETag: p.ETag})
		r.objects["multi"] = append(r.objects["multi"], body...)
	}
	_, err = e.CompleteUpload(ctx, engine.CompleteRequest{
		Bucket: "bkt", Key: "multi", UploadID: up.ID, Parts: refs, Size: -1,
		Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) {
			return strings.Repeat("b", 32) + "-2", meta.Checksum{}, nil
		},
	})
	must(r.t, err)
	_, err = e.CreateUpload(ctx, "bkt", "begun", "me", meta.Object{})
	must(r.t, err)
}

// inspect runs a command and returns its exit code and output. Nothing that the rig
// holds may be changed by it.
func (r *rig) inspect(args ...string) (int, string) {
	r.t.Helper()
	before := r.sums()
	tmp := tmpDir(r.t)
	var out bytes.Buffer
	code := run(context.Background(), append(args, "--state-dir", r.state, "--tmp", tmp), &out, &out)
	if after := r.sums(); !maps.Equal(before, after) {
		r.t.Errorf("%v changed something:\n%v\n%v", args, before, after)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		r.t.Errorf("%v left %v, %v", args, left, err)
	}
	return code, out.String()
}

// tmpDir is for copies of the metadata: in memory where that goes, since each is
// synced many times.
func tmpDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "sluice-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// sums are the sizes and times of change of all files, and the digests of small ones.
func (r *rig) sums() map[string]string {
	out := map[string]string{}
	must(r.t, filepath.WalkDir(r.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var text []byte
		if info.Size() < 1<<20 {
			text, err = os.ReadFile(path)
		}
		out[path] = fmt.Sprintf("%x %d %s", sha256.Sum256(text), info.Size(), info.ModTime())
		return err
	}))
	return out
}

func (r *rig) wants(code int, contains []string, args ...string) string {
	r.t.Helper()
	got, out := r.inspect(args...)
	for _, want := range contains {
		if !strings.Contains(out, want) {
			r.t.Errorf("%v does not tell %q:\n%s", args, want, out)
		}
	}
	if got != code {
		r.t.Errorf("%v exits with %d, want %d:\n%s", args, got, code, out)
	}
	return out
}

// checked runs check on all drives that are left.
func (r *rig) checked(code int, contains ...string) {
	r.t.Helper()
	r.wants(code, contains, append([]string{"check", r.drives[0]}, r.drives...)...)
}

// extracted reads every object back.
func (r *rig) extracted() {
	r.t.Helper()
	for key, body := range r.objects {
		file := filepath.Join(r.t.TempDir(), "out")
		args := append(append([]string{"extract", r.drives[0]}, r.drives...), "bkt", key, "-o", file)
		out := r.wants(0, nil, args...)
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, body) {
			r.t.Errorf("%s: %d bytes of %d, %v\n%s", key, len(got), len(body), err, out)
		}
	}
}

func TestInspectGoodStore(t *testing.T) {
	for name, encrypted := range map[string]bool{"plain": false, "encrypted": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 5, encrypted)
			r.wants(0, []string{"state", "good", "cluster", strings.Repeat("01", 1)}, "drive", r.drives[1])
			r.wants(0, []string{"heads", "back-references", fmt.Sprintf("encrypted   %t", encrypted)}, "meta", r.drives[0])
			r.wants(0, []string{`"multi"`, `"large"`}, "meta", r.drives[0], "--list", "objects")
			r.wants(0, []string{"bkt", "us-east-1"}, "meta", filepath.Join(r.drives[0], "meta"), "--list", "buckets")
			r.wants(0, []string{"begun"}, "meta", r.drives[0], "--list", "uploads")
			r.wants(0, []string{"3+2 units of"}, "meta", r.drives[0], "--list", "blobs")
			for _, list := range []string{"documents", "deletes", "repairs"} {
				r.wants(0, nil, "meta", r.drives[0], "--list", list)
			}
			r.wants(2, []string{"--list"}, "meta", r.drives[0], "--list", "everything")
			r.wants(0, []string{"3+2", "0 data", "4 parity"}, "object", r.drives[0], "bkt", "large")
			r.wants(0, []string{"inline"}, "object", r.drives[0], "bkt", "inline")
			r.wants(0, []string{"part      2 of"}, "object", r.drives[0], "bkt", "multi")
			r.wants(1, []string{"no such object"}, "object", r.drives[0], "bkt", "none")
			r.checked(0, "0 problems")
			r.extracted()
		})
	}
}

// The frames that are found are those that the metadata names.
func TestInspectFrames(t *testing.T) {
	r := newRig(t, 4, false)
	out := r.wants(0, nil, "meta", r.drives[0], "--list", "blobs")
	blobs := map[string]bool{}
	for _, line := range strings.Split(out, "\n")[1:] {
		if id, _, ok := strings.Cut(line, " "); ok {
			blobs[id] = true
		}
	}
	seen := map[string]bool{}
	for _, d := range r.drives {
		out := r.wants(0, []string{" 0 of them not good"}, "frames", d)
		for _, line := range strings.Split(out, "\n") {
			if f := strings.Fields(line); len(f) == 9 && f[8] == "good" {
				seen[f[1]] = true
			}
		}
	}
	if !maps.Equal(blobs, seen) || len(blobs) != 4 {
		t.Errorf("blobs %v, frames of %v", slices.Sorted(maps.Keys(blobs)), slices.Sorted(maps.Keys(seen)))
	}
	for id := range blobs {
		if out := r.wants(0, nil, "frames", r.drives[0], "--blob", id); strings.Count(out, id) == 0 && strings.Contains(out, " good\n") {
			t.Errorf("another blob than %s:\n%s", id, out)
		}
	}
	r.wants(2, []string{"no id of a blob"}, "frames", r.drives[0], "--blob", "12")
}

// flip changes one byte of the payload of the first large frame on a drive, or of all
// that begin their fragments.
func (r *rig) flip(drive int, all bool) {
	r.t.Helper()
	d, err := openDrive(r.drives[drive])
	must(r.t, err)
	defer d.close()
	var places []int64
	must(r.t, d.scan(context.Background(), func(off int64, f *frame, fault error) error {
		if f.payload > 100_000 && f.index == 0 && (all || len(places) == 0) {
			places = append(places, off+frameHeader+20_000)
		}
		return fault
	}))
	if len(places) == 0 {
		r.t.Fatal("no frame to damage")
	}
	f, err := os.OpenFile(filepath.Join(r.drives[drive], "data"), os.O_RDWR, 0)
	must(r.t, err)
	defer f.Close()
	for _, at := range places {
		var b [1]byte
		_, err = f.ReadAt(b[:], at)
		must(r.t, err)
		b[0] ^= 0x10
		_, err = f.WriteAt(b[:], at)
		must(r.t, err)
	}
}

// Two of five drives may be lost or damaged: what is wrong is told, and everything is
// rescued.
func TestInspectRescues(t *testing.T) {
	for name, encrypted := range map[string]bool{"plain": false, "encrypted": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 5, encrypted)
			r.flip(1, false)
			r.wants(1, []string{"differs from its checksum", "1 of them not good"}, "frames", r.drives[1])
			r.checked(1, "differs from its checksum", "0 blobs unreadable")
			r.extracted()
			gone := r.drives[4]
			must(t, os.RemoveAll(gone))
			r.checked(1, "cannot be used", "was not given", "0 blobs unreadable")
			r.extracted()
			r.drives = r.drives[:4]
			r.extracted()
			must(t, os.Truncate(filepath.Join(r.drives[3], "data"), dataStart+8<<10))
			r.checked(1, "beyond", "unreadable")
		})
	}
}

// What cannot be read is refused, or left out and told.
func TestInspectPartial(t *testing.T) {
	r := newRig(t, 3, false) // 2+1
	for i := range 2 {
		r.flip(i, true)
	}
	file := filepath.Join(t.TempDir(), "out")
	args := append(append([]string{"extract", r.drives[0]}, r.drives...), "bkt")
	const broken = "multi"
	r.wants(1, []string{"are needed"}, append(slices.Clone(args), broken, "-o", file)...)
	if _, err := os.Stat(file); err == nil {
		t.Error("a file is left")
	}
	r.wants(1, []string{"are holes"}, append(slices.Clone(args), broken, "-o", file, "--partial")...)
	got, err := os.ReadFile(file)
	must(t, err)
	body := r.objects[broken]
	if len(got) != len(body) {
		t.Fatalf("%d bytes of %d", len(got), len(body))
	}
	same := 0
	for i := range got {
		if got[i] == body[i] {
			same++
		}
	}
	if same < len(body)/4 || same == len(body) {
		t.Errorf("%d of %d bytes are right", same, len(body))
	}
	r.wants(1, []string{"file exists"}, append(slices.Clone(args), broken, "-o", file)...)
}

func TestInspectSuperblocks(t *testing.T) {
	r := newRig(t, 2, false)
	data := filepath.Join(r.drives[1], "data")
	scribble := func(at int64, text string) {
		f, err := os.OpenFile(data, os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte(text), at)
		must(t, err)
	}
	scribble(superCopy+60, "x")
	r.wants(1, []string{"torn", "one superblock is not good"}, "drive", data)
	r.checked(0, "0 problems") // the other copy does
	scribble(0, "something else, of somebody else")
	r.wants(1, []string{"another magic", "neither superblock is good"}, "drive", r.drives[1])
	r.checked(1, "cannot be used")
	r.extracted() // a mirror
	r.wants(0, []string{"no superblock is good", "0 frames"}, "frames", data, "--blob", strings.Repeat("0", 32))
	r.wants(1, []string{"no such file"}, "drive", filepath.Join(r.dir, "none"))
	r.wants(1, []string{"no metadata store"}, "meta", r.drives[1])
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"help"}, {"drive"}, {"drive", "a", "b"}, {"object", "a", "b"}, {"check", "a"},
		{"extract", "a", "b", "c", "d"}, {"meta", "a", "--unknown"}} {
		var out bytes.Buffer
		if code := run(context.Background(), args, &out, &out); code != 2 || !strings.Contains(out.String(), "inspect drive PATH") {
			t.Errorf("%q: %d\n%s", args, code, &out)
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	r := newRig(f, 2, false)
	d, err := openDrive(r.drives[0])
	must(f, err)
	defer d.close()
	n := 0
	must(f, d.scan(context.Background(), func(at int64, _ *frame, _ error) error {
		b := make([]byte, frameHeader)
		_, err := d.file.ReadAt(b, at)
		if n++; n < 4 {
			f.Add(b)
		}
		return err
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeFrame(b)
		if err != nil {
			return
		}
		if h.payload < 1 || h.payload > layout.MaxUnit || h.unit > layout.MaxUnit || h.index < 0 {
			t.Fatalf("%+v", h)
		}
		_ = h.verify(make([]byte, h.payload))
	})
}

func FuzzDecodeSuper(f *testing.F) {
	r := newRig(f, 1, false)
	d, err := openDrive(r.drives[0])
	must(f, err)
	defer d.close()
	b := make([]byte, superSize)
	_, err = d.file.ReadAt(b, 0)
	must(f, err)
	f.Add(b)
	f.Add(make([]byte, superSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSuper(b); err == nil && (s.unit <= 0 || s.unit&(s.unit-1) != 0) {
			t.Fatalf("%+v", s)
		}
	})
}
