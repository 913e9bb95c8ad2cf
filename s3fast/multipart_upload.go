package s3fast

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// createMultipartUpload answers CreateMultipartUpload. The upload keeps headers,
// metadata and the checksum algorithm declared for the object to come, unless the
// bucket ignores clients' checksums.
func createMultipartUpload(r *request) error {
	if err := r.refuseUnbuilt(); err != nil {
		return err
	}
	o := meta.Object{Owner: ownerID, Class: r.storageClass()}
	if err := r.objectHeaders(&o); err != nil {
		return err
	}
	if err := r.giveTags(&o); err != nil {
		return err
	}
	alg, kind, err := declaredChecksum(r.header("x-amz-checksum-algorithm"), r.header("x-amz-checksum-type"))
	if err != nil {
		return err
	}
	want, err := r.integrity()
	if err != nil {
		return err
	}
	if !want.verify {
		alg, kind = checksum.None, ""
	}
	o.Checksum = meta.Checksum{Algorithm: alg.String(), Type: kind}
	how, err := r.wantedEncryption()
	if err != nil {
		return err
	}
	if o.Seal, _, err = r.newSeal(&how); err != nil {
		return err
	}
	up, err := r.s.cfg.Engine.CreateUpload(r.context(), r.bucket, r.key, r.userName(), o)
	if err != nil {
		return err
	}
	r.setEncryption(o.Seal, true)
	if alg != checksum.None {
		r.set("x-amz-checksum-algorithm", alg.String())
		r.set("x-amz-checksum-type", kind)
	}
	r.answerXML(s3xml.AppendInitiateMultipartUpload(nil, r.bucket, r.key, uploadIDText(up.ID)))
	return nil
}

// uploadIDText renders an upload id for clients, who take it as opaque.
func uploadIDText(id [16]byte) string { return hex.EncodeToString(id[:]) }

// parseUploadID is the inverse of uploadIDText: exactly 32 lower-case digits.
func parseUploadID(s string) (id [16]byte, ok bool) {
	if len(s) != 2*len(id) || s != strings.ToLower(s) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

// uploadID reads the uploadId parameter. What no server ever handed out is
// NoSuchUpload.
func (r *request) uploadID() ([16]byte, error) {
	v, _ := r.query.get("uploadId")
	id, ok := parseUploadID(v)
	if !ok {
		return id, s3err.NoSuchUpload.With("UploadId", v)
	}
	return id, nil
}

// partTarget reads what UploadPart and UploadPartCopy write to.
func (r *request) partTarget() (id [16]byte, number int32, up meta.Upload, err error) {
	v, _ := r.query.get("partNumber")
	if number, err = parsePartNumber(v); err != nil {
		return id, 0, up, err
	}
	if id, err = r.uploadID(); err != nil {
		return id, 0, up, err
	}
	up, err = r.s.cfg.Engine.Upload(r.context(), r.bucket, r.key, id)
	r.declared = up.Object.Checksum.Algorithm != ""
	return id, number, up, err
}

// uploadPart answers UploadPart.
func uploadPart(r *request) error {
	if err := r.refuseUnbuilt(); err != nil {
		return err
	}
	id, number, up, err := r.partTarget()
	if err != nil {
		return err
	}
	declared := up.Object.Checksum
	claim, err := parseBodyClaim(r)
	if err != nil {
		return err
	}
	if err := checkPartAlgorithm(declared, claim.algorithm); err != nil {
		return err
	}
	key, err := r.partKey(&up)
	if err != nil {
		return err
	}
	parity, err := r.parityOf(up.Object.Class)
	if err != nil {
		return err
	}
	in, err := r.openUpload(claim, partAlgorithm(declared.Algorithm))
	if err != nil {
		return err
	}
	defer in.Close()
	part, err := r.s.cfg.Engine.PutPart(r.context(), engine.PutPartRequest{
		Bucket: r.bucket, Key: r.key, UploadID: id, Number: number, Size: in.size, Body: in, DataKey: key, Parity: parity,
		Finish: func(p *meta.Part) error {
			p.ETag, p.Checksum = in.etag(up.Object.Seal, key), in.checksum()
			return nil
		},
	})
	if err != nil {
		return err
	}
	r.setETag(part.ETag)
	r.setEncryption(up.Object.Seal, false)
	if claim.algorithm != checksum.None || declared.Algorithm != "" { // nothing where nothing was computed
		sum := part.Checksum
		sum.Type = "" // a part has none
		r.setChecksum(sum, 0)
	}
	return nil
}

// partAlgorithm is the checksum computed of a part that comes without one: what
// the upload declared, else the default.
func partAlgorithm(declared string) checksum.Algorithm {
	if alg, ok := checksum.Parse(declared); ok {
		return alg
	}
	return defaultChecksum
}

// checkPartAlgorithm holds a part's own checksum against the one declared by the
// upload. An upload that declared none takes any; a part of a composite checksum
// must have its own (Amazon S3 User Guide, "Checking object integrity").
func checkPartAlgorithm(declared meta.Checksum, own checksum.Algorithm) error {
	name := strings.ToLower(own.String())
	switch {
	case declared.Algorithm == "", declared.Algorithm == own.String():
		return nil
	case own == checksum.None && declared.Type != typeComposite:
		return nil
	case own == checksum.None:
		name = "null"
	}
	return s3err.InvalidRequest.Say("Checksum Type mismatch occurred, expected checksum Type: " +
		strings.ToLower(declared.Algorithm) + ", actual checksum Type: " + name)
}

// uploadPartCopy answers UploadPartCopy.
func uploadPartCopy(r *request) error {
	if err := r.refuseUnbuilt(); err != nil {
		return err
	}
	id, number, up, err := r.partTarget()
	if err != nil {
		return err
	}
	key, err := r.partKey(&up)
	if err != nil {
		return err
	}
	src, err := r.openSource()
	if err != nil {
		return err
	}
	defer src.Close()
	off, n := int64(0), src.Info.Size
	if h := r.header("x-amz-copy-source-range"); h != "" {
		if off, n, err = parseCopyRange(h, src.Info.Size); err != nil {
			return err
		}
	}
	if n > engine.MaxPutSize {
		return s3err.InvalidRequest.Say("The specified copy source is larger than the maximum allowable size for a copy source: " + decimal(engine.MaxPutSize))
	}
	parity, err := r.parityOf(up.Object.Class)
	if err != nil {
		return err
	}
	in, err := newCopyReader(r, src.Object, off, n, partAlgorithm(up.Object.Checksum.Algorithm))
	if err != nil {
		return err
	}
	defer in.Close()
	part, err := r.s.cfg.Engine.PutPart(r.context(), engine.PutPartRequest{
		Bucket: r.bucket, Key: r.key, UploadID: id, Number: number, Size: n, Body: in, DataKey: key, Parity: parity,
		Finish: func(p *meta.Part) error {
			p.ETag, p.Checksum = in.etag(up.Object.Seal, key), in.checksum()
			return nil
		},
	})
	if err != nil {
		return copyError(err)
	}
	r.setEncryption(up.Object.Seal, false)
	doc := s3xml.Copy{LastModified: time.Unix(0, part.ModTime), ETag: part.ETag, Checksums: xmlChecksums(part.Checksum, 0)}
	doc.Checksums.Type = ""
	r.answerXML(s3xml.AppendCopyPart(nil, &doc))
	return nil
}

// abortMultipartUpload answers AbortMultipartUpload.
func abortMultipartUpload(r *request) error {
	id, err := r.uploadID()
	if err != nil {
		return err
	}
	if err := r.s.cfg.Engine.AbortUpload(r.context(), r.bucket, r.key, id); err != nil {
		return err
	}
	r.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}
