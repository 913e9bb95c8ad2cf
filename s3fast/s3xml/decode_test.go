package s3xml

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

const ns = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

func TestDecodeComplete(t *testing.T) {
	part := "<Part><PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag></Part>"
	wantOne := []CompletedPart{{PartNumber: 1, ETag: "e1"}}
	for _, in := range []string{
		"<CompleteMultipartUpload" + ns + ">" + part + "</CompleteMultipartUpload>",
		Header + "\n<CompleteMultipartUpload>\n <Part>\n <ETag>\"e1\"</ETag> <PartNumber> 1 </PartNumber>\n</Part></CompleteMultipartUpload >\n<!-- x -->",
		"\xEF\xBB\xBF<?xml version='1.0' encoding='utf-8' standalone='yes'?><s3:CompleteMultipartUpload xmlns:s3='x'><s3:Part a=\"b\"><s3:PartNumber>&#49;</s3:PartNumber><s3:ETag><![CDATA[e1]]></s3:ETag></s3:Part></s3:CompleteMultipartUpload>",
	} {
		got, err := DecodeCompleteMultipartUpload([]byte(in))
		if err != nil || !reflect.DeepEqual(got, wantOne) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	got, err := DecodeCompleteMultipartUpload([]byte("<CompleteMultipartUpload><Part><PartNumber>10</PartNumber><ETag>e</ETag><ChecksumCRC32>a</ChecksumCRC32><ChecksumCRC32C>b</ChecksumCRC32C><ChecksumCRC64NVME>c</ChecksumCRC64NVME><ChecksumSHA1>d</ChecksumSHA1><ChecksumSHA256>e</ChecksumSHA256><ChecksumSHA512>f</ChecksumSHA512></Part></CompleteMultipartUpload>"))
	want := []CompletedPart{{10, "e", Checksums{"a", "b", "c", "d", "e", ""}, "ChecksumSHA512"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	wrap := func(s string) string { return "<CompleteMultipartUpload>" + s + "</CompleteMultipartUpload>" }
	most := strings.Repeat(part, MaxParts)
	if got, err := DecodeCompleteMultipartUpload([]byte(wrap(most))); err != nil || len(got) != MaxParts {
		t.Errorf("%d parts: %v", len(got), err)
	}
	for _, in := range []string{
		"", " ", "x", "<", "<CompleteMultipartUpload", wrap(""), "<CompleteMultipartUpload/>", wrap(most + part),
		wrap("<Part><ETag>e</ETag></Part>"), wrap("<Part><PartNumber>1</PartNumber></Part>"),
		wrap("<Part><PartNumber>-1</PartNumber><ETag>e</ETag></Part>"),
		wrap("<Part><PartNumber>99999999999</PartNumber><ETag>e</ETag></Part>"),
		wrap("<Part><PartNumber>1</PartNumber><PartNumber>1</PartNumber><ETag>e</ETag></Part>"),
		wrap("<Part><PartNumber>1</PartNumber><ETag>e</ETag><New>x</New></Part>"),
		wrap(part + "text"), wrap(part + "<Other/>"), wrap(part) + "x", wrap(part) + "<a/>",
		"<Delete>" + part + "</Delete>", "<!DOCTYPE a>" + wrap(part),
		`<!DOCTYPE a [<!ENTITY b "c">]>` + wrap(part),
		`<?xml version="1.0" encoding="UTF-16"?>` + wrap(part), `<?xml version="1.0" encoding?>` + wrap(part),
		wrap(strings.Replace(part, "e1", "&bomb;", 1)), wrap(strings.Replace(part, "e1", "&#xD800;", 1)),
		wrap(strings.Replace(part, "e1", "&#x110000;", 1)), wrap(strings.Replace(part, "e1", "&#;", 1)),
		wrap(strings.Replace(part, "e1", "&49;", 1)), wrap(strings.Replace(part, "e1", "&", 1)),
		wrap(strings.Replace(part, "e1", "\xff", 1)), wrap(strings.Replace(part, "e1", "]]>", 1)),
		wrap(strings.Replace(part, "e1", strings.Repeat("e", 1000), 1)),
		wrap(strings.Replace(part, "</Part>", "</part>", 1)), wrap("<Part a></Part>"), wrap(`<Part a="<"></Part>`),
		strings.Repeat("<CompleteMultipartUpload>", 100), wrap("<!-- "), wrap("<Part><ETag><![CDATA[ "),
		wrap(part) + strings.Repeat(" ", MaxComplete),
	} {
		if got, err := DecodeCompleteMultipartUpload([]byte(in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.200s: %+v, %v", in, got, err)
		}
	}
}

func TestDecodeDelete(t *testing.T) {
	in := "<Delete" + ns + "><Quiet>true</Quiet>" +
		"<Object><Key> a&#x1;\x02&#13;&amp;\r\nü </Key></Object>" +
		"<Object><Key>k</Key><VersionId>null</VersionId><ETag>&quot;e&quot;</ETag><Size>0</Size>" +
		"<LastModifiedTime>Wed, 04 Mar 2026 05:06:07 GMT</LastModifiedTime></Object>" +
		"<Object><LastModifiedTime>2026-03-04T05:06:07.000Z</LastModifiedTime><ETag>*</ETag><Key>&#0;</Key></Object></Delete>"
	mod := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	want := &Delete{Quiet: true, Objects: []DeleteObject{
		{Key: " a\x01\x02\r&\nü "},
		{Key: "k", VersionID: "null", ETag: "e", HasSize: true, LastModified: mod, HasModified: true},
		{Key: "\x00", ETag: "*", LastModified: mod, HasModified: true},
	}}
	got, err := DecodeDelete([]byte(in))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	object := "<Object><Key>k</Key></Object>"
	if d, err := DecodeDelete([]byte("<Delete>" + strings.Repeat(object, 1000) + "</Delete>")); err != nil || len(d.Objects) != 1000 || d.Quiet {
		t.Errorf("1000 objects: %v", err)
	}
	for _, in := range []string{
		"", strings.Repeat(object, 1001), "<Object/>", "<Object><Key/></Object>", object + "<Quiet>maybe</Quiet>",
		object + "<Quiet/><Quiet/>", "<Object><Key>a</Key><Key>b</Key></Object>", "<Object><Key>a</Key><Size>-1</Size></Object>",
		"<Object><Key>a</Key><LastModifiedTime>yesterday</LastModifiedTime></Object>", "<Object><Key>a<b/></Key></Object>",
		"<Object><Key>" + strings.Repeat("a", textMax+1) + "</Key></Object>", "<Object><Key>a</Key><Mode/></Object>", object + "<More/>",
	} {
		if _, err := DecodeDelete([]byte("<Delete>" + in + "</Delete>")); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.100s: %v", in, err)
		}
	}
}

func TestDecodeOthers(t *testing.T) {
	c, err := DecodeCreateBucket([]byte("<CreateBucketConfiguration" + ns + "><LocationConstraint>eu</LocationConstraint><Location><Name>x</Name></Location><Bucket/><Tags><Tag><Key>a</Key><Value/></Tag></Tags></CreateBucketConfiguration>"))
	if err != nil || !reflect.DeepEqual(c, &CreateBucket{"eu", true, true, []Tag{{"a", ""}}}) {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := DecodeCreateBucket([]byte("<CreateBucketConfiguration/>")); err != nil || c.LocationConstraint != "" {
		t.Errorf("%+v, %v", c, err)
	}
	tags, err := DecodeTagging(AppendTagging(nil, []Tag{{nasty, "v"}, {"k", ""}}))
	if err != nil || !reflect.DeepEqual(tags, []Tag{{nasty, "v"}, {"k", ""}}) {
		t.Errorf("%+v, %v", tags, err)
	}
	if tags, err := DecodeTagging([]byte("<Tagging><TagSet/></Tagging>")); err != nil || len(tags) != 0 {
		t.Errorf("%+v, %v", tags, err)
	}
	tag := "<Tag><Key>a</Key><Value>b</Value></Tag>"
	for _, in := range []string{"", "<TagSet/><TagSet/>", "<TagSet><Tag><Key>a</Key></Tag></TagSet>", "<TagSet><X/></TagSet>", "<X/>",
		"<TagSet><Tag><Key>a</Key><Value/><Value/></Tag></TagSet>", "<TagSet>" + strings.Repeat(tag, MaxTags+1) + "</TagSet>"} {
		if _, err := DecodeTagging([]byte("<Tagging>" + in + "</Tagging>")); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.100s: %v", in, err)
		}
	}
	for _, in := range []string{"<A/>", "<LocationConstraint/><LocationConstraint/>", "text"} {
		if _, err := DecodeCreateBucket([]byte("<CreateBucketConfiguration>" + in + "</CreateBucketConfiguration>")); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// Any valid UTF-8 text comes back from escaping and parsing.
func FuzzText(f *testing.F) {
	f.Add(nasty)
	f.Add("]]>\x00")
	f.Fuzz(func(t *testing.T, key string) {
		key = strings.ToValidUTF8(key, "")
		if key == "" || len(key) > textMax {
			return
		}
		doc := AppendElement([]byte("<Delete><Object>"), "Key", key)
		d, err := DecodeDelete(append(doc, "</Object></Delete>"...))
		if err != nil || d.Objects[0].Key != key {
			t.Fatalf("%q: %+v, %v", key, d, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("<Delete><Quiet>1</Quiet><Object><Key>a&#x1;</Key></Object></Delete>"))
	f.Add([]byte(Header + "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag><![CDATA[e]]></ETag></Part></CompleteMultipartUpload>"))
	f.Add([]byte("<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"))
	f.Add(AppendOwnerACL(nil, &Owner{ID: "id", DisplayName: "n"}))
	f.Add([]byte("<CreateBucketConfiguration><!-- - --><LocationConstraint/></CreateBucketConfiguration>"))
	f.Fuzz(func(t *testing.T, in []byte) {
		check := func(n, most int, err error) {
			if err != nil && !errors.Is(err, ErrMalformed) || err == nil && n > most {
				t.Fatal(fmt.Sprint(n), err)
			}
		}
		parts, err := DecodeCompleteMultipartUpload(in)
		check(len(parts), MaxParts, err)
		d, err := DecodeDelete(in)
		if err == nil {
			check(len(d.Objects), MaxDeletes, nil)
		}
		check(0, 0, err)
		tags, err := DecodeTagging(in)
		check(len(tags), MaxTags, err)
		_, err = DecodeCreateBucket(in)
		check(0, 0, err)
		grants, err := DecodeACL(in)
		check(len(grants), MaxGrants, err)
	})
}
