package body

import (
	"bytes"
	"crypto/md5"
	"errors"
	"testing"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// TestNoMD5: MD5 is computed only where a claim needs it.
func TestNoMD5(t *testing.T) {
	data := pattern(100_000)
	sum := md5.Sum(data)
	wrong := md5.Sum(nil)
	for _, c := range []struct {
		name      string
		claim     []byte
		unchecked bool
		want      [16]byte
		err       error
	}{
		{"no claim", nil, false, [16]byte{}, nil},
		{"claim", sum[:], false, sum, nil},
		{"wrong claim", wrong[:], false, [16]byte{}, ErrContentMD5},
		{"claim, unchecked", wrong[:], true, [16]byte{}, nil},
	} {
		r, err := NewReader(Options{
			Source: bytes.NewReader(data), Auth: sigv4.Result{Payload: sigv4.Unsigned}, Size: int64(len(data)),
			MD5: c.claim, Algorithm: checksum.CRC64NVME, NoMD5: true, Unchecked: c.unchecked,
		})
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(data))
		for n := 0; n < len(data) && err == nil; {
			var k int
			k, err = r.Read(buf[n:])
			n += k
		}
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err == nil && (r.MD5() != c.want || (r.Checksum() == nil) != c.unchecked || !bytes.Equal(buf, data)) {
			t.Errorf("%s: MD5 %x, checksum %x", c.name, r.MD5(), r.Checksum())
		}
		r.Close()
	}
}

// TestUnchecked: claims are read and not compared; framing and signatures are
// verified as ever.
func TestUnchecked(t *testing.T) {
	data := pattern(20_000)
	for name, u := range uploads(data, []int{8192, 8192, 3616}) {
		wire := u.wire()
		o := u.options(bytes.NewReader(wire), wire)
		o.Unchecked = true
		o.MD5 = make([]byte, md5.Size)
		if o.Expected != nil {
			o.Expected = make([]byte, len(o.Expected))
		}
		got, err := decode(o)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		switch u.payload {
		case sigv4.Streaming, sigv4.StreamingTrailer, sigv4.SHA256:
			bad := bytes.Clone(wire)
			bad[len(bad)/2] ^= 1
			o.Source = bytes.NewReader(bad)
			if _, err := decode(o); err == nil {
				t.Errorf("%s: a changed byte of a signed payload passed", name)
			}
		}
	}
}
