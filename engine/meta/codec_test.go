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
		{"striped object", recode(func(v []byte) (Object, error) { o, _, err := decodeObject(v); return o, err }, encodeObject)},
		{"striped part", recode(decodePart, encodePart)},
		{"striped chunk", recode(decodeChunk, encodeChunk)},
		{"striped back-reference", recode(decodeBackRef, encodeBackRef)},
		{"degraded back-reference", recode(decodeBackRef, encodeBackRef)},
		{"repair", recode(decodeRepair, encodeRepair)},
	}
}

// encodeInline is the whole record of an inline payload.
func encodeInline(payload []byte) []byte { return append(inlineHead(payload), payload...) }

func sampleBlob() layout.Blob {
	return layout.Blob{ID: layout.BlobID{1, 2, 3}, Size: 70000, Kind: layout.KindSingle, Fragments: []layout.Fragment{{
		Drive:   layout.DriveID{0xD1},
		Extents: []layout.Extent{{Off: 1 << 20, Len: 65536}, {Off: 3 << 30, Len: 8192}},
	}}}
}

// bare is a blob as the records of objects and parts have it.
func bare(b layout.Blob) layout.Blob {
	b.Fragments = nil
	return b
}

// sampleStriped is a blob of 2+1 fragments whose last is missing, or in its place.
func sampleStriped(missing bool) layout.Blob {
	b := layout.Blob{ID: layout.BlobID{4, 5}, Size: 300_000, Kind: layout.KindStriped, Data: 2, Parity: 1, Unit: 192 << 10, Fragments: []layout.Fragment{
		{Drive: layout.DriveID{0xD1}, Extents: []layout.Extent{{Off: 1 << 20, Len: 65536}, {Off: 3 << 30, Len: 196608}}},
		{Drive: layout.DriveID{0xD2}, Extents: []layout.Extent{{Off: 4 << 20, Len: 131072}}},
		{},
	}}
	if !missing {
		b.Fragments[2] = layout.Fragment{Drive: layout.DriveID{0xD3}, Extents: []layout.Extent{{Off: 5 << 20, Len: 262144}}}
	}
	return b
}

func sampleObject() Object {
	return Object{
		Version: Version{9, 8, 7}, Size: 70000, ModTime: 1700000000123456789,
		ETag:     "0123456789abcdef0123456789abcdef-17",
		Checksum: Checksum{Algorithm: "CRC64NVME", Type: "FULL_OBJECT", Value: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		Headers:  []Header{{"Content-Type", "text/plain"}},
		Metadata: []Header{{"colour", "blue"}, {"empty", ""}},
		Tags:     []Header{{"k", "v"}},
		Owner:    "alice", Class: "STANDARD_IA", Blob: bare(sampleBlob()),
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
	striped, sp := o, p
	striped.Blob, sp.Blob = sampleStriped(false), sampleStriped(false)
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
		encodeObject(&striped),
		encodePart(&sp),
		encodeChunk(&chunk{Start: 123456, Parts: []Part{sp, p}}),
		encodeBackRef(&BackRef{Blob: sampleStriped(false), Bucket: 300, Key: "a/b"}),
		encodeBackRef(&BackRef{Blob: sampleStriped(true), Bucket: 300, Key: "a/b"}),
		encodeRepair(&repairRecord{Bad: 1<<19 | 5, Since: 1700000000123456789}),
	}
}

// golden reads a file of records: a name and the record in hexadecimal per line.
func golden(t testing.TB, file string) (names []string, records [][]byte) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		i := strings.LastIndexByte(line, ' ')
		raw, err := hex.DecodeString(strings.TrimSpace(line[i+1:]))
		if err != nil {
			t.Fatal(err)
		}
		names, records = append(names, line[:i]), append(records, raw)
	}
	return names, records
}

// TestGolden compares records with those that releases wrote. A difference means
// that stores out there no longer read.
func TestGolden(t *testing.T) {
	const file = "testdata/records-2.golden"
	var got strings.Builder
	for i, c := range codecs() {
		fmt.Fprintf(&got, "%s %x\n", c.name, samples()[i])
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names, records := golden(t, file)
	for i, c := range codecs() {
		if i >= len(names) || names[i] != c.name || !bytes.Equal(records[i], samples()[i]) {
			t.Fatalf("%s differs from %s:\n%s", c.name, file, got.String())
		}
		again, _, err := c.re(records[i])
		if err != nil || !bytes.Equal(again, records[i]) {
			t.Errorf("%s does not survive a round trip: %x %v", c.name, again, err)
		}
	}
	// The first release's file is never written again. Its records of objects and
	// parts tell places, which are passed over.
	placed := map[string]bool{"object": true, "part": true, "chunk": true, "sealed object": true}
	names, records = golden(t, "testdata/records.golden")
	if len(names) != 14 {
		t.Fatalf("%d records of the first release", len(names))
	}
	for i, c := range codecs()[:len(names)] {
		again, _, err := c.re(records[i])
		if names[i] != c.name || err != nil || !bytes.Equal(again, samples()[i]) {
			t.Errorf("%s of the first release: %x %v", c.name, again, err)
		}
		if bytes.Equal(again, records[i]) == placed[c.name] {
			t.Errorf("%s of the first release was written again as %x", c.name, again)
		}
	}
}

// Every number of a striped blob has its range, on the way in and on the way out.
func TestStripedRanges(t *testing.T) {
	for name, edit := range map[string]func(*layout.Blob){
		"no data":            func(b *layout.Blob) { b.Data = 0 },
		"much data":          func(b *layout.Blob) { b.Data = layout.MaxData + 1 },
		"much parity":        func(b *layout.Blob) { b.Parity = layout.MaxParity + 1 },
		"no unit":            func(b *layout.Blob) { b.Unit = 0 },
		"odd unit":           func(b *layout.Blob) { b.Unit++ },
		"large unit":         func(b *layout.Blob) { b.Unit = layout.MaxUnit + layout.UnitStep },
		"nothing":            func(b *layout.Blob) { b.Size = 0 },
		"too much":           func(b *layout.Blob) { b.Size = 2<<51 + 1 },
		"a fragment less":    func(b *layout.Blob) { b.Fragments = b.Fragments[:2] },
		"a fragment more":    func(b *layout.Blob) { b.Fragments = append(b.Fragments, b.Fragments[0]) },
		"extent of nothing":  func(b *layout.Blob) { b.Fragments[0].Extents[0].Len = 0 },
		"extent without end": func(b *layout.Blob) { b.Fragments[0].Extents[0] = layout.Extent{Off: 1<<63 - 1, Len: 1} },
		"place for nothing":  func(b *layout.Blob) { b.Size = 100 }, // fragment 1 is empty
		"no id":              func(b *layout.Blob) { b.ID = layout.BlobID{} },
		"another kind":       func(b *layout.Blob) { b.Kind = layout.KindSingle },
		"unknown kind":       func(b *layout.Blob) { b.Kind = layout.KindStriped + 1 },
	} {
		b := sampleStriped(false)
		edit(&b)
		ref := BackRef{Blob: b, Bucket: 3, Key: "k"}
		raw := encodeBackRef(&ref)
		if raw[0] = stripedVersion; b.ID.IsZero() {
			raw = append(raw, 0)
		}
		if _, err := decodeBackRef(raw); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: decoded, %v", name, err)
		}
		if _, err := decodePlace(raw); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: placed, %v", name, err)
		}
		if err := checkBlob(&b, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: accepted, %v", name, err)
		}
	}
	good := sampleStriped(false)
	if err := checkBlob(&good, nil); err != nil {
		t.Error(err)
	}
	if err := checkBlob(&good, []byte("x")); !errors.Is(err, ErrInvalid) {
		t.Errorf("with an inline payload: %v", err)
	}
	lost := sampleStriped(true)
	lost.Fragments[1].Extents = nil
	if err := checkBlob(&lost, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("data that cannot be read was accepted: %v", err)
	}
	raw := encodeBackRef(&BackRef{Blob: good, Bucket: 3, Key: "k"})
	if raw[0] = recordVersion; !errors.Is(func() error { _, err := decodeBackRef(raw); return err }(), ErrBadRecord) {
		t.Error("striped blob in a record of version 1")
	}
	if _, err := newDecoder(encodeBackRef(&BackRef{Blob: good})); !errors.Is(err, ErrNewer) {
		t.Errorf("an older release: %v", err)
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
	var it ListItem
	err = decodeListing(encodePointer(&o), &it, &ListItem{}, new(texts))
	want := ListItem{Size: o.Size, ModTime: o.ModTime, ETag: o.ETag, Owner: o.Owner, Class: o.Class, Checksum: Checksum{Algorithm: "CRC64NVME", Type: "FULL_OBJECT"}}
	if err != nil || !reflect.DeepEqual(it, want) {
		t.Fatalf("listing:\n got %+v\nwant %+v\n%v", it, want, err)
	}
}

// TestTexts puts strings of all lengths together: each stays what it was.
func TestTexts(t *testing.T) {
	var all texts
	var got, want []string
	for n := range 2 * textChunk / 100 {
		b := bytes.Repeat([]byte{byte(n)}, n*n%(textChunk+7))
		got, want = append(got, all.put(b)), append(want, string(b))
		clear(b)
		if s := all.share([]byte("alice"), "alice"); s != "alice" {
			t.Fatal(s)
		}
	}
	if !slices.Equal(got, want) {
		t.Error("a text changed")
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
	var it ListItem
	if err := decodeListing(sealed, &it, &ListItem{}, new(texts)); err != nil || it.Size != o.Size || it.ETag != o.ETag {
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
		if strings.HasSuffix(c.name, "object") || strings.HasSuffix(c.name, "back-reference") || c.name == "pointer" {
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
	for _, file := range []string{"testdata/records.golden", "testdata/records-2.golden"} {
		_, records := golden(f, file)
		for i, v := range records {
			f.Add(byte(i), v)
		}
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
			if _, placed := decodePlace(v); strings.HasSuffix(c.name, "back-reference") && placed == nil {
				t.Fatalf("%s: placed, but %v", c.name, err)
			}
			return
		}
		if c.name == "pointer" {
			return // drops what only a full record has
		}
		if strings.HasSuffix(c.name, "back-reference") {
			if b, err := decodePlace(v); err != nil || !reflect.DeepEqual(b, x.(BackRef).Blob) {
				t.Fatalf("%+v placed at %+v, %v", x, b, err)
			}
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
