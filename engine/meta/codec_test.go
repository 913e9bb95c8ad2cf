package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
)

var update = flag.Bool("update", false, "rewrite the golden records")

// codec is one record type: re decodes a record and encodes it again.
type codec struct {
	name string
	re   func(v []byte) ([]byte, any, error)
}

func recode[T any](decode func([]byte) (T, error), encode func(*T) []byte) func([]byte) ([]byte, any, error) {
	return func(v []byte) ([]byte, any, error) {
		x, err := decode(v)
		if err != nil {
			return nil, nil, err
		}
		return encode(&x), x, nil
	}
}

func codecs() []codec {
	type doc struct {
		rev   int64
		value []byte
	}
	return []codec{
		{"object", recode(func(v []byte) (Object, error) { o, _, err := decodeObject(v); return o, err }, encodeObject)},
		{"pointer", recode(func(v []byte) (Object, error) { o, _, err := decodeObject(v); return o, err }, encodePointer)},
		{"part", recode(decodePart, encodePart)},
		{"upload", recode(decodeUpload, encodeUpload)},
		{"chunk", recode(decodeChunk, encodeChunk)},
		{"chunk index", recode(decodeChunkIndex, func(s *[]int64) []byte { return encodeChunkIndex(*s) })},
		{"bucket", recode(decodeBucket, encodeBucket)},
		{"document", recode(func(v []byte) (doc, error) { r, b, err := decodeDoc(v); return doc{r, bytes.Clone(b)}, err }, func(d *doc) []byte { return encodeDoc(d.rev, d.value) })},
		{"back-reference", recode(decodeBackRef, encodeBackRef)},
		{"garbage", recode(decodeGarbage, encodeGarbage)},
		{"completion", recode(decodeCompletion, encodeCompletion)},
		{"inline", recode(decodeInline, func(v *[]byte) []byte { return encodeInline(*v) })},
		{"sealed object", recode(func(v []byte) (Object, error) { o, _, err := decodeObject(v); return o, err }, encodeObject)},
		{"sealed upload", recode(decodeUpload, encodeUpload)},
	}
}

func sampleBlob() layout.Blob {
	return layout.Blob{ID: layout.BlobID{1, 2, 3}, Size: 70000, Kind: layout.KindSingle, Fragments: []layout.Fragment{{
		Drive:   layout.DriveID{0xD1},
		Extents: []layout.Extent{{Off: 1 << 20, Len: 65536}, {Off: 3 << 30, Len: 8192}},
	}}}
}

func sampleObject() Object {
	return Object{
		Version: Version{9, 8, 7}, Size: 70000, ModTime: 1700000000123456789,
		ETag:     "0123456789abcdef0123456789abcdef-17",
		Checksum: Checksum{Algorithm: "CRC64NVME", Type: "FULL_OBJECT", Value: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		Headers:  []Header{{"Content-Type", "text/plain"}},
		Metadata: []Header{{"colour", "blue"}, {"empty", ""}},
		Tags:     []Header{{"k", "v"}},
		Owner:    "alice", Class: "STANDARD_IA", Blob: sampleBlob(),
	}
}

func sampleSeal() *Seal {
	return &Seal{
		Mode: SealKMS, KeyID: "alias/projects", Ring: 3, Box: bytes.Repeat([]byte{0xB0}, 73),
		Context: "eyJhIjoiYiJ9", BucketKey: true, Binding: [16]byte{7, 15: 8},
	}
}

// samples has one record of each codec, in the same order.
func samples() [][]byte {
	o := sampleObject()
	p := Part{Number: 3, Size: 70000, ModTime: 5, ETag: "0123456789abcdef0123456789abcdef", Checksum: Checksum{Algorithm: "SHA256", Value: []byte{1}}, Blob: sampleBlob()}
	mp := o
	mp.PartCount, mp.Blob = 17, layout.Blob{}
	locked := o
	locked.Seal = sampleSeal()
	customer := &Seal{Mode: SealCustomer, Box: []byte{1, 2}, Binding: [16]byte{3}}
	return [][]byte{
		encodeObject(&o),
		encodePointer(&mp),
		encodePart(&p),
		encodeUpload(&Upload{Initiated: 77, Initiator: "bob", Object: Object{Headers: o.Headers, Checksum: Checksum{Algorithm: "CRC32", Type: "COMPOSITE"}}}),
		encodeChunk(&chunk{Start: 123456, Parts: []Part{p, {Number: 4, ETag: "odd"}}}),
		encodeChunkIndex([]int64{1, 300, 1 << 40}),
		encodeBucket(&Bucket{ID: 300, Slot: 44, Slots: 1, Created: 42, Owner: "alice", Location: "eu"}),
		encodeDoc(3, []byte("{}")),
		encodeBackRef(&BackRef{Blob: sampleBlob(), Bucket: 300, Key: "a/b"}),
		encodeGarbage(&garbageRecord{Pin: Version{9}, Size: 12, Chunks: 157}),
		encodeCompletion(&completion{Bucket: 300, Key: "a/b", Version: Version{9}, ETag: "0123456789abcdef0123456789abcdef-17"}),
		encodeInline([]byte("hello")),
		encodeObject(&locked),
		encodeUpload(&Upload{Initiated: 77, Initiator: "bob", Object: Object{Headers: o.Headers, Seal: customer}}),
	}
}

// TestGolden compares records with those of the first release. A difference
// means that stores out there no longer read.
func TestGolden(t *testing.T) {
	const file = "testdata/records.golden"
	var got strings.Builder
	for i, c := range codecs() {
		fmt.Fprintf(&got, "%s %x\n", c.name, samples()[i])
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Fatalf("records differ from %s:\n%s", file, got.String())
	}
	lines := strings.Split(strings.TrimSpace(string(want)), "\n")
	for i, c := range codecs() {
		raw, err := hex.DecodeString(strings.TrimPrefix(lines[i], c.name+" "))
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := c.re(raw)
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%s does not survive a round trip: %x %v", c.name, again, err)
		}
	}
}

func TestObjectRoundTrip(t *testing.T) {
	o := sampleObject()
	got, full, err := decodeObject(encodeObject(&o))
	if err != nil || !full || !reflect.DeepEqual(got, o) {
		t.Fatalf("full record:\n got %+v\nwant %+v\n%v", got, o, err)
	}
	if n := len(encodeObject(&o)); n > maxHead {
		t.Errorf("an ordinary record has %d bytes, more than a head of %d holds", n, maxHead)
	}
	it, err := decodeListing(encodePointer(&o), &ListItem{})
	want := ListItem{Size: o.Size, ModTime: o.ModTime, ETag: o.ETag, Owner: o.Owner, Class: o.Class, Checksum: Checksum{Algorithm: "CRC64NVME", Type: "FULL_OBJECT"}}
	if err != nil || !reflect.DeepEqual(it, want) {
		t.Fatalf("listing:\n got %+v\nwant %+v\n%v", it, want, err)
	}
}

// An object with a seal is told from one without by its version alone, and what
// the first release wrote is read as not encrypted.
func TestSealRecord(t *testing.T) {
	o := sampleObject()
	plain := encodeObject(&o)
	o.Seal = sampleSeal()
	sealed := encodeObject(&o)
	if plain[0] != 1 || sealed[0] != 2 || !bytes.Equal(sealed[1:len(plain)], plain[1:]) {
		t.Fatalf("versions %d and %d", plain[0], sealed[0])
	}
	got, full, err := decodeObject(sealed)
	if err != nil || !full || !reflect.DeepEqual(got, o) {
		t.Fatalf("%+v, %v", got, err)
	}
	if it, err := decodeListing(sealed, &ListItem{}); err != nil || it.Size != o.Size || it.ETag != o.ETag {
		t.Fatalf("listing: %+v, %v", it, err)
	}
	// The pointer is as before; so is what the first release does with the rest.
	if p := encodePointer(&o); p[0] != 1 {
		t.Fatalf("pointer of version %d", p[0])
	}
	if _, err := newDecoder(sealed); !errors.Is(err, ErrNewer) {
		t.Fatalf("an older release: %v", err)
	}
	pointer := encodePointer(&o)
	pointer[0] = sealedVersion
	if _, _, err := decodeObject(pointer); !errors.Is(err, ErrBadRecord) {
		t.Fatalf("pointer with a seal: %v", err)
	}
	for name, edit := range map[string]func(*Seal){
		"no mode":      func(s *Seal) { s.Mode = 0 },
		"unknown mode": func(s *Seal) { s.Mode = 4 },
		"box":          func(s *Seal) { s.Box = make([]byte, maxSealBox+1) },
		"key id":       func(s *Seal) { s.KeyID = strings.Repeat("k", maxSealKeyID+1) },
		"context":      func(s *Seal) { s.Context = strings.Repeat("c", maxSealContext+1) },
	} {
		o.Seal = sampleSeal()
		edit(o.Seal)
		if _, _, err := decodeObject(encodeObject(&o)); !errors.Is(err, ErrBadRecord) || o.Seal.valid() {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.Seal = sampleSeal()
	unknown := encodeObject(&o)
	unknown[len(plain)+1] |= 2
	if _, _, err := decodeObject(unknown); !errors.Is(err, ErrBadRecord) {
		t.Errorf("unknown flag: %v", err)
	}
	// An ordinary encrypted object needs one lookup too.
	o = sampleObject()
	o.Metadata, o.Tags, o.Class = nil, nil, ""
	o.Blob.Fragments[0].Extents = o.Blob.Fragments[0].Extents[:1]
	o.Seal = &Seal{Mode: SealS3, Ring: 1, Box: make([]byte, 73), Binding: [16]byte{1}}
	if n := len(encodeObject(&o)); n > maxHead {
		t.Errorf("an ordinary encrypted record has %d bytes, more than a head of %d holds", n, maxHead)
	}
}

// TestMalformed shortens, lengthens and alters every sample.
func TestMalformed(t *testing.T) {
	for i, c := range codecs() {
		v := samples()[i]
		for n := range v {
			if c.name == "document" && n >= 2 || c.name == "chunk index" && n == 0 {
				continue // any tail is a document
			}
			if _, _, err := c.re(v[:n]); !errors.Is(err, ErrBadRecord) {
				t.Errorf("%s cut to %d of %d bytes: %v", c.name, n, len(v), err)
			}
		}
		if _, _, err := c.re(append(slices.Clone(v), 0)); c.name != "document" && !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s with a byte too many: %v", c.name, err)
		}
		newer := slices.Clone(v)
		newer[0] = recordVersion + 1
		if strings.HasSuffix(c.name, "object") || c.name == "pointer" {
			newer[0] = sealedVersion + 1
		}
		if _, _, err := c.re(newer); !errors.Is(err, ErrNewer) {
			t.Errorf("newer %s: %v", c.name, err)
		}
		newer[0] = 0
		if _, _, err := c.re(newer); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s of version 0: %v", c.name, err)
		}
	}
	bad := encodeInline([]byte("hello"))
	bad[len(bad)-1] ^= 1
	if _, err := decodeInline(bad); !errors.Is(err, ErrBadRecord) {
		t.Errorf("altered payload: %v", err)
	}
	if _, err := decodeCounter([]byte{1}); !errors.Is(err, ErrBadRecord) {
		t.Errorf("short counter: %v", err)
	}
}

func TestETag(t *testing.T) {
	h := "0123456789abcdef0123456789abcdef"
	for s, size := range map[string]int{
		"": 1, h: 17, h + "-1": 18, h + "-10000": 19, h + "-4294967295": 22,
		h + "-4294967296": 45, h + "-": 35, h + "-01": 37, h + "-x": 36, h + "+1": 36, h + "x": 35,
		strings.ToUpper(h): 34, "odd": 5, h[:31]: 33,
	} {
		b := appendETag(nil, s)
		d := decoder{b: b}
		if got := d.etag(); got != s || d.bad || len(d.b) > 0 || len(b) != size {
			t.Errorf("%q: %q, %d bytes, want %d", s, got, len(b), size)
		}
	}
}

func FuzzRecords(f *testing.F) {
	for i, v := range samples() {
		f.Add(byte(i), v)
	}
	f.Add(byte(0), []byte{1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Add(byte(4), []byte{1, 0, 255, 255, 255, 127})
	all := codecs()
	f.Fuzz(func(t *testing.T, which byte, v []byte) {
		c := all[int(which)%len(all)]
		again, x, err := c.re(v)
		if err != nil {
			if !errors.Is(err, ErrBadRecord) && !errors.Is(err, ErrNewer) {
				t.Fatalf("%s: %v", c.name, err)
			}
			return
		}
		if c.name == "pointer" {
			return // drops what only a full record has
		}
		third, y, err := c.re(again)
		if err != nil || !bytes.Equal(again, third) || !reflect.DeepEqual(x, y) {
			t.Fatalf("%s: %x then %x: %v", c.name, again, third, err)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add("a", "a\x00", []byte{0, 1})
	f.Add("a\x00\x01", "a\x00\xff", []byte{0, 0xFF, 0, 1})
	f.Fuzz(func(t *testing.T, a, b string, raw []byte) {
		bk := &Bucket{ID: 7, Slot: 3}
		lo, hi := uploadKey(bk, a, [16]byte{0xFF}), uploadKey(bk, b, [16]byte{})
		if a != b && (a < b) != (bytes.Compare(lo, hi) < 0) {
			t.Fatalf("order of %q and %q", a, b)
		}
		got, rest, ok := cutEscaped(lo[len(bucketKey(3, typeUpload, 7, 0)):])
		if !ok || got != a || len(rest) != 16 {
			t.Fatalf("%q came back as %q", a, got)
		}
		if s, rest, ok := cutEscaped(raw); ok && !bytes.Equal(append(append(appendEscaped(nil, s), 0, 1), rest...), raw) {
			t.Fatalf("%x decoded to %q", raw, s)
		}
	})
}

func TestKeyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 0xFE, 0xFF}), 0, 6), func(b []byte) string { return string(b) })
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		bk := &Bucket{ID: 1, Slot: 1}
		x, y := objectKey(bk, a, Version{5}), objectKey(bk, b, Version{4})
		if a != b && (a < b) != (bytes.Compare(x, y) < 0) {
			t.Fatalf("order of %q and %q", a, b)
		}
		if s := successor(headKey(bk, a)); strings.HasPrefix(b, a) != (bytes.Compare(headKey(bk, b), headKey(bk, a)) >= 0 && bytes.Compare(headKey(bk, b), s) < 0) {
			t.Fatalf("successor of %q and %q", a, b)
		}
	})
	if successor([]byte{0xFF, 0xFF}) != nil {
		t.Error("the last prefix has a successor")
	}
	var last []byte
	for _, due := range []int64{-1 << 63, -1, 0, 1, 1<<63 - 1} {
		k := garbageKey(1, due, layout.BlobID{}, 0)
		if bytes.Compare(last, k) >= 0 {
			t.Errorf("due %d out of order", due)
		}
		last = k
	}
}
