package s3xml

import "time"

// Copy answers CopyObject and UploadPartCopy.
type Copy struct {
	LastModified time.Time
	ETag         string // without quotes
	Checksums    Checksums
}

// AppendCopyObject encodes a CopyObjectResult (API Reference, CopyObject).
func AppendCopyObject(dst []byte, c *Copy) []byte { return appendCopy(dst, "CopyObjectResult", c) }

// AppendCopyPart encodes a CopyPartResult (API Reference, UploadPartCopy).
func AppendCopyPart(dst []byte, c *Copy) []byte { return appendCopy(dst, "CopyPartResult", c) }

func appendCopy(dst []byte, name string, c *Copy) []byte {
	dst = root(dst, name)
	dst = instant(dst, "LastModified", c.LastModified)
	dst = etag(dst, c.ETag)
	dst = checksums(dst, &c.Checksums)
	return closeTag(dst, name)
}

// Deleted is an object that DeleteObjects removed (or that was not there).
type Deleted struct {
	Key                   string
	VersionID             string // omitted when empty
	DeleteMarker          bool   // omitted when false
	DeleteMarkerVersionID string // omitted when empty
}

// DeleteError is an object that DeleteObjects could not remove.
type DeleteError struct {
	Key       string
	VersionID string // omitted when empty
	Code      string
	Message   string
}

// DeleteResult answers DeleteObjects. In quiet mode the caller leaves Deleted
// empty.
type DeleteResult struct {
	Deleted []Deleted
	Errors  []DeleteError
}

// AppendDeleteResult encodes a DeleteResult (API Reference, DeleteObjects).
func AppendDeleteResult(dst []byte, r *DeleteResult) []byte {
	dst = root(dst, "DeleteResult")
	for i := range r.Deleted {
		d := &r.Deleted[i]
		dst = append(dst, "<Deleted>"...)
		dst = AppendElement(dst, "Key", d.Key)
		dst = optional(dst, "VersionId", d.VersionID)
		if d.DeleteMarker {
			dst = boolean(dst, "DeleteMarker", true)
		}
		dst = optional(dst, "DeleteMarkerVersionId", d.DeleteMarkerVersionID)
		dst = append(dst, "</Deleted>"...)
	}
	for i := range r.Errors {
		e := &r.Errors[i]
		dst = append(dst, "<Error>"...)
		dst = AppendElement(dst, "Key", e.Key)
		dst = optional(dst, "VersionId", e.VersionID)
		dst = AppendElement(dst, "Code", e.Code)
		dst = AppendElement(dst, "Message", e.Message)
		dst = append(dst, "</Error>"...)
	}
	return append(dst, "</DeleteResult>"...)
}

// ObjectAttributes answers GetObjectAttributes: only what was asked for is set.
type ObjectAttributes struct {
	ETag         string       // without quotes, and written without; omitted when empty
	Checksums    *Checksums   // omitted when nil
	Parts        *ObjectParts // omitted when nil
	StorageClass string       // omitted when empty
	Size         int64        // bytes; omitted when negative
}

// ObjectParts are the parts of an object uploaded in parts. The list itself is
// left empty for objects without additional checksums, as S3 does.
type ObjectParts struct {
	TotalParts           int
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	Parts                []ObjectPart
}

// ObjectPart is a part of a completed object. Its Checksums.Type is not written.
type ObjectPart struct {
	PartNumber int
	Size       int64 // bytes
	Checksums  Checksums
}

// AppendObjectAttributes encodes what S3 calls GetObjectAttributesResponse on the
// wire, and GetObjectAttributesOutput in its documentation (API Reference,
// GetObjectAttributes; the wire name of TotalPartsCount is PartsCount).
func AppendObjectAttributes(dst []byte, a *ObjectAttributes) []byte {
	dst = root(dst, "GetObjectAttributesResponse")
	dst = optional(dst, "ETag", a.ETag)
	if a.Checksums != nil {
		dst = append(dst, "<Checksum>"...)
		dst = checksums(dst, a.Checksums)
		dst = append(dst, "</Checksum>"...)
	}
	if p := a.Parts; p != nil {
		dst = append(dst, "<ObjectParts>"...)
		dst = integer(dst, "PartsCount", int64(p.TotalParts))
		dst = integer(dst, "PartNumberMarker", int64(p.PartNumberMarker))
		dst = integer(dst, "NextPartNumberMarker", int64(p.NextPartNumberMarker))
		dst = integer(dst, "MaxParts", int64(p.MaxParts))
		dst = boolean(dst, "IsTruncated", p.IsTruncated)
		for i := range p.Parts {
			part := &p.Parts[i]
			sums := part.Checksums
			sums.Type = ""
			dst = append(dst, "<Part>"...)
			dst = integer(dst, "PartNumber", int64(part.PartNumber))
			dst = integer(dst, "Size", part.Size)
			dst = checksums(dst, &sums)
			dst = append(dst, "</Part>"...)
		}
		dst = append(dst, "</ObjectParts>"...)
	}
	dst = optional(dst, "StorageClass", a.StorageClass)
	if a.Size >= 0 {
		dst = integer(dst, "ObjectSize", a.Size)
	}
	return append(dst, "</GetObjectAttributesResponse>"...)
}
