package s3fast

import (
	"bufio"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/checksum"
)

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

func closeWrite(c net.Conn) error { return c.(*net.TCPConn).CloseWrite() }

// begin creates an upload and returns its id.
func (r *rig) begin(target string, header ...string) string {
	r.t.Helper()
	a := r.want(call{method: "POST", target: target + "?uploads", header: with(header...)}, "200")
	ids := elements(a.body, "UploadId")
	if len(ids) != 1 || ids[0] == "" {
		r.t.Fatalf("no upload id: %s", a.body)
	}
	return ids[0]
}

func partURL(target, id string, n int) string {
	return fmt.Sprintf("%s?partNumber=%d&uploadId=%s", target, n, id)
}

// completion is the document that completes an upload.
func completion(parts ...string) string {
	var b strings.Builder
	b.WriteString(`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for i := 0; i < len(parts); i += 2 {
		fmt.Fprintf(&b, "<Part><PartNumber>%s</PartNumber><ETag>%s</ETag></Part>", parts[i], strings.ReplaceAll(parts[i+1], `"`, "&quot;"))
	}
	b.WriteString("</CompleteMultipartUpload>")
	return b.String()
}

func multipartTag(parts ...string) string {
	var all []byte
	for _, p := range parts {
		sum := md5.Sum([]byte(p))
		all = append(all, sum[:]...)
	}
	sum := md5.Sum(all)
	return fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:]), len(parts))
}

func TestMultipart(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	first, last := noise(engine.MinPartSize, 1), noise(100<<10, 2)
	id := r.begin("/bkt/big", "Content-Type", "a/b", "x-amz-meta-m", "1")
	a := r.want(call{method: "PUT", target: partURL("/bkt/big", id, 2), body: first}, "200")
	if a.header.Get("ETag") != etagOf(first) {
		t.Errorf("part's ETag %s", a.header.Get("ETag"))
	}
	r.want(call{method: "PUT", target: partURL("/bkt/big", id, 7), body: "to be replaced"}, "200")
	r.want(call{method: "PUT", target: partURL("/bkt/big", id, 7), body: last}, "200")
	r.want(call{method: "PUT", target: partURL("/bkt/big", id, 9), body: "to be left out"}, "200")

	a = r.want(call{method: "GET", target: "/bkt/big?max-parts=2&uploadId=" + id}, "200")
	equal(t, "parts", elements(a.body, "PartNumber"), []string{"2", "7"})
	equal(t, "truncated", elements(a.body, "IsTruncated"), []string{"true"})
	equal(t, "next", elements(a.body, "NextPartNumberMarker"), []string{"7"})
	a = r.want(call{method: "GET", target: "/bkt/big?part-number-marker=7&uploadId=" + id}, "200")
	equal(t, "parts", elements(a.body, "PartNumber"), []string{"9"})
	a = r.want(call{method: "GET", target: "/bkt/big?max-parts=0&uploadId=" + id}, "200")
	equal(t, "no parts", elements(a.body, "PartNumber"), nil)
	a = r.want(call{method: "GET", target: "/bkt?uploads&prefix=b"}, "200")
	equal(t, "uploads", elements(a.body, "UploadId"), []string{id})
	r.want(call{method: "GET", target: "/bkt/big"}, "404 NoSuchKey")

	doc := completion("2", etagOf(first), "7", etagOf(last))
	a = r.want(call{method: "POST", target: "/bkt/big?uploadId=" + id, body: doc, header: with(
		"x-amz-mp-object-size", decimal(int64(len(first)+len(last))), "x-amz-checksum-crc64nvme", digest(checksum.CRC64NVME, first+last))}, "200")
	tag := multipartTag(first, last)
	equal(t, "ETag", elements(a.body, "ETag"), []string{"&quot;" + tag + "&quot;"})
	equal(t, "checksum", elements(a.body, "ChecksumCRC64NVME"), []string{digest(checksum.CRC64NVME, first+last)})
	equal(t, "location", elements(a.body, "Location"), []string{"http://" + r.addr + "/bkt/big"})
	// The answer got lost: the client asks again.
	r.want(call{method: "POST", target: "/bkt/big?uploadId=" + id, body: doc}, "200")

	a = r.want(call{method: "GET", target: "/bkt/big"}, "200")
	if a.body != first+last || a.header.Get("ETag") != `"`+tag+`"` || a.header.Get("Content-Type") != "a/b" || a.header.Get("x-amz-meta-m") != "1" {
		t.Errorf("%d bytes, %v", len(a.body), a.header)
	}
	at := int64(len(first))
	a = r.want(call{method: "GET", target: "/bkt/big", header: with("Range", fmt.Sprintf("bytes=%d-%d", at-5, at+4))}, "206")
	if a.body != first[at-5:]+last[:5] {
		t.Error("range over the seam")
	}
	a = r.want(call{method: "GET", target: "/bkt/big?partNumber=2", header: with("x-amz-checksum-mode", "ENABLED")}, "206")
	if a.body != last || a.header.Get("x-amz-mp-parts-count") != "2" || a.header.Get("x-amz-checksum-crc64nvme") != digest(checksum.CRC64NVME, last) {
		t.Errorf("part: %d bytes, %v", len(a.body), a.header)
	}
	r.want(call{method: "GET", target: "/bkt/big?partNumber=3"}, "416 InvalidPartNumber")
	r.checkAttributes(tag, first, last)
}

func (r *rig) checkAttributes(tag, first, last string) {
	r.t.Helper()
	all := with("x-amz-object-attributes", "ETag,Checksum,ObjectParts", "x-amz-object-attributes", "StorageClass,ObjectSize", "x-amz-max-parts", "1")
	a := r.want(call{method: "GET", target: "/bkt/big?attributes", header: all[:1]}, "200")
	equal(r.t, "ETag", elements(a.body, "ETag"), []string{tag})
	equal(r.t, "count", elements(a.body, "PartsCount"), []string{"2"})
	equal(r.t, "sizes", elements(a.body, "Size"), []string{decimal(int64(len(first))), decimal(int64(len(last)))})
	equal(r.t, "type", elements(a.body, "ChecksumType"), []string{"FULL_OBJECT"})
	a = r.want(call{method: "GET", target: "/bkt/big?attributes", header: append(all[:1:1], all[2])}, "200")
	equal(r.t, "truncated", elements(a.body, "IsTruncated"), []string{"true"})
	equal(r.t, "sizes of a page", elements(a.body, "Size"), []string{decimal(int64(len(first)))})
	a = r.want(call{method: "GET", target: "/bkt/big?attributes", header: all[1:2]}, "200")
	equal(r.t, "size", elements(a.body, "ObjectSize"), []string{decimal(int64(len(first) + len(last)))})
	equal(r.t, "class", elements(a.body, "StorageClass"), []string{"STANDARD"})
	r.want(call{method: "GET", target: "/bkt/big?attributes"}, "400 InvalidArgument")
	r.want(call{method: "GET", target: "/bkt/none?attributes", header: all[:1]}, "404 NoSuchKey")
}

func TestMultipartChecksums(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	first, last := noise(engine.MinPartSize, 3), "tail"
	for _, c := range []struct{ alg, kind string }{{"CRC32", ""}, {"CRC32C", "FULL_OBJECT"}, {"SHA256", "COMPOSITE"}} {
		alg, _ := checksum.Parse(c.alg)
		header := []string{"x-amz-checksum-algorithm", c.alg}
		if c.kind != "" {
			header = append(header, "x-amz-checksum-type", c.kind)
		}
		id := r.begin("/bkt/k", header...)
		a := r.want(call{method: "PUT", target: partURL("/bkt/k", id, 1), body: first, header: with(alg.Header(), digest(alg, first))}, "200")
		if a.header.Get(alg.Header()) != digest(alg, first) {
			t.Errorf("%v: %v", c, a.header)
		}
		if c.kind == "FULL_OBJECT" {
			r.want(call{method: "PUT", target: partURL("/bkt/k", id, 2), body: last}, "200")
		} else {
			r.want(call{method: "PUT", target: partURL("/bkt/k", id, 2), body: last}, "400 InvalidRequest")
			r.want(call{method: "PUT", target: partURL("/bkt/k", id, 2), body: last, header: with(alg.Header(), digest(alg, last))}, "200")
		}
		r.want(call{method: "PUT", target: partURL("/bkt/k", id, 2), body: last, header: with("x-amz-checksum-sha1", digest(checksum.SHA1, last))}, "400 InvalidRequest")
		want := digest(alg, first+last)
		if c.kind != "FULL_OBJECT" {
			h := alg.New()
			for _, p := range []string{first, last} {
				d, _ := base64.StdEncoding.DecodeString(digest(alg, p))
				h.Write(d)
			}
			want = base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-2"
		}
		doc := completion("1", etagOf(first), "2", etagOf(last))
		if c.kind != "FULL_OBJECT" {
			r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: doc}, "400 InvalidRequest")
			for _, p := range []string{first, last} {
				sum := "<Checksum" + c.alg + ">" + digest(alg, p) + "</Checksum" + c.alg + ">"
				tag := strings.Trim(etagOf(p), `"`) + "&quot;</ETag>"
				doc = strings.Replace(doc, tag, tag+sum, 1)
			}
			wrong := strings.Replace(doc, digest(alg, last), digest(alg, "wrong"), 1)
			r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: wrong}, "400 InvalidPart")
		}
		r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: doc, header: with(alg.Header(), digest(alg, "wrong"))}, "400 BadDigest")
		r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: doc, header: with("x-amz-mp-object-size", "5")}, "400 InvalidRequest")
		a = r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: doc, header: with(alg.Header(), want)}, "200")
		equal(t, c.alg, elements(a.body, "Checksum"+c.alg), []string{want})
		a = r.want(call{method: "HEAD", target: "/bkt/k", header: with("x-amz-checksum-mode", "ENABLED")}, "200")
		if a.header.Get(alg.Header()) != want {
			t.Errorf("%v: HEAD %v", c, a.header)
		}
	}
	for _, h := range [][2]string{{"SHA1", "FULL_OBJECT"}, {"CRC64NVME", "COMPOSITE"}, {"MD4", ""}} {
		r.want(call{method: "POST", target: "/bkt/k?uploads", header: with("x-amz-checksum-algorithm", h[0], "x-amz-checksum-type", h[1])}, "400 InvalidRequest")
	}
}

func TestMultipartErrors(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	id := r.begin("/bkt/k")
	for _, n := range []string{"1", "2"} {
		r.want(call{method: "PUT", target: "/bkt/k?partNumber=" + n + "&uploadId=" + id, body: "small"}, "200")
	}
	tag := etagOf("small")
	for name, c := range map[string]struct {
		c    call
		want string
	}{
		"garbage id":       {call{method: "PUT", target: partURL("/bkt/k", "garbage", 1), body: "x"}, "404 NoSuchUpload"},
		"unknown id":       {call{method: "PUT", target: partURL("/bkt/k", strings.Repeat("0", 32), 1), body: "x"}, "404 NoSuchUpload"},
		"another key's id": {call{method: "PUT", target: partURL("/bkt/other", id, 1), body: "x"}, "404 NoSuchUpload"},
		"part 0":           {call{method: "PUT", target: partURL("/bkt/k", id, 0), body: "x"}, "400 InvalidArgument"},
		"part 10001":       {call{method: "PUT", target: partURL("/bkt/k", id, 10001), body: "x"}, "400 InvalidArgument"},
		"list garbage":     {call{method: "GET", target: "/bkt/k?uploadId=x"}, "404 NoSuchUpload"},
		"abort garbage":    {call{method: "DELETE", target: "/bkt/k?uploadId=x"}, "404 NoSuchUpload"},
		"too small":        {call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion("1", tag, "2", tag)}, "400 EntityTooSmall"},
		"wrong ETag":       {call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion("1", etagOf("x"))}, "400 InvalidPart"},
		"missing part":     {call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion("3", tag)}, "400 InvalidPart"},
		"order":            {call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion("2", tag, "1", tag)}, "400 InvalidPartOrder"},
		"empty list":       {call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion()}, "400 MalformedXML"},
		"no document":      {call{method: "POST", target: "/bkt/k?uploadId=" + id}, "400 MalformedXML"},
		"max-parts":        {call{method: "GET", target: "/bkt/k?max-parts=x&uploadId=" + id}, "400 InvalidArgument"},
		"encoding-type":    {call{method: "GET", target: "/bkt?uploads&encoding-type=x"}, "400 InvalidArgument"},
		"encryption":       {call{method: "POST", target: "/bkt/k?uploads", header: with("x-amz-server-side-encryption", "aws:kms")}, "400 KMS.NotFoundException"},
	} {
		a := r.do(c.c)
		if a.String() != c.want {
			t.Errorf("%s: %v, want %s; %s", name, a, c.want, a.body)
		}
		if name == "too small" {
			equal(t, "proposed size", elements(a.body, "ProposedSize"), []string{"5"})
			equal(t, "part", elements(a.body, "PartNumber"), []string{"1"})
		}
	}
	r.put("/bkt/k", "already here")
	r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion("1", tag), header: with("If-None-Match", "*")}, "412 PreconditionFailed")
	r.want(call{method: "DELETE", target: "/bkt/k?uploadId=" + id}, "204")
	r.want(call{method: "DELETE", target: "/bkt/k?uploadId=" + id}, "404 NoSuchUpload")
	if a := r.want(call{method: "GET", target: "/bkt?uploads"}, "200"); len(elements(a.body, "UploadId")) != 0 {
		t.Error(a.body)
	}
}

func TestUploadPartCopy(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	src := noise(engine.MinPartSize+1000, 4)
	r.put("/bkt/src", src)
	id := r.begin("/bkt/k", "x-amz-checksum-algorithm", "CRC32", "x-amz-checksum-type", "FULL_OBJECT")
	from := func(more ...string) [][2]string {
		return append(with("x-amz-copy-source", "bkt/src"), with(more...)...)
	}
	a := r.want(call{method: "PUT", target: partURL("/bkt/k", id, 1), header: from("x-amz-copy-source-range", fmt.Sprintf("bytes=0-%d", engine.MinPartSize-1))}, "200")
	equal(t, "checksum", elements(a.body, "ChecksumCRC32"), []string{digest(checksum.CRC32, src[:engine.MinPartSize])})
	r.want(call{method: "PUT", target: partURL("/bkt/k", id, 2), header: from("x-amz-copy-source-range", fmt.Sprintf("bytes=%d-%d", engine.MinPartSize, len(src)-1))}, "200")
	r.want(call{method: "PUT", target: partURL("/bkt/k", id, 3), header: from()}, "200")
	for _, bad := range []string{"bytes=0-", "bytes=9-1", fmt.Sprintf("bytes=0-%d", len(src))} {
		r.want(call{method: "PUT", target: partURL("/bkt/k", id, 4), header: from("x-amz-copy-source-range", bad)}, "400 InvalidArgument")
	}
	r.want(call{method: "PUT", target: partURL("/bkt/k", id, 4), header: with("x-amz-copy-source", "bkt/none")}, "404 NoSuchKey")
	r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion("1", etagOf(src[:engine.MinPartSize]), "2", etagOf(src[engine.MinPartSize:]), "3", etagOf(src))}, "400 EntityTooSmall")
	r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion("1", etagOf(src[:engine.MinPartSize]), "2", etagOf(src[engine.MinPartSize:]))}, "200")
	if a := r.want(call{method: "GET", target: "/bkt/k"}, "200"); a.body != src {
		t.Errorf("%d bytes", len(a.body))
	}
}

func TestListUploads(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	var ids []string
	for _, k := range []string{"a%20b", "dir/1", "dir/2", "z", "z"} {
		ids = append(ids, r.begin("/bkt/"+k))
	}
	a := r.want(call{method: "GET", target: "/bkt?uploads&delimiter=%2F&encoding-type=url"}, "200")
	equal(t, "keys", elements(a.body, "Key"), []string{"a+b", "z", "z"})
	equal(t, "prefixes", elements(strings.Join(elements(a.body, "CommonPrefixes"), ""), "Prefix"), []string{"dir/"})
	equal(t, "initiators", elements(a.body, "DisplayName")[:1], []string{rigUser})

	var got []string
	marker := ""
	for range 10 {
		a := r.want(call{method: "GET", target: "/bkt?max-uploads=2&uploads" + marker}, "200")
		got = append(got, elements(strings.Join(elements(a.body, "Upload"), ""), "UploadId")...)
		if elements(a.body, "IsTruncated")[0] == "false" {
			break
		}
		marker = "&key-marker=" + strings.ReplaceAll(elements(a.body, "NextKeyMarker")[0], " ", "%20") +
			"&upload-id-marker=" + elements(a.body, "NextUploadIdMarker")[0]
	}
	equal(t, "uploads by pages", got, ids)
}
