package s3xml

// Sizes of the documents below, in bytes.
const (
	MaxPublicAccess = 16 << 10
	MaxOwnership    = 16 << 10
)

// AppendPolicyStatus encodes a PolicyStatus (API Reference,
// GetBucketPolicyStatus).
func AppendPolicyStatus(dst []byte, public bool) []byte {
	dst = root(dst, "PolicyStatus")
	dst = boolean(dst, "IsPublic", public)
	return append(dst, "</PolicyStatus>"...)
}

// PublicAccessBlock is a PublicAccessBlockConfiguration.
type PublicAccessBlock struct {
	BlockPublicAcls       bool
	IgnorePublicAcls      bool
	BlockPublicPolicy     bool
	RestrictPublicBuckets bool
}

// AppendPublicAccessBlock encodes a PublicAccessBlockConfiguration (API
// Reference, GetPublicAccessBlock).
func AppendPublicAccessBlock(dst []byte, b *PublicAccessBlock) []byte {
	dst = root(dst, "PublicAccessBlockConfiguration")
	dst = boolean(dst, "BlockPublicAcls", b.BlockPublicAcls)
	dst = boolean(dst, "IgnorePublicAcls", b.IgnorePublicAcls)
	dst = boolean(dst, "BlockPublicPolicy", b.BlockPublicPolicy)
	dst = boolean(dst, "RestrictPublicBuckets", b.RestrictPublicBuckets)
	return append(dst, "</PublicAccessBlockConfiguration>"...)
}

// DecodePublicAccessBlock decodes a PublicAccessBlockConfiguration. What is left
// out is off. ErrMalformed.
func DecodePublicAccessBlock(body []byte) (*PublicAccessBlock, error) {
	b := &PublicAccessBlock{}
	into := map[string]*bool{
		"BlockPublicAcls": &b.BlockPublicAcls, "IgnorePublicAcls": &b.IgnorePublicAcls,
		"BlockPublicPolicy": &b.BlockPublicPolicy, "RestrictPublicBuckets": &b.RestrictPublicBuckets,
	}
	err := document(body, MaxPublicAccess, "PublicAccessBlockConfiguration", func(p *parser) error {
		seen := seenSet{}
		return p.children(func(name string) error {
			v, ok := into[name]
			if !ok {
				return malformed("unexpected element in PublicAccessBlockConfiguration")
			}
			if err := seen.add(name); err != nil {
				return err
			}
			return p.boolean(v)
		})
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// AppendOwnershipControls encodes an OwnershipControls document of one rule (API
// Reference, GetBucketOwnershipControls).
func AppendOwnershipControls(dst []byte, ownership string) []byte {
	dst = root(dst, "OwnershipControls")
	dst = append(dst, "<Rule>"...)
	dst = AppendElement(dst, "ObjectOwnership", ownership)
	return append(dst, "</Rule></OwnershipControls>"...)
}

// DecodeOwnershipControls decodes an OwnershipControls document, which has
// exactly one rule, and returns its ObjectOwnership for the caller to check.
// ErrMalformed.
func DecodeOwnershipControls(body []byte) (ownership string, err error) {
	err = document(body, MaxOwnership, "OwnershipControls", func(p *parser) error {
		return p.children(func(name string) error {
			if name != "Rule" || ownership != "" {
				return malformed("unexpected element in OwnershipControls")
			}
			if err := p.fields(map[string]*string{"ObjectOwnership": &ownership}); err != nil {
				return err
			}
			if ownership == "" {
				return malformed("Rule without ObjectOwnership")
			}
			return nil
		})
	})
	if err == nil && ownership == "" {
		err = malformed("no Rule")
	}
	if err != nil {
		return "", err
	}
	return ownership, nil
}
