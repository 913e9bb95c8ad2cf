package iam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// Documents, version 1. All are JSON objects; a field that is not listed, or
// another version, is refused, so that an older program does not drop what a
// newer one stored.
//
// "users/NAME":
//
//	v         1
//	name      the name again: a document copied elsewhere is noticed
//	role      "clusteradmin", "orgadmin", "regular", "readonly", "s3"
//	policy    name of the attached policy; left out if none
//	created   RFC 3339, UTC
//	modified  RFC 3339, UTC
//	secret    role s3: base64 of the seal.Key box of the secret key, sealed for
//	          the context "user/NAME/secret"
//	hash      other roles: "$argon2id$…", see password.go
//
// "policies/NAME":
//
//	v         1
//	name      the name again
//	document  the policy document as it was given, a string
//	created   RFC 3339, UTC
const (
	docVersion   = 1
	userPrefix   = "users/"
	policyPrefix = "policies/"
)

type userDoc struct {
	V        int       `json:"v"`
	Name     string    `json:"name"`
	Role     Role      `json:"role"`
	Policy   string    `json:"policy,omitempty"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	Secret   []byte    `json:"secret,omitempty"`
	Hash     string    `json:"hash,omitempty"`
}

type policyDoc struct {
	V        int       `json:"v"`
	Name     string    `json:"name"`
	Document string    `json:"document"`
	Created  time.Time `json:"created"`
}

// storedPolicy is a policy as kept in memory. It is immutable.
type storedPolicy struct {
	name       string
	document   string
	compiled   *policy.Policy
	predefined bool
	created    time.Time
	rev        int64
}

func secretContext(user string) string { return "user/" + user + "/secret" }

func encodeUser(u *userEntry, key *seal.Key) ([]byte, error) {
	d := userDoc{
		V: docVersion, Name: u.Name, Role: u.Role, Policy: u.Policy,
		Created: u.Created, Modified: u.Modified, Hash: u.hash,
	}
	if u.Role == S3 {
		d.Secret = key.Seal(secretContext(u.Name), []byte(u.secret))
	}
	return json.Marshal(&d)
}

// decodeUser returns an entry without its identity.
func decodeUser(path string, value []byte, rev int64, key *seal.Key) (*userEntry, error) {
	var d userDoc
	if err := strictJSON(value, &d); err != nil {
		return nil, corrupt(path, err.Error())
	}
	role, err := ParseRole(string(d.Role))
	switch {
	case d.V != docVersion:
		return nil, corrupt(path, fmt.Sprintf("version %d", d.V))
	case d.Name != strings.TrimPrefix(path, userPrefix) || checkUserName(d.Name) != nil:
		return nil, corrupt(path, "name differs from path")
	case err != nil || role != d.Role:
		return nil, corrupt(path, "role")
	case (role == S3) != (len(d.Secret) > 0) || (role == S3) == (d.Hash != ""):
		return nil, corrupt(path, "secret and role do not agree")
	case role != S3 && d.Policy != "":
		return nil, corrupt(path, "policy and role do not agree")
	}
	u := &userEntry{
		User: User{Name: d.Name, Role: role, Policy: d.Policy, Created: d.Created, Modified: d.Modified},
		rev:  rev, hash: d.Hash,
	}
	if role == S3 {
		plain, err := key.Open(secretContext(d.Name), d.Secret)
		if err != nil {
			return nil, fmt.Errorf("iam: the secret in %s cannot be read, is this the key file of this cluster? %w", path, err)
		}
		u.secret = string(plain)
	} else if _, err := parseHash(d.Hash); err != nil {
		return nil, corrupt(path, err.Error())
	}
	return u, nil
}

func encodePolicy(p *storedPolicy) ([]byte, error) {
	return json.Marshal(&policyDoc{V: docVersion, Name: p.name, Document: p.document, Created: p.created})
}

func decodePolicy(path string, value []byte, rev int64) (*storedPolicy, error) {
	var d policyDoc
	if err := strictJSON(value, &d); err != nil {
		return nil, corrupt(path, err.Error())
	}
	_, predefined := policy.Predefined(d.Name)
	switch {
	case d.V != docVersion:
		return nil, corrupt(path, fmt.Sprintf("version %d", d.V))
	case d.Name != strings.TrimPrefix(path, policyPrefix) || checkPolicyName(d.Name) != nil:
		return nil, corrupt(path, "name differs from path")
	case predefined:
		return nil, corrupt(path, "bears the name of a predefined policy")
	}
	compiled, err := policy.Parse([]byte(d.Document))
	if err != nil {
		return nil, corrupt(path, err.Error())
	}
	return &storedPolicy{name: d.Name, document: d.Document, compiled: compiled, created: d.Created, rev: rev}, nil
}

func strictJSON(value []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if dec.More() {
		return fmt.Errorf("data after the document")
	}
	return nil
}

func corrupt(path, why string) error { return fmt.Errorf("%w: %s: %s", ErrCorrupt, path, why) }
