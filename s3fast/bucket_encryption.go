package s3fast

import (
	"encoding/json"

	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// addEncryption adds the default encryption of buckets.
func (t *routes) addEncryption() {
	t.add(onBucket, "GET", "encryption", operation{name: "GetBucketEncryption",
		action: "s3:GetEncryptionConfiguration", run: getBucketEncryption})
	t.add(onBucket, "PUT", "encryption", operation{name: "PutBucketEncryption",
		action: "s3:PutEncryptionConfiguration", run: putBucketEncryption, body: bodyXML})
	t.add(onBucket, "DELETE", "encryption", operation{name: "DeleteBucketEncryption",
		action: "s3:PutEncryptionConfiguration", run: deleteBucketEncryption})
}

// getBucketEncryption answers GetBucketEncryption: the bucket's rule, else what the
// cluster does, which on an encrypted one is SSE-S3, as with AWS since 2023.
func getBucketEncryption(r *request) error {
	set, err := r.s.settingsOf(r.context(), &r.b)
	if err != nil {
		return err
	}
	rule := set.encryption
	switch {
	case rule == nil && r.s.encrypts():
		rule = &encryptionRule{Algorithm: encryptS3}
	case rule == nil:
		return s3err.EncryptionConfigurationNotFound.With("BucketName", r.bucket)
	}
	r.answerXML(s3xml.AppendEncryption(nil, &s3xml.Encryption{
		Algorithm: rule.Algorithm, KeyID: rule.KeyID, BucketKey: rule.BucketKey,
	}))
	return nil
}

// putBucketEncryption answers PutBucketEncryption. Objects that are there already
// stay as they are.
func putBucketEncryption(r *request) error {
	doc, err := r.readXML(s3xml.MaxEncryption)
	if err != nil {
		return err
	}
	if len(doc) == 0 {
		return s3err.MissingRequestBody.New()
	}
	in, err := s3xml.DecodeEncryption(doc)
	if err != nil {
		return err
	}
	rule, err := r.s.bucketRule(in)
	if err != nil {
		return err
	}
	value, err := json.Marshal(rule)
	if err != nil {
		return err
	}
	return r.s.changeSetting(r.context(), &r.b, docEncryption, value)
}

// bucketRule checks a rule (API Reference, ServerSideEncryptionByDefault). Errors:
// MalformedXML, InvalidArgument, NotImplemented (two layers; blocking SSE-C),
// KMS.NotFoundException (a rule that no object could be stored under).
func (s *Server) bucketRule(in *s3xml.Encryption) (*encryptionRule, error) {
	for _, kind := range in.Blocked {
		if kind != "NONE" {
			return nil, s3err.NotImplemented.Say("Blocking encryption types is not implemented: NONE is the only BlockedEncryptionTypes.")
		}
	}
	rule := &encryptionRule{Algorithm: in.Algorithm, KeyID: in.KeyID, BucketKey: in.BucketKey}
	switch rule.Algorithm {
	case "": // only the bucket key is told: the base level of encryption
		rule.Algorithm = encryptS3
	case encryptS3, encryptKMS:
	case sseDSSE:
		return nil, s3err.NotImplemented.Say("Dual-layer encryption (aws:kms:dsse) is not implemented.")
	default:
		return nil, s3err.MalformedXML.New()
	}
	switch {
	case rule.Algorithm == encryptS3 && rule.KeyID != "":
		return nil, s3err.InvalidArgument.Say("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse")
	case len(rule.KeyID) > maxKeyID || !headerSafe(rule.KeyID):
		return nil, s3err.InvalidArgument.Say("The KMSMasterKeyID is invalid.")
	case s.cfg.Keys == nil:
		return nil, errNoKeys
	}
	return rule, nil
}

// deleteBucketEncryption answers DeleteBucketEncryption; removing what is not set
// succeeds.
func deleteBucketEncryption(r *request) error {
	if err := r.s.changeSetting(r.context(), &r.b, docEncryption, nil); err != nil {
		return err
	}
	return noContent(r)
}
