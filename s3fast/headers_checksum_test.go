package s3fast

import (
	"crypto/md5"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

func TestClaimHeaders(t *testing.T) {
	crc := "x-amz-checksum-crc32"
	for _, c := range []struct {
		name  string
		pairs []string
		alg   checksum.Algorithm
		code  *s3err.Code
	}{
		{"nothing", []string{"host", "h"}, checksum.None, nil},
		{"one", []string{crc, "AAAAAA=="}, checksum.CRC32, nil},
		{"mode, type, algorithm are not digests", []string{"x-amz-checksum-mode", "ENABLED", "x-amz-checksum-type", "COMPOSITE", "x-amz-checksum-algorithm", "SHA1"}, checksum.None, nil},
		{"two", []string{crc, "AAAAAA==", "x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 0, s3err.InvalidRequest},
		{"too short", []string{crc, "AAAA"}, 0, s3err.InvalidRequest},
		{"not base64", []string{crc, "!"}, 0, s3err.InvalidRequest},
		{"empty", []string{crc, ""}, 0, s3err.InvalidRequest},
		{"unknown", []string{"x-amz-checksum-sha512", "AAAA"}, 0, s3err.InvalidRequest},
	} {
		var claim bodyClaim
		var err error
		for i := 0; i < len(c.pairs) && err == nil; i += 2 {
			err = claim.addHeader(c.pairs[i], c.pairs[i+1])
		}
		if c.code == nil && (err != nil || claim.algorithm != c.alg) || c.code != nil && !isCode(err, c.code) {
			t.Errorf("%s: %v, %v", c.name, claim, err)
		}
	}
}

func TestClaimTrailerAndSDK(t *testing.T) {
	c := bodyClaim{}
	if err := c.addTrailer("X-Amz-Checksum-CRC64NVME"); err != nil || c.algorithm != checksum.CRC64NVME || c.trailer != "x-amz-checksum-crc64nvme" {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := c.checkSDK("crc64nvme"); err != nil {
		t.Error(err)
	}
	for _, v := range []string{"CRC32", "MD4"} {
		if err := c.checkSDK(v); !isCode(err, s3err.InvalidRequest) {
			t.Errorf("%s: %v", v, err)
		}
	}
	if err := c.addTrailer("x-amz-checksum-crc32"); !isCode(err, s3err.InvalidRequest) {
		t.Errorf("second algorithm: %v", err)
	}
	none := bodyClaim{}
	if err := none.checkSDK("CRC32"); !isCode(err, s3err.InvalidRequest) {
		t.Errorf("named but not sent: %v", err)
	}
	if err := none.addTrailer("x-amz-meta-a"); !isCode(err, s3err.InvalidRequest) {
		t.Errorf("other trailer: %v", err)
	}
}

func TestContentMD5(t *testing.T) {
	if sum, err := parseContentMD5("1B2M2Y8AsgTpgAmY7PhCfg=="); err != nil || hex.EncodeToString(sum) != "d41d8cd98f00b204e9800998ecf8427e" {
		t.Fatalf("%x, %v", sum, err)
	}
	for _, v := range []string{"1B2M2Y8AsgTpgAmY7PhC", "d41d8cd98f00b204e9800998ecf8427e", "????"} {
		if _, err := parseContentMD5(v); !isCode(err, s3err.InvalidDigest) {
			t.Errorf("%q: %v", v, err)
		}
	}
}

// S3's table: CRC64NVME only whole, SHA only composite, CRC32 and CRC32C both.
func TestDeclaredChecksum(t *testing.T) {
	for _, c := range []struct{ alg, kind, want string }{
		{"", "", ""},
		{"crc32", "", typeComposite}, {"CRC32", typeFullObject, typeFullObject}, {"CRC32C", "composite", typeComposite},
		{"CRC64NVME", "", typeFullObject}, {"CRC64NVME", typeFullObject, typeFullObject}, {"CRC64NVME", typeComposite, "bad"},
		{"SHA1", "", typeComposite}, {"SHA1", typeFullObject, "bad"},
		{"SHA256", typeComposite, typeComposite}, {"SHA256", typeFullObject, "bad"},
		{"MD5", "", "bad"}, {"CRC32", "HALF", "bad"}, {"", typeFullObject, "bad"},
	} {
		_, kind, err := declaredChecksum(c.alg, c.kind)
		if c.want == "bad" {
			if !isCode(err, s3err.InvalidRequest) {
				t.Errorf("%v: %v", c, err)
			}
		} else if err != nil || kind != c.want {
			t.Errorf("%v: %q, %v", c, kind, err)
		}
	}
}

func testPart(number int32, data string, alg checksum.Algorithm) meta.Part {
	sum := md5.Sum([]byte(data))
	p := meta.Part{Number: number, Size: int64(len(data)), ETag: hex.EncodeToString(sum[:])}
	if h := alg.New(); h != nil {
		h.Write([]byte(data))
		p.Checksum = meta.Checksum{Algorithm: alg.String(), Type: typeFullObject, Value: h.Sum(nil)}
	}
	return p
}

func TestSeal(t *testing.T) {
	none := objectClaim{size: -1}
	crcParts := []meta.Part{testPart(1, "hello ", checksum.CRC32), testPart(3, "world", checksum.CRC32)}

	// The digest of digests, worked out by hand.
	a, b := md5.Sum([]byte("hello ")), md5.Sum([]byte("world"))
	whole := md5.Sum(append(a[:], b[:]...))
	wantETag := hex.EncodeToString(whole[:]) + "-2"
	etag, sum, err := sealUpload(meta.Checksum{Algorithm: "CRC32", Type: typeFullObject}, crcParts, none)
	if err != nil || etag != wantETag {
		t.Fatalf("%s, %v, want %s", etag, err, wantETag)
	}
	h := crc32.NewIEEE()
	h.Write([]byte("hello world"))
	if string(sum.Value) != string(h.Sum(nil)) || sum.Type != typeFullObject {
		t.Errorf("full object: %x %s, want %x", sum.Value, sum.Type, h.Sum(nil))
	}
	if _, undeclared, err := sealUpload(meta.Checksum{}, crcParts, none); err != nil || string(undeclared.Value) != string(sum.Value) {
		t.Errorf("undeclared: %x, %v", undeclared.Value, err)
	}
	_, comp, err := sealUpload(meta.Checksum{Algorithm: "CRC32", Type: typeComposite}, crcParts, none)
	h.Reset()
	h.Write(crcParts[0].Checksum.Value)
	h.Write(crcParts[1].Checksum.Value)
	if err != nil || string(comp.Value) != string(h.Sum(nil)) || !strings.HasSuffix(checksumText(comp, 2), "-2") {
		t.Errorf("composite: %x %v", comp.Value, err)
	}
	mixed := []meta.Part{crcParts[0], testPart(2, "x", checksum.SHA1)}
	if _, sum, err := sealUpload(meta.Checksum{}, mixed, none); err != nil || sum.Algorithm != "" {
		t.Errorf("mixed: %v, %v", sum, err)
	}
	broken := []meta.Part{{Number: 1, ETag: "zz"}}
	if _, _, err := sealUpload(meta.Checksum{}, broken, none); err == nil {
		t.Error("a part without an MD5 was sealed")
	}
	for name, c := range map[string]struct {
		want objectClaim
		code *s3err.Code
	}{
		"size":              {objectClaim{size: 11}, nil},
		"wrong size":        {objectClaim{size: 12}, s3err.InvalidRequest},
		"checksum":          {objectClaim{size: -1, algorithm: checksum.CRC32, value: sum.Value}, nil},
		"wrong checksum":    {objectClaim{size: -1, algorithm: checksum.CRC32, value: comp.Value}, s3err.BadDigest},
		"count on whole":    {objectClaim{size: -1, algorithm: checksum.CRC32, value: sum.Value, parts: 2}, s3err.BadDigest},
		"other algorithm":   {objectClaim{size: -1, algorithm: checksum.SHA1, value: sum.Value}, s3err.InvalidRequest},
		"other type":        {objectClaim{size: -1, kind: typeComposite}, s3err.InvalidRequest},
		"the upload's type": {objectClaim{size: -1, kind: typeFullObject}, nil},
	} {
		_, _, err := sealUpload(meta.Checksum{Algorithm: "CRC32", Type: typeFullObject}, crcParts, c.want)
		if c.code == nil && err != nil || c.code != nil && !isCode(err, c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeParts(t *testing.T) {
	doc := func(inner string) []byte {
		return []byte("<CompleteMultipartUpload>" + inner + "</CompleteMultipartUpload>")
	}
	part := func(n, rest string) string {
		return "<Part><PartNumber>" + n + "</PartNumber>" + rest + "</Part>"
	}
	const tag = "<ETag>&quot;0123&quot;</ETag>"
	refs, err := decodeParts(doc(part("1", tag) + part("4", tag+"<ChecksumCRC32>AAAAAA==</ChecksumCRC32>")))
	if err != nil || len(refs) != 2 || refs[1].Number != 4 || refs[0].ETag != "0123" || refs[1].Checksum.Algorithm != "CRC32" || len(refs[1].Checksum.Value) != 4 {
		t.Fatalf("%+v, %v", refs, err)
	}
	for name, c := range map[string]struct {
		doc  []byte
		code *s3err.Code
	}{
		"empty list":   {doc(""), s3err.MalformedXML},
		"empty":        {nil, s3err.MalformedXML},
		"no ETag":      {doc(part("1", "")), s3err.MalformedXML},
		"number 0":     {doc(part("0", tag)), s3err.InvalidArgument},
		"number 10001": {doc(part("10001", tag)), s3err.InvalidArgument},
		"descending":   {doc(part("2", tag) + part("1", tag)), s3err.InvalidPartOrder},
		"twice":        {doc(part("2", tag) + part("2", tag)), s3err.InvalidPartOrder},
		"bad checksum": {doc(part("2", tag+"<ChecksumCRC32>AAA</ChecksumCRC32>")), s3err.InvalidRequest},
		"other":        {doc(part("2", tag+"<ChecksumSHA512>AAA=</ChecksumSHA512>")), s3err.InvalidRequest},
	} {
		if _, err := decodeParts(c.doc); !isCode(err, c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUploadID(t *testing.T) {
	id := [16]byte{0xAB, 1, 2, 15: 0xFF}
	if got, ok := parseUploadID(uploadIDText(id)); !ok || got != id {
		t.Fatalf("%x %v", got, ok)
	}
	for _, s := range []string{"", "x", strings.ToUpper(uploadIDText(id)), uploadIDText(id) + "00", strings.Repeat("g", 32)} {
		if _, ok := parseUploadID(s); ok {
			t.Errorf("%q accepted", s)
		}
	}
}
