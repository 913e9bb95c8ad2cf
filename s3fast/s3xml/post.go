package s3xml

// PostResponse answers PostObject with success_action_status 201.
type PostResponse struct {
	Location string // URL of the object
	Bucket   string
	Key      string
	ETag     string // without quotes
}

// AppendPostResponse encodes a PostResponse; it has no namespace (Amazon S3 API
// Reference, "POST Object").
func AppendPostResponse(dst []byte, p *PostResponse) []byte {
	dst = append(dst, Header...)
	dst = append(dst, "<PostResponse>"...)
	dst = AppendElement(dst, "Location", p.Location)
	dst = AppendElement(dst, "Bucket", p.Bucket)
	dst = AppendElement(dst, "Key", p.Key)
	dst = etag(dst, p.ETag)
	return append(dst, "</PostResponse>"...)
}
