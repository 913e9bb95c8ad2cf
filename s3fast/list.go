package s3fast

import (
	"strconv"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// maxKeys is the largest page of a listing; more asked for is cut to it.
const maxKeys = 1000

// listing is what the three listings of objects have in common.
type listing struct {
	meta.ListObjectsRequest
	encodeURL bool
}

// readListing reads prefix, delimiter, max-keys and encoding-type.
func (r *request) readListing() (l listing, err error) {
	l.Prefix, _ = r.query.get("prefix")
	l.Delimiter, _ = r.query.get("delimiter")
	if l.encodeURL, err = r.encodingType(); err != nil {
		return l, err
	}
	l.Max, err = r.maxResults("max-keys", maxKeys)
	return l, err
}

// encodingType reads encoding-type: whether names are to be URL-encoded.
func (r *request) encodingType() (bool, error) {
	v, ok := r.query.get("encoding-type")
	if ok && v != "url" {
		return false, invalidArgument("encoding-type", v, "Invalid Encoding Method specified in Request")
	}
	return ok, nil
}

// maxResults reads the size of a page: 0…limit, limit when it is absent or more.
func (r *request) maxResults(name string, limit int) (int, error) {
	v, ok := r.query.get(name)
	if !ok || v == "" {
		return limit, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	switch {
	case err != nil:
		return 0, invalidArgument(name, v, "Provided "+name+" not an integer or within integer range")
	case n < 0:
		return 0, invalidArgument(name, v, "Argument "+name+" must be an integer between 0 and 2147483647")
	}
	return min(int(n), limit), nil
}

// checkStart bounds a marker: no key is longer.
func checkStart(name, v string) error {
	if len(v) > engine.MaxKeyBytes {
		return s3err.KeyTooLong.With("ArgumentName", name)
	}
	return nil
}

// page reads a page of the bucket.
func (r *request) page(l *listing) (meta.ListObjectsPage, error) {
	if l.Max == 0 || len(l.Prefix) > engine.MaxKeyBytes {
		return meta.ListObjectsPage{}, nil // nothing can match
	}
	return r.s.cfg.Engine.List(r.context(), r.bucket, l.ListObjectsRequest)
}

// appendObjects encodes the entries of a listing that has been begun, and ends it.
func appendObjects(dst []byte, page *meta.ListObjectsPage, owner *s3xml.Owner, encodeURL bool) []byte {
	e := s3xml.Entries{EncodeURL: encodeURL}
	for i := range page.Items {
		o := listed(&page.Items[i], owner)
		dst = e.Object(dst, &o)
	}
	return e.EndList(dst, page.Prefixes)
}

func listed(it *meta.ListItem, owner *s3xml.Owner) s3xml.Object {
	return s3xml.Object{
		Key: it.Key, LastModified: time.Unix(0, it.ModTime), ETag: it.ETag, Size: it.Size,
		StorageClass: shownClass(it.Class), Owner: owner,
		ChecksumAlgorithm: it.Checksum.Algorithm, ChecksumType: it.Checksum.Type,
	}
}

// listCap guesses the size of a document, in bytes.
func listCap(p *meta.ListObjectsPage) int { return 512 + 384*len(p.Items) + 96*len(p.Prefixes) }

// listObjectsV1 answers ListObjects.
func listObjectsV1(r *request) error {
	l, err := r.readListing()
	if err != nil {
		return err
	}
	l.After, _ = r.query.get("marker")
	if err := checkStart("marker", l.After); err != nil {
		return err
	}
	page, err := r.page(&l)
	if err != nil {
		return err
	}
	doc := s3xml.ListObjectsV1{
		Name: r.bucket, Prefix: l.Prefix, Marker: l.After, MaxKeys: l.Max, Delimiter: l.Delimiter,
		EncodeURL: l.encodeURL, IsTruncated: page.Truncated,
	}
	if page.Truncated && l.Delimiter != "" {
		doc.NextMarker = page.Next
	}
	d := r.s.documents.get(listCap(&page))
	d.text = s3xml.BeginListObjectsV1(d.text, &doc)
	d.text = appendObjects(d.text, &page, &s3xml.Owner{ID: ownerID}, l.encodeURL)
	r.answerDocument(d)
	return nil
}

// listObjectsV2 answers ListObjectsV2.
func listObjectsV2(r *request) error {
	if v, _ := r.query.get("list-type"); v != "2" {
		return invalidArgument("list-type", v, "Invalid List Type specified in Request")
	}
	l, err := r.readListing()
	if err != nil {
		return err
	}
	start, _ := r.query.get("start-after")
	if err := checkStart("start-after", start); err != nil {
		return err
	}
	l.After = start
	scope := "objects/" + r.bucket
	token, ok := r.query.get("continuation-token")
	if ok {
		if l.After, err = r.s.tokens.open(token, scope); err != nil {
			return invalidArgument("continuation-token", token, "The continuation token provided is incorrect")
		}
	}
	page, err := r.page(&l)
	if err != nil {
		return err
	}
	var owner *s3xml.Owner
	if v, _ := r.query.get("fetch-owner"); v == "true" {
		owner = &s3xml.Owner{ID: ownerID}
	}
	doc := s3xml.ListObjectsV2{
		Name: r.bucket, Prefix: l.Prefix, ContinuationToken: token, StartAfter: start,
		MaxKeys: l.Max, Delimiter: l.Delimiter, EncodeURL: l.encodeURL, IsTruncated: page.Truncated,
	}
	if page.Truncated {
		doc.NextContinuationToken = r.s.tokens.seal(page.Next, scope)
	}
	d := r.s.documents.get(listCap(&page))
	d.text = s3xml.BeginListObjectsV2(d.text, &doc, len(page.Items)+len(page.Prefixes))
	d.text = appendObjects(d.text, &page, owner, l.encodeURL)
	r.answerDocument(d)
	return nil
}

// listObjectVersions answers ListObjectVersions of a bucket that never was
// versioned: each key has one version, "null".
func listObjectVersions(r *request) error {
	l, err := r.readListing()
	if err != nil {
		return err
	}
	l.After, _ = r.query.get("key-marker")
	if err := checkStart("key-marker", l.After); err != nil {
		return err
	}
	marker, _ := r.query.get("version-id-marker")
	switch {
	case marker != "" && l.After == "":
		return invalidArgument("version-id-marker", marker, "A version-id marker cannot be specified without a key marker.")
	case marker != "" && marker != "null":
		return invalidArgument("version-id-marker", marker, "Invalid version id specified")
	}
	page, err := r.page(&l)
	if err != nil {
		return err
	}
	doc := s3xml.ListVersions{
		Name: r.bucket, Prefix: l.Prefix, KeyMarker: l.After, VersionIDMarker: marker,
		MaxKeys: l.Max, Delimiter: l.Delimiter, EncodeURL: l.encodeURL,
		IsTruncated: page.Truncated,
	}
	if page.Truncated {
		doc.NextKeyMarker = page.Next
		if n := len(page.Items); n > 0 && page.Items[n-1].Key == page.Next {
			doc.NextVersionIDMarker = "null"
		}
	}
	d := r.s.documents.get(listCap(&page))
	d.text = s3xml.BeginListVersions(d.text, &doc)
	e, owner := s3xml.Entries{EncodeURL: l.encodeURL}, &s3xml.Owner{ID: ownerID}
	for i := range page.Items {
		v := s3xml.Version{Object: listed(&page.Items[i], owner), VersionID: "null", IsLatest: true}
		d.text = e.Version(d.text, &v)
	}
	d.text = e.EndVersions(d.text, page.Prefixes)
	r.answerDocument(d)
	return nil
}
