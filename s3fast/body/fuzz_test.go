package body

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// FuzzDecoder feeds arbitrary bytes to each form of the decoder, which must not
// panic, and must not end in io.EOF unless the payload is the signed original.
func FuzzDecoder(f *testing.F) {
	data := pattern(64)
	forms := []upload{
		{payload: sigv4.Streaming, data: data, chunks: []int{40, 24}},
		{payload: sigv4.StreamingTrailer, data: data, chunks: []int{64}, algorithm: checksum.CRC32C, trailer: true},
		{payload: sigv4.StreamingUnsignedTrailer, data: data, chunks: []int{40, 24}, algorithm: checksum.SHA256, trailer: true},
		{payload: sigv4.SHA256, data: data},
	}
	for i, u := range forms {
		f.Add(uint8(i), u.wire(), uint8(7))
		f.Add(uint8(i), u.wire()[:50], uint8(200))
	}
	f.Add(uint8(2), []byte("ffffffffffffffff\r\n"), uint8(1))
	f.Add(uint8(2), []byte("40;x\r\n0\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, form uint8, wire []byte, step uint8) {
		u := forms[int(form)%len(forms)]
		o := u.options(bytes.NewReader(wire), wire)
		o.MD5 = nil // what must hold, holds without it
		if u.payload == sigv4.StreamingUnsignedTrailer {
			// Nothing is signed: the claim to hold it to is Content-MD5.
			sum := md5.Sum(data)
			o.MD5 = sum[:]
		}
		r, err := NewReader(o)
		if err != nil {
			return
		}
		defer r.Close()
		var got []byte
		buf := make([]byte, 1+int(step))
		for {
			n, err := r.Read(buf)
			got = append(got, buf[:n]...)
			if len(got) > len(data) {
				t.Fatal("more than Size bytes")
			}
			if len(got) == len(data) && (err == nil || err == io.EOF) && !bytes.Equal(got, data) {
				t.Fatalf("another payload: %x", sha256.Sum256(got))
			}
			if err != nil {
				return
			}
		}
	})
}
