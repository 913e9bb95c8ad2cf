package s3fast

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
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
	o := meta.Object{Owner: ownerID, Class: r.storageClass()}
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
	parity, err := r.parityOf(o.Class)
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
		Bucket: r.bucket, Key: r.key, Size: in.size, Body: in, Object: o, If: cond, DataKey: key, Parity: parity,
		Finish: func(o *meta.Object) error {
			o.ETag, o.Checksum = in.etag(sealed, key), in.checksum()
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
	algorithm checksum.Algorithm // of the additional checksum computed; None: none
	integrity integrity
}

// integrity says what is computed of a payload beyond its signature.
type integrity struct {
	md5    bool // the ETag is made of the payload's MD5; else it is a unique id
	verify bool // an additional checksum is computed, and the client's claims are verified
}

// openUpload opens the body of PutObject or UploadPart, whose length checkBody
// has bounded. The additional checksum computed, if any, is the one the client
// claims, else of alg. Errors: those of openBody and integrity.
func (r *request) openUpload(claim bodyClaim, alg checksum.Algorithm) (*upload, error) {
	want, err := r.integrity()
	if err != nil {
		return nil, err
	}
	if claim.algorithm == checksum.None && want.verify {
		claim.algorithm = alg
	}
	in, size, err := r.openBody(claim, want)
	if err != nil {
		return nil, err
	}
	if !want.verify {
		claim.algorithm = checksum.None
	}
	return &upload{Reader: in, size: size, algorithm: claim.algorithm, integrity: want}, nil
}

// etag is the ETag of the body, which s and key encrypt; valid after io.EOF.
func (u *upload) etag(s *meta.Seal, key *seal.DataKey) string {
	if !u.integrity.md5 {
		return uniqueETag()
	}
	return sealedETag(s, key, u.MD5())
}

// uniqueSuffix ends the ETag of data of which no MD5 was made. Clients take an ETag
// of 32 hex digits for the MD5 and compare it with their own; none does so with a
// dash in it, for S3's multipart ETags have one.
const uniqueSuffix = "-1"

// uniqueETag returns an ETag that no other data has: 32 random hex digits and
// uniqueSuffix.
func uniqueETag() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:]) + uniqueSuffix
}

// checksum is the additional checksum of the whole body, if any; valid after
// io.EOF.
func (u *upload) checksum() (none meta.Checksum) {
	if u.algorithm == checksum.None {
		return none
	}
	return meta.Checksum{
		Algorithm: u.algorithm.String(), Type: typeFullObject,
		Value: append([]byte(nil), u.Checksum()...),
	}
}
