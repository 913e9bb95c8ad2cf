package s3fast

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/checksum"
)

// digest is the base64 checksum of s.
func digest(alg checksum.Algorithm, s string) string {
	h := alg.New()
	h.Write([]byte(s))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func etagOf(s string) string {
	sum := md5.Sum([]byte(s))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// noise is n reproducible bytes that do not repeat.
func noise(n int, seed byte) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return string(b)
}

func with(pairs ...string) (list [][2]string) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, [2]string{pairs[i], pairs[i+1]})
	}
	return list
}

// Sizes around the inline limit, the frame and the buffers come back whole, by
// GET and by range.
func TestPutGetSizes(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	for i, n := range []int{0, 1, 1000, 128 << 10, 256<<10 + 1, 1<<20 - 1, 3<<20 + 7} {
		data := noise(n, byte(i))
		a := r.want(call{method: "PUT", target: "/bkt/k", body: data}, "200")
		if a.header.Get("ETag") != etagOf(data) {
			t.Errorf("%d bytes: ETag %s, want %s", n, a.header.Get("ETag"), etagOf(data))
		}
		if got := a.header.Get("X-Amz-Checksum-Crc64nvme"); got != digest(checksum.CRC64NVME, data) || a.header.Get("X-Amz-Checksum-Type") != typeFullObject {
			t.Errorf("%d bytes: default checksum %q, %v", n, got, a.header)
		}
		a = r.want(call{method: "GET", target: "/bkt/k"}, "200")
		if a.body != data || a.header.Get("ETag") != etagOf(data) || a.header.Get("Content-Type") != defaultContentType {
			t.Errorf("%d bytes: got %d, headers %v", n, len(a.body), a.header)
		}
		a = r.want(call{method: "HEAD", target: "/bkt/k", header: with("x-amz-checksum-mode", "ENABLED")}, "200")
		if a.header.Get("Content-Length") != decimal(int64(n)) || a.header.Get("X-Amz-Checksum-Crc64nvme") != digest(checksum.CRC64NVME, data) {
			t.Errorf("%d bytes: HEAD %v", n, a.header)
		}
		if n < 3 {
			continue
		}
		a = r.want(call{method: "GET", target: "/bkt/k", header: with("Range", "bytes=1-"+decimal(int64(n-2)), "x-amz-checksum-mode", "ENABLED")}, "206")
		if a.body != data[1:n-1] || a.header.Get("Content-Range") != "bytes 1-"+decimal(int64(n-2))+"/"+decimal(int64(n)) {
			t.Errorf("%d bytes: range of %d, %v", n, len(a.body), a.header)
		}
		if a.header.Get("X-Amz-Checksum-Crc64nvme") != "" {
			t.Error("the checksum of the whole object was told with a range of it")
		}
	}
}

func TestObjectHeadersAreKept(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.want(call{method: "PUT", target: "/bkt/k", body: "x", header: with(
		"Content-Type", "text/x", "Cache-Control", "no-cache", "Content-Encoding", "gzip", "Content-Language", "de",
		"Content-Disposition", "inline", "Expires", "some day", "x-amz-meta-Some-Key", "v", "x-amz-meta-u", "ü",
		"x-amz-storage-class", "STANDARD")}, "200")
	for _, method := range []string{"GET", "HEAD"} {
		text := r.head(call{method: method, target: "/bkt/k"})
		a := r.raw(method, text)
		for k, v := range map[string]string{"Content-Type": "text/x", "Cache-Control": "no-cache", "Content-Encoding": "gzip",
			"Content-Language": "de", "Content-Disposition": "inline", "Expires": "some day", "X-Amz-Meta-Some-Key": "v",
			"X-Amz-Meta-U": "=?UTF-8?b?w7w=?=", "Accept-Ranges": "bytes", "X-Amz-Storage-Class": ""} {
			if a.header.Get(k) != v {
				t.Errorf("%s %s: %q, want %q", method, k, a.header.Get(k), v)
			}
		}
		if _, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", a.header.Get("Last-Modified")); err != nil {
			t.Error(err)
		}
	}
	a := r.want(call{method: "GET", target: "/bkt/k?response-content-type=a%2Fb&response-expires=now&response-cache-control=none"}, "200")
	if a.header.Get("Content-Type") != "a/b" || a.header.Get("Expires") != "now" || a.header.Get("Cache-Control") != "none" {
		t.Errorf("overrides: %v", a.header)
	}
	r.want(call{method: "GET", target: "/bkt/k?response-content-type=a%0D%0AX:y"}, "400 InvalidArgument")
	r.want(call{method: "GET", target: "/bkt/k?response-nonsense=1"}, "400 InvalidArgument")
}

// SDKs read metadata names from the wire as they are.
func TestMetadataNamesAreLowerCase(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.want(call{method: "PUT", target: "/bkt/k", body: "x", header: with("X-Amz-Meta-Some-Key", "v")}, "200")
	c := r.dial()
	_, err := c.Write([]byte(r.head(call{method: "HEAD", target: "/bkt/k"})))
	must(t, err)
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	must(t, err)
	if head := string(buf[:n]); !strings.Contains(head, "\r\nx-amz-meta-some-key: v\r\n") || !strings.Contains(head, "\r\nETag: ") {
		t.Errorf("%s", head)
	}
}

func TestPutChecksums(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	const data = "some data"
	for _, alg := range []checksum.Algorithm{checksum.CRC32, checksum.CRC32C, checksum.CRC64NVME, checksum.SHA1, checksum.SHA256} {
		sum := digest(alg, data)
		a := r.want(call{method: "PUT", target: "/bkt/k", body: data, header: with(alg.Header(), sum, "x-amz-sdk-checksum-algorithm", alg.String())}, "200")
		if a.header.Get(alg.Header()) != sum || a.header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
			t.Errorf("%s: %v", alg, a.header)
		}
		a = r.want(call{method: "GET", target: "/bkt/k", header: with("x-amz-checksum-mode", "ENABLED")}, "200")
		if a.header.Get(alg.Header()) != sum {
			t.Errorf("%s: GET %v", alg, a.header)
		}
		if a = r.want(call{method: "GET", target: "/bkt/k"}, "200"); a.header.Get(alg.Header()) != "" {
			t.Error("told unasked")
		}
	}
	good := etagOf(data)
	wrong := digest(checksum.CRC32, "other")
	for name, c := range map[string]struct {
		header [][2]string
		want   string
	}{
		"wrong checksum":  {with("x-amz-checksum-crc32", wrong), "400 BadDigest"},
		"bad checksum":    {with("x-amz-checksum-crc32", "AAAA"), "400 InvalidRequest"},
		"with a count":    {with("x-amz-checksum-crc32", digest(checksum.CRC32, data)+"-1"), "400 InvalidRequest"},
		"two checksums":   {with("x-amz-checksum-crc32", wrong, "x-amz-checksum-crc32c", wrong), "400 InvalidRequest"},
		"unknown":         {with("x-amz-sdk-checksum-algorithm", "MD4"), "400 InvalidRequest"},
		"wrong MD5":       {with("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="), "400 BadDigest"},
		"malformed MD5":   {with("Content-MD5", "1B2M"), "400 InvalidDigest"},
		"empty MD5":       {with("Content-MD5", ""), "400 InvalidDigest"},
		"encryption":      {with("x-amz-server-side-encryption", "AES256"), "400 KMS.NotFoundException"},
		"tags":            {with("x-amz-tagging", "a=b&a=c"), "400 InvalidTag"},
		"public":          {with("x-amz-acl", "public-read"), "400 AccessControlListNotSupported"},
		"storage class":   {with("x-amz-storage-class", "GLACIER"), "400 InvalidStorageClass"},
		"large metadata":  {with("x-amz-meta-a", strings.Repeat("x", 2048)), "400 MetadataTooLarge"},
		"if-none-match":   {with("If-None-Match", "*"), "412 PreconditionFailed"},
		"if-none-match x": {with("If-None-Match", good), "501 NotImplemented"},
		"if-match other":  {with("If-Match", `"0"`), "412 PreconditionFailed"},
		"since":           {with("If-Unmodified-Since", "Mon, 04 May 2026 03:02:01 GMT"), "501 NotImplemented"},
	} {
		if a := r.do(call{method: "PUT", target: "/bkt/k", body: data, header: c.header}); a.String() != c.want {
			t.Errorf("%s: %v, want %s", name, a, c.want)
		}
	}
	r.want(call{method: "PUT", target: "/bkt/k", body: "2", header: with("If-Match", good)}, "200")
	r.want(call{method: "PUT", target: "/bkt/none", body: "2", header: with("If-Match", good)}, "404 NoSuchKey")
	r.want(call{method: "PUT", target: "/bkt/new", body: "2", header: with("If-None-Match", "*")}, "200")
}

func TestReadConditions(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "0123456789")
	r.put("/bkt/empty", "")
	tag := etagOf("0123456789")
	const past, future = "Mon, 04 May 2020 03:02:01 GMT", "Mon, 04 May 2099 03:02:01 GMT"
	for name, c := range map[string]struct {
		target string
		header [][2]string
		want   string
		body   string
	}{
		"if-match":                {"/bkt/k", with("If-Match", tag, "If-Unmodified-Since", past), "200", "0123456789"},
		"if-match other":          {"/bkt/k", with("If-Match", `"x"`), "412 PreconditionFailed", ""},
		"if-none-match":           {"/bkt/k", with("If-None-Match", tag), "304", ""},
		"if-none-match, modified": {"/bkt/k", with("If-None-Match", `"x"`, "If-Modified-Since", future), "200", "0123456789"},
		"not modified":            {"/bkt/k", with("If-Modified-Since", future), "304", ""},
		"range":                   {"/bkt/k", with("Range", "bytes=2-3"), "206", "23"},
		"suffix":                  {"/bkt/k", with("Range", "bytes=-3"), "206", "789"},
		"open":                    {"/bkt/k", with("Range", "bytes=8-"), "206", "89"},
		"two ranges":              {"/bkt/k", with("Range", "bytes=0-1,3-4"), "200", "0123456789"},
		"beyond":                  {"/bkt/k", with("Range", "bytes=10-"), "416 InvalidRange", ""},
		"empty":                   {"/bkt/empty", with("Range", "bytes=0-"), "416 InvalidRange", ""},
		"if-range":                {"/bkt/k", with("Range", "bytes=2-3", "If-Range", tag), "206", "23"},
		"if-range other":          {"/bkt/k", with("Range", "bytes=2-3", "If-Range", `"x"`), "200", "0123456789"},
		"part 1":                  {"/bkt/k?partNumber=1", nil, "206", "0123456789"},
		"part 1 of nothing":       {"/bkt/empty?partNumber=1", nil, "200", ""},
		"part 2":                  {"/bkt/k?partNumber=2", nil, "416 InvalidPartNumber", ""},
		"part 0":                  {"/bkt/k?partNumber=0", nil, "400 InvalidArgument", ""},
		"part and range":          {"/bkt/k?partNumber=1", with("Range", "bytes=0-1"), "400 InvalidRequest", ""},
		"version":                 {"/bkt/k?versionId=null", nil, "200", "0123456789"},
		"other version":           {"/bkt/k?versionId=abc", nil, "400 InvalidArgument", ""},
		"no key":                  {"/bkt/none", nil, "404 NoSuchKey", ""},
		"customer key":            {"/bkt/k", with("x-amz-server-side-encryption-customer-algorithm", "AES256"), "400 InvalidRequest", ""},
	} {
		a := r.do(call{method: "GET", target: c.target, header: c.header})
		if got := strings.TrimSpace(a.String()); got != c.want || a.status < 300 && a.body != c.body {
			t.Errorf("GET %s: %s %q, want %s %q", name, got, a.body, c.want, c.body)
		}
		if a.status == 304 && (a.body != "" || a.header.Get("ETag") != tag || a.header.Get("Last-Modified") == "") {
			t.Errorf("GET %s: %v %q", name, a.header, a.body)
		}
		h := r.do(call{method: "HEAD", target: c.target, header: c.header})
		if h.status != a.status || h.body != "" {
			t.Errorf("HEAD %s: %d, GET answers %d", name, h.status, a.status)
		}
		if h.status < 300 && h.header.Get("Content-Length") != decimal(int64(len(c.body))) {
			t.Errorf("HEAD %s: length %s", name, h.header.Get("Content-Length"))
		}
	}
	if a := r.do(call{method: "GET", target: "/bkt/k", header: with("Range", "bytes=10-")}); !strings.Contains(a.body, "<ActualObjectSize>10</ActualObjectSize>") {
		t.Error(a.body)
	}
}

// A connection whose responses are whole stays usable.
func TestKeepAliveAfterReads(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	data := noise(600<<10, 3)
	r.put("/bkt/k", data)
	c := r.dial()
	br := newReader(c)
	for _, step := range []call{
		{method: "GET", target: "/bkt/k"}, {method: "HEAD", target: "/bkt/k"},
		{method: "GET", target: "/bkt/k", header: with("If-None-Match", etagOf(data))},
		{method: "GET", target: "/bkt/k?partNumber=7"},
		{method: "GET", target: "/bkt/k", header: with("Range", "bytes=5-500000")},
	} {
		_, err := c.Write([]byte(r.head(step)))
		must(t, err)
		r.read(br, step.method)
	}
	_, err := c.Write([]byte(r.head(call{method: "GET", target: "/bkt/k"})))
	must(t, err)
	if a := r.read(br, "GET"); a.body != data {
		t.Errorf("%v", a)
	}
}

func TestCopyObject(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.bucket("other")
	data := noise(700<<10, 5)
	r.want(call{method: "PUT", target: "/bkt/a%20b", body: data, header: with("Content-Type", "a/b", "x-amz-meta-m", "1",
		"x-amz-checksum-crc32", digest(checksum.CRC32, data))}, "200")
	src := func(more ...string) [][2]string {
		return append(with("x-amz-copy-source", "/bkt/a%20b"), with(more...)...)
	}
	a := r.want(call{method: "PUT", target: "/other/c", header: src()}, "200")
	equal(t, "ETag", elements(a.body, "ETag"), []string{"&quot;" + strings.Trim(etagOf(data), `"`) + "&quot;"})
	equal(t, "checksum kept", elements(a.body, "ChecksumCRC32"), []string{digest(checksum.CRC32, data)})
	a = r.want(call{method: "GET", target: "/other/c"}, "200")
	if a.body != data || a.header.Get("Content-Type") != "a/b" || a.header.Get("x-amz-meta-m") != "1" {
		t.Errorf("copy: %d bytes, %v", len(a.body), a.header)
	}
	a = r.want(call{method: "PUT", target: "/other/d", header: src("x-amz-metadata-directive", "REPLACE", "x-amz-meta-n", "2", "x-amz-checksum-algorithm", "SHA256")}, "200")
	equal(t, "checksum chosen", elements(a.body, "ChecksumSHA256"), []string{digest(checksum.SHA256, data)})
	a = r.want(call{method: "HEAD", target: "/other/d"}, "200")
	if a.header.Get("Content-Type") != defaultContentType || a.header.Get("x-amz-meta-m") != "" || a.header.Get("x-amz-meta-n") != "2" {
		t.Errorf("replaced: %v", a.header)
	}
	for name, c := range map[string]struct {
		header [][2]string
		want   string
	}{
		"onto itself":    {src(), "400 InvalidRequest"},
		"replacing":      {src("x-amz-metadata-directive", "REPLACE"), "200"},
		"directive":      {src("x-amz-metadata-directive", "MERGE"), "400 InvalidArgument"},
		"no source key":  {with("x-amz-copy-source", "bkt/none"), "404 NoSuchKey"},
		"no bucket":      {with("x-amz-copy-source", "nobucket/k"), "404 NoSuchBucket"},
		"malformed":      {with("x-amz-copy-source", "bkt"), "400 InvalidArgument"},
		"version":        {with("x-amz-copy-source", "bkt/a%20b?versionId=77"), "400 InvalidArgument"},
		"if-match":       {src("x-amz-metadata-directive", "REPLACE", "x-amz-copy-source-if-match", `"x"`), "412 PreconditionFailed"},
		"if-none-match":  {src("x-amz-metadata-directive", "REPLACE", "x-amz-copy-source-if-none-match", etagOf(data)), "412 PreconditionFailed"},
		"target must go": {src("x-amz-metadata-directive", "REPLACE", "If-None-Match", "*"), "412 PreconditionFailed"},
		"algorithm":      {src("x-amz-checksum-algorithm", "MD4"), "400 InvalidRequest"},
	} {
		if a := r.do(call{method: "PUT", target: "/bkt/a%20b", header: c.header}); strings.TrimSpace(a.String()) != c.want {
			t.Errorf("%s: %v, want %s", name, a, c.want)
		}
	}
	if a := r.want(call{method: "GET", target: "/bkt/a%20b"}, "200"); a.body != data {
		t.Error("a copy onto itself changed the data")
	}
}

// What may not be read may not be copied either.
func TestCopyNeedsReadAccess(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	r.want(call{method: "PUT", target: "/bkt/l", user: rigNobody, header: with("x-amz-copy-source", "bkt/k")}, "403 AccessDenied")
	r.want(call{method: "PUT", target: "/bkt/l", user: rigReader, header: with("x-amz-copy-source", "bkt/k")}, "403 AccessDenied")
}

// A body cut short stores nothing.
func TestShortPut(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	c := r.dial()
	data := noise(300<<10, 9)
	_, err := c.Write([]byte(r.head(call{method: "PUT", target: "/bkt/k", body: data}) + data[:len(data)-1]))
	must(t, err)
	must(t, closeWrite(c))
	_, _ = bytes.NewBuffer(nil).ReadFrom(c) // whatever the answer is
	r.want(call{method: "GET", target: "/bkt/k"}, "404 NoSuchKey")
}

func TestCRC32Vector(t *testing.T) {
	// The check value of CRC-32/ISO-HDLC, as S3 transfers it.
	if got := digest(checksum.CRC32, "123456789"); got != base64.StdEncoding.EncodeToString([]byte{0xcb, 0xf4, 0x39, 0x26}) || crc32.ChecksumIEEE([]byte("123456789")) != 0xcbf43926 {
		t.Error(got)
	}
}

// A client that goes away in the middle of a response leaves no pin behind: the
// object can be purged, and the buffers are free.
func TestAbandonedGet(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", noise(24<<20, 6))
	for range 3 {
		c := r.dial()
		_, err := c.Write([]byte(r.head(call{method: "GET", target: "/bkt/k"})))
		must(t, err)
		_, err = c.Read(make([]byte, 100))
		must(t, err)
		if r.engine.Status().Readers == 0 {
			t.Fatal("the response was sent whole: the test proves nothing")
		}
		must(t, c.Close())
	}
	for start := time.Now(); r.engine.Status().Readers != 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatalf("%d readers still open", r.engine.Status().Readers)
		}
	}
}
