package body

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// decode reads a body to its end.
func decode(o Options) ([]byte, error) {
	r, err := NewReader(o)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// splitReader yields pieces of random length, sometimes none.
type splitReader struct {
	src io.Reader
	rnd *rand.Rand
	max int
}

func (s *splitReader) Read(p []byte) (int, error) {
	if s.rnd.IntN(8) == 0 {
		return 0, nil
	}
	return s.src.Read(p[:min(len(p), 1+s.rnd.IntN(s.max))])
}

func TestFormsAndSplits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, shape := range []struct {
		size   int
		chunks []int
	}{
		{0, nil}, {1, nil}, {700, []int{1, 699}}, {20_000, []int{8192, 8192, 3616}},
		{200_000, []int{65536, 65536, 65536, 3392}}, {5000, []int{1, 1, 1, 509, 510, 511, 512, 2955}},
	} {
		data := pattern(shape.size)
		for name, u := range uploads(data, shape.chunks) {
			t.Run(fmt.Sprintf("%s %d", name, shape.size), func(t *testing.T) {
				wire := u.wire()
				sources := map[string]func() io.Reader{
					"whole":    func() io.Reader { return bytes.NewReader(wire) },
					"data+EOF": func() io.Reader { return iotest.DataErrReader(bytes.NewReader(wire)) },
					"half":     func() io.Reader { return iotest.HalfReader(bytes.NewReader(wire)) },
					"random":   func() io.Reader { return &splitReader{bytes.NewReader(wire), rnd, 900} },
				}
				if shape.size <= 5000 {
					sources["byte"] = func() io.Reader { return iotest.OneByteReader(bytes.NewReader(wire)) }
				}
				for kind, source := range sources {
					r, err := NewReader(u.options(source(), wire))
					if err != nil {
						t.Fatalf("%s: %v", kind, err)
					}
					got, err := io.ReadAll(&splitReader{r, rnd, 1 + shape.size/2})
					if err != nil || !bytes.Equal(got, data) {
						t.Fatalf("%s: %d bytes, %v", kind, len(got), err)
					}
					if r.Close() != nil || r.MD5() != md5.Sum(data) || !bytes.Equal(r.Checksum(), u.sum()) {
						t.Fatalf("%s: digests", kind)
					}
					if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
						t.Fatalf("%s: read after close: %v", kind, err)
					}
					if err := r.Close(); err != nil {
						t.Fatalf("%s: second close: %v", kind, err)
					}
				}
			})
		}
	}
}

// TestTruncated cuts every valid stream at every point: none may end in io.EOF,
// nor may io.ReadFull of the whole payload succeed.
func TestTruncated(t *testing.T) {
	data := pattern(300)
	for name, u := range uploads(data, []int{100, 200}) {
		wire := u.wire()
		for cut := range wire {
			for _, known := range []int64{int64(len(wire)), -1} {
				o := u.options(bytes.NewReader(wire[:cut]), wire)
				o.Wire = known
				r, err := NewReader(o)
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadFull(r, make([]byte, len(data)))
				r.Close()
				if err == nil || err == io.EOF {
					t.Fatalf("%s cut at %d of %d: %v", name, cut, len(wire), err)
				}
				if !errors.Is(err, ErrIncomplete) {
					t.Fatalf("%s cut at %d of %d: %v, want ErrIncomplete", name, cut, len(wire), err)
				}
			}
		}
	}
}

// TestFlipped changes every byte of signed or checksummed streams.
func TestFlipped(t *testing.T) {
	data := pattern(200)
	for name, u := range uploads(data, []int{50, 150}) {
		wire := u.wire()
		for at := range wire {
			for _, mask := range []byte{0x01, 0x20, 0x80} {
				bad := bytes.Clone(wire)
				bad[at] ^= mask
				got, err := decode(u.options(bytes.NewReader(bad), bad))
				if err == nil && !bytes.Equal(got, data) {
					t.Fatalf("%s: byte %d ^ %#x: another payload accepted", name, at, mask)
				}
				if err == nil && !harmless(wire, bad, at) {
					t.Errorf("%s: byte %d ^ %#x (%q → %q) accepted", name, at, mask, wire[at], bad[at])
				}
			}
		}
	}
}

// harmless reports whether a change only alters the case of a hex digit of a
// chunk's size or of a trailer's name.
func harmless(wire, bad []byte, at int) bool {
	if !bytes.EqualFold(wire[at:at+1], bad[at:at+1]) {
		return false
	}
	end := bytes.IndexAny(wire[at:], ";:\r")
	start := bytes.LastIndexByte(wire[:at], '\n') + 1
	return end >= 0 && !bytes.ContainsAny(wire[start:at], ";:")
}

func TestExtraBytes(t *testing.T) {
	data := pattern(100)
	for name, u := range uploads(data, []int{60, 40}) {
		for _, extra := range []string{"x", "\r\nx", "0\r\n\r\n", "a:b\r\n\r\n", strings.Repeat("\n", 5000), strings.Repeat("z", 5000)} {
			wire := append(bytes.Clone(u.wire()), extra...)
			if got, err := decode(u.options(bytes.NewReader(wire), wire)); err == nil || len(got) >= len(data) {
				t.Errorf("%s + %.10q: %d bytes, %v", name, extra, len(got), err)
			}
		}
	}
}

// TestAWSExamples decodes the bodies of AWS's two chunked examples: 66,560
// times "a" in chunks of 64 and 1 KiB.
func TestAWSExamples(t *testing.T) {
	data := bytes.Repeat([]byte("a"), 66560)
	body := func(first, second, last, trailer string) []byte {
		return fmt.Appendf(nil, "10000;chunk-signature=%s\r\n%s\r\n400;chunk-signature=%s\r\n%s\r\n0;chunk-signature=%s\r\n%s\r\n",
			first, data[:65536], second, data[65536:], last, trailer)
	}
	plain := body("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
		"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", "")
	if len(plain) != 66824 {
		t.Fatalf("example has %d bytes, AWS says 66,824", len(plain))
	}
	withTrailer := func(trailer string) []byte {
		return body("b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
			"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
			"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992", trailer)
	}
	const crc, sig = "x-amz-checksum-crc32c:sOO8/Q==", "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
	trailer := withTrailer(crc + "\r\n" + sig + "\r\n")
	if len(trailer) != 66946 {
		t.Fatalf("trailer example has %d bytes, AWS says 66,946", len(trailer))
	}
	unframed := bytes.TrimSuffix(trailer, []byte("\r\n"))
	for _, row := range []struct {
		name string
		wire []byte
		seed string
		form sigv4.Payload
		err  error
	}{
		{"chunked", plain, docSeed, sigv4.Streaming, nil},
		{"trailer", trailer, docSeedTrailer, sigv4.StreamingTrailer, nil},
		{"trailer as minio-go frames it", withTrailer(crc + "\n\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, nil},
		{"trailer behind an empty line", withTrailer("\r\n" + crc + "\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, nil},
		{"trailer without the last line end", unframed, docSeedTrailer, sigv4.StreamingTrailer, nil},
		{"trailer with spaces and case", withTrailer("X-Amz-Checksum-Crc32c: sOO8/Q==\r\nX-Amz-Trailer-Signature: " + sig[24:] + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, nil},
		{"signature first", withTrailer(sig + "\r\n" + crc + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, sigv4.ErrChunkSignature},
		{"no trailer signature", withTrailer(crc + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, ErrBadTrailer},
		{"no trailer", withTrailer(""), docSeedTrailer, sigv4.StreamingTrailer, ErrBadTrailer},
		{"trailer twice", withTrailer(crc + "\r\n" + crc + "\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, ErrBadTrailer},
		{"other trailer", withTrailer("x-amz-checksum-crc32:sOO8/Q==\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, ErrBadTrailer},
		{"other value", withTrailer("x-amz-checksum-crc32c:sOO8/A==\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, sigv4.ErrChunkSignature},
		{"short value", withTrailer("x-amz-checksum-crc32c:sOO8\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, ErrBadTrailer},
		{"no base64", withTrailer("x-amz-checksum-crc32c:s!O8/Q==\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, ErrBadTrailer},
		{"long value", withTrailer("x-amz-checksum-crc32c:" + strings.Repeat("A", 400) + "\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, ErrBadTrailer},
		{"no colon", withTrailer("x-amz-checksum-crc32c\r\n" + sig + "\r\n"), docSeedTrailer, sigv4.StreamingTrailer, ErrBadTrailer},
		{"trailer nobody announced", body("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
			"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
			"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", crc+"\r\n"), docSeed, sigv4.Streaming, ErrBadTrailer},
		{"wrong seed", plain, docSeedTrailer, sigv4.Streaming, sigv4.ErrChunkSignature},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := Options{
				Source: bytes.NewReader(row.wire), Auth: docResult(row.form, row.seed),
				Size: int64(len(data)), Wire: int64(len(row.wire)),
			}
			if row.form == sigv4.StreamingTrailer {
				o.Algorithm, o.Trailer = checksum.CRC32C, "x-amz-checksum-crc32c"
			}
			got, err := decode(o)
			if !errors.Is(err, row.err) || row.err == nil && (err != nil || !bytes.Equal(got, data)) {
				t.Fatalf("%d bytes, %v; want %v", len(got), err, row.err)
			}
			if row.err != nil && len(got) >= len(data) {
				t.Fatal("the whole payload was handed out before it was verified")
			}
		})
	}
}

// TestWrongSignatures replaces each signature of a stream in turn.
func TestWrongSignatures(t *testing.T) {
	u := uploads(pattern(3000), []int{1000, 1000, 1000})["trailer crc32c"]
	wire := u.wire()
	found := 0
	for _, mark := range []string{"chunk-signature=", "x-amz-trailer-signature:"} {
		for at := 0; ; {
			i := bytes.Index(wire[at:], []byte(mark))
			if i < 0 {
				break
			}
			at += i + len(mark)
			found++
			bad := bytes.Clone(wire)
			copy(bad[at:], strings.Repeat("0", 64))
			if _, err := decode(u.options(bytes.NewReader(bad), bad)); !errors.Is(err, sigv4.ErrChunkSignature) {
				t.Errorf("signature %d: %v", found, err)
			}
		}
	}
	if found != 5 {
		t.Fatalf("%d signatures found, want 5", found)
	}
}

func TestMalformedFraming(t *testing.T) {
	for _, row := range []struct {
		name, wire string
		err        error
	}{
		{"empty", "", ErrIncomplete},
		{"no size", "\r\nhello\r\n0\r\n\r\n", ErrFraming},
		{"not hex", "g\r\nhello\r\n0\r\n\r\n", ErrFraming},
		{"negative", "-5\r\nhello\r\n0\r\n\r\n", ErrFraming},
		{"plus", "+5\r\nhello\r\n0\r\n\r\n", ErrFraming},
		{"0x", "0x5\r\nhello\r\n0\r\n\r\n", ErrFraming},
		{"space", " 5\r\nhello\r\n0\r\n\r\n", ErrFraming},
		{"signature unasked for", "5;chunk-signature=00\r\nhello\r\n0\r\n\r\n", ErrFraming},
		{"LF only", "5\nhello\r\n0\r\n\r\n", ErrFraming},
		{"17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", ErrFraming},
		{"overflow", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n", ErrChunkTooBig},
		{"above 5 GiB", "140000001\r\nhello\r\n0\r\n\r\n", ErrChunkTooBig},
		{"5 GiB, above Size", "140000000\r\nhello\r\n0\r\n\r\n", ErrTooLong},
		{"line too long", strings.Repeat("0", 5000), ErrFraming},
		{"no CRLF behind data", "5\r\nhelloXY0\r\n\r\n", ErrFraming},
		{"LF behind data", "5\r\nhello\n0\r\n\r\n", ErrFraming},
		{"too long by a byte", "6\r\nhello!\r\n0\r\n\r\n", ErrTooLong},
		{"too long by a chunk", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", ErrTooLong},
		{"too short", "4\r\nhell\r\n0\r\n\r\n", ErrIncomplete},
		{"trailer unannounced", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", ErrBadTrailer},
		{"trailer signature in the unsigned form", "5\r\nhello\r\n0\r\nx-amz-trailer-signature:00\r\n\r\n", ErrBadTrailer},
		{"trailer too long", "5\r\nhello\r\n0\r\n" + strings.Repeat("\r\n", 3000), ErrFraming},
		{"fine", "5\r\nhello\r\n0\r\n\r\n", nil},
		{"fine, upper-case and zeroes", "0005\r\nhello\r\n0000\r\n\r\n", nil},
		{"fine, one more line end", "5\r\nhello\r\n0\r\n\r\n\r\n", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := decode(Options{
				Source: strings.NewReader(row.wire), Auth: docResult(sigv4.StreamingUnsignedTrailer, docSeed),
				Size: 5, Wire: -1,
			})
			if !errors.Is(err, row.err) || row.err == nil && (err != nil || string(got) != "hello") {
				t.Fatalf("%q, %v; want %v", got, err, row.err)
			}
		})
	}
	sig := strings.Repeat("0", 64)
	for _, line := range []string{"5", "5;", "5;chunk-signature=", "5;chunk-signature=" + sig[1:], "5;chunk-signature=" + sig + "0",
		"5;Chunk-Signature=" + sig, "5;x=1;chunk-signature=" + sig, "5 ;chunk-signature=" + sig[1:]} {
		_, err := decode(Options{
			Source: strings.NewReader(line + "\r\nhello\r\n0\r\n\r\n"), Auth: docResult(sigv4.Streaming, docSeed), Size: 5, Wire: -1,
		})
		if !errors.Is(err, ErrFraming) {
			t.Errorf("signed line %q: %v", line, err)
		}
	}
}

func TestClaims(t *testing.T) {
	data := pattern(1000)
	for name, u := range uploads(data, nil) {
		wire := u.wire()
		wrong := bytes.Repeat([]byte{1}, 32)
		tries := map[string]struct {
			change func(*Options)
			err    error
		}{
			"MD5":           {func(o *Options) { o.MD5 = wrong[:16] }, ErrContentMD5},
			"shorter Size":  {func(o *Options) { o.Size-- }, ErrTooLong},
			"longer Size":   {func(o *Options) { o.Size++ }, ErrIncomplete},
			"no claim":      {func(o *Options) { o.MD5 = nil }, nil},
			"bad MD5 claim": {func(o *Options) { o.MD5 = wrong[:15] }, ErrOptions},
			"no source":     {func(o *Options) { o.Source = nil }, ErrOptions},
			"negative size": {func(o *Options) { o.Size = -1 }, ErrOptions},
			"unknown form":  {func(o *Options) { o.Auth.Payload = 99; o.Trailer = "" }, ErrOptions},
			"bad trailer":   {func(o *Options) { o.Trailer = "x-amz-meta-a" }, ErrBadTrailer},
		}
		if u.algorithm != checksum.None {
			tries["checksum"] = struct {
				change func(*Options)
				err    error
			}{func(o *Options) { o.Expected = wrong[:u.algorithm.Size()] }, ErrChecksum}
		}
		if u.payload == sigv4.SHA256 {
			tries["payload hash"] = struct {
				change func(*Options)
				err    error
			}{func(o *Options) { o.Auth.Hash[0]++ }, sigv4.ErrPayloadMismatch}
		}
		for what, try := range tries {
			o := u.options(bytes.NewReader(wire), wire)
			try.change(&o)
			_, err := decode(o)
			if !errors.Is(err, try.err) || try.err == nil && err != nil {
				t.Errorf("%s, %s: %v, want %v", name, what, err, try.err)
			}
		}
	}
	u := uploads(data, nil)["unsigned trailer crc64"]
	wire := bytes.Replace(u.wire(), []byte("crc64nvme:"), []byte("crc64nvme:AAAAAAAAAAA="), 1)
	wire = append(wire[:bytes.LastIndex(wire, []byte("AAA="))+4], "\r\n\r\n"...)
	if _, err := decode(u.options(bytes.NewReader(wire), wire)); !errors.Is(err, ErrChecksum) {
		t.Errorf("wrong trailer checksum: %v", err)
	}
	o := u.options(bytes.NewReader(wire), wire)
	o.Wire = o.Size - 1
	if _, err := decode(o); !errors.Is(err, ErrIncomplete) {
		t.Errorf("Wire below Size: %v", err)
	}
}

// brokenReader fails after the bytes of src.
type brokenReader struct {
	src io.Reader
	err error
}

func (b *brokenReader) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func TestSourceErrors(t *testing.T) {
	data := pattern(500)
	reset := errors.New("connection reset")
	for name, u := range uploads(data, []int{250, 250}) {
		wire := u.wire()
		for _, cut := range []int{0, 10, len(wire) / 2, len(wire) - 1} {
			for fault, want := range map[error]error{
				os.ErrDeadlineExceeded:                      ErrTimeout,
				fmt.Errorf("x: %w", os.ErrDeadlineExceeded): ErrTimeout,
				io.ErrUnexpectedEOF:                         ErrIncomplete,
				reset:                                       reset,
			} {
				got, err := decode(u.options(&brokenReader{bytes.NewReader(wire[:cut]), fault}, wire))
				if !errors.Is(err, want) || len(got) >= len(data) {
					t.Errorf("%s, %v at %d: %v", name, fault, cut, err)
				}
				if want == ErrTimeout && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: cause lost: %v", name, err)
				}
			}
		}
		if _, err := decode(u.options(iotest.ErrReader(nil), wire)); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("%s, source without progress: %v", name, err)
		}
	}
}
