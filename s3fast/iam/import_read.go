package iam

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/s3fast/policy"
)

// importer is one import, while Manager.writing is held.
type importer struct {
	m *Manager
	ImportOptions
	policies map[string]*storedPolicy
	groups   map[string]*groupEntry
	users    map[string]*userEntry
	accounts map[string]*accountEntry

	changes []Change
	stores  []func(ctx context.Context) error // beside changes: each makes one
	added   map[string]int64                  // by kind
}

func newImporter(m *Manager, opts ImportOptions) *importer {
	return &importer{
		m: m, ImportOptions: opts,
		policies: map[string]*storedPolicy{}, groups: map[string]*groupEntry{},
		users: map[string]*userEntry{}, accounts: map[string]*accountEntry{}, added: map[string]int64{},
	}
}

// read decodes all documents and compares them with what is there.
func (x *importer) read(in *Export) error {
	for _, list := range []struct {
		kind string
		docs []json.RawMessage
		read func(value []byte) error
	}{
		{KindOfPolicy, in.Policies, x.policy},
		{KindOfGroup, in.Groups, x.group},
		{KindOfUser, in.Users, x.user},
		{KindOfAccount, in.ServiceAccounts, x.account},
	} {
		for _, value := range list.docs {
			if err := list.read(value); err != nil {
				return fmt.Errorf("%w: %s: %w", ErrImport, list.kind, err)
			}
		}
	}
	return nil
}

// plan notes what becomes of a document, which store stores.
func (x *importer) plan(kind, name, path string, exists, same, locked bool, store func(ctx context.Context) error) error {
	if err := x.m.intact(path); err != nil {
		return err
	}
	c := Change{Kind: kind, Name: name, Action: ActionReplace, Locked: locked}
	switch {
	case !exists:
		c.Action = ActionAdd
		x.added[kind]++
	case same:
		c.Action = ActionKeep
	case !x.Replace:
		c.Action = ActionRefuse
	}
	x.changes, x.stores = append(x.changes, c), append(x.stores, store)
	return nil
}

// named reads the fields that name a document, which decoding it then checks.
func named(value []byte) (d struct{ Name, ID string }, err error) {
	return d, json.Unmarshal(value, &d)
}

var errTwice = errors.New("given twice")

func (x *importer) policy(value []byte) error {
	d, err := named(value)
	if err != nil {
		return err
	}
	p, err := decodePolicy(policyDocs+d.Name, value, 0)
	if err != nil {
		return err
	}
	if x.policies[p.name] != nil {
		return fmt.Errorf("%s: %w", p.name, errTwice)
	}
	x.policies[p.name] = p
	old := x.m.policies.get(p.name)
	if old != nil {
		p.rev = old.rev
	}
	same := old != nil && old.document == p.document
	return x.plan(KindOfPolicy, p.name, policyDocs+p.name, old != nil, same, false, func(ctx context.Context) error {
		value, err := encodePolicy(p)
		if err != nil {
			return err
		}
		if p.rev, err = x.m.put(ctx, policyDocs+p.name, value, p.rev); err == nil {
			x.m.setPolicy(p.name, p)
		}
		return err
	})
}

func (x *importer) group(value []byte) error {
	d, err := named(value)
	if err != nil {
		return err
	}
	g, err := decodeGroup(groupDocs+d.Name, value, 0)
	if err != nil {
		return err
	}
	if x.groups[g.Name] != nil {
		return fmt.Errorf("%s: %w", g.Name, errTwice)
	}
	x.groups[g.Name] = g
	old := x.m.groups.get(g.Name)
	if old != nil {
		g.rev = old.rev
	}
	same := old != nil && slices.Equal(old.Policies, g.Policies)
	return x.plan(KindOfGroup, g.Name, groupDocs+g.Name, old != nil, same, false, func(ctx context.Context) error {
		return x.m.storeGroup(ctx, g)
	})
}

func (x *importer) user(value []byte) error {
	d, err := named(value)
	if err != nil {
		return err
	}
	old := x.m.users.get(d.Name)
	var u *userEntry
	if x.Key != nil {
		u, err = importUser(userDocs+d.Name, value, x.Key)
	} else {
		u, err = x.bareUser(value, old)
	}
	if err == nil && x.Key != nil && u.Role == S3 {
		err = checkPassword(u.secret)
	}
	if err != nil {
		return err
	}
	if x.users[u.Name] != nil {
		return fmt.Errorf("%s: %w", u.Name, errTwice)
	}
	x.users[u.Name] = u
	same := false
	if old != nil {
		u.rev = old.rev
		same = sameDocument(u, old, encodeUser) && u.secret == old.secret && u.hash == old.hash && sameKeys(u.keys, old.keys)
	} else if err := checkNewUserName(u.Name); err != nil {
		return err
	}
	locked := x.Key == nil && (old == nil || (old.Role == S3) != (u.Role == S3))
	return x.plan(KindOfUser, u.Name, userDocs+u.Name, old != nil, same, locked, func(ctx context.Context) error {
		return x.m.storeUser(ctx, u)
	})
}

// bareUser decodes a user without secrets: it has those of the one that is there,
// else a password that nobody knows, and no access keys.
func (x *importer) bareUser(value []byte, old *userEntry) (*userEntry, error) {
	var d userDoc
	if err := strictJSON(value, &d); err != nil {
		return nil, err
	}
	if d.Key != "" || d.Secret != nil || d.Hash != "" || d.Keys != nil {
		return nil, errors.New("secrets in an export that has none")
	}
	key, path := x.m.key, userDocs+d.Name
	secret, hash := GeneratePassword(), dummyHash()
	var keys []secretKey
	if old != nil && (old.Role == S3) == (d.Role == S3) {
		secret, hash, keys = old.secret, old.hash, old.keys
	}
	if d.Role == S3 {
		d.Key, d.Secret = key.Fingerprint(), key.Seal(secretContext(d.Name), []byte(secret))
		d.Keys = sealKeys(userKeys(d.Name), keys, key)
	} else {
		d.Hash = hash
	}
	full, err := json.Marshal(&d)
	if err != nil {
		return nil, err
	}
	return decodeUser(path, full, 0, key)
}

func (x *importer) account(value []byte) error {
	d, err := named(value)
	if err != nil {
		return err
	}
	m, path := x.m, accountDocs+d.ID
	old := m.accounts.get(d.ID)
	var a *accountEntry
	if x.Key != nil {
		a, err = decodeAccount(path, value, 0, x.Key)
	} else {
		a, err = x.bareAccount(path, value, old)
	}
	if err != nil {
		return err
	}
	if x.accounts[a.ID] != nil {
		return fmt.Errorf("%s: %w", a.ID, errTwice)
	}
	x.accounts[a.ID] = a
	same := false
	if old != nil {
		a.rev = old.rev
		same = sameDocument(a, old, encodeAccount) && sameKeys(a.keys, old.keys)
	} else {
		a.rev = m.orphanRev(path)
	}
	return x.plan(KindOfAccount, a.ID, path, old != nil, same, len(a.keys) == 0, func(ctx context.Context) error {
		value, err := encodeAccount(a, m.key)
		if err != nil {
			return err
		}
		if a.rev, err = m.put(ctx, path, value, a.rev); err == nil {
			m.setOrphan(path, 0) // it was one while its owner was replaced
			m.setAccount(a.ID, a)
		}
		return err
	})
}

// bareAccount decodes a service account without secrets: it has the keys of the one
// that is there, else none.
func (x *importer) bareAccount(path string, value []byte, old *accountEntry) (*accountEntry, error) {
	a, err := decodeAccount(path, value, 0, x.m.key)
	if err != nil {
		return nil, err
	}
	if len(a.keys) > 0 || bytes.Contains(value, []byte(`"secret"`)) {
		return nil, errors.New("secrets in an export that has none")
	}
	if old != nil {
		a.keys = old.keys
	}
	return a, nil
}

// orphanRev returns the revision of a stored document without power, 0: there is none.
func (m *Manager) orphanRev(path string) int64 {
	m.state.RLock()
	defer m.state.RUnlock()
	return m.orphans[path]
}

// check checks that all fits together.
func (x *importer) check() error {
	for _, g := range x.groups {
		if err := x.policiesExist("group "+g.Name, g.Policies); err != nil {
			return err
		}
	}
	for _, u := range x.users {
		if err := x.policiesExist("user "+u.Name, u.Policies); err != nil {
			return err
		}
		for _, name := range u.Groups {
			if x.groups[name] == nil && x.m.groups.get(name) == nil {
				return fmt.Errorf("%w: user %s is in group %s, which is neither there nor imported", ErrImport, u.Name, name)
			}
		}
	}
	for _, a := range x.accounts {
		owner := x.users[a.Owner]
		if owner == nil {
			owner = x.m.users.get(a.Owner)
		}
		if owner == nil || owner.id != a.ownerID {
			return fmt.Errorf("%w: the owner of service account %s, user %s, is neither there nor imported", ErrImport, a.ID, a.Owner)
		}
	}
	if err := x.checkKeys(); err != nil {
		return err
	}
	return x.checkLimits()
}

func (x *importer) policiesExist(of string, names []string) error {
	for _, name := range names {
		if x.policies[name] == nil && x.m.policies.get(name) == nil {
			return fmt.Errorf("%w: %s has policy %s, which is neither there nor imported", ErrImport, of, name)
		}
	}
	return nil
}

// checkKeys sees to it that each access key, which an S3 user's name is too, leads
// to one identity only, and that no user bears the name of somebody's key.
func (x *importer) checkKeys() error {
	paths := map[string]string{}
	claim := func(key, path string) error {
		now := ""
		switch k := x.m.keys.get(key); {
		case k == nil:
		case k.account != "":
			now = accountDocs + k.account
		default:
			now = userDocs + k.owner
		}
		other, taken := paths[key]
		if taken || now != "" && now != path {
			if !taken {
				other = now
			}
			return fmt.Errorf("%w: access key %s belongs to %s as well as to %s", ErrImport, key, other, path)
		}
		paths[key] = path
		return nil
	}
	for name, u := range x.users {
		if err := claim(name, userDocs+name); err != nil {
			return err
		}
		for _, k := range u.keys {
			if err := claim(k.ID, userDocs+name); err != nil {
				return err
			}
		}
	}
	for id, a := range x.accounts {
		for _, k := range a.keys {
			if err := claim(k.ID, accountDocs+id); err != nil {
				return err
			}
		}
		for _, k := range a.keys {
			if x.m.users.get(k.ID) != nil {
				return fmt.Errorf("%w: access key %s of %s is the name of a user", ErrImport, k.ID, id)
			}
		}
	}
	return nil
}

// checkLimits checks numbers, and that an enabled clusteradmin stays where one is.
func (x *importer) checkLimits() error {
	m := x.m
	for _, l := range []struct {
		kind      string
		have, max int64
	}{
		{KindOfPolicy, m.policies.count.Load(), int64(MaxPolicies + len(policy.PredefinedNames()))},
		{KindOfGroup, m.groups.count.Load(), MaxGroups},
		{KindOfUser, m.users.count.Load(), MaxUsers},
		{KindOfAccount, m.accounts.count.Load(), MaxServiceAccounts},
	} {
		if l.have+x.added[l.kind] > l.max {
			return fmt.Errorf("%w: with %d imported, more than %d of kind %s", ErrLimit, x.added[l.kind], l.max, l.kind)
		}
	}
	m.state.RLock()
	before := m.admins
	m.state.RUnlock()
	after := before
	for name, u := range x.users {
		if old := m.users.get(name); old != nil && old.isAdmin() {
			after--
		}
		if u.isAdmin() {
			after++
		}
	}
	if before > 0 && after == 0 {
		return ErrLastAdmin
	}
	return nil
}
