package body

import (
	"bytes"
	"io"
	"testing"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// endless yields a chunked body's chunk again and again; it is a body of
// unsigned chunks whose payload is as long as anyone asks for.
type endless struct {
	chunk []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.chunk[e.at:])
	e.at = (e.at + n) % len(e.chunk)
	return n, nil
}

// TestNoAllocations: reading costs none, whatever the form.
func TestNoAllocations(t *testing.T) {
	chunk := append([]byte("10000\r\n"), pattern(65536)...)
	chunk = append(chunk, "\r\n"...)
	for name, o := range map[string]Options{
		"plain":    {Source: &endless{chunk: chunk}, Auth: sigv4.Result{Payload: sigv4.SHA256}, Algorithm: checksum.SHA1},
		"unsigned": {Source: &endless{chunk: chunk}, Auth: sigv4.Result{Payload: sigv4.StreamingUnsignedTrailer}, Algorithm: checksum.CRC64NVME},
	} {
		o.Size = 1 << 40
		r, err := NewReader(o)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100_000)
		if n := testing.AllocsPerRun(50, func() {
			if _, err := r.Read(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations per read", name, n)
		}
		r.Close()
	}

	// Signed chunks cannot be repeated, so compare bodies of 2 and of 40 chunks.
	perBody := func(chunks int) float64 {
		u := upload{payload: sigv4.Streaming, data: pattern(chunks * 4096)}
		for range chunks {
			u.chunks = append(u.chunks, 4096)
		}
		wire := u.wire()
		src := bytes.NewReader(wire)
		o := u.options(src, wire)
		buf := make([]byte, 8192)
		return testing.AllocsPerRun(20, func() {
			src.Reset(wire)
			r, err := NewReader(o)
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = r.Read(buf)
			}
			if err != io.EOF {
				t.Fatal(err)
			}
			r.Close()
		})
	}
	if few, many := perBody(2), perBody(40); !raceEnabled && many > few {
		t.Errorf("2 chunks: %v allocations, 40 chunks: %v", few, many)
	}
}

func BenchmarkRead(b *testing.B) {
	data := pattern(8 << 20)
	var chunks []int
	for range len(data) >> 16 {
		chunks = append(chunks, 1<<16)
	}
	for _, row := range []struct {
		name string
		u    upload
	}{
		{"plain", upload{payload: sigv4.Unsigned, data: data}},
		{"plain+crc64nvme", upload{payload: sigv4.Unsigned, data: data, algorithm: checksum.CRC64NVME}},
		{"sha256", upload{payload: sigv4.SHA256, data: data}},
		{"unsigned-trailer+crc32", upload{payload: sigv4.StreamingUnsignedTrailer, data: data, chunks: chunks, algorithm: checksum.CRC32, trailer: true}},
		{"streaming", upload{payload: sigv4.Streaming, data: data, chunks: chunks}},
		{"streaming-trailer+crc32c", upload{payload: sigv4.StreamingTrailer, data: data, chunks: chunks, algorithm: checksum.CRC32C, trailer: true}},
	} {
		b.Run(row.name, func(b *testing.B) {
			wire := row.u.wire()
			src := bytes.NewReader(wire)
			o := row.u.options(src, wire)
			buf := make([]byte, 1<<20)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(wire)
				r, err := NewReader(o)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = r.Read(buf)
				}
				if err != io.EOF {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}
