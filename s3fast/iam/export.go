package iam

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/engine/seal"
)

// Export is what there is of identities and policies, in the form in which it is
// stored (document.go, document_account.go), each list in order of names or ids.
// Boxes are sealed by a key of the export's own, under the same contexts; the field
// hash of users, which anybody could try passwords on, is left out, and such users'
// secret is a box of it, for the context "user/NAME/hash". An export without a key has
// no boxes: of users it lacks the fields key, secret, hash and keys, of service
// accounts keys, and their key is "".
//
// The predefined policies are not in it, nor is what sessions are made with: they
// end with the cluster that issued them.
type Export struct {
	Policies        []json.RawMessage `json:"policies"`
	Groups          []json.RawMessage `json:"groups"`
	Users           []json.RawMessage `json:"users"`
	ServiceAccounts []json.RawMessage `json:"service_accounts"`
}

// Export returns all identities and policies, with their secrets sealed by key, or
// without them when it is nil. Documents that cannot be read are left out: see
// Damaged.
func (m *Manager) Export(ctx context.Context, key *seal.Key) (*Export, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.end(ctx)
	out := &Export{}
	var failed error
	add := func(to *[]json.RawMessage, value []byte, err error) {
		if err != nil && failed == nil {
			failed = fmt.Errorf("iam: encoding an export: %w", err)
		}
		*to = append(*to, value)
	}
	for _, p := range entries(&m.policies, func(p *storedPolicy) string { return p.name }) {
		if !p.predefined {
			value, err := encodePolicy(p)
			add(&out.Policies, value, err)
		}
	}
	for _, g := range entries(&m.groups, func(g *groupEntry) string { return g.Name }) {
		value, err := encodeGroup(g)
		add(&out.Groups, value, err)
	}
	for _, u := range entries(&m.users, func(u *userEntry) string { return u.Name }) {
		value, err := exportUser(u, key)
		add(&out.Users, value, err)
	}
	for _, a := range entries(&m.accounts, func(a *accountEntry) string { return a.ID }) {
		value, err := encodeAccount(a, key)
		add(&out.ServiceAccounts, value, err)
	}
	return out, failed
}

func hashContext(user string) string { return "user/" + user + "/hash" }

// exportUser makes a user's document in an export.
func exportUser(u *userEntry, key *seal.Key) ([]byte, error) {
	d := userDocument(u, key)
	if d.Hash != "" {
		d.Hash, d.Key, d.Secret = "", key.Fingerprint(), key.Seal(hashContext(u.Name), []byte(d.Hash))
	}
	return json.Marshal(&d)
}

// importUser is the inverse of exportUser. Errors: decodeUser's.
func importUser(path string, value []byte, key *seal.Key) (*userEntry, error) {
	var d userDoc
	if err := strictJSON(value, &d); err != nil {
		return nil, corrupt(path, err.Error())
	}
	if d.Role == S3 {
		return decodeUser(path, value, 0, key)
	}
	hash, err := openBox(path, key, d.Key, hashContext(d.Name), d.Secret)
	if err != nil {
		return nil, err
	}
	if d.Hash != "" {
		return nil, corrupt(path, "a hash that is not sealed")
	}
	d.Hash, d.Key, d.Secret = string(hash), "", nil
	if value, err = json.Marshal(&d); err != nil {
		return nil, err
	}
	return decodeUser(path, value, 0, key)
}

// entries returns the values of a table in order of their names.
func entries[V any](t *table[V], name func(*V) string) []*V {
	out := make([]*V, 0, t.count.Load())
	t.each(func(v *V) { out = append(out, v) })
	slices.SortFunc(out, func(a, b *V) int { return strings.Compare(name(a), name(b)) })
	return out
}
