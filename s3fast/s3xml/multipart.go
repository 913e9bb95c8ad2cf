package s3xml

import "time"

// AppendInitiateMultipartUpload encodes an InitiateMultipartUploadResult (API
// Reference, CreateMultipartUpload).
func AppendInitiateMultipartUpload(dst []byte, bucket, key, uploadID string) []byte {
	dst = root(dst, "InitiateMultipartUploadResult")
	dst = AppendElement(dst, "Bucket", bucket)
	dst = AppendElement(dst, "Key", key)
	dst = AppendElement(dst, "UploadId", uploadID)
	return append(dst, "</InitiateMultipartUploadResult>"...)
}

// CompleteResult answers CompleteMultipartUpload.
type CompleteResult struct {
	Location  string
	Bucket    string
	Key       string
	ETag      string // without quotes
	Checksums Checksums
}

// AppendCompleteMultipartUpload encodes a CompleteMultipartUploadResult (API
// Reference, CompleteMultipartUpload).
func AppendCompleteMultipartUpload(dst []byte, r *CompleteResult) []byte {
	return AppendCompleteMultipartUploadBody(append(dst, Header...), r)
}

// AppendCompleteMultipartUploadBody is AppendCompleteMultipartUpload without
// the XML header: for a response that sent the header ahead and white space
// after it, to keep the connection alive while the upload was completed.
func AppendCompleteMultipartUploadBody(dst []byte, r *CompleteResult) []byte {
	dst = append(dst, `<CompleteMultipartUploadResult xmlns="`+Namespace+`">`...)
	dst = AppendElement(dst, "Location", r.Location)
	dst = AppendElement(dst, "Bucket", r.Bucket)
	dst = AppendElement(dst, "Key", r.Key)
	dst = etag(dst, r.ETag)
	dst = checksums(dst, &r.Checksums)
	return append(dst, "</CompleteMultipartUploadResult>"...)
}

// Part is an uploaded part. Its Checksums.Type is not written.
type Part struct {
	PartNumber   int
	LastModified time.Time
	ETag         string // without quotes
	Size         int64  // bytes
	Checksums    Checksums
}

// ListParts answers ListParts.
type ListParts struct {
	Bucket               string
	Key                  string
	UploadID             string
	Initiator            *Owner // omitted when nil
	Owner                *Owner // omitted when nil
	StorageClass         string // omitted when empty
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	ChecksumAlgorithm    string // omitted when empty
	ChecksumType         string // omitted when empty
	Parts                []Part
}

// AppendListParts encodes a ListPartsResult (API Reference, ListParts).
func AppendListParts(dst []byte, l *ListParts) []byte {
	dst = root(dst, "ListPartsResult")
	dst = AppendElement(dst, "Bucket", l.Bucket)
	dst = AppendElement(dst, "Key", l.Key)
	dst = AppendElement(dst, "UploadId", l.UploadID)
	dst = owner(dst, "Initiator", l.Initiator)
	dst = owner(dst, "Owner", l.Owner)
	dst = optional(dst, "StorageClass", l.StorageClass)
	dst = integer(dst, "PartNumberMarker", int64(l.PartNumberMarker))
	dst = integer(dst, "NextPartNumberMarker", int64(l.NextPartNumberMarker))
	dst = integer(dst, "MaxParts", int64(l.MaxParts))
	dst = boolean(dst, "IsTruncated", l.IsTruncated)
	dst = optional(dst, "ChecksumAlgorithm", l.ChecksumAlgorithm)
	dst = optional(dst, "ChecksumType", l.ChecksumType)
	for i := range l.Parts {
		p := &l.Parts[i]
		sums := p.Checksums
		sums.Type = ""
		dst = append(dst, "<Part>"...)
		dst = integer(dst, "PartNumber", int64(p.PartNumber))
		dst = instant(dst, "LastModified", p.LastModified)
		dst = etag(dst, p.ETag)
		dst = integer(dst, "Size", p.Size)
		dst = checksums(dst, &sums)
		dst = append(dst, "</Part>"...)
	}
	return append(dst, "</ListPartsResult>"...)
}

// Upload is a multipart upload in progress.
type Upload struct {
	Key               string
	UploadID          string
	Initiator         *Owner // omitted when nil
	Owner             *Owner // omitted when nil
	StorageClass      string // omitted when empty
	Initiated         time.Time
	ChecksumAlgorithm string // omitted when empty
	ChecksumType      string // omitted when empty
}

// ListMultipartUploads answers ListMultipartUploads. With EncodeURL, KeyMarker,
// NextKeyMarker, Delimiter, Prefix, keys and common prefixes are URL-encoded.
type ListMultipartUploads struct {
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string
	NextKeyMarker      string // omitted when empty
	NextUploadIDMarker string // omitted when empty
	Delimiter          string // omitted when empty
	Prefix             string
	EncodeURL          bool
	MaxUploads         int
	IsTruncated        bool
	Uploads            []Upload
	CommonPrefixes     []string
}

// AppendListMultipartUploads encodes a ListMultipartUploadsResult (API
// Reference, ListMultipartUploads).
func AppendListMultipartUploads(dst []byte, l *ListMultipartUploads) []byte {
	dst = root(dst, "ListMultipartUploadsResult")
	dst = AppendElement(dst, "Bucket", l.Bucket)
	dst = encoded(dst, "KeyMarker", l.KeyMarker, l.EncodeURL)
	dst = AppendElement(dst, "UploadIdMarker", l.UploadIDMarker)
	dst = optionalEncoded(dst, "NextKeyMarker", l.NextKeyMarker, l.EncodeURL)
	dst = optional(dst, "NextUploadIdMarker", l.NextUploadIDMarker)
	dst = optionalEncoded(dst, "Delimiter", l.Delimiter, l.EncodeURL)
	dst = encoded(dst, "Prefix", l.Prefix, l.EncodeURL)
	dst = encodingType(dst, l.EncodeURL)
	dst = integer(dst, "MaxUploads", int64(l.MaxUploads))
	dst = boolean(dst, "IsTruncated", l.IsTruncated)
	for i := range l.Uploads {
		u := &l.Uploads[i]
		dst = append(dst, "<Upload>"...)
		dst = encoded(dst, "Key", u.Key, l.EncodeURL)
		dst = AppendElement(dst, "UploadId", u.UploadID)
		dst = owner(dst, "Initiator", u.Initiator)
		dst = owner(dst, "Owner", u.Owner)
		dst = optional(dst, "StorageClass", u.StorageClass)
		dst = instant(dst, "Initiated", u.Initiated)
		dst = optional(dst, "ChecksumAlgorithm", u.ChecksumAlgorithm)
		dst = optional(dst, "ChecksumType", u.ChecksumType)
		dst = append(dst, "</Upload>"...)
	}
	dst = commonPrefixes(dst, l.CommonPrefixes, l.EncodeURL)
	return append(dst, "</ListMultipartUploadsResult>"...)
}
