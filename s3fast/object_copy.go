package s3fast

import (
	"errors"
	"io"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

const copySourceHeader = "x-amz-copy-source"

// parseCopySource parses x-amz-copy-source: "bucket/key", URL-encoded, with an
// optional leading slash and an optional ?versionId= (API Reference,
// CopyObject). Access point ARNs are refused like other malformed values.
// Error: InvalidArgument.
func parseCopySource(h string) (bucket, key, version string, err error) {
	malformed := s3err.InvalidArgument.Say("Copy Source must mention the source bucket and key: sourcebucket/sourcekey").
		With("ArgumentName", copySourceHeader, "ArgumentValue", h)
	path, query, hasQuery := strings.Cut(h, "?")
	if hasQuery {
		id, ok := strings.CutPrefix(query, "versionId=")
		if !ok {
			return "", "", "", malformed
		}
		if version, err = url.PathUnescape(id); err != nil {
			return "", "", "", malformed
		}
		if version == "" {
			return "", "", "", invalidVersion("")
		}
	}
	// Decode first: clients that encode the slash between bucket and key, too,
	// are served by S3.
	if path, err = url.PathUnescape(path); err != nil || !utf8.ValidString(path) {
		return "", "", "", malformed
	}
	bucket, key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if bucket == "" || key == "" || strings.HasPrefix(bucket, "arn:") {
		return "", "", "", malformed
	}
	if len(key) > engine.MaxKeyBytes {
		return "", "", "", s3err.KeyTooLong.With("Size", decimal(int64(len(key))), "MaxSizeAllowed", decimal(engine.MaxKeyBytes))
	}
	return bucket, key, version, nil
}

// source is an open copy source.
type source struct {
	*engine.Object
	bucket, key string
}

// openSource opens what x-amz-copy-source names, for someone allowed to read it,
// and evaluates x-amz-copy-source-if-*. Close it.
func (r *request) openSource() (*source, error) {
	bucket, key, version, err := parseCopySource(r.header(copySourceHeader))
	if err != nil {
		return nil, err
	}
	if version != "" && version != "null" {
		return nil, invalidVersion(version)
	}
	action := "s3:GetObject"
	if version != "" {
		action = "s3:GetObjectVersion"
	}
	q := question{r: r, bucket: bucket, key: key, version: version}
	if err := q.allow(action); err != nil {
		return nil, err
	}
	obj, err := r.s.cfg.Engine.Get(r.context(), bucket, key)
	if err != nil {
		if engine.KindOf(err) == engine.NoObject {
			if denied := r.mayMiss(bucket, key); denied != nil {
				return nil, denied
			}
		}
		return nil, sourceError(err, bucket, key)
	}
	if err := r.unlock(obj, sourceCustomerPrefix, key, true); err != nil {
		obj.Close()
		return nil, err
	}
	cond := r.copyConditions()
	if v, header := cond.evaluate(&obj.Info); v != proceed {
		obj.Close()
		return nil, s3err.PreconditionFailed.With("Condition", header)
	}
	return &source{obj, bucket, key}, nil
}

// sourceError names the source, not the target, in what is answered.
func sourceError(err error, bucket, key string) error {
	switch engine.KindOf(err) {
	case engine.NoObject:
		return s3err.NoSuchKey.Because(err).With("Key", key)
	case engine.NoBucket:
		return s3err.NoSuchBucket.Because(err).With("BucketName", bucket)
	}
	return err
}

// copyError takes the blame off the request body: what failed there, if anything,
// was the reading of stored data.
func copyError(err error) error {
	var outer, inner *engine.Error
	if errors.As(err, &outer) && outer.Kind == engine.BadBody && errors.As(outer.Err, &inner) {
		return inner
	}
	return err
}

// copyObject answers CopyObject. Nothing is sent before the copy is durable, so
// a failure is always an HTTP error and never hidden in a 200.
func copyObject(r *request) error {
	if err := r.refuseUnbuilt(); err != nil {
		return err
	}
	cond, err := r.writeCondition()
	if err != nil {
		return err
	}
	src, err := r.openSource()
	if err != nil {
		return err
	}
	defer src.Close()
	if src.Info.Size > engine.MaxPutSize {
		return s3err.InvalidRequest.Say("The specified copy source is larger than the maximum allowable size for a copy source: " + decimal(engine.MaxPutSize))
	}
	o, alg, err := r.copyTarget(src)
	if err != nil {
		return err
	}
	how, err := r.wantedEncryption()
	if err != nil {
		return err
	}
	sealed, key, err := r.newSeal(&how)
	if err != nil {
		return err
	}
	o.Seal = sealed
	parity, err := r.parityOf(o.Class)
	if err != nil {
		return err
	}
	in, err := newCopyReader(r, src.Object, 0, src.Info.Size, alg)
	if err != nil {
		return err
	}
	defer in.Close()
	o, err = r.s.cfg.Engine.Put(r.context(), engine.PutRequest{
		Bucket: r.bucket, Key: r.key, Size: src.Info.Size, Body: in, Object: o, If: cond, DataKey: key, Parity: parity,
		Finish: func(o *meta.Object) error {
			o.ETag, o.Checksum = in.etag(sealed, key), in.checksum()
			return nil
		},
	})
	if err != nil {
		return copyError(err)
	}
	r.setEncryption(o.Seal, true)
	r.answerXML(s3xml.AppendCopyObject(nil, &s3xml.Copy{
		LastModified: time.Unix(0, o.ModTime), ETag: o.ETag, Checksums: xmlChecksums(o.Checksum, 0),
	}))
	return nil
}

// copyTarget builds the record of the copy by the directives, and chooses the
// checksum: the one asked for, else the source's, else the default.
func (r *request) copyTarget(src *source) (o meta.Object, alg checksum.Algorithm, err error) {
	o = meta.Object{Owner: ownerID, Class: r.storageClass()}
	replace, err := directive(r.header("x-amz-metadata-directive"), "x-amz-metadata-directive")
	if err != nil {
		return o, 0, err
	}
	retag, err := directive(r.header(taggingDirective), taggingDirective)
	if err != nil {
		return o, 0, err
	}
	wanted := r.header("x-amz-checksum-algorithm")
	_, reclass := r.headers.get(storageClassHeader)
	if src.bucket == r.bucket && src.key == r.key && !replace && wanted == "" && !r.namesEncryption() && !reclass {
		return o, 0, s3err.InvalidRequest.Say("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	if replace {
		err = r.objectHeaders(&o)
	} else {
		o.Headers, o.Metadata = src.Info.Headers, src.Info.Metadata
	}
	if err == nil {
		err = r.copyTags(&o, src, retag)
	}
	alg, ok := checksum.Parse(wanted)
	switch {
	case err != nil:
		return o, 0, err
	case wanted != "" && !ok:
		return o, 0, unknownAlgorithm()
	case wanted == "":
		if alg, ok = checksum.Parse(src.Info.Checksum.Algorithm); !ok {
			alg = defaultChecksum
		}
	}
	return o, alg, nil
}

// directive parses COPY (the default) or REPLACE.
func directive(v, name string) (replace bool, err error) {
	switch strings.ToUpper(v) {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	}
	return false, s3err.InvalidArgument.Say("Unknown directive.").With("ArgumentName", name, "ArgumentValue", v)
}

// copyReader reads stored bytes and digests them on the way.
type copyReader struct {
	body      *engine.Body // nil: no bytes
	sums      *checksum.Set
	algorithm checksum.Algorithm // None: no checksum is computed
	integrity integrity
}

// newCopyReader opens bytes [off, off+n) of an object. Close it before the object.
func newCopyReader(r *request, obj *engine.Object, off, n int64, alg checksum.Algorithm) (*copyReader, error) {
	want, err := r.integrity()
	if err != nil {
		return nil, err
	}
	if !want.verify {
		alg = checksum.None
	}
	c := &copyReader{algorithm: alg, integrity: want}
	if n > 0 {
		b, err := obj.Range(r.context(), off, n)
		if err != nil {
			return nil, err
		}
		c.body = b
	}
	c.sums = checksum.NewSet(checksum.Wanted{MD5: want.md5, Extra: alg})
	return c, nil
}

// Read implements io.Reader.
func (c *copyReader) Read(p []byte) (int, error) {
	if c.body == nil {
		return 0, io.EOF
	}
	n, err := c.body.Read(p)
	c.sums.Write(p[:n]) // never fails
	return n, err
}

// Close releases the stored bytes and the digests.
func (c *copyReader) Close() error {
	c.sums.Release()
	if c.body != nil {
		return c.body.Close()
	}
	return nil
}

// etag is upload.etag of the bytes read.
func (c *copyReader) etag(s *meta.Seal, key *seal.DataKey) string {
	if !c.integrity.md5 {
		return uniqueETag()
	}
	return sealedETag(s, key, c.sums.MD5())
}

func (c *copyReader) checksum() (none meta.Checksum) {
	if c.algorithm == checksum.None {
		return none
	}
	return meta.Checksum{
		Algorithm: c.algorithm.String(), Type: typeFullObject,
		Value: append([]byte(nil), c.sums.Extra()...),
	}
}
