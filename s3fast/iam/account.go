package iam

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"
)

// NewServiceAccount is what a service account begins with.
type NewServiceAccount struct {
	Name    string    // free text, at most 256 bytes
	Policy  []byte    // narrows what the owner may do; nil: nothing is narrowed
	Expires time.Time // zero: never
}

// ServiceAccountChange says what to change of a service account; nil leaves a
// thing as it is.
type ServiceAccountChange struct {
	Name    *string
	Policy  *[]byte // a nil slice: no narrowing any more
	Expires *time.Time
	Enabled *bool
}

// ServiceAccount returns a service account by its id or by one of its access
// keys. ErrNoServiceAccount.
func (m *Manager) ServiceAccount(idOrKey string) (ServiceAccount, error) {
	a, err := m.account(idOrKey)
	if err != nil {
		return ServiceAccount{}, err
	}
	return a.view(), nil
}

func (m *Manager) account(idOrKey string) (*accountEntry, error) {
	if k := m.keys.get(idOrKey); k != nil && k.account != "" {
		idOrKey = k.account
	}
	if a := m.accounts.get(idOrKey); a != nil {
		return a, nil
	}
	if err := m.intact(accountDocs + idOrKey); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: %s", ErrNoServiceAccount, printable(idOrKey))
}

// ServiceAccounts lists the service accounts of a user ("": of all users), by
// owner and time of creation.
func (m *Manager) ServiceAccounts(owner string) []ServiceAccount {
	out := []ServiceAccount{}
	if owner == "" {
		m.accounts.each(func(a *accountEntry) { out = append(out, a.view()) })
	} else {
		m.state.RLock()
		for _, id := range m.owned[owner] {
			out = append(out, m.accounts.get(id).view())
		}
		m.state.RUnlock()
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		switch {
		case a.Owner != b.Owner:
			return a.Owner < b.Owner
		case !a.Created.Equal(b.Created):
			return a.Created.Before(b.Created)
		}
		return a.ID < b.ID
	})
	return out
}

func (a *accountEntry) view() ServiceAccount {
	v := a.ServiceAccount
	v.Keys = viewKeys(a.keys)
	return v
}

func viewKeys(keys []secretKey) []AccessKey {
	out := make([]AccessKey, 0, len(keys))
	for _, k := range keys {
		out = append(out, k.AccessKey)
	}
	return out
}

// AddServiceAccount adds a service account of an S3 user, with a first access
// key, whose secret is told this once. ErrNoUser, ErrNotS3User, ErrBadName,
// ErrBadExpiry, ErrLimit, policy.ErrMalformed.
func (m *Manager) AddServiceAccount(ctx context.Context, owner string, in NewServiceAccount) (ServiceAccount, KeyPair, error) {
	none := ServiceAccount{}
	if err := checkAccountName(in.Name); err != nil {
		return none, KeyPair{}, err
	}
	if err := m.begin(ctx); err != nil {
		return none, KeyPair{}, err
	}
	defer m.end(ctx)
	u, err := m.s3User(owner)
	if err != nil {
		return none, KeyPair{}, err
	}
	if m.accounts.count.Load() >= MaxServiceAccounts {
		return none, KeyPair{}, fmt.Errorf("%w: %d service accounts", ErrLimit, MaxServiceAccounts)
	}
	at := m.time()
	a := &accountEntry{ServiceAccount: ServiceAccount{Owner: owner, Name: in.Name, Created: at}, ownerID: u.id}
	for a.ID = randomKey(accountPrefix); m.accounts.get(a.ID) != nil; {
		a.ID = randomKey(accountPrefix)
	}
	if err := a.setPolicy(in.Policy); err != nil {
		return none, KeyPair{}, err
	}
	if err := m.setExpires(a, in.Expires); err != nil {
		return none, KeyPair{}, err
	}
	key := m.newKey(at)
	a.keys = []secretKey{key}
	if err := m.storeAccount(ctx, a); err != nil {
		return none, KeyPair{}, err
	}
	return a.view(), KeyPair{key.ID, key.secret}, nil
}

// s3User returns a user that may have access keys and service accounts.
func (m *Manager) s3User(name string) (*userEntry, error) {
	u := m.users.get(name)
	switch {
	case u == nil:
		return nil, fmt.Errorf("%w: %s", ErrNoUser, printable(name))
	case u.Role != S3:
		return nil, fmt.Errorf("%w: %s is %s", ErrNotS3User, name, u.Role)
	}
	return u, nil
}

// setExpires sets when a ends, zero for never. ErrBadExpiry.
func (m *Manager) setExpires(a *accountEntry, expires time.Time) error {
	if expires.IsZero() {
		a.Expires = time.Time{}
		return nil
	}
	expires = expires.UTC().Truncate(time.Millisecond)
	// RFC 3339 has no year beyond 9999.
	if m.ended(expires) || expires.Year() > 9999 {
		return fmt.Errorf("%w: %s", ErrBadExpiry, expires.Format(time.RFC3339))
	}
	a.Expires = expires
	return nil
}

func (m *Manager) storeAccount(ctx context.Context, a *accountEntry) error {
	a.Modified = m.time()
	value, err := encodeAccount(a, m.key)
	if err != nil {
		return fmt.Errorf("iam: encoding service account: %w", err)
	}
	if a.rev, err = m.put(ctx, accountDocs+a.ID, value, a.rev); err != nil {
		return err
	}
	m.setAccount(a.ID, a)
	return nil
}

// updateAccount changes a copy of a service account by fn and stores it. fn
// replaces the copy's slices and never changes them.
func (m *Manager) updateAccount(ctx context.Context, idOrKey string, fn func(*accountEntry) error) (ServiceAccount, error) {
	if err := m.begin(ctx); err != nil {
		return ServiceAccount{}, err
	}
	defer m.end(ctx)
	old, err := m.account(idOrKey)
	if err != nil {
		return ServiceAccount{}, err
	}
	a := *old
	if err := fn(&a); err != nil {
		return ServiceAccount{}, err
	}
	if err := m.storeAccount(ctx, &a); err != nil {
		return ServiceAccount{}, err
	}
	return a.view(), nil
}

// UpdateServiceAccount changes a service account, given by its id or one of its
// access keys. ErrNoServiceAccount, ErrBadName, ErrBadExpiry,
// policy.ErrMalformed.
func (m *Manager) UpdateServiceAccount(ctx context.Context, idOrKey string, c ServiceAccountChange) (ServiceAccount, error) {
	return m.updateAccount(ctx, idOrKey, func(a *accountEntry) error {
		if c.Name != nil {
			if err := checkAccountName(*c.Name); err != nil {
				return err
			}
			a.Name = *c.Name
		}
		if c.Policy != nil {
			if err := a.setPolicy(*c.Policy); err != nil {
				return err
			}
		}
		if c.Expires != nil {
			if err := m.setExpires(a, *c.Expires); err != nil {
				return err
			}
		}
		if c.Enabled != nil {
			a.Disabled = !*c.Enabled
		}
		return nil
	})
}

// AddServiceAccountKey gives a service account a further access key, to rotate
// with: the old one lives until RemoveAccessKey. There are at most MaxAccessKeys.
// ErrNoServiceAccount, ErrLimit.
func (m *Manager) AddServiceAccountKey(ctx context.Context, idOrKey string) (KeyPair, error) {
	var key secretKey
	_, err := m.updateAccount(ctx, idOrKey, func(a *accountEntry) (err error) {
		key = m.newKey(m.time())
		a.keys, err = addKey(a.keys, key, a.ID)
		return err
	})
	if err != nil {
		return KeyPair{}, err
	}
	return KeyPair{key.ID, key.secret}, nil
}

// RemoveServiceAccount removes a service account, given by its id or one of its
// access keys, and ends its sessions. It removes the document of one that is
// damaged, too, given its id. ErrNoServiceAccount.
func (m *Manager) RemoveServiceAccount(ctx context.Context, idOrKey string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.end(ctx)
	if rev, ok := m.damagedRev(accountDocs + idOrKey); ok {
		return m.remove(ctx, accountDocs+idOrKey, rev)
	}
	a, err := m.account(idOrKey)
	if err != nil {
		return err
	}
	return m.remove(ctx, accountDocs+a.ID, a.rev)
}

// addKey returns keys and key, in a slice of its own. ErrLimit.
func addKey(keys []secretKey, key secretKey, owner string) ([]secretKey, error) {
	if len(keys) >= MaxAccessKeys {
		return nil, fmt.Errorf("%w: %s has %d access keys: remove one first", ErrLimit, owner, len(keys))
	}
	return append(slices.Clip(slices.Clone(keys)), key), nil
}
