package s3fast

import (
	"strings"

	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// Access control lists are disabled (see ownership.go): there is one list, it
// gives the owner of the bucket full control, and no other can be set.

func (t *routes) addACL() {
	t.add(onBucket, "GET", "acl", operation{name: "GetBucketAcl", action: "s3:GetBucketAcl", run: answerACL})
	t.add(onBucket, "PUT", "acl", operation{name: "PutBucketAcl", action: "s3:PutBucketAcl", run: putACL, body: bodyXML})
	version := []string{"versionId"}
	t.add(onObject, "GET", "acl", operation{name: "GetObjectAcl", action: "s3:GetObjectAcl", params: version,
		version: []string{"s3:GetObjectAcl", "s3:GetObjectVersionAcl"}, run: ofObject(answerACL)})
	t.add(onObject, "PUT", "acl", operation{name: "PutObjectAcl", action: "s3:PutObjectAcl", params: version,
		version: []string{"s3:PutObjectAcl", "s3:PutObjectVersionAcl"}, run: ofObject(putACL), body: bodyXML})
}

// answerACL answers the one ACL there is with ACLs disabled: the owner's.
func answerACL(r *request) error {
	r.answerXML(s3xml.AppendOwnerACL(nil, &s3xml.Owner{ID: ownerID}))
	return nil
}

// putACL answers PutBucketAcl and PutObjectAcl. ACLs are disabled (Amazon S3 User
// Guide, "Controlling ownership of objects"): setting the one there is changes
// nothing, and clients that copy ACLs do so; any other is refused as by AWS.
func putACL(r *request) error {
	for i := range r.headers.list {
		if strings.HasPrefix(r.headers.list[i].name, "x-amz-grant-") {
			return s3err.AccessControlListNotSupported.New()
		}
	}
	doc, err := r.readXML(s3xml.MaxACL)
	if err != nil {
		return err
	}
	canned, ok := r.headers.get("x-amz-acl")
	switch {
	case ok && len(doc) > 0:
		return s3err.UnexpectedContent.New()
	case ok:
		return refuseHeader("x-amz-acl", strings.TrimSpace(canned))
	case len(doc) == 0:
		return s3err.MissingSecurityHeader.New()
	}
	grants, err := s3xml.DecodeACL(doc)
	if err != nil {
		return s3err.MalformedACL.Because(err)
	}
	if len(grants) != 1 || grants[0] != (s3xml.Grant{ID: ownerID, Permission: "FULL_CONTROL"}) {
		return s3err.AccessControlListNotSupported.New()
	}
	return nil
}
