package drive

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
)

// updating reports whether golden files are to be rewritten, which only a new
// format version may do.
func updating() bool { return os.Getenv("UPDATE_GOLDEN") != "" }

func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if updating() {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// wantGolden compares b, less its trailing zeros, with a hex dump.
func wantGolden(t *testing.T, name string, b []byte) {
	t.Helper()
	dump := []byte(hex.Dump(bytes.TrimRight(b, "\x00")))
	if want := golden(t, name, dump); !bytes.Equal(dump, want) {
		t.Errorf("%s: the format changed:\n%s", name, dump)
	}
}

func sampleSuperblock() superblock {
	return superblock{
		cluster: [16]byte{0xC0, 0xC1, 0xC2, 0xC3, 15: 0xCF}, drive: layout.DriveID{0xD0, 0xD1, 0xD2, 15: 0xDF},
		gen: 1, created: testTime.UnixNano(), unit: 4096,
	}
}

var sampleBlob = layout.BlobID{0x17, 0x97, 0x9C, 0xFE, 0x36, 0x2A, 0x00, 0x00, 0xB0, 0xB1, 15: 0xBF}

func TestGoldenSuperblock(t *testing.T) {
	var b [superSize]byte
	s := sampleSuperblock()
	s.metaGen, s.layoutGen = 0x1122334455667788, 0x99AA
	s.encode(b[:])
	wantGolden(t, "superblock-v1.hex", b[:])
}

func TestGoldenFrame(t *testing.T) {
	data := randomBytes(42, BlockSize+100)
	b := make([]byte, HeaderSize+padded(len(data)))
	copy(b[HeaderSize:], data)
	h := frameHeader{
		blob: sampleBlob, drive: sampleSuperblock().drive, index: 1, payload: len(data),
		fragment: FramePayload + int64(len(data)), birth: sampleBlob.Birth().UnixNano(),
	}
	sealFrame(b, &h)
	wantGolden(t, "frame-v1.hex", b[:HeaderSize])
	if !isZero(b[HeaderSize+len(data):]) {
		t.Error("padding is not zero")
	}
	got, err := decodeFrameHeader(b)
	if err != nil || got != h {
		t.Errorf("%v\n%+v\n%+v", err, got, h)
	}
}

// TestFixtureDrive: a drive written by any release opens forever.
func TestFixtureDrive(t *testing.T) {
	data := randomBytes(77, 20_000)
	exts := []layout.Extent{{Off: dataStart + 16<<10, Len: 12 << 10}, {Off: dataStart, Len: 12 << 10}}
	var fixture bytes.Buffer
	if updating() {
		dev := newMem(dataStart + 64<<10)
		dev.Grow(context.Background(), dev.limit)
		s := sampleSuperblock()
		s.encode(dev.data[superFirst:][:superSize])
		s.encode(dev.data[superCopy:][:superSize])
		d := openDrive(t, dev, Options{})
		if err := d.Claim(exts); err != nil {
			t.Fatal(err)
		}
		if err := d.WriteFragment(context.Background(), sampleBlob, exts, int64(len(data)), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		z, _ := gzip.NewWriterLevel(&fixture, gzip.BestCompression)
		z.Write(dev.data)
		z.Close()
	}
	z, err := gzip.NewReader(bytes.NewReader(golden(t, "drive-v1.gz", fixture.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	dev := newMem(8 * mib)
	if dev.data, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	s := sampleSuperblock()
	d := openDrive(t, dev, Options{Cluster: s.cluster})
	if d.ID() != s.drive || d.Unit() != 4096 {
		t.Fatalf("drive %s, unit %d", d.ID(), d.Unit())
	}
	if err := d.Claim(exts); err != nil {
		t.Fatal(err)
	}
	got, err := get(d, sampleBlob, exts, int64(len(data)), 0, int64(len(data)))
	wantBytes(t, got, err, data)
	put(t, d, data)
}

func FuzzSuperblock(f *testing.F) {
	var b [superSize]byte
	s := sampleSuperblock()
	s.encode(b[:])
	f.Add(b[:], true)
	f.Add(b[:100], false)
	f.Add(make([]byte, superSize), false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= superSize { // get past the checksum
			b = bytes.Clone(b)
			copy(b, superMagic)
			reseal(b)
		}
		s, err := decodeSuperblock(b)
		if err != nil {
			return
		}
		var again [superSize]byte
		s.encode(again[:])
		if got, err := decodeSuperblock(again[:]); err != nil || got != s {
			t.Fatalf("not stable: %v", err)
		}
		if s.unit < minUnit || s.unit > maxUnit {
			t.Fatalf("unit %d accepted", s.unit)
		}
	})
}

func FuzzFrameHeader(f *testing.F) {
	b := make([]byte, frameSize)
	h := frameHeader{blob: sampleBlob, payload: 20_000, fragment: 20_000, birth: 5}
	sealFrame(b, &h)
	f.Add(b[:HeaderSize], true)
	f.Add(b[:200], false)
	h.fragment, h.payload = 3*mib, mib
	sealFrame(b, &h)
	f.Add(b[:HeaderSize], false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= HeaderSize {
			b = bytes.Clone(b[:HeaderSize])
			copy(b, frameMagic)
			resealFrame(b)
		}
		h, err := decodeFrameHeader(b)
		if err != nil {
			return
		}
		again := make([]byte, HeaderSize)
		h.encode(again)
		if !bytes.Equal(again, b[:HeaderSize]) {
			t.Fatal("two encodings of one header")
		}
		if h.payload < 1 || h.payload > FramePayload || int64(h.payload) > h.fragment {
			t.Fatalf("payload %d of %d accepted", h.payload, h.fragment)
		}
	})
}
