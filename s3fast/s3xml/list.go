package s3xml

import "time"

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

func appendObject(dst []byte, o *Object, url bool) []byte {
	dst = append(dst, "<Contents>"...)
	dst = encoded(dst, "Key", o.Key, url)
	dst = instant(dst, "LastModified", o.LastModified)
	dst = etag(dst, o.ETag)
	dst = optional(dst, "ChecksumAlgorithm", o.ChecksumAlgorithm)
	dst = optional(dst, "ChecksumType", o.ChecksumType)
	dst = integer(dst, "Size", o.Size)
	dst = owner(dst, "Owner", o.Owner)
	dst = optional(dst, "StorageClass", o.StorageClass)
	return append(dst, "</Contents>"...)
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
	dst = root(dst, "ListBucketResult")
	dst = AppendElement(dst, "Name", l.Name)
	dst = encoded(dst, "Prefix", l.Prefix, l.EncodeURL)
	dst = encoded(dst, "Marker", l.Marker, l.EncodeURL)
	dst = optionalEncoded(dst, "NextMarker", l.NextMarker, l.EncodeURL)
	dst = integer(dst, "MaxKeys", int64(l.MaxKeys))
	dst = optionalEncoded(dst, "Delimiter", l.Delimiter, l.EncodeURL)
	dst = encodingType(dst, l.EncodeURL)
	dst = boolean(dst, "IsTruncated", l.IsTruncated)
	for i := range l.Contents {
		dst = appendObject(dst, &l.Contents[i], l.EncodeURL)
	}
	dst = commonPrefixes(dst, l.CommonPrefixes, l.EncodeURL)
	return append(dst, "</ListBucketResult>"...)
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
	dst = root(dst, "ListBucketResult")
	dst = AppendElement(dst, "Name", l.Name)
	dst = encoded(dst, "Prefix", l.Prefix, l.EncodeURL)
	dst = optional(dst, "ContinuationToken", l.ContinuationToken)
	dst = optional(dst, "NextContinuationToken", l.NextContinuationToken)
	dst = optionalEncoded(dst, "StartAfter", l.StartAfter, l.EncodeURL)
	dst = integer(dst, "KeyCount", int64(len(l.Contents)+len(l.CommonPrefixes)))
	dst = integer(dst, "MaxKeys", int64(l.MaxKeys))
	dst = optionalEncoded(dst, "Delimiter", l.Delimiter, l.EncodeURL)
	dst = encodingType(dst, l.EncodeURL)
	dst = boolean(dst, "IsTruncated", l.IsTruncated)
	for i := range l.Contents {
		dst = appendObject(dst, &l.Contents[i], l.EncodeURL)
	}
	dst = commonPrefixes(dst, l.CommonPrefixes, l.EncodeURL)
	return append(dst, "</ListBucketResult>"...)
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
	dst = boolean(dst, "IsTruncated", l.IsTruncated)
	for i := range l.Versions {
		dst = appendVersion(dst, &l.Versions[i], l.EncodeURL)
	}
	dst = commonPrefixes(dst, l.CommonPrefixes, l.EncodeURL)
	return append(dst, "</ListVersionsResult>"...)
}

func appendVersion(dst []byte, v *Version, url bool) []byte {
	name := "Version"
	if v.DeleteMarker {
		name = "DeleteMarker"
	}
	dst = open(dst, name)
	dst = encoded(dst, "Key", v.Key, url)
	dst = AppendElement(dst, "VersionId", v.VersionID)
	dst = boolean(dst, "IsLatest", v.IsLatest)
	dst = instant(dst, "LastModified", v.LastModified)
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
