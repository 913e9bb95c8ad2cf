package s3fast

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// Errors of the methods below; test with errors.Is. Malformed policies are
// policy.ErrMalformed; a bucket that does not exist is the engine's kind NoBucket.
var (
	// ErrPublicPolicyBlocked: the bucket's public access block refuses public
	// policies (S3: AccessDenied).
	ErrPublicPolicyBlocked = errors.New("s3fast: the bucket's public access block refuses public policies")
	ErrBadEncryption       = errors.New("s3fast: not a default encryption")
)

// BucketSettings describes a bucket's settings.
type BucketSettings struct {
	Policy string // preset that the bucket policy equals, "custom", or "none"
	Public bool   // the policy lets everybody in (GetBucketPolicyStatus)
	// PublicAccessBlock names the settings of the public access block that are
	// on, as in its XML: "BlockPublicPolicy" …
	PublicAccessBlock []string
	Ownership         string // "BucketOwnerEnforced", or "none" once removed
	Encryption        string // algorithm of the default encryption, or ""
	EncryptionKey     string // KMS key of the default encryption, or ""
	// Damaged tells which document cannot be read, which closes the bucket; ""
	// is the rule.
	Damaged string
}

// bucketAndSettings looks up what the methods below work on.
func (s *Server) bucketAndSettings(ctx context.Context, bucket string) (b meta.Bucket, set *settings, err error) {
	if b, err = s.cfg.Engine.Bucket(ctx, bucket); err != nil {
		return b, nil, err
	}
	set, err = s.settingsOf(ctx, &b)
	return b, set, err
}

// BucketSettings returns a bucket's settings.
func (s *Server) BucketSettings(ctx context.Context, bucket string) (BucketSettings, error) {
	_, set, err := s.bucketAndSettings(ctx, bucket)
	if err != nil {
		return BucketSettings{}, err
	}
	out := BucketSettings{
		Policy: PolicyPreset(set.policyDoc, bucket), Public: set.public,
		PublicAccessBlock: set.block.names(), Ownership: ownershipEnforced,
	}
	if set.ownership != "" {
		out.Ownership = set.ownership
	}
	if set.encryption != nil {
		out.Encryption, out.EncryptionKey = set.encryption.Algorithm, set.encryption.KeyID
	}
	if set.damaged != nil {
		out.Damaged = set.damaged.Error()
	}
	return out, nil
}

// BucketPolicy returns a bucket's policy as it was given; ok is false when there
// is none. The document must not be changed.
func (s *Server) BucketPolicy(ctx context.Context, bucket string) (doc []byte, ok bool, err error) {
	_, set, err := s.bucketAndSettings(ctx, bucket)
	if err != nil {
		return nil, false, err
	}
	return set.policyDoc, set.policyDoc != nil, nil
}

// SetBucketPolicy gives a bucket a policy of at most policy.MaxSize bytes. It is
// in force for requests that begin after it returns. policy.ErrMalformed,
// ErrPublicPolicyBlocked.
func (s *Server) SetBucketPolicy(ctx context.Context, bucket string, doc []byte) error {
	b, set, err := s.bucketAndSettings(ctx, bucket)
	if err != nil {
		return err
	}
	p, err := policy.ParseBucket(doc, bucket)
	if err != nil {
		return err
	}
	if set.refusesPublic(p) {
		return ErrPublicPolicyBlocked
	}
	return s.changeSetting(ctx, &b, docPolicy, doc)
}

// DeleteBucketPolicy removes a bucket's policy; there need be none.
func (s *Server) DeleteBucketPolicy(ctx context.Context, bucket string) error {
	b, err := s.cfg.Engine.Bucket(ctx, bucket)
	if err != nil {
		return err
	}
	return s.changeSetting(ctx, &b, docPolicy, nil)
}

// SetBucketEncryption sets the default encryption of a bucket's new objects:
// algorithm "AES256", or "aws:kms" with a KMS key's id ("" is the default key),
// or "" to remove it. ErrBadEncryption.
func (s *Server) SetBucketEncryption(ctx context.Context, bucket, algorithm, keyID string) error {
	b, err := s.cfg.Engine.Bucket(ctx, bucket)
	if err != nil {
		return err
	}
	if algorithm == "" && keyID == "" {
		return s.changeSetting(ctx, &b, docEncryption, nil)
	}
	rule := encryptionRule{Algorithm: algorithm, KeyID: keyID}
	if err := rule.check(); err != nil {
		return err
	}
	value, err := json.Marshal(rule)
	if err != nil {
		return err
	}
	return s.changeSetting(ctx, &b, docEncryption, value)
}

// refusesPublic tells whether the public access block refuses a policy.
func (set *settings) refusesPublic(p *policy.Policy) bool {
	return set.block != nil && set.block.BlockPublicPolicy && p.IsPublic()
}

// ErrNoSetting: a document of a bucket that is none of its settings.
var ErrNoSetting = errors.New("s3fast: no setting of a bucket")

// CheckSetting judges a settings document of a bucket as it is stored.
// ErrNoSetting, or what is wrong with it.
func CheckSetting(bucket, doc string, value []byte) error {
	switch {
	case !isSetting(doc):
		return ErrNoSetting
	case doc == docParity:
		return CheckParityDocument(value)
	case doc == docPerformance:
		_, err := decodePerformance(value)
		return err
	}
	return new(settings).add(doc, value, bucket)
}

// ImportSetting stores a settings document of a bucket that CheckSetting accepts. It
// is in force for requests that begin after it returns. Errors: CheckSetting's, and
// those of engine.Docs.
func (s *Server) ImportSetting(ctx context.Context, bucket, doc string, value []byte) error {
	if err := CheckSetting(bucket, doc, value); err != nil {
		return err
	}
	b, err := s.cfg.Engine.Bucket(ctx, bucket)
	if err != nil {
		return err
	}
	return s.changeSetting(ctx, &b, doc, value)
}
