package s3fast

import (
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// Page sizes (API Reference, ListParts, ListMultipartUploads): the default, and
// the most that is returned however much is asked for.
const (
	maxPartsPage   = 1000
	maxUploadsPage = 1000
)

// parsePageSize parses max-parts and the like: absent means limit, more than
// limit too. Error: InvalidArgument.
func parsePageSize(name, v string, limit int) (int, error) {
	if v == "" {
		return limit, nil
	}
	n, ok := parseDigits(v)
	if !ok || n > 1<<31-1 {
		return 0, s3err.InvalidArgument.Say("Provided "+name+" not an integer or within integer range").
			With("ArgumentName", name, "ArgumentValue", v)
	}
	return int(min(n, int64(limit))), nil
}

// parsePartMarker parses a part number marker: 0…10,000, absent 0.
func parsePartMarker(name, v string) (int32, error) {
	if v == "" {
		return 0, nil
	}
	n, ok := parseDigits(v)
	if !ok || n > 1<<31-1 {
		return 0, s3err.InvalidArgument.Say("Provided "+name+" not an integer or within integer range").
			With("ArgumentName", name, "ArgumentValue", v)
	}
	return int32(min(n, engine.MaxParts)), nil
}

// listParts answers ListParts.
func listParts(r *request) error {
	if err := r.refuseUnbuilt(); err != nil {
		return err
	}
	id, err := r.uploadID()
	if err != nil {
		return err
	}
	v, _ := r.query.get("max-parts")
	limit, err := parsePageSize("max-parts", v, maxPartsPage)
	if err != nil {
		return err
	}
	v, _ = r.query.get("part-number-marker")
	after, err := parsePartMarker("part-number-marker", v)
	if err != nil {
		return err
	}
	up, parts, more, err := r.s.cfg.Engine.ListParts(r.context(), r.bucket, r.key, id, after, limit)
	if err != nil {
		return err
	}
	doc := s3xml.ListParts{
		Bucket: r.bucket, Key: r.key, UploadID: uploadIDText(id),
		Initiator: initiator(up.Initiator), Owner: &s3xml.Owner{ID: ownerID}, StorageClass: shownClass(up.Object.Class),
		PartNumberMarker: int(after), NextPartNumberMarker: int(after), MaxParts: limit, IsTruncated: more,
		ChecksumAlgorithm: up.Object.Checksum.Algorithm, ChecksumType: up.Object.Checksum.Type,
		Parts: make([]s3xml.Part, len(parts)),
	}
	for i := range parts {
		p := &parts[i]
		doc.Parts[i] = s3xml.Part{
			PartNumber: int(p.Number), LastModified: time.Unix(0, p.ModTime), ETag: p.ETag, Size: p.Size,
			Checksums: xmlChecksums(p.Checksum, 0),
		}
		doc.NextPartNumberMarker = int(p.Number)
	}
	r.answerXML(s3xml.AppendListParts(make([]byte, 0, 512+256*len(parts)), &doc))
	return nil
}

// anonymousID is AWS's canonical id of everybody.
const anonymousID = "65a011a29cdf8ec533ec3d1ccaae921c"

// initiator names the user who began an upload.
func initiator(user string) *s3xml.Owner {
	if user == "" {
		return &s3xml.Owner{ID: anonymousID}
	}
	return &s3xml.Owner{ID: "arn:aws:iam::" + accountID + ":user/" + user, DisplayName: user}
}

// listMultipartUploads answers ListMultipartUploads.
func listMultipartUploads(r *request) error {
	req, url, err := r.uploadsRequest()
	if err != nil {
		return err
	}
	page, err := r.s.cfg.Engine.ListUploads(r.context(), r.bucket, req)
	if err != nil {
		return err
	}
	doc := s3xml.ListMultipartUploads{
		Bucket: r.bucket, KeyMarker: req.KeyMarker, Delimiter: req.Delimiter, Prefix: req.Prefix,
		EncodeURL: url, MaxUploads: req.Max, IsTruncated: page.Truncated,
		Uploads: make([]s3xml.Upload, len(page.Uploads)), CommonPrefixes: page.Prefixes,
	}
	if req.UploadIDMarker != ([16]byte{}) {
		doc.UploadIDMarker = uploadIDText(req.UploadIDMarker)
	}
	if page.Truncated {
		doc.NextKeyMarker = page.NextKeyMarker
		if page.NextUploadIDMarker != ([16]byte{}) {
			doc.NextUploadIDMarker = uploadIDText(page.NextUploadIDMarker)
		}
	}
	for i := range page.Uploads {
		u := &page.Uploads[i]
		doc.Uploads[i] = s3xml.Upload{
			Key: u.Key, UploadID: uploadIDText(u.ID), Initiator: initiator(u.Initiator),
			Owner: &s3xml.Owner{ID: ownerID}, StorageClass: shownClass(u.Object.Class), Initiated: time.Unix(0, u.Initiated),
			ChecksumAlgorithm: u.Object.Checksum.Algorithm, ChecksumType: u.Object.Checksum.Type,
		}
	}
	r.answerXML(s3xml.AppendListMultipartUploads(make([]byte, 0, 512+512*len(page.Uploads)), &doc))
	return nil
}

// uploadsRequest reads the parameters; url tells encoding-type=url. An
// upload-id-marker without a key-marker is ignored, as documented.
func (r *request) uploadsRequest() (req meta.ListUploadsRequest, url bool, err error) {
	req.Prefix, _ = r.query.get("prefix")
	req.Delimiter, _ = r.query.get("delimiter")
	req.KeyMarker, _ = r.query.get("key-marker")
	v, _ := r.query.get("max-uploads")
	if req.Max, err = parsePageSize("max-uploads", v, maxUploadsPage); err != nil {
		return req, false, err
	}
	if v, _ := r.query.get("upload-id-marker"); v != "" && req.KeyMarker != "" {
		id, ok := parseUploadID(v)
		if !ok {
			return req, false, s3err.InvalidArgument.Say("Invalid uploadId marker").
				With("ArgumentName", "upload-id-marker", "ArgumentValue", v)
		}
		req.UploadIDMarker = id
	}
	v, given := r.query.get("encoding-type")
	if given && v != "url" {
		return req, false, s3err.InvalidArgument.Say("Invalid Encoding Method specified in Request").
			With("ArgumentName", "encoding-type", "ArgumentValue", v)
	}
	return req, given, nil
}
