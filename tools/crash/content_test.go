package main

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func drawContent(t *rapid.T) content {
	var c content
	for range rapid.IntRange(1, 4).Draw(t, "segments") {
		c = append(c, segment{rapid.Uint64().Draw(t, "seed"), rapid.Int64Range(0, 3*compareBuf/2).Draw(t, "size")})
	}
	return c
}

// Any range of a content is the same range of the whole content.
func TestRangesAgreeWithTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawContent(t)
		whole := c.bytes()
		off := rapid.Int64Range(0, c.size()).Draw(t, "off")
		n := rapid.Int64Range(0, c.size()-off).Draw(t, "n")
		got, err := io.ReadAll(c.reader(off, n))
		if err != nil || !bytes.Equal(got, whole[off:off+n]) {
			t.Fatalf("range %d+%d: %d bytes, %v", off, n, len(got), err)
		}
	})
}

// compare accepts the content alone: not one that differs in a byte, ends
// early or goes on.
func TestCompareFindsEveryDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawContent(t)
		b := c.bytes()
		n := int64(len(b))
		if err := compare(bytes.NewReader(b), c, 0, n); err != nil {
			t.Fatal(err)
		}
		isViolation := func(what string, b []byte) {
			var v *violation
			if err := compare(bytes.NewReader(b), c, 0, n); !errors.As(err, &v) {
				t.Fatalf("%s: %v", what, err)
			}
		}
		isViolation("longer", append(bytes.Clone(b), 0))
		if n == 0 {
			return
		}
		isViolation("shorter", b[:rapid.Int64Range(0, n-1).Draw(t, "cut")])
		b[rapid.Int64Range(0, n-1).Draw(t, "at")] ^= 1
		isViolation("flipped", b)
	})
}

func TestCompareTellsACutConnectionFromAnEnd(t *testing.T) {
	c := content{{1, 100}}
	cut := io.MultiReader(bytes.NewReader(c.bytes()[:50]), iotestError{io.ErrUnexpectedEOF})
	var v *violation
	if err := compare(cut, c, 0, 100); !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &v) {
		t.Fatalf("got %v", err)
	}
}

type iotestError struct{ err error }

func (e iotestError) Read([]byte) (int, error) { return 0, e.err }

func TestEntityTags(t *testing.T) {
	a, b := newValue(content{{1, 10}}, "a"), newValue(content{{2, 20}}, "b")
	sum := md5.Sum(content{{1, 10}}.bytes())
	if want := hex.EncodeToString(sum[:]); a.etag != want {
		t.Errorf("plain: %s, not %s", a.etag, want)
	}
	other := md5.Sum(content{{2, 20}}.bytes())
	both := md5.Sum(append(sum[:], other[:]...))
	v := newMultipart([]*value{a, b}, "m")
	if want := hex.EncodeToString(both[:]) + "-2"; v.etag != want || v.size != 30 {
		t.Errorf("multipart: %s, %d bytes, not %s, 30 bytes", v.etag, v.size, want)
	}
	if empty := newValue(content{{1, 0}}, ""); empty.etag != "d41d8cd98f00b204e9800998ecf8427e" {
		t.Errorf("empty: %s", empty.etag)
	}
}

func TestEncodePath(t *testing.T) {
	for in, want := range map[string]string{
		"/b/a b+c":    "/b/a%20b%2Bc",
		"/b//x/~-._":  "/b//x/~-._",
		"/b/ü%&='()*": "/b/%C3%BC%25%26%3D%27%28%29%2A",
	} {
		if got := encodePath(in); got != want {
			t.Errorf("%s: %s, not %s", in, got, want)
		}
	}
}

// The model must refuse what the daemon must never answer.
func TestModelRefusesWhatIsSuperseded(t *testing.T) {
	o := newObject("k")
	v1, v2, v3 := newValue(content{{1, 1}}, "1"), newValue(content{{2, 1}}, "2"), newValue(content{{3, 1}}, "3")
	is := func(want *value) func(*value) bool { return func(v *value) bool { return v == want } }
	see := func(floor int, v *value, ok bool) {
		t.Helper()
		if _, err := o.observe(floor, is(v)); (err == nil) != ok {
			t.Errorf("seeing %v: %v", v, err)
		}
	}
	o.begin(v1)
	early := o.since()
	see(early, nil, true)
	see(early, v2, false)
	o.ack()
	see(early, nil, true) // the read began before the acknowledgement
	see(o.since(), nil, false)
	o.begin(v2)
	see(o.since(), v1, true)
	see(o.since(), v2, true)
	see(o.since(), v1, false) // never back in time
	if o.pending() {
		t.Error("a write that was read is still pending")
	}
	o.ack()
	o.begin(v3)
	if err := o.refused(); err != nil || o.now() != v2 {
		t.Errorf("refused: %v, %v", err, o.now())
	}
	o.begin(v3)
	see(o.since(), v3, true)
	if err := o.refused(); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a write was read, then refused: %v", err)
	}
	o.settle(nil)
	see(o.since(), nil, true)
	see(o.since(), v2, false)
}

func TestRaceHasOneWinner(t *testing.T) {
	a, b := newValue(content{{1, 1}}, "a"), newValue(content{{2, 1}}, "b")
	r := &race{key: "k"}
	r.enter(a)
	r.enter(b)
	if got := r.possible(); len(got) != 3 || got[2] != nil {
		t.Errorf("two open: %v", got)
	}
	if err := r.leave(b, 412); err != nil {
		t.Fatal(err)
	}
	if got := r.possible(); len(got) != 1 || got[0] != a {
		t.Errorf("one refused: %v", got)
	}
	if err := r.leave(a, 200); err != nil {
		t.Fatal(err)
	}
	r.enter(b)
	if err := r.leave(b, 200); err == nil {
		t.Error("two winners went unnoticed")
	}
}
