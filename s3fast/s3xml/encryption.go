package s3xml

import "strings"

// MaxEncryption bounds a ServerSideEncryptionConfiguration, in bytes.
const MaxEncryption = 64 << 10

// Encryption is the one rule of a ServerSideEncryptionConfiguration (API
// Reference, ServerSideEncryptionRule).
type Encryption struct {
	Algorithm string // SSEAlgorithm; "" when ApplyServerSideEncryptionByDefault is absent
	KeyID     string // KMSMasterKeyID, or ""
	BucketKey bool
	Blocked   []string // EncryptionType of BlockedEncryptionTypes
}

// maxBlocked bounds the list of blocked encryption types.
const maxBlocked = 10

// DecodeEncryption decodes a ServerSideEncryptionConfiguration of one rule. What
// its values mean is for the caller to check. ErrMalformed.
func DecodeEncryption(body []byte) (*Encryption, error) {
	var rule *Encryption
	err := document(body, MaxEncryption, "ServerSideEncryptionConfiguration", func(p *parser) error {
		return p.children(func(name string) error {
			if name != "Rule" || rule != nil {
				return malformed("unexpected element in ServerSideEncryptionConfiguration")
			}
			rule = &Encryption{}
			return p.encryptionRule(rule)
		})
	})
	if err == nil && rule == nil {
		err = malformed("no Rule")
	}
	if err != nil {
		return nil, err
	}
	return rule, nil
}

func (p *parser) encryptionRule(rule *Encryption) error {
	seen := seenSet{}
	return p.children(func(name string) error {
		if err := seen.add(name); err != nil {
			return err
		}
		switch name {
		case "ApplyServerSideEncryptionByDefault":
			err := p.fields(map[string]*string{"SSEAlgorithm": &rule.Algorithm, "KMSMasterKeyID": &rule.KeyID})
			if err == nil && rule.Algorithm == "" {
				err = malformed("no SSEAlgorithm")
			}
			return err
		case "BucketKeyEnabled":
			return p.boolean(&rule.BucketKey)
		case "BlockedEncryptionTypes":
			return p.children(func(name string) error {
				if name != "EncryptionType" || len(rule.Blocked) == maxBlocked {
					return malformed("unexpected element in BlockedEncryptionTypes")
				}
				text, err := p.text(shortMax)
				rule.Blocked = append(rule.Blocked, strings.TrimSpace(text))
				return err
			})
		}
		return malformed("unexpected element in Rule")
	})
}

// AppendEncryption encodes a ServerSideEncryptionConfiguration (API Reference,
// GetBucketEncryption).
func AppendEncryption(dst []byte, e *Encryption) []byte {
	dst = root(dst, "ServerSideEncryptionConfiguration")
	dst = append(dst, "<Rule><ApplyServerSideEncryptionByDefault>"...)
	dst = AppendElement(dst, "SSEAlgorithm", e.Algorithm)
	dst = optional(dst, "KMSMasterKeyID", e.KeyID)
	dst = append(dst, "</ApplyServerSideEncryptionByDefault>"...)
	dst = boolean(dst, "BucketKeyEnabled", e.BucketKey)
	return append(dst, "</Rule></ServerSideEncryptionConfiguration>"...)
}
