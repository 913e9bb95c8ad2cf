package checksum

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// check are the algorithms' published digests of "123456789" (the catalogue of
// parametrised CRC algorithms; FIPS 180-4 implementations).
var check = map[Algorithm]string{
	CRC32:     "cbf43926",
	CRC32C:    "e3069283",
	CRC64NVME: "ae8b14860a799888",
	SHA1:      "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
	SHA256:    "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
}

func TestKnownAnswers(t *testing.T) {
	for a, want := range check {
		h := a.New()
		h.Write([]byte("123456789"))
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%v: %s, want %s", a, got, want)
		}
		s := NewSet(Wanted{MD5: true, PayloadSHA256: true, Extra: a})
		s.Write([]byte("1234"))
		s.Write([]byte("56789"))
		if got := hex.EncodeToString(s.Extra()); got != want {
			t.Errorf("set with %v: %s, want %s", a, got, want)
		}
		if s.MD5() != md5.Sum([]byte("123456789")) || s.PayloadSHA256() != sha256.Sum256([]byte("123456789")) {
			t.Errorf("set with %v: other digests wrong", a)
		}
		s.Release()
	}
}

func TestProperties(t *testing.T) {
	for _, row := range []struct {
		a               Algorithm
		name, header    string
		size            int
		full, composite bool
	}{
		{None, "", "", 0, false, false},
		{CRC32, "CRC32", "x-amz-checksum-crc32", 4, true, true},
		{CRC32C, "CRC32C", "x-amz-checksum-crc32c", 4, true, true},
		{CRC64NVME, "CRC64NVME", "x-amz-checksum-crc64nvme", 8, true, false},
		{SHA1, "SHA1", "x-amz-checksum-sha1", 20, false, true},
		{SHA256, "SHA256", "x-amz-checksum-sha256", 32, false, true},
		{99, "", "", 0, false, false},
	} {
		a := row.a
		if a.String() != row.name || a.Header() != row.header || a.Size() != row.size ||
			a.FullObject() != row.full || a.Composite() != row.composite {
			t.Errorf("%d: %q %q %d %v %v", a, a.String(), a.Header(), a.Size(), a.FullObject(), a.Composite())
		}
		if row.size == 0 {
			if a.New() != nil || a.CompositeOf([][]byte{{1}}) != nil {
				t.Errorf("%d has a digest", a)
			}
			continue
		}
		if n := a.New().Size(); n != row.size {
			t.Errorf("%v: digest of %d bytes", a, n)
		}
		for _, s := range []string{row.name, strings.ToLower(row.name)} {
			if got, ok := Parse(s); !ok || got != a {
				t.Errorf("Parse(%q) = %v, %v", s, got, ok)
			}
		}
	}
	for _, s := range []string{"", "MD5", "CRC", "CRC32 ", "SHA512"} {
		if a, ok := Parse(s); ok || a != None {
			t.Errorf("Parse(%q) = %v, %v", s, a, ok)
		}
	}
}

func sum(a Algorithm, p []byte) []byte {
	h := a.New()
	h.Write(p)
	return h.Sum(nil)
}

func TestCombine(t *testing.T) {
	for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
		t.Run(a.String(), rapid.MakeCheck(func(t *rapid.T) {
			data := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "data")
			cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
			got := a.Combine(sum(a, data[:cut]), sum(a, data[cut:]), int64(len(data)-cut))
			if want := sum(a, data); !bytes.Equal(got, want) {
				t.Fatalf("%x, want %x", got, want)
			}
		}))
	}
}

// TestCombineLong checks lengths too long to compute over: combining is
// associative, and x^(8·(m+n)) is x^(8m)·x^(8n).
func TestCombineLong(t *testing.T) {
	for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
		c, _ := crcOf(a)
		rapid.Check(t, func(t *rapid.T) {
			m := rapid.Int64Range(0, 1<<61).Draw(t, "m")
			n := rapid.Int64Range(0, 1<<61).Draw(t, "n")
			if c.mul(c.shift(m), c.shift(n)) != c.shift(m+n) {
				t.Fatal("powers do not add")
			}
			x, y, z := sum(a, []byte("x")), sum(a, []byte("y")), sum(a, []byte("z"))
			left := a.Combine(a.Combine(x, y, m), z, n)
			right := a.Combine(x, a.Combine(y, z, n), m+n)
			if !bytes.Equal(left, right) {
				t.Fatal("not associative")
			}
		})
	}
}

func TestCombineRefuses(t *testing.T) {
	four, eight := make([]byte, 4), make([]byte, 8)
	for _, got := range [][]byte{
		SHA1.Combine(make([]byte, 20), make([]byte, 20), 1), None.Combine(nil, nil, 0),
		CRC32.Combine(eight, four, 1), CRC32.Combine(four, nil, 1), CRC64NVME.Combine(eight, four, 1),
		CRC32C.Combine(four, four, -1),
	} {
		if got != nil {
			t.Errorf("combined: %x", got)
		}
	}
}

func TestCompositeOf(t *testing.T) {
	parts := [][]byte{sum(SHA1, []byte("one")), sum(SHA1, []byte("two"))}
	want := sha1.Sum(append(bytes.Clone(parts[0]), parts[1]...))
	if got := SHA1.CompositeOf(parts); !bytes.Equal(got, want[:]) {
		t.Errorf("%x, want %x", got, want)
	}
}

// TestSet compares a set fed in random pieces with digests of the whole, while
// the pool hands around sets that were used for other algorithms.
func TestSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		extra := Algorithm(rapid.IntRange(0, int(SHA256)).Draw(t, "extra"))
		payload := rapid.Bool().Draw(t, "payload")
		s := NewSet(Wanted{MD5: true, PayloadSHA256: payload, Extra: extra})
		defer s.Release()
		var all []byte
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 3*strideSize), 0, 4).Draw(t, "pieces") {
			piece := bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, n/3+1)[:n]
			if w, err := s.Write(piece); w != n || err != nil {
				t.Fatal(w, err)
			}
			all = append(all, piece...)
			if s.MD5() != md5.Sum(all) {
				t.Fatal("MD5 before the end")
			}
		}
		var want [32]byte
		if payload {
			want = sha256.Sum256(all)
		}
		if s.PayloadSHA256() != want {
			t.Fatal("SHA-256")
		}
		if extra == None {
			if s.Extra() != nil {
				t.Fatal("an extra digest")
			}
		} else if !bytes.Equal(s.Extra(), sum(extra, all)) {
			t.Fatal(extra)
		}
		if s.Reset(); s.MD5() != md5.Sum(nil) {
			t.Fatal("reset")
		}
	})
}

func TestSetAllocations(t *testing.T) {
	p := make([]byte, 100_000)
	for a := None; a <= SHA256; a++ {
		s := NewSet(Wanted{MD5: true, PayloadSHA256: true, Extra: a})
		if n := testing.AllocsPerRun(10, func() {
			s.Write(p)
			s.MD5()
			s.PayloadSHA256()
			s.Extra()
		}); n != 0 {
			t.Errorf("%v: %v allocations", a, n)
		}
		s.Release()
	}
}

func BenchmarkSet(b *testing.B) {
	p := make([]byte, 1<<20)
	for _, payload := range []bool{false, true} {
		for a := None; a <= SHA256; a++ {
			name := "md5"
			if payload {
				name += "+payload-sha256"
			}
			if a != None {
				name += "+" + a.String()
			}
			b.Run(name, func(b *testing.B) {
				s := NewSet(Wanted{MD5: true, PayloadSHA256: payload, Extra: a})
				defer s.Release()
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					s.Write(p)
				}
			})
		}
	}
}

func BenchmarkCombine(b *testing.B) {
	first, second := make([]byte, 8), make([]byte, 8)
	for b.Loop() {
		CRC64NVME.Combine(first, second, 5<<30)
	}
}

// BenchmarkUpload is what an upload's digests cost, written at once and lent.
func BenchmarkUpload(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, lent := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dKiB/lent=%v", size>>10, lent), func(b *testing.B) {
				data := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					s := NewSet(Wanted{MD5: true, Extra: CRC64NVME})
					if lent {
						s.Lend()
					}
					_, _ = s.Write(data)
					s.MD5()
					s.Release()
				}
			})
		}
	}
}
