package s3fast

import (
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// Object ownership (Amazon S3 User Guide, "Controlling ownership of objects").
// Every bucket has ACLs disabled, AWS's default since 2023: that is what
// BucketOwnerEnforced says, and what is told of a bucket for which nothing was
// put. BucketOwnerPreferred and ObjectWriter would bring ACLs into force and are
// refused (NotImplemented), since accepting them would promise what is not so.
// Once the controls are deleted there is nothing to get; ACLs stay disabled.
const (
	ownershipEnforced = "BucketOwnerEnforced"
	ownershipNone     = "none" // removed by DeleteBucketOwnershipControls
)

// getOwnershipControls answers GetBucketOwnershipControls.
func getOwnershipControls(r *request) error {
	if err := r.settings.damaged; err != nil {
		return s3err.InternalError.Because(err)
	}
	if r.settings.ownership == ownershipNone {
		return s3err.OwnershipControlsNotFound.With("BucketName", r.bucket)
	}
	r.answerXML(s3xml.AppendOwnershipControls(nil, ownershipEnforced))
	return nil
}

// putOwnershipControls answers PutBucketOwnershipControls.
func putOwnershipControls(r *request) error {
	doc, err := r.readXML(s3xml.MaxOwnership)
	if err != nil {
		return err
	}
	if len(doc) == 0 {
		return s3err.MissingRequestBody.New()
	}
	rule, err := s3xml.DecodeOwnershipControls(doc)
	if err != nil {
		return err
	}
	if err := checkOwnership(rule); err != nil {
		return err
	}
	return r.s.changeSetting(r.context(), &r.b, docOwnership, []byte(rule))
}

// deleteOwnershipControls answers DeleteBucketOwnershipControls.
func deleteOwnershipControls(r *request) error {
	if err := r.s.changeSetting(r.context(), &r.b, docOwnership, []byte(ownershipNone)); err != nil {
		return err
	}
	return noContent(r)
}

// checkOwnership refuses what is not BucketOwnerEnforced. Errors: NotImplemented,
// MalformedXML.
func checkOwnership(rule string) error {
	switch rule {
	case ownershipEnforced:
		return nil
	case "BucketOwnerPreferred", "ObjectWriter":
		return s3err.NotImplemented.Say("Access control lists are disabled: BucketOwnerEnforced is the only object ownership.")
	}
	return s3err.MalformedXML.New()
}
