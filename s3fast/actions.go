package s3fast

import "strings"

// needs appends the actions that must all be allowed on the resource that the
// request names (Amazon S3 User Guide, "Required permissions for Amazon S3 API
// operations"): the operation's own, and those that headers bring in.
//
//   - A versionId is a matter of operation.version.
//   - An ACL asks for s3:PutObjectAcl, or s3:PutBucketAcl on CreateBucket, even
//     the one ACL that changes nothing; object lock for s3:PutObjectRetention and
//     s3:PutObjectLegalHold; ownership and object lock of a new bucket likewise.
//   - If-Match with an entity tag would tell what the object's is: it asks for
//     s3:GetObject (User Guide, "Enforce conditional deletes", "… writes").
//
// Tags, which the body may hold, are judged where they are read (giveTags).
func (r *request) needs(list []string) []string {
	op := r.op
	if op.version != nil && r.query.has("versionId") {
		list = append(list, op.version...)
	} else {
		list = append(list, op.action)
		if op.also != "" {
			list = append(list, op.also)
		}
	}
	if !op.writes {
		return list
	}
	onBucket := r.key == ""
	for i := range r.headers.list {
		h := &r.headers.list[i]
		switch {
		case h.name == "if-match":
			if strings.TrimSpace(h.value) != "*" {
				list = appendOnce(list, "s3:GetObject")
			}
		case !strings.HasPrefix(h.name, "x-amz-"):
		case h.name == "x-amz-acl", strings.HasPrefix(h.name, "x-amz-grant-"):
			if onBucket {
				list = appendOnce(list, "s3:PutBucketAcl")
			} else if op.name != "DeleteObject" {
				list = appendOnce(list, "s3:PutObjectAcl")
			}
		case h.name == "x-amz-object-lock-mode", h.name == "x-amz-object-lock-retain-until-date":
			list = appendOnce(list, "s3:PutObjectRetention")
		case h.name == "x-amz-object-lock-legal-hold":
			list = appendOnce(list, "s3:PutObjectLegalHold")
		case onBucket && h.name == "x-amz-object-ownership":
			list = appendOnce(list, "s3:PutBucketOwnershipControls")
		case onBucket && h.name == "x-amz-bucket-object-lock-enabled" && strings.EqualFold(strings.TrimSpace(h.value), "true"):
			list = appendOnce(appendOnce(list, "s3:PutBucketObjectLockConfiguration"), "s3:PutBucketVersioning")
		}
	}
	return list
}

func appendOnce(list []string, action string) []string {
	for _, have := range list {
		if have == action {
			return list
		}
	}
	return append(list, action)
}
