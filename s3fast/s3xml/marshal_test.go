package s3xml

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The listings as encoding/xml would have them.
type (
	xmlOwner struct {
		ID          string
		DisplayName string `xml:",omitempty"`
	}
	xmlObject struct {
		Key               string
		LastModified      string
		ETag              string
		ChecksumAlgorithm string `xml:",omitempty"`
		ChecksumType      string `xml:",omitempty"`
		Size              int64
		Owner             *xmlOwner
		StorageClass      string `xml:",omitempty"`
	}
	xmlPrefix struct{ Prefix string }
	xmlListV2 struct {
		XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		Name                  string
		Prefix                string
		ContinuationToken     string `xml:",omitempty"`
		NextContinuationToken string `xml:",omitempty"`
		StartAfter            string `xml:",omitempty"`
		KeyCount              int
		MaxKeys               int
		Delimiter             string `xml:",omitempty"`
		IsTruncated           bool
		Contents              []xmlObject
		CommonPrefixes        []xmlPrefix
	}
)

func marshalV2(t *rapid.T, l *ListObjectsV2) string {
	x := xmlListV2{
		Name: l.Name, Prefix: l.Prefix, ContinuationToken: l.ContinuationToken,
		NextContinuationToken: l.NextContinuationToken, StartAfter: l.StartAfter,
		KeyCount: len(l.Contents) + len(l.CommonPrefixes), MaxKeys: l.MaxKeys,
		Delimiter: l.Delimiter, IsTruncated: l.IsTruncated,
	}
	for _, o := range l.Contents {
		entry := xmlObject{
			Key: o.Key, LastModified: o.LastModified.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000Z"),
			ETag: `"` + o.ETag + `"`, ChecksumAlgorithm: o.ChecksumAlgorithm, ChecksumType: o.ChecksumType,
			Size: o.Size, StorageClass: o.StorageClass,
		}
		if o.Owner != nil {
			entry.Owner = &xmlOwner{o.Owner.ID, o.Owner.DisplayName}
		}
		x.Contents = append(x.Contents, entry)
	}
	for _, p := range l.CommonPrefixes {
		x.CommonPrefixes = append(x.CommonPrefixes, xmlPrefix{p})
	}
	doc, err := xml.Marshal(&x)
	if err != nil {
		t.Fatal(err)
	}
	// S3 names the double quote where encoding/xml numbers it, and leaves the
	// single one alone.
	return Header + strings.NewReplacer("&#34;", "&quot;", "&#39;", "'").Replace(string(doc))
}

// A listing is, byte for byte, what encoding/xml makes of it, for text that XML
// can carry.
func TestListingIsThatOfEncodingXML(t *testing.T) {
	text := rapid.StringOf(rapid.OneOf(
		rapid.RuneFrom([]rune("abcxyz019/-_.&<>\"' \t\n\rüß€😀\uFFFD")),
		rapid.RuneFrom([]rune("key"))))
	second := rapid.Int64Range(0, 4102444800)
	rapid.Check(t, func(t *rapid.T) {
		l := ListObjectsV2{
			Name: text.Draw(t, "name"), Prefix: text.Draw(t, "prefix"), ContinuationToken: text.Draw(t, "token"),
			NextContinuationToken: text.Draw(t, "next"), StartAfter: text.Draw(t, "after"),
			MaxKeys: rapid.IntRange(0, 1000).Draw(t, "max"), Delimiter: text.Draw(t, "delimiter"),
			IsTruncated:    rapid.Bool().Draw(t, "truncated"),
			CommonPrefixes: rapid.SliceOfN(text, 0, 3).Draw(t, "prefixes"),
		}
		at := second.Draw(t, "at")
		for range rapid.IntRange(0, 6).Draw(t, "objects") {
			if rapid.Bool().Draw(t, "later") { // else the time of the neighbour
				at = second.Draw(t, "at")
			}
			o := Object{
				Key: text.Draw(t, "key"), LastModified: time.Unix(at, rapid.Int64Range(0, 999_999_999).Draw(t, "ns")),
				ETag: text.Draw(t, "etag"), Size: rapid.Int64Range(0, 1<<50).Draw(t, "size"),
				StorageClass:      rapid.SampledFrom([]string{"", "STANDARD"}).Draw(t, "class"),
				ChecksumAlgorithm: rapid.SampledFrom([]string{"", "CRC64NVME"}).Draw(t, "algorithm"),
			}
			if rapid.Bool().Draw(t, "owned") {
				o.Owner = &Owner{ID: text.Draw(t, "owner"), DisplayName: text.Draw(t, "display")}
			}
			l.Contents = append(l.Contents, o)
		}
		want := marshalV2(t, &l)
		if got := string(AppendListObjectsV2(nil, &l)); got != want {
			t.Fatalf("\n got %s\nwant %s", got, want)
		}
	})
}
