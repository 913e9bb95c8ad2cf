package s3fast

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

func TestCopySource(t *testing.T) {
	for _, c := range []struct {
		in, bucket, key, version string
		code                     *s3err.Code
	}{
		{in: "b/k", bucket: "b", key: "k"},
		{in: "/b/k", bucket: "b", key: "k"},
		{in: "b/a%20b/c%3Fd%2Be+f", bucket: "b", key: "a b/c?d+e+f"},
		{in: "b%2Fk", bucket: "b", key: "k"},
		{in: "b//k", bucket: "b", key: "/k"},
		{in: "b/k?versionId=null", bucket: "b", key: "k", version: "null"},
		{in: "b/%E2%82%AC", bucket: "b", key: "€"},
		{in: "", code: s3err.InvalidArgument},
		{in: "b", code: s3err.InvalidArgument},
		{in: "b/", code: s3err.InvalidArgument},
		{in: "//k", code: s3err.InvalidArgument},
		{in: "b/%zz", code: s3err.InvalidArgument},
		{in: "b/%ff", code: s3err.InvalidArgument},
		{in: "b/k?versionId=", code: s3err.InvalidArgument},
		{in: "b/k?x=y", code: s3err.InvalidArgument},
		{in: "arn:aws:s3:us-east-1:1:accesspoint/a/object/k", code: s3err.InvalidArgument},
		{in: "b/" + strings.Repeat("k", 1025), code: s3err.KeyTooLong},
	} {
		bucket, key, version, err := parseCopySource(c.in)
		if c.code != nil {
			if !isCode(err, c.code) {
				t.Errorf("%q: %v", c.in, err)
			}
			continue
		}
		if err != nil || bucket != c.bucket || key != c.key || version != c.version {
			t.Errorf("%q: %q %q %q %v", c.in, bucket, key, version, err)
		}
	}
}

func FuzzCopySource(f *testing.F) {
	for _, s := range []string{"b/k", "/b/k?versionId=null", "b%2Fk", "b/%", "?", "a/%00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, h string) {
		bucket, key, _, err := parseCopySource(h)
		if err == nil && (bucket == "" || key == "" || len(key) > 1024 || strings.Contains(bucket, "/")) {
			t.Fatalf("%q: %q %q", h, bucket, key)
		}
	})
}

func TestAttributes(t *testing.T) {
	set, err := parseAttributes(0, "ETag, Checksum,ObjectParts")
	if err != nil || set != attrETag|attrChecksum|attrParts {
		t.Fatalf("%b, %v", set, err)
	}
	if set, err = parseAttributes(set, "StorageClass,ObjectSize"); err != nil || set != 31 {
		t.Fatalf("%b, %v", set, err)
	}
	for _, v := range []string{"", "ETag,", "etag", "Size"} {
		if _, err := parseAttributes(0, v); !isCode(err, s3err.InvalidArgument) {
			t.Errorf("%q: %v", v, err)
		}
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add("ETag,Checksum")
	f.Add(",,")
	f.Fuzz(func(t *testing.T, v string) {
		if set, err := parseAttributes(0, v); (err == nil) != (set != 0) {
			t.Fatalf("%q: %b, %v", v, set, err)
		}
	})
}
