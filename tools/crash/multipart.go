package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	partMin     = 5 << 20 // bytes; all parts but the last
	partsMost   = 3
	uploadsMost = 2 // open ones per worker
)

// What a worker last asked of an upload.
const (
	goesOn = iota
	completing
	aborting
)

// upload is a multipart upload in progress.
type upload struct {
	o     *object
	id    string
	stamp string
	parts []*value // acknowledged: number 1 first
	last  bool     // the last part is a small one: no other may follow

	trying int    // number of a part in flight, or of unknown outcome; 0: none
	tried  *value // its value
	end    int    // completing or aborting, when that is in flight or unknown
	result *value // of completing
}

func (u *upload) bytes() (sum int64) {
	for _, p := range u.parts {
		sum += p.size
	}
	return sum
}

func (u *upload) query() url.Values { return url.Values{"uploadId": {u.id}} }

// multipart takes an upload a step further, or begins one for o.
func (w *worker) multipart(o *object) error {
	if n := len(w.uploads); n == 0 || n < uploadsMost && w.rng.IntN(6) == 0 {
		return w.open(o)
	}
	u := w.uploads[w.rng.IntN(len(w.uploads))]
	n, dice := len(u.parts), w.rng.IntN(100)
	switch {
	case dice < 6:
		return w.abort(u)
	case n == partsMost || u.last || n > 0 && dice < 30:
		return w.complete(u)
	case n > 0 && dice < 40:
		return w.part(u, 1+w.rng.IntN(n)) // replaces one
	case dice < 55:
		return w.partCopy(u, w.objects[w.rng.IntN(len(w.objects))])
	default:
		return w.part(u, n+1)
	}
}

func (w *worker) open(o *object) error {
	stamp := w.t.stamp(w.id)
	c := &call{method: http.MethodPost, key: o.key, query: url.Values{"uploads": {""}}, header: map[string]string{stampHeader: stamp}}
	w.opening = o
	r, err := w.t.client.do(c)
	if err != nil {
		return err
	}
	var doc struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		UploadID string   `xml:"UploadId"`
	}
	if r.status != http.StatusOK || xml.Unmarshal(r.body, &doc) != nil || doc.UploadID == "" {
		return r.unexpected(c)
	}
	w.opening = nil
	w.uploads = append(w.uploads, &upload{o: o, id: doc.UploadID, stamp: stamp})
	return nil
}

// part uploads part number n.
func (w *worker) part(u *upload, n int) error {
	size := partMin + w.rng.Int64N(64<<10)
	small := n > len(u.parts) && w.rng.IntN(3) == 0 || u.last && n == len(u.parts)
	if small {
		size = 1 + w.rng.Int64N(1<<20)
		if w.rng.IntN(3) == 0 {
			size = 1 + w.rng.Int64N(8<<10)
		}
	}
	v := w.fresh(size)
	q := u.query()
	q.Set("partNumber", strconv.Itoa(n))
	c := &call{method: http.MethodPut, key: u.o.key, query: q, body: v.body}
	r, err := w.sendPart(u, n, v, c)
	if err != nil {
		return err
	}
	return sameTag(fmt.Sprintf("part %d of %s", n, u.o.key), r, v)
}

// partCopy makes an object the next part. A small one is the last.
func (w *worker) partCopy(u *upload, from *object) error {
	src, n := from.now(), len(u.parts)+1
	if src == nil || src.size == 0 {
		return w.part(u, n)
	}
	v := newValue(src.body, "")
	q := u.query()
	q.Set("partNumber", strconv.Itoa(n))
	c := &call{method: http.MethodPut, key: u.o.key, query: q, header: map[string]string{
		"x-amz-copy-source": encodePath("/" + bucket + "/" + from.key),
	}}
	r, err := w.sendPart(u, n, v, c)
	if err != nil {
		return err
	}
	var doc struct {
		XMLName xml.Name `xml:"CopyPartResult"`
		ETag    string
	}
	if err := xml.Unmarshal(r.body, &doc); err != nil || strings.Trim(doc.ETag, `"`) != v.etag {
		return violate("copying %s to part %d of %s should yield %v, but was answered %s", from.key, n, u.o.key, v, r.body)
	}
	return nil
}

// sendPart sends the request that makes part n be v.
func (w *worker) sendPart(u *upload, n int, v *value, c *call) (*reply, error) {
	u.trying, u.tried = n, v
	r, err := w.t.client.do(c)
	if err != nil {
		return nil, err
	}
	if r.status != http.StatusOK {
		return nil, r.unexpected(c)
	}
	u.adopt(n, v)
	return r, nil
}

// adopt notes that part n is v, and that none is in flight.
func (u *upload) adopt(n int, v *value) {
	if n > len(u.parts) {
		u.parts = append(u.parts, v)
	} else {
		u.parts[n-1] = v
	}
	if n == len(u.parts) {
		u.last = v.size < partMin
	}
	u.trying, u.tried = 0, nil
}

func (w *worker) complete(u *upload) error {
	var body bytes.Buffer
	body.WriteString("<CompleteMultipartUpload>")
	for i, p := range u.parts {
		fmt.Fprintf(&body, "<Part><PartNumber>%d</PartNumber><ETag>\"%s\"</ETag></Part>", i+1, p.etag)
	}
	body.WriteString("</CompleteMultipartUpload>")
	u.end, u.result = completing, newMultipart(u.parts, u.stamp)
	c := &call{method: http.MethodPost, key: u.o.key, query: u.query(), raw: body.Bytes()}
	r, err := w.write(u.o, u.result, c, http.StatusOK)
	if err != nil {
		return err
	}
	w.drop(u)
	var doc struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		ETag    string
	}
	if err := xml.Unmarshal(r.body, &doc); err != nil || strings.Trim(doc.ETag, `"`) != u.result.etag {
		return violate("completing %s should yield %v, but was answered %s", u.o.key, u.result, r.body)
	}
	return nil
}

func (w *worker) abort(u *upload) error {
	u.end = aborting
	c := &call{method: http.MethodDelete, key: u.o.key, query: u.query()}
	r, err := w.t.client.do(c)
	if err != nil {
		return err
	}
	if r.status != http.StatusNoContent {
		return r.unexpected(c)
	}
	w.drop(u)
	return nil
}

// drop forgets an upload that has ended.
func (w *worker) drop(u *upload) {
	for i, other := range w.uploads {
		if other == u {
			w.uploads = append(w.uploads[:i], w.uploads[i+1:]...)
			return
		}
	}
}

// listUploads returns the uploads in progress: key by id.
func (t *tester) listUploads() (map[string]string, error) {
	out := map[string]string{}
	q := url.Values{"uploads": {""}, "max-uploads": {"7"}}
	for {
		c := &call{method: http.MethodGet, query: q}
		r, err := t.client.do(c)
		if err != nil {
			return nil, err
		}
		var doc struct {
			XMLName            xml.Name `xml:"ListMultipartUploadsResult"`
			IsTruncated        bool
			NextKeyMarker      string
			NextUploadIDMarker string `xml:"NextUploadIdMarker"`
			Upload             []struct {
				Key      string
				UploadID string `xml:"UploadId"`
			}
		}
		if r.status != http.StatusOK || xml.Unmarshal(r.body, &doc) != nil {
			return nil, r.unexpected(c)
		}
		for _, u := range doc.Upload {
			if _, twice := out[u.UploadID]; twice {
				return nil, violate("upload %s of %s is listed twice", u.UploadID, u.Key)
			}
			out[u.UploadID] = u.Key
		}
		if !doc.IsTruncated {
			return out, nil
		}
		if len(doc.Upload) == 0 || doc.NextKeyMarker == "" {
			return nil, violate("a truncated list of uploads has no continuation: %s", r.body)
		}
		q.Set("key-marker", doc.NextKeyMarker)
		q.Set("upload-id-marker", doc.NextUploadIDMarker)
	}
}

// listParts returns the parts of an upload, by number.
func (t *tester) listParts(u *upload) (map[int]entry, error) {
	c := &call{method: http.MethodGet, key: u.o.key, query: u.query()}
	r, err := t.client.do(c)
	if err != nil {
		return nil, err
	}
	var doc struct {
		XMLName     xml.Name `xml:"ListPartsResult"`
		IsTruncated bool
		Part        []struct {
			PartNumber int
			Size       int64
			ETag       string
		}
	}
	if r.status != http.StatusOK || xml.Unmarshal(r.body, &doc) != nil || doc.IsTruncated {
		return nil, r.unexpected(c)
	}
	out := map[int]entry{}
	for _, p := range doc.Part {
		out[p.PartNumber] = entry{p.Size, strings.Trim(p.ETag, `"`)}
	}
	return out, nil
}

// checkParts compares an upload's parts after a crash, and adopts the one that
// was in flight if it arrived.
func (t *tester) checkParts(u *upload) error {
	listed, err := t.listParts(u)
	if err != nil {
		return err
	}
	if u.trying > 0 {
		if e, ok := listed[u.trying]; ok && e.is(u.tried) {
			u.adopt(u.trying, u.tried)
		}
		u.trying, u.tried = 0, nil
	}
	for i, p := range u.parts {
		e, ok := listed[i+1]
		if !ok || !e.is(p) {
			return violate("part %d of upload %s of %s is listed as %+v (%v), but holds %v", i+1, u.id, u.o.key, e, ok, p)
		}
	}
	if len(listed) != len(u.parts) {
		return violate("upload %s of %s has %d parts, not %d", u.id, u.o.key, len(listed), len(u.parts))
	}
	return nil
}
