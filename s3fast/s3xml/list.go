package s3xml

import (
	"strconv"
	"time"
)

// Object is one entry of a listing.
type Object struct {
	Key               string
	LastModified      time.Time
	ETag              string // without quotes
	Size              int64  // bytes
	StorageClass      string // omitted when empty
	ChecksumAlgorithm string // "CRC32"…; omitted when empty
	ChecksumType      string // omitted when empty
	Owner             *Owner // omitted when nil
}

// Entries writes the entries of one listing, which come between its Begin… and
// EndList. It remembers what neighbours are likely to share.
type Entries struct {
	EncodeURL bool // keys are URL-encoded
	clock     clock
}

// Object appends an entry of ListObjects or ListObjectsV2. Its elements are those
// of the other encoders, written out: a listing has a thousand of each.
func (e *Entries) Object(dst []byte, o *Object) []byte {
	dst = append(dst, "<Contents><Key>"...)
	dst = e.key(dst, o.Key)
	dst = append(dst, "</Key><LastModified>"...)
	dst = e.clock.append(dst, o.LastModified)
	dst = append(dst, "</LastModified><ETag>&quot;"...)
	dst = AppendEscaped(dst, o.ETag)
	dst = append(dst, "&quot;</ETag>"...)
	dst = optional(dst, "ChecksumAlgorithm", o.ChecksumAlgorithm)
	dst = optional(dst, "ChecksumType", o.ChecksumType)
	dst = append(dst, "<Size>"...)
	dst = strconv.AppendInt(dst, o.Size, 10)
	dst = append(dst, "</Size>"...)
	dst = owner(dst, "Owner", o.Owner)
	dst = optional(dst, "StorageClass", o.StorageClass)
	return append(dst, "</Contents>"...)
}

func (e *Entries) key(dst []byte, key string) []byte {
	if e.EncodeURL {
		return AppendURLEncoded(dst, key)
	}
	return AppendEscaped(dst, key)
}

// EndList appends the common prefixes and ends a listing of objects.
func (e *Entries) EndList(dst []byte, prefixes []string) []byte {
	return append(commonPrefixes(dst, prefixes, e.EncodeURL), "</ListBucketResult>"...)
}

// EndVersions does the same for a listing of versions.
func (e *Entries) EndVersions(dst []byte, prefixes []string) []byte {
	return append(commonPrefixes(dst, prefixes, e.EncodeURL), "</ListVersionsResult>"...)
}

func commonPrefixes(dst []byte, prefixes []string, url bool) []byte {
	for _, p := range prefixes {
		dst = append(dst, "<CommonPrefixes>"...)
		dst = encoded(dst, "Prefix", p, url)
		dst = append(dst, "</CommonPrefixes>"...)
	}
	return dst
}

// ListObjectsV1 answers ListObjects. NextMarker is written when not empty (S3
// gives it only with a delimiter). With EncodeURL, Prefix, Marker, NextMarker,
// Delimiter, keys and common prefixes are URL-encoded.
type ListObjectsV1 struct {
	Name           string
	Prefix         string
	Marker         string
	NextMarker     string // omitted when empty
	MaxKeys        int
	Delimiter      string // omitted when empty
	EncodeURL      bool   // EncodingType is omitted when false
	IsTruncated    bool
	Contents       []Object
	CommonPrefixes []string
}

// AppendListObjectsV1 encodes a ListBucketResult (API Reference, ListObjects).
func AppendListObjectsV1(dst []byte, l *ListObjectsV1) []byte {
	dst = BeginListObjectsV1(dst, l)
	e := Entries{EncodeURL: l.EncodeURL}
	for i := range l.Contents {
		dst = e.Object(dst, &l.Contents[i])
	}
	return e.EndList(dst, l.CommonPrefixes)
}

// BeginListObjectsV1 encodes what comes before the entries.
func BeginListObjectsV1(dst []byte, l *ListObjectsV1) []byte {
	dst = root(dst, "ListBucketResult")
	dst = AppendElement(dst, "Name", l.Name)
	dst = encoded(dst, "Prefix", l.Prefix, l.EncodeURL)
	dst = encoded(dst, "Marker", l.Marker, l.EncodeURL)
	dst = optionalEncoded(dst, "NextMarker", l.NextMarker, l.EncodeURL)
	dst = integer(dst, "MaxKeys", int64(l.MaxKeys))
	dst = optionalEncoded(dst, "Delimiter", l.Delimiter, l.EncodeURL)
	dst = encodingType(dst, l.EncodeURL)
	return boolean(dst, "IsTruncated", l.IsTruncated)
}

// ListObjectsV2 answers ListObjectsV2. KeyCount is computed: entries plus
// common prefixes. With EncodeURL, Prefix, StartAfter, Delimiter, keys and
// common prefixes are URL-encoded; tokens never are, since SDKs hand them back
// undecoded.
type ListObjectsV2 struct {
	Name                  string
	Prefix                string
	ContinuationToken     string // omitted when empty
	NextContinuationToken string // omitted when empty
	StartAfter            string // omitted when empty
	MaxKeys               int
	Delimiter             string // omitted when empty
	EncodeURL             bool
	IsTruncated           bool
	Contents              []Object
	CommonPrefixes        []string
}

// AppendListObjectsV2 encodes a ListBucketResult (API Reference, ListObjectsV2).
func AppendListObjectsV2(dst []byte, l *ListObjectsV2) []byte {
	dst = BeginListObjectsV2(dst, l, len(l.Contents)+len(l.CommonPrefixes))
	e := Entries{EncodeURL: l.EncodeURL}
	for i := range l.Contents {
		dst = e.Object(dst, &l.Contents[i])
	}
	return e.EndList(dst, l.CommonPrefixes)
}

// BeginListObjectsV2 encodes what comes before the entries, of which, common
// prefixes included, there are count.
func BeginListObjectsV2(dst []byte, l *ListObjectsV2, count int) []byte {
	dst = root(dst, "ListBucketResult")
	dst = AppendElement(dst, "Name", l.Name)
	dst = encoded(dst, "Prefix", l.Prefix, l.EncodeURL)
	dst = optional(dst, "ContinuationToken", l.ContinuationToken)
	dst = optional(dst, "NextContinuationToken", l.NextContinuationToken)
	dst = optionalEncoded(dst, "StartAfter", l.StartAfter, l.EncodeURL)
	dst = integer(dst, "KeyCount", int64(count))
	dst = integer(dst, "MaxKeys", int64(l.MaxKeys))
	dst = optionalEncoded(dst, "Delimiter", l.Delimiter, l.EncodeURL)
	dst = encodingType(dst, l.EncodeURL)
	return boolean(dst, "IsTruncated", l.IsTruncated)
}

// Version is one entry of a version listing. A delete marker has no ETag, size,
// storage class or checksum.
type Version struct {
	Object
	VersionID    string // "null" in a bucket that never was versioned
	IsLatest     bool
	DeleteMarker bool
}

// ListVersions answers ListObjectVersions.
type ListVersions struct {
	Name                string
	Prefix              string
	KeyMarker           string
	VersionIDMarker     string
	NextKeyMarker       string // omitted when empty
	NextVersionIDMarker string // omitted when empty
	MaxKeys             int
	Delimiter           string // omitted when empty
	EncodeURL           bool
	IsTruncated         bool
	Versions            []Version
	CommonPrefixes      []string
}

// AppendListVersions encodes a ListVersionsResult (API Reference,
// ListObjectVersions).
func AppendListVersions(dst []byte, l *ListVersions) []byte {
	dst = BeginListVersions(dst, l)
	e := Entries{EncodeURL: l.EncodeURL}
	for i := range l.Versions {
		dst = e.Version(dst, &l.Versions[i])
	}
	return e.EndVersions(dst, l.CommonPrefixes)
}

// BeginListVersions encodes what comes before the entries.
func BeginListVersions(dst []byte, l *ListVersions) []byte {
	dst = root(dst, "ListVersionsResult")
	dst = AppendElement(dst, "Name", l.Name)
	dst = encoded(dst, "Prefix", l.Prefix, l.EncodeURL)
	dst = encoded(dst, "KeyMarker", l.KeyMarker, l.EncodeURL)
	dst = AppendElement(dst, "VersionIdMarker", l.VersionIDMarker)
	dst = optionalEncoded(dst, "NextKeyMarker", l.NextKeyMarker, l.EncodeURL)
	dst = optional(dst, "NextVersionIdMarker", l.NextVersionIDMarker)
	dst = integer(dst, "MaxKeys", int64(l.MaxKeys))
	dst = optionalEncoded(dst, "Delimiter", l.Delimiter, l.EncodeURL)
	dst = encodingType(dst, l.EncodeURL)
	return boolean(dst, "IsTruncated", l.IsTruncated)
}

// Version appends an entry of ListObjectVersions.
func (e *Entries) Version(dst []byte, v *Version) []byte {
	name := "Version"
	if v.DeleteMarker {
		name = "DeleteMarker"
	}
	dst = open(dst, name)
	dst = encoded(dst, "Key", v.Key, e.EncodeURL)
	dst = AppendElement(dst, "VersionId", v.VersionID)
	dst = boolean(dst, "IsLatest", v.IsLatest)
	dst = append(dst, "<LastModified>"...)
	dst = e.clock.append(dst, v.LastModified)
	dst = append(dst, "</LastModified>"...)
	if !v.DeleteMarker {
		dst = etag(dst, v.ETag)
		dst = optional(dst, "ChecksumAlgorithm", v.ChecksumAlgorithm)
		dst = optional(dst, "ChecksumType", v.ChecksumType)
		dst = integer(dst, "Size", v.Size)
		dst = optional(dst, "StorageClass", v.StorageClass)
	}
	dst = owner(dst, "Owner", v.Owner)
	return closeTag(dst, name)
}
