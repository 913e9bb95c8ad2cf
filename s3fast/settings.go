package s3fast

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// Documents of a bucket that hold its settings.
const (
	docPolicy       = "policy"              // the bucket policy, JSON as given
	docPublicAccess = "public-access-block" // JSON of publicAccessBlock
	docOwnership    = "ownership"           // ownershipEnforced or ownershipNone
	docEncryption   = "encryption"          // JSON of encryptionRule
)

// settings are a bucket's settings, compiled. They are immutable; a change makes
// new ones.
//
// A document that cannot be read (damaged, or written by a newer version) might
// have held a Deny, so nobody is let in on the strength of the others: while
// damaged is set every operation on the bucket and its objects is denied, but
// those that read or replace these very settings (see repairs), which are
// decided by the identity's own policies alone. The admin socket asks no policy
// and can always repair.
type settings struct {
	policy     *policy.Policy // nil: none
	policyDoc  []byte
	policySize int  // memory that policy takes, bytes
	public     bool // the policy is public (GetBucketPolicyStatus)
	block      *publicAccessBlock
	ownership  string          // "": not set, which is ownershipEnforced
	encryption *encryptionRule // nil: not set
	parity     int             // of new objects, as engine.PutRequest has it
	damaged    error           // a document cannot be read, and why

	performance bucketPerformance
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

// Algorithms of encryptionRule.
const (
	encryptS3  = "AES256"
	encryptKMS = "aws:kms"
)

// plainSettings are those of every bucket without a document. They are never
// changed.
var plainSettings = &settings{}

// settingsOf returns the settings of a bucket. Once read they come from memory,
// without allocation, until changeSetting or the bucket's end. Errors: those of
// engine.Docs.List.
func (s *Server) settingsOf(ctx context.Context, b *meta.Bucket) (*settings, error) {
	set, turn := s.settings.get(b.ID)
	if set != nil {
		return set, nil
	}
	set, err := s.loadSettings(ctx, b)
	if err != nil {
		return nil, err
	}
	s.settings.put(b.ID, set, turn)
	return set, nil
}

// loadSettings reads and compiles the documents of a bucket. Documents of other
// names are other parts' business.
func (s *Server) loadSettings(ctx context.Context, b *meta.Bucket) (*settings, error) {
	docs, err := s.cfg.Engine.Docs(b.Name).List(ctx, "")
	if err != nil {
		return nil, err
	}
	var set *settings
	for i := range docs {
		if !isSetting(docs[i].Path) {
			continue
		}
		if set == nil {
			set = &settings{}
		}
		switch docs[i].Path {
		case docParity:
			if set.parity, err = decodeParity(docs[i].Value); err != nil {
				s.cfg.Logger.Error("a bucket's parity cannot be read: its objects get the cluster's", "bucket", b.Name, "error", err)
			}
			continue
		case docPerformance:
			if set.performance, err = decodePerformance(docs[i].Value); err != nil {
				s.cfg.Logger.Error("a bucket's performance settings cannot be read: what is written is verified and gets an MD5", "bucket", b.Name, "error", err)
			}
			continue
		}
		if err := set.add(docs[i].Path, docs[i].Value, b.Name); err != nil {
			set.damaged = fmt.Errorf("setting %s: %w", docs[i].Path, err)
			s.cfg.Logger.Error("a bucket's setting cannot be read: the bucket is closed until it is replaced",
				"bucket", b.Name, "setting", docs[i].Path, "error", err)
		}
	}
	if set == nil {
		return plainSettings, nil
	}
	return set, nil
}

func isSetting(path string) bool {
	switch path {
	case docPolicy, docPublicAccess, docOwnership, docEncryption, docParity, docPerformance:
		return true
	}
	return false
}

// add compiles one document into the settings.
func (set *settings) add(path string, value []byte, bucket string) (err error) {
	switch path {
	case docPolicy:
		set.policyDoc = value
		if set.policy, err = policy.ParseBucket(value, bucket); err == nil {
			set.public, set.policySize = set.policy.IsPublic(), set.policy.Size()
		}
	case docPublicAccess:
		block := new(publicAccessBlock)
		if err = decodeSetting(value, block); err == nil {
			set.block = block
		}
	case docOwnership:
		switch string(value) {
		case ownershipEnforced, ownershipNone:
			set.ownership = string(value)
		default:
			err = errors.New("unknown object ownership")
		}
	case docEncryption:
		rule := new(encryptionRule)
		if err = decodeSetting(value, rule); err == nil {
			err = rule.check()
		}
		if err == nil {
			set.encryption = rule
		}
	}
	return err
}

// decodeSetting decodes one JSON object of exactly the fields of v: a field of a
// newer version may change what the others mean.
func decodeSetting(value []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("data after the document")
	}
	return nil
}

// maxKeyID bounds the name of a KMS key in bytes (AWS KMS API Reference, KeyId).
const maxKeyID = 2048

// check tells what is wrong with a rule. ErrBadEncryption.
func (e *encryptionRule) check() error {
	switch {
	case e.Algorithm != encryptS3 && e.Algorithm != encryptKMS:
		return fmt.Errorf("%w: algorithm is not AES256 or aws:kms", ErrBadEncryption)
	case e.KeyID != "" && e.Algorithm != encryptKMS:
		return fmt.Errorf("%w: only aws:kms takes a key", ErrBadEncryption)
	case len(e.KeyID) > maxKeyID:
		return fmt.Errorf("%w: key id longer than %d bytes", ErrBadEncryption, maxKeyID)
	}
	return nil
}

// changeSetting stores a settings document, or removes it when value is nil
// (there need be none); it is in force for every request that begins after it
// returns. Errors: those of engine.Docs.
func (s *Server) changeSetting(ctx context.Context, b *meta.Bucket, doc string, value []byte) error {
	return s.changeSettingAt(ctx, b, doc, value, -1)
}

// changeSettingAt is changeSetting of a document that has the revision rev: -1 any,
// 0 none. engine.Conflict when it has another.
func (s *Server) changeSettingAt(ctx context.Context, b *meta.Bucket, doc string, value []byte, rev int64) error {
	docs := s.cfg.Engine.Docs(b.Name)
	var err error
	if value == nil {
		if err = docs.Delete(ctx, doc, rev); engine.KindOf(err) == engine.NoDoc {
			err = nil
		}
	} else {
		_, err = docs.Put(ctx, doc, value, rev)
	}
	// After a failure too: the change may have happened all the same.
	s.settings.forget(b.ID)
	// Documents are stored by the bucket's name, which may by now be that of a
	// bucket made since b was looked up.
	if now, lookup := s.cfg.Engine.Bucket(ctx, b.Name); lookup == nil && now.ID != b.ID {
		s.settings.forget(now.ID)
	}
	return err
}
