package s3fast

import (
	"bytes"
	"crypto/md5" // #nosec G501: S3's ETags are MD5
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// completeMultipartUpload answers CompleteMultipartUpload. No data is copied, so
// the answer comes at once and needs no keep-alive white space ahead of it;
// every failure has its own HTTP status.
func completeMultipartUpload(r *request) error {
	if err := r.refuseUnbuilt(); err != nil {
		return err
	}
	id, err := r.uploadID()
	if err != nil {
		return err
	}
	cond, err := r.writeCondition()
	if err != nil {
		return err
	}
	want, err := r.wholeClaim()
	if err != nil {
		return err
	}
	customer, err := r.customerKey(customerPrefix)
	if err != nil {
		return err
	}
	doc, err := r.readXML(s3xml.MaxComplete)
	if err != nil {
		return err
	}
	parts, err := decodeParts(doc)
	if err != nil {
		return err
	}
	check, err := r.completion(id)
	if err != nil {
		return err
	}
	if !check.verify {
		want = want.unchecked(parts)
	}
	o, err := r.s.cfg.Engine.CompleteUpload(r.context(), engine.CompleteRequest{
		Bucket: r.bucket, Key: r.key, UploadID: id, Parts: parts, Size: -1, If: cond,
		Seal: func(up *meta.Upload, stored []meta.Part) (string, meta.Checksum, error) {
			if err := r.checkCompletionKey(up, customer); err != nil {
				return "", meta.Checksum{}, err
			}
			if check.verify {
				if err := checkPartClaims(up.Object.Checksum, parts); err != nil {
					return "", meta.Checksum{}, err
				}
			}
			return sealUpload(up.Object.Checksum, stored, want)
		},
	})
	if err != nil {
		return r.completeError(err, id, parts)
	}
	if o.Seal != nil && o.Seal.Mode != meta.SealCustomer {
		r.setEncryption(o.Seal, false)
	}
	r.answerXML(s3xml.AppendCompleteMultipartUpload(nil, &s3xml.CompleteResult{
		Location: r.location(), Bucket: r.bucket, Key: r.key, ETag: o.ETag,
		Checksums: xmlChecksums(o.Checksum, o.PartCount),
	}))
	return nil
}

// checkCompletionKey holds the customer's key that came with a completion against
// the upload's. The parts have been encrypted with it already: S3 requires it where
// a checksum algorithm was declared (API Reference, CompleteMultipartUpload). Errors:
// errPartNeeds, errPartPlain, errPartWrong.
func (r *request) checkCompletionKey(up *meta.Upload, customer *customerKey) error {
	s := up.Object.Seal
	switch ofCustomer := s != nil && s.Mode == meta.SealCustomer; {
	case customer != nil && !ofCustomer:
		return errPartPlain
	case customer == nil && ofCustomer && up.Object.Checksum.Algorithm != "":
		return errPartNeeds
	case customer == nil:
		return nil
	}
	if _, err := r.s.openSeal(r.context(), s, r.b.ID, up.Key, customer); err != nil {
		return errPartWrong
	}
	return nil
}

// location is the URL of the object, as the client spelled it.
func (r *request) location() string {
	scheme := "http://"
	if r.conn != nil && r.conn.secure {
		scheme = "https://"
	}
	host, _ := r.headers.get("host")
	return scheme + host + r.target.path
}

// objectClaim is what a completion says about the whole object.
type objectClaim struct {
	algorithm checksum.Algorithm // None: no checksum told
	value     []byte
	parts     int    // N of a composite value "<base64>-N", 0 when left out
	kind      string // x-amz-checksum-type, or ""
	size      int64  // x-amz-mp-object-size, or -1
}

// wholeClaim reads x-amz-checksum-*, which in a completion are the object's and
// not the body's, x-amz-checksum-type and x-amz-mp-object-size.
func (r *request) wholeClaim() (w objectClaim, err error) {
	var c bodyClaim
	for i := range r.headers.list {
		if err := c.addHeader(r.headers.list[i].name, r.headers.list[i].value); err != nil {
			return w, err
		}
	}
	w = objectClaim{algorithm: c.algorithm, value: c.value, parts: c.parts, size: -1}
	switch w.kind = strings.ToUpper(r.header("x-amz-checksum-type")); w.kind {
	case "", typeComposite, typeFullObject:
	default:
		return w, s3err.InvalidRequest.Say("Value for x-amz-checksum-type header is invalid.")
	}
	if v := r.header("x-amz-mp-object-size"); v != "" {
		n, ok := parseDigits(v)
		if !ok {
			return w, s3err.InvalidRequest.Say("Value for x-amz-mp-object-size header is invalid.")
		}
		w.size = n
	}
	return w, nil
}

// unchecked forgets the checksums claimed of the object and its parts.
func (w objectClaim) unchecked(refs []meta.PartRef) objectClaim {
	for i := range refs {
		refs[i].Checksum = meta.Checksum{}
	}
	return objectClaim{size: w.size}
}

// decodeParts decodes and checks the document. Errors: MalformedXML,
// InvalidArgument (part numbers), InvalidPartOrder, InvalidRequest (checksums).
func decodeParts(doc []byte) ([]meta.PartRef, error) {
	list, err := s3xml.DecodeCompleteMultipartUpload(doc)
	if err != nil {
		return nil, s3err.MalformedXML.Because(err)
	}
	refs := make([]meta.PartRef, len(list))
	for i := range list {
		p := &list[i]
		if p.PartNumber < 1 || p.PartNumber > engine.MaxParts {
			_, err := parsePartNumber(strconv.Itoa(p.PartNumber))
			return nil, err
		}
		if i > 0 && p.PartNumber <= list[i-1].PartNumber {
			return nil, s3err.InvalidPartOrder.New()
		}
		if p.ETag == "" {
			return nil, s3err.MalformedXML.New()
		}
		refs[i] = meta.PartRef{Number: int32(p.PartNumber), ETag: p.ETag}
		if refs[i].Checksum, err = partChecksum(p); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// partChecksum is the checksum that the document names of a part, at most one.
func partChecksum(p *s3xml.CompletedPart) (sum meta.Checksum, err error) {
	bad := func() (meta.Checksum, error) {
		return meta.Checksum{}, s3err.InvalidRequest.Say("The checksum given for part " + strconv.Itoa(p.PartNumber) + " is invalid.")
	}
	if p.OtherChecksum != "" {
		return bad()
	}
	for _, c := range [...]struct {
		alg  checksum.Algorithm
		text string
	}{
		{checksum.CRC32, p.Checksums.CRC32}, {checksum.CRC32C, p.Checksums.CRC32C},
		{checksum.CRC64NVME, p.Checksums.CRC64NVME}, {checksum.SHA1, p.Checksums.SHA1},
		{checksum.SHA256, p.Checksums.SHA256},
	} {
		if c.text == "" {
			continue
		}
		value, n, ok := parseChecksum(c.alg, c.text)
		if !ok || n != 0 || sum.Algorithm != "" {
			return bad()
		}
		sum = meta.Checksum{Algorithm: c.alg.String(), Value: value}
	}
	return sum, nil
}

// checkPartClaims wants the checksum of each part named in the document when they
// make up a composite one, as S3 does. Error: InvalidRequest.
func checkPartClaims(declared meta.Checksum, refs []meta.PartRef) error {
	if declared.Type != typeComposite {
		return nil
	}
	for i := range refs {
		if len(refs[i].Checksum.Value) == 0 {
			return s3err.InvalidRequest.Say("The upload was created using a " + strings.ToLower(declared.Algorithm) +
				" checksum. The complete request must include the checksum for each part. It was missing for part " +
				decimal(int64(refs[i].Number)) + " in the request.")
		}
	}
	return nil
}

// sealUpload computes ETag and checksum of an object from its parts (Amazon S3 User
// Guide, "Checking object integrity") and holds them against what the client
// claims. declared is the upload's algorithm and type; an upload that declared
// none gets the whole-object CRC of its parts' common algorithm, S3's default
// for parts that came without. It is pure. Errors: BadDigest, InvalidRequest.
func sealUpload(declared meta.Checksum, parts []meta.Part, want objectClaim) (etag string, sum meta.Checksum, err error) {
	var size int64
	for i := range parts {
		size += parts[i].Size
	}
	if want.size >= 0 && want.size != size {
		return "", sum, s3err.InvalidRequest.Say("The provided 'x-amz-mp-object-size' header value " + decimal(want.size) +
			" does not match what was computed: " + decimal(size))
	}
	if size > engine.MaxObjectSize {
		return "", sum, s3err.EntityTooLarge.With("ProposedSize", decimal(size), "MaxSizeAllowed", decimal(engine.MaxObjectSize))
	}
	if etag, err = multipartETag(parts); err != nil {
		return "", sum, err
	}
	sum = multipartChecksum(declared, parts)
	return etag, sum, want.check(sum, len(parts))
}

// multipartETag is the MD5 of the parts' MD5s, or of the unique ids that take their
// place, with "-" and their number.
func multipartETag(parts []meta.Part) (string, error) {
	h := md5.New() // #nosec G401
	var sum [md5.Size]byte
	for i := range parts {
		digits := strings.TrimSuffix(parts[i].ETag, uniqueSuffix)
		if len(digits) != 2*md5.Size {
			return "", errBadPartETag
		}
		if _, err := hex.Decode(sum[:], []byte(digits)); err != nil {
			return "", errBadPartETag
		}
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(sum[:0])) + "-" + strconv.Itoa(len(parts)), nil
}

var errBadPartETag = errors.New("s3fast: ETag of a stored part is neither an MD5 nor a unique id")

// multipartChecksum combines the parts' checksums. The result is zero when they
// are not all of one algorithm, or when that one cannot be combined.
func multipartChecksum(declared meta.Checksum, parts []meta.Part) (none meta.Checksum) {
	if len(parts) == 0 {
		return none
	}
	name, kind := declared.Algorithm, declared.Type
	if name == "" {
		name, kind = parts[0].Checksum.Algorithm, typeFullObject
	}
	alg, ok := checksum.Parse(name)
	if !ok || kind == typeFullObject && !alg.FullObject() {
		return none
	}
	values := make([][]byte, len(parts))
	for i := range parts {
		if parts[i].Checksum.Algorithm != name || len(parts[i].Checksum.Value) != alg.Size() {
			return none
		}
		values[i] = parts[i].Checksum.Value
	}
	if kind == typeComposite {
		return meta.Checksum{Algorithm: name, Type: kind, Value: alg.CompositeOf(values)}
	}
	whole := bytes.Clone(values[0])
	for i := 1; i < len(values); i++ {
		whole = alg.Combine(whole, values[i], parts[i].Size)
	}
	return meta.Checksum{Algorithm: name, Type: kind, Value: whole}
}

// check compares the claim with the checksum computed of n parts.
func (w *objectClaim) check(sum meta.Checksum, n int) error {
	if w.kind != "" && sum.Type != "" && w.kind != sum.Type {
		return s3err.InvalidRequest.Say("The upload was created using the " + sum.Type +
			" checksum mode. The complete request must use the same checksum mode.")
	}
	if w.algorithm == checksum.None {
		return nil
	}
	if w.algorithm.String() != sum.Algorithm {
		return s3err.InvalidRequest.Say("Checksum Type mismatch occurred, expected checksum Type: " +
			strings.ToLower(sum.Algorithm) + ", actual checksum Type: " + strings.ToLower(w.algorithm.String()))
	}
	composite := sum.Type == typeComposite
	if !bytes.Equal(w.value, sum.Value) || w.parts != 0 && (!composite || w.parts != n) {
		return s3err.BadDigest.Say("The " + strings.ToLower(sum.Algorithm) + " you specified did not match the calculated checksum.")
	}
	return nil
}

// completeError prefers what sealUpload said, and adds to EntityTooSmall which part it
// is about, as S3 does.
func (r *request) completeError(err error, id [16]byte, refs []meta.PartRef) error {
	var own *s3err.Error
	if errors.As(err, &own) {
		return own
	}
	if engine.KindOf(err) != engine.PartTooSmall {
		return err
	}
	e := s3err.EntityTooSmall.Because(err).With("MinSizeAllowed", decimal(engine.MinPartSize))
	if p, ok := r.smallPart(id, refs); ok {
		e.With("ProposedSize", decimal(p.Size), "PartNumber", decimal(int64(p.Number)), "ETag", p.ETag)
	}
	return e
}

// smallPart finds the first of the parts named, the last one apart, that is
// below the minimum size.
func (r *request) smallPart(id [16]byte, refs []meta.PartRef) (meta.Part, bool) {
	named := make(map[int32]bool, len(refs))
	for _, ref := range refs[:len(refs)-1] {
		named[ref.Number] = true
	}
	for after := int32(0); ; {
		_, parts, more, err := r.s.cfg.Engine.ListParts(r.context(), r.bucket, r.key, id, after, maxPartsPage)
		if err != nil {
			return meta.Part{}, false
		}
		for i := range parts {
			if named[parts[i].Number] && parts[i].Size < engine.MinPartSize {
				return parts[i], true
			}
		}
		if !more || len(parts) == 0 {
			return meta.Part{}, false
		}
		after = parts[len(parts)-1].Number
	}
}
