package metatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// Findings audits every slot of r, with tables of so many ids, and returns what it
// finds, and how much it has looked at.
func Findings(r meta.Reader, table int) (list []meta.Finding, sum meta.AuditCount, err error) {
	slots, err := meta.Slots(r)
	if err != nil {
		return nil, sum, err
	}
	for _, s := range slots {
		a := meta.Audit{
			Reader: r, Slot: s, Table: table,
			Stored: func(_ bool, size int64) int64 { return size },
			Found:  func(f meta.Finding) error { list = append(list, f); return nil },
		}
		if err := a.Run(context.Background()); err != nil {
			return list, sum, err
		}
		sum.Buckets += a.Count.Buckets
		sum.Objects += a.Count.Objects
		sum.Parts += a.Count.Parts
		sum.Uploads += a.Count.Uploads
		sum.Blobs += a.Count.Blobs
		sum.Inline += a.Count.Inline
	}
	return list, sum, nil
}

// verifyAudit checks that an audit finds nothing, however often it has to go through
// a slot, and counts what there is. Tests may keep records of types of their own.
func verifyAudit(r meta.Reader, st *state) error {
	list, sum, err := Findings(r, 0)
	list = slices.DeleteFunc(list, func(f meta.Finding) bool { return f.Kind == meta.FoundUnknown })
	if err != nil || len(list) > 0 {
		return errors.Join(fmt.Errorf("an audit finds %+v", list), err)
	}
	again, passes, err := Findings(r, 3+int(max(sum.Blobs, sum.Inline))/4)
	again = slices.DeleteFunc(again, func(f meta.Finding) bool { return f.Kind == meta.FoundUnknown })
	if err != nil || !slices.Equal(again, list) || passes != sum {
		return errors.Join(fmt.Errorf("an audit in passes finds %+v in %+v, not %+v", again, passes, sum), err)
	}
	var want meta.AuditCount
	want.Buckets, want.Uploads, want.Blobs = int64(len(st.buckets)), int64(len(st.uploads)), int64(len(st.blobs))
	for _, objects := range st.objects {
		want.Objects += int64(len(objects))
	}
	for _, ps := range st.parts {
		want.Parts += int64(len(ps))
	}
	for _, ps := range st.upParts {
		want.Parts += int64(len(ps))
	}
	want.Inline = sum.Inline // those of the delete queue are not in st
	if sum != want || sum.Inline < int64(len(st.payload)) {
		return fmt.Errorf("an audit counts %+v, want %+v and %d payloads", sum, want, len(st.payload))
	}
	return nil
}

// testAudit damages a store in every way that an audit knows, one at a time.
func testAudit(t *testing.T, s meta.Store) {
	b := auditRecords(t, s)
	if err := Verify(s); err != nil {
		t.Fatal(err)
	}
	all, err := Dump(s)
	if err != nil {
		t.Fatal(err)
	}
	d := &damage{t: t, s: s, all: all, slot: fmt.Sprintf("\x00%c", byte(b.Slot)), bucket: b.ID}
	d.objects()
	d.queues()
	d.parts()
	d.buckets()
}

// auditRecords stores something of every kind and returns its bucket.
func auditRecords(t *testing.T, s meta.Store) meta.Bucket {
	b := newBucket(t, s, "b")
	newBucket(t, s, "empty")
	long := []meta.Header{{Name: "m", Value: strings.Repeat("v", 400)}}
	in := func(n int) layout.Blob { return layout.Blob{ID: id(n), Size: 3} }
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "inline", Version: id(1), Blob: in(1), Size: 3}, Inline: []byte("one")})
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "long", Version: id(2), Blob: single(2, 9), Size: 9, Metadata: long}})
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "mirror", Version: id(3), Blob: mirrored(3, false), Size: 9}})
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "gone", Version: id(4), Blob: single(4, 9), Size: 9}})
	must(t, s, &meta.DeleteObject{Bucket: b, Key: "gone", IfSize: -1, Due: 5})
	for n, key := range map[int]string{100: "parts", 300: "upload"} {
		must(t, s, &meta.CreateUpload{Bucket: b, Upload: meta.Upload{ID: id(n), Key: key}})
		c := &meta.CompleteUpload{Bucket: b, Key: key, UploadID: id(n), Size: -1, Version: id(n + 99), Seal: seal}
		for i := 1; i <= 70; i++ {
			must(t, s, &meta.PutPart{Bucket: b, Key: key, UploadID: id(n), Part: meta.Part{Number: int32(i), Size: 3, ETag: "e", Blob: in(n + i)}, Inline: []byte("one")})
			c.Parts = append(c.Parts, meta.PartRef{Number: int32(i), ETag: "e"})
		}
		if key == "parts" {
			must(t, s, c)
		}
	}
	must(t, s, &meta.PutDoc{Path: "p", Value: []byte("v")})
	must(t, s, &meta.PutDoc{Bucket: b.ID, Slot: b.Slot, Path: "p", Value: []byte("v")})
	return b
}

func ident(n int) string { v := id(n); return string(v[:]) }

func escaped(key string, n int) string { return key + "\x00\x01" + ident(n) }

// counted is an id or number of 8 bytes.
func counted(n byte) string { return "\x00\x00\x00\x00\x00\x00\x00" + string(rune(n)) }

// of begins a key of the bucket.
func (d *damage) of(typ string) string { return d.slot + typ + counted(byte(d.bucket)) }

// objects damages what names blobs, and what they are named by.
func (d *damage) objects() {
	d.set("a head that does not decode", d.of("h")+"inline", "\x01", meta.FoundBadRecord, meta.FoundCounter, meta.FoundInline)
	d.set("a newer head", d.of("h")+"inline", "\x09", meta.FoundBadRecord, meta.FoundCounter, meta.FoundInline)
	d.set("a head of nothing", d.of("h")+"inline", "", meta.FoundBadRecord, meta.FoundCounter, meta.FoundInline)
	d.drop("a head", d.of("h")+"inline", meta.FoundCounter, meta.FoundInline)
	d.drop("a full record", d.of("o")+escaped("long", 2), meta.FoundHead, meta.FoundOrphanBlob)
	d.drop("the head of a full record", d.of("h")+"long", meta.FoundHead, meta.FoundOrphanBlob, meta.FoundCounter)
	d.set("a full record that is a pointer", d.of("o")+escaped("long", 2), d.all[d.of("h")+"long"], meta.FoundHead, meta.FoundOrphanBlob)
	d.set("another full record", d.of("o")+escaped("long", 2), d.all[d.of("h")+"mirror"], meta.FoundHead, meta.FoundSharedBlob, meta.FoundOwner, meta.FoundOrphanBlob)
	d.set("a full record too many", d.of("o")+escaped("x", 9), d.all[d.of("o")+escaped("long", 2)], meta.FoundHead)
	d.set("an object twice", d.of("h")+"again", d.all[d.of("h")+"mirror"], meta.FoundSharedBlob, meta.FoundOwner, meta.FoundCounter)
	d.set("an inline object twice", d.of("h")+"again", d.all[d.of("h")+"inline"], meta.FoundSharedBlob, meta.FoundCounter)
	d.drop("a payload", d.slot+"d"+ident(1), meta.FoundInline)
	d.set("an altered payload", d.slot+"d"+ident(1), flip(d.all[d.slot+"d"+ident(1)], -1), meta.FoundInline)
	d.set("another payload", d.slot+"d"+ident(1), longer(d.t, d.s, d.slot), meta.FoundSize)
	d.set("a payload too many", d.slot+"d"+ident(999), d.all[d.slot+"d"+ident(1)], meta.FoundInline)
	d.drop("a back-reference", d.slot+"b"+ident(2), meta.FoundMissingBlob)
	d.set("a back-reference of another blob", d.slot+"b"+ident(2), d.all[d.slot+"b"+ident(3)], meta.FoundBadRecord)
	d.set("a back-reference that does not decode", d.slot+"b"+ident(2), "\x01\x01", meta.FoundBadRecord)
	d.set("a back-reference too many", d.slot+"b"+ident(999), rename(d.all[d.slot+"b"+ident(2)], ident(2), ident(999)), meta.FoundOrphanBlob)
	d.set("a back-reference that tells of another key", d.slot+"b"+ident(2), rename(d.all[d.slot+"b"+ident(2)], "long", "gone"), meta.FoundOwner)
	d.drop("an entry of the repair queue", d.slot+"q"+ident(3), meta.FoundRepairQueue)
	d.set("an entry for a blob that lacks nothing", d.slot+"q"+ident(2), d.all[d.slot+"q"+ident(3)], meta.FoundRepairQueue)
	d.set("an entry for a fragment that is missing", d.slot+"q"+ident(3), "\x01\x02"+d.all[d.slot+"q"+ident(3)][2:], meta.FoundRepairQueue)
	d.set("an entry for no blob", d.slot+"q"+ident(999), d.all[d.slot+"q"+ident(3)], meta.FoundRepairQueue)
	d.set("an entry that does not decode", d.slot+"q"+ident(3), "\x01", meta.FoundBadRecord)
}

// queues damages the delete queue.
func (d *damage) queues() {
	d.drop("an entry of the delete queue", d.find(d.slot+"g", ident(4)+"\x01"), meta.FoundOrphanBlob)
	d.drop("what an entry is to remove", d.slot+"b"+ident(4), meta.FoundDeleteQueue)
	d.set("an entry for an object's blob", d.slot+"g"+strings.Repeat("\x80", 8)+ident(2)+"\x01", d.all[d.find(d.slot+"g", ident(4)+"\x01")], meta.FoundSharedBlob)
	d.set("an entry for something unknown", d.slot+"g"+strings.Repeat("\x80", 8)+ident(2)+"\x07", d.all[d.find(d.slot+"g", ident(4)+"\x01")], meta.FoundBadRecord)
	d.drop("the end of a completion", d.find(d.slot+"g", ident(100)+"\x02"), meta.FoundDeleteQueue)
	d.drop("a completion", d.slot+"c"+ident(100), meta.FoundDeleteQueue)
}

// parts damages uploads and part lists.
func (d *damage) parts() {
	list := d.slot + "x" + ident(199)
	d.drop("a chunk", list+"\x00\x00\x00\x00", meta.FoundPartList, meta.FoundInline)
	d.drop("the last chunk", list+"\x00\x00\x00\x01", meta.FoundPartList, meta.FoundInline)
	d.drop("the index", list+"\xff\xff\xff\xff", meta.FoundPartList)
	d.set("a false index", list+"\xff\xff\xff\xff", "\x01\x02\x01\x02", meta.FoundPartList)
	d.set("a chunk twice", list+"\x00\x00\x00\x01", d.all[list+"\x00\x00\x00\x00"], meta.FoundPartList, meta.FoundSharedBlob, meta.FoundInline)
	d.set("a chunk too many", list+"\x00\x00\x00\x02", d.all[list+"\x00\x00\x00\x00"], meta.FoundPartList)
	d.set("a list of nobody's", d.slot+"x"+ident(5)+"\x00\x00\x00\x00", d.all[list+"\x00\x00\x00\x00"], meta.FoundPartList)
	d.drop("an upload", d.of("u")+escaped("upload", 300), meta.FoundStray, meta.FoundInline)
	d.set("an upload that does not decode", d.of("u")+escaped("upload", 300), "\x01", meta.FoundBadRecord, meta.FoundStray, meta.FoundInline)
	d.drop("a part", d.slot+"p"+ident(300)+"\x00\x05", meta.FoundInline)
	d.set("a part that does not decode", d.slot+"p"+ident(300)+"\x00\x05", "\x01", meta.FoundBadRecord, meta.FoundInline)
	d.set("part 0", d.slot+"p"+ident(300)+"\x00\x00", d.all[d.slot+"p"+ident(300)+"\x00\x05"], meta.FoundBadRecord, meta.FoundSharedBlob)
}

// buckets damages what is of a bucket.
func (d *damage) buckets() {
	d.drop("a marker", d.of("e"), meta.FoundBucket, meta.FoundStray, meta.FoundOrphanBlob, meta.FoundInline, meta.FoundPartList)
	d.drop("a bucket's record", "\x00\x00B"+"empty", meta.FoundBucket)
	d.set("another bucket's record", "\x00\x00B"+"empty", d.all["\x00\x00Bb"], meta.FoundBucket)
	d.set("a bucket's record that does not decode", "\x00\x00B"+"empty", "\x01", meta.FoundBadRecord)
	d.set("an early bucket id", "\x00\x00i", strings.Repeat("\x00", 8), meta.FoundBucket)
	d.set("a counter", d.of("n")+"o", strings.Repeat("\x00", 8), meta.FoundCounter)
	d.set("a sum", d.of("n")+"b", strings.Repeat("\x00", 7)+"\x01", meta.FoundCounter)
	d.set("a counter of something", d.of("n")+"z", strings.Repeat("\x00", 8), meta.FoundUnknown)
	d.set("a head of no bucket", d.slot+"h"+counted(77)+"k", d.all[d.of("h")+"inline"], meta.FoundStray)
	d.set("a short key", d.slot+"h"+"\x00", "", meta.FoundBadRecord)
	d.set("a key of an unknown type", d.slot+"Z", "", meta.FoundUnknown)
	d.set("a key of another slot's type", "\x00\x00h", "", meta.FoundUnknown)
	d.set("a document that does not decode", "\x00\x00f"+counted(0)+"p", "\x01", meta.FoundBadRecord)
	d.set("a bucket's document outside its slot", "\x00\x00f"+counted(1)+"p", d.all["\x00\x00f"+counted(0)+"p"], meta.FoundStray)
	d.set("a document of no bucket", d.slot+"f"+counted(77)+"p", d.all["\x00\x00f"+counted(0)+"p"], meta.FoundStray)
}

// damage changes single records and audits the store.
type damage struct {
	slot   string // begins the keys of the bucket's slot
	bucket meta.BucketID
	t      *testing.T
	s      meta.Store
	all    map[string]string
}

// find returns the one key that begins and ends so.
func (d *damage) find(prefix, suffix string) string {
	d.t.Helper()
	for k := range d.all {
		if strings.HasPrefix(k, prefix) && strings.HasSuffix(k, suffix) {
			return k
		}
	}
	d.t.Fatalf("no key %q…%q", prefix, suffix)
	return ""
}

func (d *damage) write(key string, value *string) {
	d.t.Helper()
	must(d.t, d.s, script(func(tx meta.Tx) error {
		if value == nil {
			tx.Delete([]byte(key))
		} else {
			tx.Put([]byte(key), []byte(*value))
		}
		return nil
	}))
}

// drop removes a record; an audit has to find the kinds given and no others.
func (d *damage) drop(what, key string, kinds ...meta.FindingKind) {
	d.t.Helper()
	if _, ok := d.all[key]; !ok {
		d.t.Fatalf("%s: no key %q", what, key)
	}
	d.try("without "+what, key, nil, kinds)
}

// set writes a record.
func (d *damage) set(what, key, value string, kinds ...meta.FindingKind) {
	d.t.Helper()
	d.try(what, key, &value, kinds)
}

func (d *damage) try(what, key string, value *string, kinds []meta.FindingKind) {
	d.t.Helper()
	d.write(key, value)
	got := map[meta.FindingKind]bool{}
	list, _, err := Findings(d.s, 0)
	if err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
	for _, f := range list {
		got[f.Kind] = true
		if f.Detail == "" {
			d.t.Errorf("%s: %+v", what, f)
		}
	}
	for _, k := range kinds {
		if !got[k] {
			d.t.Errorf("%s: kind %d was not found: %+v", what, k, list)
		}
	}
	for k := range got {
		if !slices.Contains(kinds, k) {
			d.t.Errorf("%s: kind %d was found: %+v", what, k, list)
		}
	}
	// Passes find the same, in another order.
	again, _, err := Findings(d.s, 60)
	for _, l := range [][]meta.Finding{list, again} {
		slices.SortFunc(l, func(a, b meta.Finding) int {
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
		})
	}
	if err != nil || !slices.Equal(again, list) {
		d.t.Errorf("%s: in passes %+v\nat once %+v, %v", what, again, list, err)
	}
	if old, ok := d.all[key]; ok {
		d.write(key, &old)
	} else {
		d.write(key, nil)
	}
	if list, _, err := Findings(d.s, 0); err != nil || len(list) > 0 {
		d.t.Fatalf("%s: after the repair %+v, %v", what, list, err)
	}
}

// flip alters a byte, counted from the end when at is negative.
func flip(v string, at int) string {
	b := []byte(v)
	b[(at+len(b))%len(b)] ^= 1
	return string(b)
}

func rename(v, from, to string) string { return strings.Replace(v, from, to, 1) }

// longer returns the record of a payload of another length.
func longer(t *testing.T, s meta.Store, slot string) string {
	t.Helper()
	b, err := meta.GetBucket(s, "b")
	if err != nil {
		t.Fatal(err)
	}
	must(t, s, &meta.PutObject{Bucket: b, Object: meta.Object{Key: "w", Version: id(9), Blob: layout.Blob{ID: id(9), Size: 4}, Size: 4}, Inline: []byte("four")})
	nine := id(9)
	v, ok, err := s.Get([]byte(slot + "d" + string(nine[:])))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	must(t, s, &meta.DeleteObject{Bucket: b, Key: "w", IfSize: -1})
	due, err := meta.DueGarbage(s, 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	must(t, s, &meta.Purge{Entries: due})
	return string(v)
}
