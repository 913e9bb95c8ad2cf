package s3xml

import "strings"

// Limits of an AccessControlPolicy document (Amazon S3 User Guide, "Access
// control list overview").
const (
	MaxACL    = 256 << 10 // bytes
	MaxGrants = 100
)

// Grant is one grant of an access control list. One of ID, Email and URI names
// the grantee.
type Grant struct {
	ID         string // canonical user id
	Email      string
	URI        string // of a group
	Permission string // "FULL_CONTROL", "READ"…; not checked
}

// DecodeACL decodes an AccessControlPolicy (API Reference, PutObjectAcl) of
// 0…MaxGrants grants. ErrMalformed.
func DecodeACL(body []byte) ([]Grant, error) {
	grants := []Grant{}
	err := document(body, MaxACL, "AccessControlPolicy", func(p *parser) error {
		return p.children(func(name string) error {
			switch name {
			case "Owner":
				return p.fields(map[string]*string{"ID": new(string), "DisplayName": new(string)})
			case "AccessControlList":
				return p.children(func(name string) error {
					if name != "Grant" || len(grants) == MaxGrants {
						return malformed("unexpected element in AccessControlList")
					}
					g, err := p.grant()
					grants = append(grants, g)
					return err
				})
			}
			return malformed("unexpected element in AccessControlPolicy")
		})
	})
	if err != nil {
		return nil, err
	}
	return grants, nil
}

func (p *parser) grant() (g Grant, err error) {
	err = p.children(func(name string) error {
		switch name {
		case "Grantee":
			return p.fields(map[string]*string{"ID": &g.ID, "DisplayName": new(string),
				"EmailAddress": &g.Email, "URI": &g.URI})
		case "Permission":
			text, err := p.text(shortMax)
			g.Permission = strings.TrimSpace(text)
			return err
		}
		return malformed("unexpected element in Grant")
	})
	if err == nil && (g.Permission == "" || g.ID == "" && g.Email == "" && g.URI == "") {
		err = malformed("Grant without grantee or permission")
	}
	return g, err
}

// fields reads children that hold text only, each at most once.
func (p *parser) fields(into map[string]*string) error {
	seen := seenSet{}
	return p.children(func(name string) error {
		v, ok := into[name]
		if !ok {
			return malformed("unexpected element")
		}
		if err := seen.add(name); err != nil {
			return err
		}
		text, err := p.text(textMax)
		*v = strings.TrimSpace(text)
		return err
	})
}
