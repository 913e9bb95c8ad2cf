package iam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// damage is a document that cannot be read.
type damage struct {
	rev    int64
	reason string
}

// Open loads all identities from docs. A document that cannot be read is left
// out, reported by Damaged, and not overwritten; only its removal is possible.
// Open fails when the store does, and with seal.ErrOpen when key is not the one
// that the secrets were sealed with.
func Open(ctx context.Context, docs Docs, key *seal.Key, now func() time.Time) (*Manager, error) {
	m := &Manager{
		docs: docs, key: key, now: now,
		hashing:  make(chan struct{}, hashingMax),
		dummy:    dummyHash(),
		dirty:    map[string]bool{},
		attached: index{}, carried: index{}, members: index{},
		owned:   map[string][]string{},
		damaged: map[string]damage{},
		orphans: map[string]int64{},
	}
	deny, err := policy.Parse([]byte(denyAllDocument))
	if err != nil {
		return nil, fmt.Errorf("iam: deny-all policy: %w", err)
	}
	m.denyAll = policy.Set{deny}
	m.sessions.empty()
	if err := (&loader{m: m}).load(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

const denyAllDocument = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`

// loader reads all documents when a Manager is opened.
type loader struct {
	m      *Manager
	opened int   // boxes that the key opened
	sealed error // of a box that it did not open and that may have another key
}

func (l *loader) load(ctx context.Context) error {
	m := l.m
	policies, err := predefined()
	if err != nil {
		return err
	}
	groups, users, accounts := map[string]*groupEntry{}, map[string]*userEntry{}, map[string]*accountEntry{}
	err = errors.Join(
		list(ctx, l, policyDocs, policies, decodePolicy),
		list(ctx, l, groupDocs, groups, decodeGroup),
		list(ctx, l, userDocs, users, l.user),
		list(ctx, l, accountDocs, accounts, l.account),
	)
	if err != nil {
		return err
	}
	master := map[string]*masterKey{}
	if err := list(ctx, l, masterDoc, master, l.master); err != nil {
		return err
	}
	if l.sealed != nil && l.opened == 0 {
		return l.sealed
	}
	m.master.Store(master[""])
	m.policies.empty(len(policies))
	m.policies.apply(policies)
	m.groups.empty(len(groups))
	m.groups.apply(groups)
	for name, g := range groups {
		for _, p := range g.Policies {
			m.carried.add(p, name)
		}
	}
	l.enforce(users, accounts)
	return nil
}

// enforce puts users and service accounts into the tables.
func (l *loader) enforce(users map[string]*userEntry, accounts map[string]*accountEntry) {
	m := l.m
	m.accounts.empty(len(accounts))
	m.users.empty(len(users))
	m.keys.empty(len(users) + len(accounts))
	for id, a := range accounts {
		u := users[a.Owner]
		if !m.owns(u, a) {
			m.orphans[accountDocs+id] = a.rev
			continue
		}
		m.owned[a.Owner] = append(m.owned[a.Owner], id)
		m.accounts.set(id, a)
		if u == nil {
			m.compileAccount(a, nil, m.keys.set)
		}
	}
	for name, u := range users {
		m.enter(u)
		m.compile(u, m.keys.set)
		m.users.set(name, u)
	}
}

// list decodes the documents below prefix into out, by what follows prefix in
// their paths. A nil value is not put.
func list[V any](ctx context.Context, l *loader, prefix string, out map[string]*V,
	decode func(path string, value []byte, rev int64) (*V, error),
) error {
	return l.m.docs.List(ctx, prefix, func(path string, value []byte, rev int64) error {
		v, err := decode(path, value, rev)
		switch {
		case err != nil:
			l.m.damaged[path] = damage{rev, err.Error()}
			if errors.Is(err, seal.ErrOpen) && l.sealed == nil {
				l.sealed = err
			}
		default:
			out[strings.TrimPrefix(path, prefix)] = v
		}
		return nil
	})
}

func (l *loader) user(path string, value []byte, rev int64) (*userEntry, error) {
	u, err := decodeUser(path, value, rev, l.m.key)
	if err == nil && (u.Role == S3 || len(u.keys) > 0) {
		l.opened++
	}
	return u, err
}

func (l *loader) account(path string, value []byte, rev int64) (*accountEntry, error) {
	a, err := decodeAccount(path, value, rev, l.m.key)
	if err == nil && len(a.keys) > 0 {
		l.opened++
	}
	return a, err
}

func (l *loader) master(path string, value []byte, rev int64) (*masterKey, error) {
	k, err := decodeMaster(path, value, rev, l.m.key)
	if err == nil {
		l.opened++
	}
	return k, err
}

// predefined compiles the predefined policies.
func predefined() (map[string]*storedPolicy, error) {
	out := map[string]*storedPolicy{}
	for _, name := range policy.PredefinedNames() {
		doc, _ := policy.Predefined(name)
		compiled, err := policy.Parse([]byte(doc))
		if err != nil {
			return nil, fmt.Errorf("iam: predefined policy %s: %w", name, err)
		}
		out[name] = &storedPolicy{name: name, document: doc, compiled: compiled, set: policy.Set{compiled}, predefined: true}
	}
	return out, nil
}

// Damaged lists the documents that cannot be read, as "PATH: reason", sorted by
// path. A user, service account or group among them has no power; whoever has a
// policy among them attached, or is in a group among them, may do nothing. Such
// a document is never overwritten; deleting it by its name (DeleteUser,
// RemovePolicy …) makes room for a new one.
func (m *Manager) Damaged() []string {
	m.state.RLock()
	defer m.state.RUnlock()
	out := make([]string, 0, len(m.damaged))
	for path, d := range m.damaged {
		out = append(out, path+": "+d.reason)
	}
	slices.Sort(out)
	return out
}

// intact refuses to write over a document that cannot be read.
func (m *Manager) intact(path string) error {
	m.state.RLock()
	defer m.state.RUnlock()
	if d, ok := m.damaged[path]; ok {
		return corrupt(path, "it is kept as it is until it is deleted: "+d.reason)
	}
	return nil
}

// damagedRev returns the revision of a document that cannot be read.
func (m *Manager) damagedRev(path string) (rev int64, ok bool) {
	m.state.RLock()
	defer m.state.RUnlock()
	d, ok := m.damaged[path]
	return d.rev, ok
}

// setDamaged notes whether the document at path can be read: reason nil.
func (m *Manager) setDamaged(path string, rev int64, reason error) {
	m.state.Lock()
	defer m.state.Unlock()
	if reason == nil {
		delete(m.damaged, path)
		return
	}
	m.damaged[path] = damage{rev, reason.Error()}
}
