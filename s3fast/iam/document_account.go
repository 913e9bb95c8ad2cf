package iam

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// Documents of groups, service accounts and sessions, version 1. The rules of
// document.go hold.
//
// "groups/NAME" (who is a member is told by the users' documents):
//
//	v*         1
//	name*      the name again
//	policies   names of the attached policies, at most MaxAttached
//	created*, modified*
//
// "service-accounts/ID":
//
//	v*         1
//	id*        "SA…", 20 characters: the id again
//	owner*     name of the user it belongs to
//	owner_id*  id of that user: without a user of both it has no power
//	name       free text
//	policy     the narrowing policy's document as it was given, a string
//	expires    when it ends
//	disabled   true: may not sign
//	created*, modified*
//	key*       fingerprint of the key of the boxes here
//	keys       as a user's, for the context "service-account/ID/key/KEY"
//
// "iam/session-key": what sessions are made with, see token.go
//
//	v*         1
//	created*
//	key*       fingerprint of the key of the box here
//	secret*    box of 32 random bytes, for the context "iam/session-key"
const (
	accountVersion = 1
	groupVersion   = 1
	masterVersion  = 1
	groupDocs      = "groups/"
	accountDocs    = "service-accounts/"
	masterDoc      = "iam/session-key"
)

type groupDoc struct {
	V        int       `json:"v"`
	Name     string    `json:"name"`
	Policies []string  `json:"policies,omitempty"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
}

type accountDoc struct {
	V        int       `json:"v"`
	ID       string    `json:"id"`
	Owner    string    `json:"owner"`
	OwnerID  string    `json:"owner_id"`
	Name     string    `json:"name,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	Key      string    `json:"key"`
	Keys     []keyDoc  `json:"keys,omitempty"`
}

type masterKeyDoc struct {
	V       int       `json:"v"`
	Created time.Time `json:"created"`
	Key     string    `json:"key"`
	Secret  []byte    `json:"secret"`
}

func encodeGroup(g *groupEntry) ([]byte, error) {
	return json.Marshal(&groupDoc{V: groupVersion, Name: g.Name, Policies: g.Policies, Created: g.Created, Modified: g.Modified})
}

func decodeGroup(path string, value []byte, rev int64) (*groupEntry, error) {
	var d groupDoc
	if err := strictJSON(value, &d); err != nil {
		return nil, corrupt(path, err.Error())
	}
	switch {
	case d.V != groupVersion:
		return nil, corrupt(path, fmt.Sprintf("version %d", d.V))
	case d.Name != strings.TrimPrefix(path, groupDocs) || checkGroupName(d.Name) != nil:
		return nil, corrupt(path, "name differs from path")
	}
	if err := checkNames(d.Policies, MaxAttached, checkPolicyName); err != nil {
		return nil, corrupt(path, "policies: "+err.Error())
	}
	return &groupEntry{
		Group: Group{Name: d.Name, Policies: d.Policies, Created: d.Created, Modified: d.Modified}, rev: rev,
	}, nil
}

// accountKeys is the context of a service account's keys, before their ids.
func accountKeys(id string) string { return "service-account/" + id + "/key/" }

// encodeAccount makes the document, with a nil key one without secrets: see
// export.go.
func encodeAccount(a *accountEntry, key *seal.Key) ([]byte, error) {
	d := accountDoc{
		V: accountVersion, ID: a.ID, Owner: a.Owner, OwnerID: a.ownerID, Name: a.Name, Policy: a.Policy,
		Expires: a.Expires, Disabled: a.Disabled, Created: a.Created, Modified: a.Modified,
	}
	if key != nil {
		d.Key, d.Keys = key.Fingerprint(), sealKeys(accountKeys(a.ID), a.keys, key)
	}
	return json.Marshal(&d)
}

func (d *accountDoc) check(path string) error {
	switch {
	case d.V != accountVersion:
		return fmt.Errorf("version %d", d.V)
	case d.ID != strings.TrimPrefix(path, accountDocs) || !isKey(accountPrefix, d.ID):
		return errors.New("id differs from path")
	case checkUserName(d.Owner) != nil || len(d.OwnerID) != idLen || !isBase32(d.OwnerID):
		return errors.New("owner")
	}
	return checkAccountName(d.Name)
}

func decodeAccount(path string, value []byte, rev int64, key *seal.Key) (*accountEntry, error) {
	var d accountDoc
	err := strictJSON(value, &d)
	if err == nil {
		err = d.check(path)
	}
	if err != nil {
		return nil, corrupt(path, err.Error())
	}
	a := &accountEntry{
		ServiceAccount: ServiceAccount{
			ID: d.ID, Owner: d.Owner, Name: d.Name, Expires: d.Expires, Disabled: d.Disabled,
			Created: d.Created, Modified: d.Modified,
		},
		rev: rev, ownerID: d.OwnerID,
	}
	if d.Policy != "" {
		if err := a.setPolicy([]byte(d.Policy)); err != nil {
			return nil, corrupt(path, err.Error())
		}
	}
	if a.keys, err = openKeys(path, key, d.Key, accountKeys(d.ID), d.Keys); err != nil {
		return nil, err
	}
	return a, nil
}

// setPolicy sets the narrowing policy, nil for none. policy.ErrMalformed.
func (a *accountEntry) setPolicy(doc []byte) error {
	a.Policy, a.narrow = string(doc), nil
	if doc == nil {
		return nil
	}
	compiled, err := policy.Parse(doc)
	if err == nil {
		a.narrow = []*policy.Policy{compiled}
	}
	return err
}

func encodeMaster(raw [32]byte, created time.Time, key *seal.Key) ([]byte, error) {
	return json.Marshal(&masterKeyDoc{
		V: masterVersion, Created: created, Key: key.Fingerprint(), Secret: key.Seal(masterDoc, raw[:]),
	})
}

func decodeMaster(path string, value []byte, rev int64, key *seal.Key) (*masterKey, error) {
	var d masterKeyDoc
	if err := strictJSON(value, &d); err != nil {
		return nil, corrupt(path, err.Error())
	}
	if d.V != masterVersion || path != masterDoc {
		return nil, corrupt(path, fmt.Sprintf("version %d", d.V))
	}
	plain, err := openBox(path, key, d.Key, masterDoc, d.Secret)
	if err != nil {
		return nil, err
	}
	if len(plain) != len(masterKey{}.raw) {
		return nil, corrupt(path, "length of the key")
	}
	return newMasterKey([32]byte(plain), rev), nil
}
