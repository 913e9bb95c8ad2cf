package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The vectors of C2SP, XAES-256-GCM.
func TestXAES(t *testing.T) {
	for _, v := range []struct {
		key      byte
		aad, box string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		key := [32]byte(bytes.Repeat([]byte{v.key}, 32))
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		got := xaes(&key, nonce).Seal(nil, nonce[12:], []byte("XAES-256-GCM"), []byte(v.aad))
		if hex.EncodeToString(got) != v.box {
			t.Errorf("key %x: %x, want %s", v.key, got, v.box)
		}
	}
}

func TestWrap(t *testing.T) {
	k, by, other := NewDataKey(), [32]byte{1}, [32]byte{2}
	box := k.Wrap(&by, []byte("object 1"))
	if len(box) != WrappedSize {
		t.Fatalf("box of %d bytes", len(box))
	}
	if got, err := UnwrapDataKey(&by, box, []byte("object 1")); err != nil || got.raw != k.raw {
		t.Fatalf("unwrapped: %v", err)
	}
	if bytes.Equal(box, k.Wrap(&by, []byte("object 1"))) {
		t.Error("two boxes are equal")
	}
	if _, err := UnwrapDataKey(&by, box, []byte("object 2")); !errors.Is(err, ErrOpen) {
		t.Errorf("another use: %v", err)
	}
	if _, err := UnwrapDataKey(&other, box, []byte("object 1")); !errors.Is(err, ErrOpen) {
		t.Errorf("another key: %v", err)
	}
	for i := range box {
		bad := bytes.Clone(box)
		bad[i] ^= 1
		if got, err := UnwrapDataKey(&by, bad, []byte("object 1")); !errors.Is(err, ErrOpen) || got != (DataKey{}) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, err := UnwrapDataKey(&by, box[:i], []byte("object 1")); !errors.Is(err, ErrOpen) {
			t.Fatalf("cut to %d: %v", i, err)
		}
	}
}

// What version 1 wrapped opens for ever, and derives the same tags.
func TestWrapFixture(t *testing.T) {
	k := DataKey{[32]byte{5, 31: 6}}
	by := [32]byte{7, 31: 8}
	box, err := hex.DecodeString(wrapFixture)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := UnwrapDataKey(&by, box, []byte("fixture")); err != nil || got != k {
		t.Fatalf("fixture: %v\n%x", err, k.Wrap(&by, []byte("fixture")))
	}
	if got := fmt.Sprintf("%x", k.ETag([16]byte{9})); got != etagFixture {
		t.Errorf("ETag %s, want %s", got, etagFixture)
	}
	if k.ETag([16]byte{9}) == k.ETag([16]byte{8}) || k.ETag([16]byte{9}) == (&DataKey{}).ETag([16]byte{9}) {
		t.Error("tags of different data or keys are equal")
	}
}

// expand is HKDF-Expand.
func TestExpand(t *testing.T) {
	for n := range maxInfo + 1 {
		k, info := NewDataKey(), bytes.Repeat([]byte{byte(n)}, n)
		want, err := hkdf.Expand(sha256.New, k.raw[:], string(info), 32)
		if got := k.expand(info); err != nil || !bytes.Equal(got[:], want) {
			t.Fatalf("%d bytes of info: %x, want %x, %v", n, got, want, err)
		}
	}
}

// A key never shows in what is printed.
func TestKeyIsNotPrinted(t *testing.T) {
	k := DataKey{[32]byte(bytes.Repeat([]byte{0x5A}, 32))}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, v := range []any{k, &k, []DataKey{k}, struct{ K *DataKey }{&k}, struct{ K DataKey }{k}} {
			s := strings.ToLower(fmt.Sprintf(format, v))
			if strings.Contains(s, "5a5a") || strings.Contains(s, "90 90") || strings.Contains(s, "zz") {
				t.Errorf("%s of %T: %s", format, v, s)
			}
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	k, by := DataKey{[32]byte{4}}, [32]byte{3} // the same in every worker
	f.Add([]byte("a"), k.Wrap(&by, []byte("a")))
	f.Add([]byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, aad, box []byte) {
		if got, err := UnwrapDataKey(&by, box, aad); err == nil && got != k {
			t.Fatal("another key came out")
		}
	})
}
