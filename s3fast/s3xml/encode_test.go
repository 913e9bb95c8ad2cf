package s3xml

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	at    = time.Date(2026, 3, 4, 5, 6, 7, 89_999_999, time.FixedZone("", 3600))
	me    = Owner{ID: "id", DisplayName: "me & you"}
	sums  = Checksums{CRC32: "AAAAAA==", CRC32C: "BBBBBB==", CRC64NVME: "CCCCCCCCCCC=", SHA1: "s1", SHA256: "s256", Type: "FULL_OBJECT"}
	nasty = "a b/<&>\"'\x01\r\n\t\x7fü\uFFFE~*+%"
)

// goldens are one document per encoder, full and bare.
func goldens() map[string][]byte {
	obj := []Object{
		{Key: nasty, LastModified: at, ETag: "e-2", Size: 1 << 40, StorageClass: "STANDARD", ChecksumAlgorithm: "CRC32", ChecksumType: "COMPOSITE", Owner: &me},
		{Key: "plain", LastModified: at, ETag: "e"},
	}
	v1 := ListObjectsV1{Name: "b", Prefix: nasty, Marker: nasty, NextMarker: nasty, MaxKeys: 2, Delimiter: "/", IsTruncated: true, Contents: obj, CommonPrefixes: []string{nasty}}
	v2 := ListObjectsV2{Name: "b", Prefix: nasty, ContinuationToken: "t+1", NextContinuationToken: "t+2", StartAfter: nasty, MaxKeys: 2, Delimiter: " ", IsTruncated: true, Contents: obj, CommonPrefixes: []string{nasty}}
	vs := ListVersions{Name: "b", KeyMarker: nasty, NextKeyMarker: nasty, NextVersionIDMarker: "v", Versions: []Version{{Object: obj[0], VersionID: "null", IsLatest: true}, {Object: obj[1], VersionID: "v", DeleteMarker: true}}, CommonPrefixes: []string{nasty}}
	up := ListMultipartUploads{Bucket: "b", KeyMarker: nasty, NextKeyMarker: nasty, NextUploadIDMarker: "u", Delimiter: "/", Prefix: nasty, MaxUploads: 3, Uploads: []Upload{{Key: nasty, UploadID: "u", Initiator: &me, Owner: &me, StorageClass: "STANDARD", Initiated: at, ChecksumAlgorithm: "CRC32", ChecksumType: "COMPOSITE"}}, CommonPrefixes: []string{nasty}}
	out := map[string][]byte{
		"list-v1":          AppendListObjectsV1(nil, &v1),
		"list-v2":          AppendListObjectsV2(nil, &v2),
		"list-v2-empty":    AppendListObjectsV2(nil, &ListObjectsV2{Name: "b", MaxKeys: 1000}),
		"list-versions":    AppendListVersions(nil, &vs),
		"list-uploads":     AppendListMultipartUploads(nil, &up),
		"list-buckets":     AppendListBuckets(nil, &ListBuckets{Owner: me, Buckets: []Bucket{{"b", at, "eu"}, {"c", at, ""}}, ContinuationToken: "t", Prefix: "p"}),
		"list-parts":       AppendListParts(nil, &ListParts{Bucket: "b", Key: nasty, UploadID: "u", Initiator: &me, Owner: &me, StorageClass: "STANDARD", NextPartNumberMarker: 2, MaxParts: 1, IsTruncated: true, ChecksumAlgorithm: "CRC32", ChecksumType: "COMPOSITE", Parts: []Part{{2, at, "e", 5, sums}}}),
		"initiate":         AppendInitiateMultipartUpload(nil, "b", nasty, "u"),
		"complete":         AppendCompleteMultipartUpload(nil, &CompleteResult{"http://h/b/k", "b", nasty, "e-3", sums}),
		"copy-object":      AppendCopyObject(nil, &Copy{at, "e", sums}),
		"copy-part":        AppendCopyPart(nil, &Copy{LastModified: at, ETag: "e"}),
		"delete":           AppendDeleteResult(nil, &DeleteResult{[]Deleted{{Key: nasty, VersionID: "v", DeleteMarker: true, DeleteMarkerVersionID: "m"}, {Key: "k"}}, []DeleteError{{"k", "", "AccessDenied", "Access Denied"}}}),
		"attributes":       AppendObjectAttributes(nil, &ObjectAttributes{ETag: "e", Checksums: &sums, Parts: &ObjectParts{TotalParts: 2, MaxParts: 1, IsTruncated: true, NextPartNumberMarker: 1, Parts: []ObjectPart{{1, 5, sums}}}, StorageClass: "STANDARD", Size: 9}),
		"attributes-empty": AppendObjectAttributes(nil, &ObjectAttributes{Size: -1}),
		"location":         AppendLocation(nil, "eu-west-1"),
		"location-us":      AppendLocation(nil, "us-east-1"),
		"versioning":       AppendVersioning(nil, "Suspended"),
		"versioning-never": AppendVersioning(nil, ""),
		"tagging":          AppendTagging(nil, []Tag{{nasty, ""}, {"k", "v"}}),
		"acl":              AppendOwnerACL(nil, &me),
	}
	v1.EncodeURL, v2.EncodeURL, vs.EncodeURL, up.EncodeURL = true, true, true, true
	out["list-v1-url"] = AppendListObjectsV1(nil, &v1)
	out["list-v2-url"] = AppendListObjectsV2(nil, &v2)
	out["list-versions-url"] = AppendListVersions(nil, &vs)
	out["list-uploads-url"] = AppendListMultipartUploads(nil, &up)
	return out
}

func TestGolden(t *testing.T) {
	for name, got := range goldens() {
		path := filepath.Join("testdata", name+".xml")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func TestEscaping(t *testing.T) {
	for in, want := range map[string]string{
		"":              "",
		"plain/ü€😀":     "plain/ü€😀",
		`<a&b>"'`:       "&lt;a&amp;b&gt;&quot;'",
		"\x00\x01\x1f":  "&#x0;&#x1;&#x1F;",
		"\t\n\r":        "&#x9;&#xA;&#xD;",
		"a\xffb":        "a\uFFFDb",
		"\xed\xa0\x80":  "\uFFFD\uFFFD\uFFFD",
		"\uFFFEx\uFFFF": "&#xFFFE;x&#xFFFF;",
		"\uFFFD\x7f":    "\uFFFD\x7f",
	} {
		if got := string(AppendEscaped(nil, in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"":             "",
		"aZ09-_.*/":    "aZ09-_.*/",
		"a b+c~":       "a+b%2Bc%7E",
		"ü\x00\xff%&=": "%C3%BC%00%FF%25%26%3D",
		"@[`{:'(!)":    "%40%5B%60%7B%3A%27%28%21%29",
	} {
		if got := string(AppendURLEncoded(nil, in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTime(t *testing.T) {
	for _, at := range []time.Time{at, time.Unix(0, 0), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 1e9-1, time.UTC)} {
		want := at.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000Z")
		if got := string(AppendTime(nil, at)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := string(AppendTime(nil, time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC))); got != "9999-01-01T00:00:00.000Z" {
		t.Error(got)
	}
}

func page(n int, url bool) *ListObjectsV2 {
	l := &ListObjectsV2{Name: "bucket", MaxKeys: n, EncodeURL: url}
	for i := range n {
		l.Contents = append(l.Contents, Object{Key: fmt.Sprintf("photos/2026/03/IMG_%06d & more.jpg", i), LastModified: at, ETag: "d41d8cd98f00b204e9800998ecf8427e", Size: int64(i), StorageClass: "STANDARD"})
	}
	return l
}

// encoding/xml must read back what was written, for keys XML 1.0 can carry.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a b/<&>\"'\r\n\tü~*+%")
	f.Fuzz(func(t *testing.T, key string) {
		clean := strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
				return -1
			}
			return r
		}, strings.ToValidUTF8(key, ""))
		var got struct {
			Contents []struct{ Key, ETag string }
		}
		doc := AppendListObjectsV2(nil, &ListObjectsV2{Contents: []Object{{Key: clean, ETag: "e"}}})
		if err := xml.Unmarshal(doc, &got); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if got.Contents[0].Key != clean || got.Contents[0].ETag != `"e"` {
			t.Fatalf("%q came back as %+v", clean, got)
		}
	})
}

func TestEncodersDoNotAllocate(t *testing.T) {
	l := page(1000, false)
	buf := make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(5, func() { AppendListObjectsV2(buf, l) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	l.EncodeURL = true
	if n := testing.AllocsPerRun(5, func() { AppendListObjectsV2(buf, l) }); n != 0 {
		t.Errorf("%v allocations with encoding-type=url", n)
	}
}

func BenchmarkListObjectsV2(b *testing.B) {
	for _, url := range []bool{false, true} {
		b.Run(fmt.Sprintf("url=%v", url), func(b *testing.B) {
			l := page(1000, url)
			buf := make([]byte, 0, 1<<20)
			b.SetBytes(int64(len(AppendListObjectsV2(buf, l))))
			b.ReportAllocs()
			for b.Loop() {
				AppendListObjectsV2(buf, l)
			}
		})
	}
}
