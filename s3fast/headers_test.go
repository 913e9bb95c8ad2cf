package s3fast

import (
	"reflect"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// withHeaders is a request of which only the header block is known.
func withHeaders(pairs ...string) *request {
	r := &request{}
	for i := 0; i < len(pairs); i += 2 {
		r.headers.list = append(r.headers.list, pair{pairs[i], pairs[i+1]})
	}
	return r
}

func TestRefuseHeader(t *testing.T) {
	for _, c := range []struct {
		name, value string
		code        *s3err.Code // nil: accepted
	}{
		{"x-amz-acl", "private", nil},
		{"x-amz-acl", "bucket-owner-full-control", nil},
		{"x-amz-acl", "public-read", s3err.AccessControlListNotSupported},
		{"x-amz-grant-read", "id=1", s3err.AccessControlListNotSupported},
		{"x-amz-storage-class", "STANDARD", nil},
		{"x-amz-storage-class", "REDUCED_REDUNDANCY", nil},
		{"x-amz-storage-class", "reduced_redundancy", s3err.InvalidStorageClass},
		{"x-amz-storage-class", "STANDARD_IA", s3err.InvalidStorageClass},
		{"x-amz-storage-class", "GLACIER", s3err.InvalidStorageClass},
		{"x-amz-storage-class", "standard", s3err.InvalidStorageClass},
		{"x-amz-server-side-encryption", "AES256", nil},
		{"x-amz-server-side-encryption-customer-key-md5", "k", nil},
		{"x-amz-copy-source-server-side-encryption-customer-key", "k", nil},
		{"x-amz-server-side-encryption-customer-key-sha256", "k", s3err.NotImplemented},
		{"x-amz-server-side-encryption-of-tomorrow", "k", s3err.NotImplemented},
		{"x-amz-copy-source-server-side-encryption", "k", s3err.NotImplemented},
		{"x-amz-object-lock-mode", "GOVERNANCE", s3err.NotImplemented},
		{"x-amz-website-redirect-location", "/", s3err.NotImplemented},
		{"x-amz-tagging", "a=b", nil},
		{"x-amz-write-offset-bytes", "0", s3err.NotImplemented},
		{"x-amz-request-payer", "requester", nil},
		{"x-amz-meta-acl", "public-read", nil},
		{"x-amz-date", "20260504T030201Z", nil},
	} {
		err := refuseHeader(c.name, c.value)
		if c.code == nil && err != nil || c.code != nil && !isCode(err, c.code) {
			t.Errorf("%s: %s: %v", c.name, c.value, err)
		}
	}
	if err := withHeaders("host", "h", "x-amz-acl", "public-read").refuseUnbuilt(); err == nil {
		t.Error("not refused")
	}
}

func TestObjectHeaders(t *testing.T) {
	r := withHeaders("host", "h", "content-type", "text/plain", "content-encoding", "aws-chunked, gzip",
		"expires", "whenever", "cache-control", " no-store ", "content-language", "",
		"x-amz-meta-b", "1", "x-amz-meta-a", "caf\xe9", "x-amz-meta-b", "2", "x-amz-meta-c", "=?UTF-8?B?w6Q=?=", "authorization", "x")
	var o meta.Object
	if err := r.objectHeaders(&o); err != nil {
		t.Fatal(err)
	}
	want := []meta.Header{{Name: "Content-Type", Value: "text/plain"}, {Name: "Content-Encoding", Value: "gzip"},
		{Name: "Expires", Value: "whenever"}, {Name: "Cache-Control", Value: "no-store"}}
	if !reflect.DeepEqual(o.Headers, want) {
		t.Errorf("headers %q", o.Headers)
	}
	want = []meta.Header{{Name: "b", Value: "1,2"}, {Name: "a", Value: "café"}, {Name: "c", Value: "ä"}}
	if !reflect.DeepEqual(o.Metadata, want) {
		t.Errorf("metadata %q", o.Metadata)
	}
	for v, want := range map[string]string{"aws-chunked": "", "AWS-Chunked,br": "br", "gzip, br": "gzip, br", "": "",
		"deflate, gzip,aws-chunked": "deflate, gzip", "aws-chunked, gzip": "gzip", "a, aws-chunked,, b": "a, b"} {
		if got := stripAWSChunked(v); got != want {
			t.Errorf("%q: %q", v, got)
		}
	}
}

func TestMetadataLimits(t *testing.T) {
	var o meta.Object
	if err := withHeaders("x-amz-meta-ab", strings.Repeat("x", maxMetadata-2)).objectHeaders(&o); err != nil {
		t.Error(err)
	}
	if err := withHeaders("x-amz-meta-ab", strings.Repeat("x", maxMetadata-1)).objectHeaders(&o); !isCode(err, s3err.MetadataTooLarge) {
		t.Error(err)
	}
	if err := withHeaders("x-amz-meta-", "x").objectHeaders(&o); !isCode(err, s3err.InvalidArgument) {
		t.Error(err)
	}
	if err := withHeaders("content-type", strings.Repeat("x", maxHeaderValue+1)).objectHeaders(&o); !isCode(err, s3err.InvalidArgument) {
		t.Error(err)
	}
}

// What a client stored comes back the same after a round trip through headers,
// and what goes out can always stand in one.
func FuzzMetadata(f *testing.F) {
	for _, s := range []string{"plain", "ä", "\xff\xfe", "=?UTF-8?Q?a=0Db?=", "=?x?y?z?=", strings.Repeat("é", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		kept := decodeMetadata(v)
		out := encodeMetadata(kept)
		for i := range len(out) {
			if c := out[i]; c != '\t' && c < ' ' || c > '~' {
				t.Fatalf("%q goes out as %q", v, out)
			}
		}
		if out != kept && decodeMetadata(out) != kept {
			t.Fatalf("%q: kept %q, came back %q", v, kept, decodeMetadata(out))
		}
	})
}
