package iam

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// Documents. All are JSON objects; a field that is not listed, or another
// version, is refused, so that an older program does not drop what a newer one
// stored. Times are RFC 3339, UTC; boxes are base64 of seal.Key boxes. A field is
// left out when it is empty, unless marked (*).
//
// "users/NAME", version 2 (groups, service accounts and the key of sessions:
// document_account.go):
//
//	v*         2
//	name*      the name again: a document copied elsewhere is noticed
//	role*      "clusteradmin", "orgadmin", "regular", "readonly", "s3"
//	id*        16 characters of base32, random: what service accounts and sessions
//	           of this user name, and no later user of the same name has
//	policies   names of the attached policies, at most MaxAttached; role s3 only
//	groups     names of the user's groups, at most MaxMemberships; role s3 only
//	disabled   true: may neither log in nor sign
//	revoked    number: sessions issued under a lower one have ended
//	created*, modified*
//	key        fingerprint of the key of the boxes here; role s3 only
//	secret     role s3*: box of the secret key, for the context "user/NAME/secret"
//	hash       other roles*: "$argon2id$…", see password.go
//	keys       access keys, at most MaxAccessKeys; role s3 only: objects of
//	  id*        "AK…", 20 characters
//	  disabled   true: may not sign
//	  created*
//	  secret*    box, for the context "user/NAME/key/ID"
//
// Version 1 has policy, a single name, in place of policies, and none of id,
// groups, disabled, revoked, key and keys. Its id follows from name and created.
// It is read, and becomes version 2 with the next change of the user.
//
// "policies/NAME", version 1:
//
//	v*         1
//	name*      the name again
//	document*  the policy document as it was given, a string
//	created*
const (
	userVersion   = 2
	policyVersion = 1
	userDocs      = "users/"
	policyDocs    = "policies/"
)

type userDoc struct {
	V        int       `json:"v"`
	Name     string    `json:"name"`
	Role     Role      `json:"role"`
	ID       string    `json:"id,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Policies []string  `json:"policies,omitempty"`
	Groups   []string  `json:"groups,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
	Revoked  uint64    `json:"revoked,omitempty"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	Key      string    `json:"key,omitempty"`
	Secret   []byte    `json:"secret,omitempty"`
	Hash     string    `json:"hash,omitempty"`
	Keys     []keyDoc  `json:"keys,omitempty"`
}

type keyDoc struct {
	ID       string    `json:"id"`
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created"`
	Secret   []byte    `json:"secret"`
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
	set        policy.Set // compiled alone
	predefined bool
	created    time.Time
	rev        int64
}

func secretContext(user string) string { return "user/" + user + "/secret" }

// userKeys is the context of a user's access keys, before their ids.
func userKeys(user string) string { return "user/" + user + "/key/" }

func encodeUser(u *userEntry, key *seal.Key) ([]byte, error) {
	d := userDocument(u, key)
	return json.Marshal(&d)
}

// userDocument makes the document, with a nil key one without secrets: see export.go.
func userDocument(u *userEntry, key *seal.Key) userDoc {
	d := userDoc{
		V: userVersion, Name: u.Name, Role: u.Role, ID: u.id, Policies: u.Policies, Groups: u.Groups,
		Disabled: u.Disabled, Revoked: u.revoked, Created: u.Created, Modified: u.Modified,
	}
	if key == nil {
		return d
	}
	d.Hash, d.Keys = u.hash, sealKeys(userKeys(u.Name), u.keys, key)
	if u.Role == S3 {
		d.Key = key.Fingerprint()
		d.Secret = key.Seal(secretContext(u.Name), []byte(u.secret))
	}
	return d
}

// derivedID is the id of a user whose document has version 1.
func derivedID(name string, created time.Time) string {
	sum := sha256.Sum256([]byte("sluice/iam/1/user\x00" + name + "\x00" + created.UTC().Format(time.RFC3339Nano)))
	return base32.StdEncoding.EncodeToString(sum[:])[:idLen]
}

// upgrade makes a document of version 1 one of version 2.
func (d *userDoc) upgrade() error {
	if d.ID != "" || d.Policies != nil || d.Groups != nil || d.Disabled || d.Revoked != 0 || d.Key != "" || d.Keys != nil {
		return errors.New("fields of version 2 in version 1")
	}
	if d.Policy != "" {
		d.Policies, d.Policy = []string{d.Policy}, ""
	}
	d.ID = derivedID(d.Name, d.Created)
	return nil
}

// check checks a document of version 2, but for its boxes.
func (d *userDoc) check(path string) error {
	role, err := ParseRole(string(d.Role))
	s3 := role == S3
	switch {
	case d.Name != strings.TrimPrefix(path, userDocs) || checkUserName(d.Name) != nil:
		return errors.New("name differs from path")
	case err != nil || role != d.Role:
		return errors.New("role")
	case len(d.ID) != idLen || !isBase32(d.ID):
		return errors.New("id")
	case d.Policy != "":
		return errors.New("field of version 1 in version 2")
	case s3 != (len(d.Secret) > 0) || s3 == (d.Hash != ""):
		return errors.New("secret and role do not agree")
	case !s3 && (len(d.Policies) > 0 || len(d.Groups) > 0 || len(d.Keys) > 0 || d.Key != ""):
		return errors.New("policy and role do not agree")
	}
	if err := checkNames(d.Policies, MaxAttached, checkPolicyName); err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	if err := checkNames(d.Groups, MaxMemberships, checkGroupName); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if !s3 {
		_, err = parseHash(d.Hash)
	}
	return err
}

// checkNames checks a list of different names.
func checkNames(names []string, most int, check func(string) error) error {
	if len(names) > most {
		return fmt.Errorf("more than %d", most)
	}
	for i, name := range names {
		if err := check(name); err != nil {
			return err
		}
		for _, before := range names[:i] {
			if before == name {
				return errors.New("a name twice")
			}
		}
	}
	return nil
}

// decodeUser returns an entry without its identity. ErrCorrupt; seal.ErrOpen when
// a box does not open and nothing says that it was sealed with this key.
func decodeUser(path string, value []byte, rev int64, key *seal.Key) (*userEntry, error) {
	var d userDoc
	if err := strictJSON(value, &d); err != nil {
		return nil, corrupt(path, err.Error())
	}
	var err error
	switch d.V {
	case 1:
		err = d.upgrade()
	case userVersion:
	default:
		err = fmt.Errorf("version %d", d.V)
	}
	if err == nil {
		err = d.check(path)
	}
	if err != nil {
		return nil, corrupt(path, err.Error())
	}
	u := &userEntry{
		User: User{
			Name: d.Name, Role: d.Role, Policies: d.Policies, Groups: d.Groups, Disabled: d.Disabled,
			Created: d.Created, Modified: d.Modified,
		},
		rev: rev, id: d.ID, revoked: d.Revoked, hash: d.Hash,
	}
	u.setPolicies(d.Policies)
	if d.Role == S3 {
		plain, err := openBox(path, key, d.Key, secretContext(d.Name), d.Secret)
		if err != nil {
			return nil, err
		}
		u.secret = string(plain)
	}
	if u.keys, err = openKeys(path, key, d.Key, userKeys(d.Name), d.Keys); err != nil {
		return nil, err
	}
	return u, nil
}

// setPolicies sets the policies and what follows from them. names must not be
// changed any more.
func (u *userEntry) setPolicies(names []string) {
	u.Policies, u.Policy = names, ""
	if len(names) > 0 {
		u.Policy = names[0]
	}
}

// openBox opens a box of the document at path. fingerprint is of the key it was
// sealed with, as far as the document tells.
func openBox(path string, key *seal.Key, fingerprint, context string, box []byte) ([]byte, error) {
	plain, err := key.Open(context, box)
	switch {
	case err == nil:
		return plain, nil
	case fingerprint == key.Fingerprint():
		return nil, corrupt(path, "a secret does not open")
	}
	return nil, fmt.Errorf("iam: the secret in %s cannot be read, is this the key file of this cluster? %w", path, err)
}

func sealKeys(context string, keys []secretKey, key *seal.Key) []keyDoc {
	var out []keyDoc
	for _, k := range keys {
		out = append(out, keyDoc{k.ID, k.Disabled, k.Created, key.Seal(context+k.ID, []byte(k.secret))})
	}
	return out
}

func openKeys(path string, key *seal.Key, fingerprint, context string, docs []keyDoc) ([]secretKey, error) {
	if len(docs) > MaxAccessKeys {
		return nil, corrupt(path, "too many access keys")
	}
	var out []secretKey
	for i, d := range docs {
		if !isKey(keyPrefix, d.ID) || i > 0 && docs[0].ID == d.ID {
			return nil, corrupt(path, "access key id")
		}
		plain, err := openBox(path, key, fingerprint, context+d.ID, d.Secret)
		if err != nil {
			return nil, err
		}
		out = append(out, secretKey{AccessKey{d.ID, d.Disabled, d.Created}, string(plain)})
	}
	return out, nil
}

func encodePolicy(p *storedPolicy) ([]byte, error) {
	return json.Marshal(&policyDoc{V: policyVersion, Name: p.name, Document: p.document, Created: p.created})
}

func decodePolicy(path string, value []byte, rev int64) (*storedPolicy, error) {
	var d policyDoc
	if err := strictJSON(value, &d); err != nil {
		return nil, corrupt(path, err.Error())
	}
	_, predefined := policy.Predefined(d.Name)
	switch {
	case d.V != policyVersion:
		return nil, corrupt(path, fmt.Sprintf("version %d", d.V))
	case d.Name != strings.TrimPrefix(path, policyDocs) || checkPolicyName(d.Name) != nil:
		return nil, corrupt(path, "name differs from path")
	case predefined:
		return nil, corrupt(path, "bears the name of a predefined policy")
	}
	compiled, err := policy.Parse([]byte(d.Document))
	if err != nil {
		return nil, corrupt(path, err.Error())
	}
	return &storedPolicy{
		name: d.Name, document: d.Document, compiled: compiled, set: policy.Set{compiled}, created: d.Created, rev: rev,
	}, nil
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
