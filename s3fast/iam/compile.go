package iam

import (
	"slices"

	"github.com/sluicehq/sluice/s3fast/policy"
)

const (
	userARN = "arn:aws:iam::" + AccountID + ":user/"
	// userIDPrefix and roleIDPrefix are AWS's (IAM User Guide, "IAM identifiers").
	userIDPrefix = "AIDA"
	roleIDPrefix = "AROA"
)

// userEntry is a user as kept in memory. It is immutable once it is in the
// table. Exactly one of secret and hash is set.
type userEntry struct {
	User
	rev     int64
	id      string // base32; never used twice, not even by a user of the same name
	revoked uint64 // sessions issued under a lower count have ended
	secret  string // of S3 users, in the clear: every request's signature needs it
	hash    string // of the others: argon2id, see password.go
	keys    []secretKey

	identity *Identity // nil: may not sign
}

// secretKey is an access key with its secret.
type secretKey struct {
	AccessKey
	secret string
}

// accountEntry is a service account as kept in memory, immutable.
type accountEntry struct {
	ServiceAccount // without Keys
	rev            int64
	ownerID        string
	narrow         []*policy.Policy // nil, or one
	keys           []secretKey
}

// keyEntry is what a request's access key leads to: an S3 user's name, or a key
// of one or of a service account. It is immutable.
type keyEntry struct {
	secret   string
	identity *Identity // nil: may not sign
	owner    string    // user
	account  string    // id of the service account, or ""
}

// keyChanges are changes of the table of access keys; nil removes one.
type keyChanges map[string]*keyEntry

// groupEntry is a group as kept in memory, immutable.
type groupEntry struct {
	Group // without Members
	rev   int64
}

// All functions below need state held, or a Manager that no one else knows.

// policiesOf is what applies to a user: its own policies and its groups', each
// once. If one of them cannot be found, all is denied: it might have held a deny.
func (m *Manager) policiesOf(u *userEntry) policy.Set {
	if len(u.Groups) == 0 && len(u.Policies) == 1 {
		if p := m.policies.get(u.Policies[0]); p != nil {
			return p.set // shared by all who have nothing else
		}
		return m.denyAll
	}
	var set policy.Set
	complete := true
	add := func(names []string) {
		for _, name := range names {
			p := m.policies.get(name)
			if p == nil {
				complete = false
			} else if !slices.Contains(set, p.compiled) {
				set = append(set, p.compiled)
			}
		}
	}
	add(u.Policies)
	for _, name := range u.Groups {
		if g := m.groups.get(name); g != nil {
			add(g.Policies)
		} else {
			complete = false
		}
	}
	if !complete {
		return m.denyAll
	}
	return set
}

// compile fills in u's identity, and gives put the access keys of u and of its
// service accounts.
func (m *Manager) compile(u *userEntry, put func(accessKey string, k *keyEntry)) {
	old := u.identity
	u.identity = nil
	if u.refused() == nil {
		id := &Identity{Kind: KindUser, Name: u.Name, AccessKey: u.Name, Policies: m.policiesOf(u)}
		if old != nil && old.UserID[len(userIDPrefix):] == u.id {
			id.Principal, id.UserID = old.Principal, old.UserID
		} else {
			id.Principal = policy.Principal{Account: AccountID, ARN: userARN + u.Name}
			id.UserID = userIDPrefix + u.id
		}
		u.identity = id
	}
	if u.Role == S3 {
		put(u.Name, &keyEntry{owner: u.Name, secret: u.secret, identity: u.identity})
	}
	for _, k := range u.keys {
		e := &keyEntry{owner: u.Name, secret: k.secret}
		if u.identity != nil && !k.Disabled {
			id := *u.identity
			id.AccessKey = k.ID
			e.identity = &id
		}
		put(k.ID, e)
	}
	for _, id := range m.owned[u.Name] {
		if a := m.accounts.get(id); a != nil {
			m.compileAccount(a, u, put)
		}
	}
}

// compileAccount gives put the access keys of a service account. u is its owner,
// compiled; nil when that cannot be read.
func (m *Manager) compileAccount(a *accountEntry, u *userEntry, put func(string, *keyEntry)) {
	for _, k := range a.keys {
		e := &keyEntry{owner: a.Owner, account: a.ID, secret: k.secret}
		if u != nil && u.identity != nil && !a.Disabled && !k.Disabled {
			id := *u.identity
			id.Kind, id.AccessKey, id.Account = KindServiceAccount, k.ID, a.ID
			id.Narrow, id.Expires = a.narrow, a.Expires
			e.identity = &id
		}
		put(k.ID, e)
	}
}

// enter and leave keep the indexes of users.
func (m *Manager) enter(u *userEntry) {
	for _, p := range u.Policies {
		m.attached.add(p, u.Name)
	}
	for _, g := range u.Groups {
		m.members.add(g, u.Name)
	}
	if u.Role == ClusterAdmin && !u.Disabled {
		m.admins++
	}
}

func (m *Manager) leave(u *userEntry) {
	for _, p := range u.Policies {
		m.attached.remove(p, u.Name)
	}
	for _, g := range u.Groups {
		m.members.remove(g, u.Name)
	}
	if u.Role == ClusterAdmin && !u.Disabled {
		m.admins--
	}
}

// owns reports whether service account a acts for u, the user of its owner's
// name (nil: there is none, or it cannot be read).
func (m *Manager) owns(u *userEntry, a *accountEntry) bool {
	if u == nil {
		_, ok := m.damaged[userDocs+a.Owner]
		return ok // may be repaired: has no power meanwhile, but stays
	}
	return u.id == a.ownerID
}

func (c keyChanges) put(accessKey string, k *keyEntry) { c[accessKey] = k }

func (c keyChanges) drop(keys []secretKey) {
	for _, k := range keys {
		c[k.ID] = nil
	}
}

// setUser puts a user, or removes it when u is nil, in memory.
func (m *Manager) setUser(name string, u *userEntry) {
	m.state.Lock()
	defer m.state.Unlock()
	keys := keyChanges{} // applied at the end: what stays is never missing
	if old := m.users.get(name); old != nil {
		m.leave(old)
		keys.put(name, nil)
		keys.drop(old.keys)
	}
	if u != nil {
		m.enter(u)
	}
	for _, id := range slices.Clone(m.owned[name]) {
		a := m.accounts.get(id)
		if !m.owns(u, a) {
			m.dropAccount(a)
			keys.drop(a.keys)
			m.orphans[accountDocs+id] = a.rev
		} else if u == nil {
			m.compileAccount(a, nil, keys.put)
		}
	}
	if u != nil {
		m.compile(u, keys.put)
	}
	m.users.set(name, u)
	m.keys.apply(keys)
}

// dropAccount removes a service account, but for its keys.
func (m *Manager) dropAccount(a *accountEntry) {
	ids := m.owned[a.Owner]
	if i := slices.Index(ids, a.ID); i >= 0 {
		ids[i] = ids[len(ids)-1]
		ids = ids[:len(ids)-1]
	}
	if m.owned[a.Owner] = ids; len(ids) == 0 {
		delete(m.owned, a.Owner)
	}
	m.accounts.set(a.ID, nil)
}

// setAccount puts a service account, or removes it when a is nil, in memory.
func (m *Manager) setAccount(id string, a *accountEntry) {
	m.state.Lock()
	defer m.state.Unlock()
	keys := keyChanges{}
	old := m.accounts.get(id)
	if old != nil {
		keys.drop(old.keys)
	}
	switch {
	case a != nil && m.owns(m.users.get(a.Owner), a):
		if old == nil {
			m.owned[a.Owner] = append(m.owned[a.Owner], id)
		}
		m.accounts.set(id, a)
		m.compileAccount(a, m.users.get(a.Owner), keys.put)
	case old != nil:
		m.dropAccount(old)
	}
	if a != nil && m.accounts.get(id) == nil {
		m.orphans[accountDocs+id] = a.rev
	}
	m.keys.apply(keys)
}

// setPolicy puts a policy, or removes it when p is nil, in memory, and compiles
// anew whom it concerns.
func (m *Manager) setPolicy(name string, p *storedPolicy) {
	m.state.Lock()
	defer m.state.Unlock()
	m.policies.set(name, p)
	m.policyGen.Add(1)
	m.recompile(m.attached[name])
	for group := range m.carried[name] {
		m.recompile(m.members[group])
	}
}

// setGroup puts a group, or removes it when g is nil, in memory, and compiles
// its members anew.
func (m *Manager) setGroup(name string, g *groupEntry) {
	m.state.Lock()
	defer m.state.Unlock()
	if old := m.groups.get(name); old != nil {
		for _, p := range old.Policies {
			m.carried.remove(p, name)
		}
	}
	if g != nil {
		for _, p := range g.Policies {
			m.carried.add(p, name)
		}
	}
	m.groups.set(name, g)
	m.recompile(m.members[name])
}

// recompile compiles the users of names anew. None of their keys changes, but
// what it leads to.
func (m *Manager) recompile(names map[string]struct{}) {
	for name := range names {
		if old := m.users.get(name); old != nil {
			u := *old
			m.compile(&u, m.keys.set)
			m.users.set(name, &u)
		}
	}
}
