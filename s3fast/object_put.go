package s3fast

import (
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/body"
)

// putObject answers PutObject. It is atomic and durable before it answers.
func putObject(r *request) error {
	_, err := r.storeObject()
	return err
}

// storeObject stores the body as PutObject does, and answers with what there is
// to tell of the object.
func (r *request) storeObject() (meta.Object, error) {
	o := meta.Object{Owner: ownerID}
	if err := r.refuseUnbuilt(); err != nil {
		return o, err
	}
	cond, err := r.writeCondition()
	if err != nil {
		return o, err
	}
	if err := r.objectHeaders(&o); err != nil {
		return o, err
	}
	if err := r.giveTags(&o); err != nil {
		return o, err
	}
	claim, err := parseBodyClaim(r)
	if err != nil {
		return o, err
	}
	how, err := r.wantedEncryption()
	if err != nil {
		return o, err
	}
	sealed, key, err := r.newSeal(&how)
	if err != nil {
		return o, err
	}
	in, err := r.openUpload(claim, defaultChecksum)
	if err != nil {
		return o, err
	}
	defer in.Close()
	o.Seal = sealed
	o, err = r.s.cfg.Engine.Put(r.context(), engine.PutRequest{
		Bucket: r.bucket, Key: r.key, Size: in.size, Body: in, Object: o, If: cond, DataKey: key,
		Finish: func(o *meta.Object) error {
			o.ETag, o.Checksum = sealedETag(sealed, key, in.MD5()), in.checksum()
			return nil
		},
	})
	if err != nil {
		return o, err
	}
	r.setETag(o.ETag)
	r.setEncryption(o.Seal, true)
	r.setChecksum(o.Checksum, 0) // the default one too (API Reference, PutObject)
	return o, nil
}

// upload is a request body on its way into the engine.
type upload struct {
	*body.Reader
	size      int64
	algorithm checksum.Algorithm // of the additional checksum computed, never None
}

// openUpload opens the body of PutObject or UploadPart, whose length checkBody
// has bounded. The additional checksum computed is the one the client claims,
// else of alg. Errors: those of openBody.
func (r *request) openUpload(claim bodyClaim, alg checksum.Algorithm) (*upload, error) {
	if claim.algorithm == checksum.None {
		claim.algorithm = alg
	}
	in, size, err := r.openBody(claim)
	if err != nil {
		return nil, err
	}
	return &upload{Reader: in, size: size, algorithm: claim.algorithm}, nil
}

// checksum is the additional checksum of the whole body; valid after io.EOF.
func (u *upload) checksum() meta.Checksum {
	return meta.Checksum{
		Algorithm: u.algorithm.String(), Type: typeFullObject,
		Value: append([]byte(nil), u.Checksum()...),
	}
}
