package body

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// upload is a client's request body: the tests' own encoder, written from the
// format and not from the decoder.
type upload struct {
	payload   sigv4.Payload
	data      []byte
	chunks    []int // sizes, without the last chunk's 0; nil: one chunk
	algorithm checksum.Algorithm
	trailer   bool // send the checksum as a trailer
}

// docResult is what verifying a request of AWS's examples yields.
func docResult(p sigv4.Payload, seed string) sigv4.Result {
	res := sigv4.Result{
		Payload: p,
		Time:    time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC),
		Scope:   "20130524/us-east-1/s3/aws4_request",
		Key:     sigv4.SigningKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3"),
	}
	if _, err := hex.Decode(res.Seed[:], []byte(seed)); err != nil {
		panic(err)
	}
	return res
}

const (
	docSeed        = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	docSeedTrailer = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
)

func (u upload) result() sigv4.Result {
	res := docResult(u.payload, docSeed)
	res.Hash = sha256.Sum256(u.data)
	return res
}

// sum returns the additional checksum, or nil.
func (u upload) sum() []byte {
	h := u.algorithm.New()
	if h == nil {
		return nil
	}
	h.Write(u.data)
	return h.Sum(nil)
}

// wire returns the bytes that the client sends.
func (u upload) wire() []byte {
	if u.payload == sigv4.Unsigned || u.payload == sigv4.SHA256 {
		return u.data
	}
	var out bytes.Buffer
	var chain sigv4.Chain
	res := u.result()
	chain.Start(&res)
	line := func(data []byte) {
		fmt.Fprintf(&out, "%x", len(data))
		if u.payload != sigv4.StreamingUnsignedTrailer {
			hash := sha256.Sum256(data)
			fmt.Fprintf(&out, ";chunk-signature=%x", chain.Chunk(&hash))
		}
		out.WriteString("\r\n")
	}
	chunks := u.chunks
	if chunks == nil && len(u.data) > 0 {
		chunks = []int{len(u.data)}
	}
	rest := u.data
	for _, n := range chunks {
		line(rest[:n])
		out.Write(rest[:n])
		out.WriteString("\r\n")
		rest = rest[n:]
	}
	line(nil)
	var trailer string
	if u.trailer {
		trailer = u.algorithm.Header() + ":" + base64.StdEncoding.EncodeToString(u.sum())
		out.WriteString(trailer + "\r\n")
		trailer += "\n"
	}
	if u.payload == sigv4.StreamingTrailer {
		hash := sha256.Sum256([]byte(trailer))
		fmt.Fprintf(&out, "x-amz-trailer-signature:%x\r\n", chain.Trailer(&hash))
	}
	out.WriteString("\r\n")
	return out.Bytes()
}

// options returns the options of a reader of wire, from src.
func (u upload) options(src io.Reader, wire []byte) Options {
	md5sum := md5.Sum(u.data)
	o := Options{
		Source: src, Auth: u.result(), Size: int64(len(u.data)), Wire: int64(len(wire)),
		MD5: md5sum[:], Algorithm: u.algorithm,
	}
	if u.trailer {
		o.Trailer = u.algorithm.Header()
	} else if u.algorithm != checksum.None {
		o.Expected = u.sum()
	}
	return o
}

// pattern returns n bytes that repeat nowhere near.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// uploads returns one upload of every form over data.
func uploads(data []byte, chunks []int) map[string]upload {
	return map[string]upload{
		"plain":                  {payload: sigv4.Unsigned, data: data},
		"plain crc32":            {payload: sigv4.Unsigned, data: data, algorithm: checksum.CRC32},
		"sha256":                 {payload: sigv4.SHA256, data: data, algorithm: checksum.SHA256},
		"streaming":              {payload: sigv4.Streaming, data: data, chunks: chunks},
		"streaming sha1":         {payload: sigv4.Streaming, data: data, chunks: chunks, algorithm: checksum.SHA1},
		"trailer crc32c":         {payload: sigv4.StreamingTrailer, data: data, chunks: chunks, algorithm: checksum.CRC32C, trailer: true},
		"trailer sha256":         {payload: sigv4.StreamingTrailer, data: data, chunks: chunks, algorithm: checksum.SHA256, trailer: true},
		"trailer, none sent":     {payload: sigv4.StreamingTrailer, data: data, chunks: chunks},
		"unsigned trailer crc64": {payload: sigv4.StreamingUnsignedTrailer, data: data, chunks: chunks, algorithm: checksum.CRC64NVME, trailer: true},
		"unsigned, none sent":    {payload: sigv4.StreamingUnsignedTrailer, data: data, chunks: chunks},
	}
}
