package s3fast

import (
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// maxBuckets is the largest page of ListBuckets (S3 API Reference).
const maxBuckets = 10000

// listBuckets answers ListBuckets: all buckets of the cluster, which is one
// account, page by page when max-buckets is given.
func listBuckets(r *request) error {
	limit := maxBuckets
	if v, ok := r.query.get("max-buckets"); ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxBuckets {
			return invalidArgument("max-buckets", v, "Argument max-buckets must be an integer between 1 and 10000")
		}
		limit = n
	}
	doc := s3xml.ListBuckets{Owner: s3xml.Owner{ID: ownerID}}
	doc.Prefix, _ = r.query.get("prefix")
	after := ""
	if v, ok := r.query.get("continuation-token"); ok && v != "" {
		var err error
		if after, err = r.s.tokens.open(v, "buckets"); err != nil {
			return invalidArgument("continuation-token", v, "The continuation token provided is incorrect")
		}
	}
	if region, ok := r.query.get("bucket-region"); ok && region != r.s.cfg.Region {
		r.answerXML(s3xml.AppendListBuckets(nil, &doc))
		return nil
	}
	next, err := r.pageBuckets(&doc, after, limit)
	if err != nil {
		return err
	}
	if next != "" {
		doc.ContinuationToken = r.s.tokens.seal(next, "buckets")
	}
	r.answerXML(s3xml.AppendListBuckets(nil, &doc))
	return nil
}

// pageBuckets fills in up to limit buckets after a name. next is the last of
// them when there are more.
func (r *request) pageBuckets(doc *s3xml.ListBuckets, after string, limit int) (next string, err error) {
	for {
		list, err := r.s.cfg.Engine.ListBuckets(r.context(), after, 1000)
		if err != nil || len(list) == 0 {
			return "", err
		}
		for i := range list {
			b := &list[i]
			after = b.Name
			if !strings.HasPrefix(b.Name, doc.Prefix) {
				if b.Name > doc.Prefix {
					return "", nil
				}
				continue
			}
			if len(doc.Buckets) == limit {
				return doc.Buckets[limit-1].Name, nil
			}
			doc.Buckets = append(doc.Buckets, s3xml.Bucket{Name: b.Name,
				CreationDate: time.Unix(0, b.Created), Region: r.s.cfg.Region})
		}
	}
}

// createBucket answers CreateBucket. All users are of one account: creating a
// bucket that exists succeeds in us-east-1, and is BucketAlreadyOwnedByYou in
// every other region (API Reference, CreateBucket, "Errors").
func createBucket(r *request) error {
	if err := r.checkCreateHeaders(); err != nil {
		return err
	}
	doc, err := r.readXML(s3xml.MaxCreate)
	if err != nil {
		return err
	}
	if len(doc) > 0 {
		c, err := s3xml.DecodeCreateBucket(doc)
		if err != nil {
			return err
		}
		switch {
		case c.HasLocation || c.HasBucket:
			return s3err.NotImplemented.Say("Directory buckets are not implemented.")
		case len(c.Tags) > 0:
			return s3err.NotImplemented.Say("Bucket tags are not implemented.")
		case c.LocationConstraint != "" && c.LocationConstraint != r.s.cfg.Region:
			return s3err.IllegalLocationConstraint.Say("The " + c.LocationConstraint +
				" location constraint is incompatible for the region specific endpoint this request was sent to.")
		}
		r.constraint = c.LocationConstraint
	}
	if err := r.authorizeWithBody(); err != nil {
		return err
	}
	_, err = r.s.cfg.Engine.CreateBucket(r.context(), r.bucket, ownerID, r.s.cfg.Region)
	if err != nil && (engine.KindOf(err) != engine.BucketExists || r.s.cfg.Region != "us-east-1") {
		return err
	}
	r.set("Location", "/"+r.bucket)
	return nil
}

// checkCreateHeaders refuses what a bucket cannot be yet.
func (r *request) checkCreateHeaders() error {
	for i := range r.headers.list {
		name, value := r.headers.list[i].name, strings.TrimSpace(r.headers.list[i].value)
		switch {
		case name == "x-amz-bucket-object-lock-enabled":
			if !strings.EqualFold(value, "false") {
				return notImplementedHeader(name)
			}
		case name == "x-amz-acl":
			if value != "private" {
				return refuseACL(name, value, s3err.InvalidBucketACLWithOwnership)
			}
		case name == "x-amz-object-ownership":
			if value != "BucketOwnerEnforced" {
				return s3err.NotImplemented.With("Header", name)
			}
		case strings.HasPrefix(name, "x-amz-grant-"):
			return s3err.InvalidBucketACLWithOwnership.New()
		case name == "x-amz-bucket-namespace" && value != "global":
			return notImplementedHeader(name)
		}
	}
	return nil
}

// headBucket answers HeadBucket.
func headBucket(r *request) error {
	r.set("x-amz-bucket-region", r.s.cfg.Region)
	r.set("x-amz-access-point-alias", "false")
	return nil
}

// deleteBucket answers DeleteBucket. Uploads in progress do not keep a bucket
// (those of a directory bucket would: Amazon S3 User Guide, "Deleting a directory
// bucket"): they are aborted.
func deleteBucket(r *request) error {
	for try := 0; ; try++ {
		err := r.s.cfg.Engine.DeleteBucket(r.context(), r.bucket)
		switch {
		case err == nil:
			r.ctx.SetStatusCode(fasthttp.StatusNoContent)
			return nil
		case engine.KindOf(err) != engine.BucketNotEmpty || try == 3:
			return err
		}
		aborted, aerr := r.abortUploads()
		if aerr != nil {
			return aerr
		}
		if !aborted {
			return err
		}
	}
}

// abortUploads aborts the uploads in progress of a bucket without objects, and
// reports whether there were any.
func (r *request) abortUploads() (aborted bool, err error) {
	e := r.s.cfg.Engine
	objects, err := e.List(r.context(), r.bucket, meta.ListObjectsRequest{Max: 1})
	if err != nil || len(objects.Items) > 0 {
		return false, err
	}
	var req meta.ListUploadsRequest
	for req.Max = maxUploadsPage; ; {
		page, err := e.ListUploads(r.context(), r.bucket, req)
		if err != nil {
			return aborted, err
		}
		for _, err := range several(len(page.Uploads), func(i int) error {
			return e.AbortUpload(r.context(), r.bucket, page.Uploads[i].Key, page.Uploads[i].ID)
		}) {
			if err != nil && engine.KindOf(err) != engine.NoUpload {
				return aborted, err
			}
		}
		aborted = aborted || len(page.Uploads) > 0
		if !page.Truncated {
			return aborted, nil
		}
		req.KeyMarker, req.UploadIDMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// getBucketLocation answers GetBucketLocation.
func getBucketLocation(r *request) error {
	r.answerXML(s3xml.AppendLocation(nil, r.s.cfg.Region))
	return nil
}

// getBucketVersioning answers GetBucketVersioning: never enabled.
func getBucketVersioning(r *request) error {
	r.answerXML(s3xml.AppendVersioning(nil, ""))
	return nil
}

func invalidArgument(name, value, message string) error {
	return s3err.InvalidArgument.Say(message).With("ArgumentName", name, "ArgumentValue", value)
}
