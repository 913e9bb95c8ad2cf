package drive

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// updating reports whether golden files are to be rewritten, which only a new
// format version may do.
func updating() bool { return os.Getenv("UPDATE_GOLDEN") != "" }

func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if updating() && len(got) > 0 {
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
		version: 1,
		cluster: [16]byte{0xC0, 0xC1, 0xC2, 0xC3, 15: 0xCF}, drive: layout.DriveID{0xD0, 0xD1, 0xD2, 15: 0xDF},
		gen: 1, created: testTime.UnixNano(), unit: 4096,
	}
}

var sampleBlob = layout.BlobID{0x17, 0x97, 0x9C, 0xFE, 0x36, 0x2A, 0x00, 0x00, 0xB0, 0xB1, 15: 0xBF}

func TestGoldenSuperblock(t *testing.T) {
	for version, name := range map[uint32]string{1: "superblock-v1.hex", 2: "superblock-v2.hex"} {
		var b [superSize]byte
		s := sampleSuperblock()
		s.version, s.metaGen, s.layoutGen = version, 0x1122334455667788, 0x99AA
		s.encode(b[:])
		wantGolden(t, name, b[:])
		if got, err := decodeSuperblock(b[:]); err != nil || got != s {
			t.Errorf("%v\n%+v", err, got)
		}
	}
}

func TestGoldenFrame(t *testing.T) {
	data := randomBytes(42, BlockSize+100)
	for name, f := range map[string]Fragment{
		"frame-v1.hex": {Unit: FramePayload},
		"frame-v2.hex": {Unit: 3 * layout.UnitStep, Number: 5},
	} {
		b := make([]byte, HeaderSize+padded(len(data)))
		copy(b[HeaderSize:], data)
		f.Blob, f.Size = sampleBlob, f.Unit+int64(len(data))
		h := frameHeader{drive: sampleSuperblock().drive, index: 1, payload: len(data)}
		h.of(&f)
		sealFrame(b, &h)
		wantGolden(t, name, b[:HeaderSize])
		if !isZero(b[HeaderSize+len(data):]) {
			t.Error("padding is not zero")
		}
		got, err := decodeFrameHeader(b)
		if err != nil || got != h {
			t.Errorf("%s: %v\n%+v\n%+v", name, err, got, h)
		}
	}
}

// TestFrameVersions: the version is the least that can tell what is to be told,
// and each field of version 2 is checked.
func TestFrameVersions(t *testing.T) {
	b := make([]byte, frameSize)
	for _, c := range []struct {
		unit    int64
		number  int
		version byte
	}{{FramePayload, 0, 1}, {FramePayload, 1, 2}, {layout.UnitStep, 0, 2}, {FramePayload - layout.UnitStep, maxNumber, 2}} {
		h := frameHeader{blob: sampleBlob, payload: 1000, fragment: 1000, unit: c.unit, number: c.number}
		sealFrame(b, &h)
		if b[frOffVersion] != c.version {
			t.Errorf("%+v: version %d", c, b[frOffVersion])
		}
		if got, err := decodeFrameHeader(b); err != nil || got != h {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for name, change := range map[string]func(b []byte){
		"version 0":          func(b []byte) { b[frOffVersion] = 0 },
		"version 3":          func(b []byte) { b[frOffVersion] = 3 },
		"version 1, unit":    func(b []byte) { b[frOffVersion] = 1; b[frOffNumber] = 0 },
		"version 1, number":  func(b []byte) { b[frOffVersion] = 1; clear(b[frOffUnit:frOffNumber]) },
		"no unit":            func(b []byte) { clear(b[frOffUnit:frOffNumber]) },
		"odd unit":           func(b []byte) { b[frOffUnit]++ },
		"unit of 1 MiB more": func(b []byte) { b[frOffUnit+2] += 0x10 },
		"number 256":         func(b []byte) { b[frOffNumber+1] = 1 },
		"behind the number":  func(b []byte) { b[frOffZero2] = 1 },
		"index":              func(b []byte) { b[frOffIndex] = 2 },
		"huge":               func(b []byte) { b[frOffFragment+6] = 4 },
	} {
		h := frameHeader{blob: sampleBlob, payload: 2 * layout.UnitStep, fragment: 4 * layout.UnitStep, unit: 2 * layout.UnitStep, number: 1}
		sealFrame(b, &h)
		change(b)
		resealFrame(b)
		if _, err := decodeFrameHeader(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// fixture is a drive that some release wrote, and what is on it.
type fixture struct {
	name    string
	version uint32
	frags   []Fragment
}

func fixtures() []fixture {
	single := Fragment{
		Blob: sampleBlob, Size: 20_000, Unit: FramePayload,
		Extents: []layout.Extent{{Off: dataStart + 16<<10, Len: 12 << 10}, {Off: dataStart, Len: 12 << 10}},
	}
	striped := Fragment{
		Blob: sampleBlob, Number: 3, Size: 2*layout.UnitStep + 777, Unit: layout.UnitStep,
		Extents: []layout.Extent{{Off: dataStart + 128<<10, Len: 80 << 10}, {Off: dataStart + 32<<10, Len: 64 << 10}},
	}
	return []fixture{{"drive-v1.gz", 1, []Fragment{single}}, {"drive-v2.gz", 2, []Fragment{single, striped}}}
}

func (x *fixture) data(i int) []byte { return randomBytes(77+uint64(i), int(x.frags[i].Size)) }

// write makes the fixture.
func (x *fixture) write(t *testing.T) []byte {
	dev := newMem(dataStart + 256<<10)
	dev.Grow(context.Background(), dev.limit)
	s := sampleSuperblock()
	s.version = x.version
	s.encode(dev.data[superFirst:][:superSize])
	s.encode(dev.data[superCopy:][:superSize])
	d := openDrive(t, dev, Options{})
	for i := range x.frags {
		f := &x.frags[i]
		if err := d.Claim(f.Extents); err != nil {
			t.Fatal(err)
		}
		if err := d.Write(context.Background(), f, bytes.NewReader(x.data(i))); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	z.Write(dev.data)
	z.Close()
	return b.Bytes()
}

// TestFixtureDrive: a drive written by any release opens forever. That of an
// earlier format becomes one of this.
func TestFixtureDrive(t *testing.T) {
	for _, x := range fixtures() {
		var fresh []byte
		if updating() && x.version == FormatVersion {
			fresh = x.write(t)
		}
		packed := golden(t, x.name, fresh)
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		dev := newMem(8 * mib)
		if dev.data, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
		s := sampleSuperblock()
		path := filepath.Join(t.TempDir(), "drive")
		if err := os.WriteFile(path, dev.data, 0o600); err != nil {
			t.Fatal(err)
		}
		id, ok, err := Identify(path)
		if want := (Identity{s.drive, s.cluster, int(x.version), testTime, 0}); err != nil || !ok || id.Drive != want.Drive ||
			id.Cluster != want.Cluster || id.Version != want.Version || !id.Created.Equal(want.Created) || id.MetadataGeneration != 0 {
			t.Errorf("%s: %+v, %v, %v", x.name, id, ok, err)
		}
		var log bytes.Buffer
		d := openDrive(t, dev, Options{Cluster: s.cluster, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if d.ID() != s.drive || d.Unit() != 4096 {
			t.Fatalf("drive %s, unit %d", d.ID(), d.Unit())
		}
		for _, off := range []int{superFirst, superCopy} {
			if got, err := decodeSuperblock(dev.data[off:]); err != nil || got.version != FormatVersion || got.gen != uint64(3-x.version) || got.drive != s.drive {
				t.Errorf("%s: superblock at %d: %+v, %v", x.name, off, got.version, err)
			}
		}
		if upgraded := strings.Contains(log.String(), "upgraded the drive's format"); upgraded != (x.version < FormatVersion) {
			t.Errorf("%s: log: %s", x.name, &log)
		}
		for i := range x.frags {
			f := &x.frags[i]
			if err := d.Claim(f.Extents); err != nil {
				t.Fatal(err)
			}
			got, err := readAll(d, f)
			wantBytes(t, got, err, x.data(i))
		}
		put(t, d, x.data(0))
	}
}

// TestUpgradeInterrupted: whatever a crash leaves of an upgrade, the drive opens.
func TestUpgradeInterrupted(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	s := sampleSuperblock()
	for seed := range uint64(40) {
		dev := faultio.New(faultio.Options{Capacity: 32 * mib, Seed: seed, Size: dataStart})
		writeOld(t, a, dev, &s)
		dev.Inject(faultio.Rule{Code: ioring.OpSync, Skip: int(seed % 2), Err: faultio.ErrIO})
		d := openDrive(t, dev, Options{Arena: a})
		if err := d.Err(); !errors.Is(err, ErrFailed) || d.ID() != s.drive {
			t.Fatalf("a drive that could not be upgraded takes writes: %v", err)
		}
		dev = dev.Crash(seed)
		d = openDrive(t, dev, Options{Arena: a})
		if d.ID() != s.drive || d.super.version != FormatVersion || d.Err() != nil {
			t.Fatalf("version %d, %v", d.super.version, d.Err())
		}
		put(t, d, []byte("hello"))
	}
	// Another cluster's drive is left alone.
	dev := faultio.New(faultio.Options{Capacity: 32 * mib, Size: dataStart})
	writeOld(t, a, dev, &s)
	writes := dev.Stats().Writes
	if _, err := Open(context.Background(), dev, Options{Arena: a, Cluster: [16]byte{1}}); !errors.Is(err, ErrCluster) || dev.Stats().Writes != writes {
		t.Errorf("%v after %d writes", err, dev.Stats().Writes-writes)
	}
}

// writeOld writes both copies of s to dev, durably.
func writeOld(t *testing.T, a *ioring.Arena, dev ioring.Device, s *superblock) {
	t.Helper()
	d := newDrive(dev, Options{Arena: a})
	tr, err := d.buffer(context.Background(), superSize)
	if err != nil {
		t.Fatal(err)
	}
	defer d.release(tr)
	if err := d.writeBoth(tr, s); err != nil {
		t.Fatal(err)
	}
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
	h := frameHeader{blob: sampleBlob, payload: 20_000, fragment: 20_000, unit: FramePayload, birth: 5}
	sealFrame(b, &h)
	f.Add(b[:HeaderSize], true)
	f.Add(b[:200], false)
	h.fragment, h.payload = 3*mib, mib
	sealFrame(b, &h)
	f.Add(b[:HeaderSize], false)
	h.unit, h.payload, h.number = layout.UnitStep, layout.UnitStep, 17
	sealFrame(b, &h)
	f.Add(b[:HeaderSize], true)
	h.data, h.parity = 14, 4
	sealFrame(b, &h)
	f.Add(b[:HeaderSize], true)
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
		if h.unit < layout.UnitStep || h.unit > FramePayload || h.unit%layout.UnitStep != 0 || h.number < 0 || h.number > maxNumber {
			t.Fatalf("unit %d, number %d accepted", h.unit, h.number)
		}
		if h.payload < 1 || int64(h.payload) > h.unit || int64(h.payload) > h.fragment {
			t.Fatalf("payload %d of %d accepted", h.payload, h.fragment)
		}
	})
}
