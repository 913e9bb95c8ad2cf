package iam

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// AccessKeys lists a user's access keys besides its name, the oldest first.
// ErrNoUser.
func (m *Manager) AccessKeys(user string) ([]AccessKey, error) {
	u := m.users.get(user)
	if u == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoUser, printable(user))
	}
	return viewKeys(u.keys), nil
}

// AddAccessKey gives an S3 user an access key besides its name and password; its
// secret is told this once. A user has at most MaxAccessKeys, so that a program
// can change to the second before the first is removed. ErrNoUser, ErrNotS3User,
// ErrLimit.
func (m *Manager) AddAccessKey(ctx context.Context, user string) (KeyPair, error) {
	var key secretKey
	_, err := m.updateUser(ctx, user, func(u *userEntry) (changed bool, err error) {
		if _, err := m.s3User(user); err != nil {
			return false, err
		}
		key = m.newKey(m.time())
		u.keys, err = addKey(u.keys, key, user)
		return true, err
	})
	if err != nil {
		return KeyPair{}, err
	}
	return KeyPair{key.ID, key.secret}, nil
}

// newKey makes an access key that nothing else is called by. writing must be
// held.
func (m *Manager) newKey(at time.Time) secretKey {
	for {
		id := randomKey(keyPrefix)
		if m.keys.get(id) == nil && m.users.get(id) == nil { // a user that is not s3 has no key
			return secretKey{AccessKey{ID: id, Created: at}, GeneratePassword()}
		}
	}
}

// SetAccessKey enables or disables an access key of a user or of a service
// account (a user's name is none: see SetEnabled). ErrNoAccessKey.
func (m *Manager) SetAccessKey(ctx context.Context, accessKey string, enabled bool) error {
	return m.updateKeys(ctx, accessKey, func(keys []secretKey, i int) []secretKey {
		keys = slices.Clone(keys)
		keys[i].Disabled = !enabled
		return keys
	})
}

// RemoveAccessKey removes an access key of a user or of a service account. The
// temporary credentials that were got with it live on: see RevokeSessions.
// ErrNoAccessKey.
func (m *Manager) RemoveAccessKey(ctx context.Context, accessKey string) error {
	return m.updateKeys(ctx, accessKey, func(keys []secretKey, i int) []secretKey {
		return slices.Delete(slices.Clone(keys), i, i+1)
	})
}

// updateKeys changes the keys among which accessKey has index i.
func (m *Manager) updateKeys(ctx context.Context, accessKey string, fn func(keys []secretKey, i int) []secretKey) error {
	change := func(keys []secretKey) ([]secretKey, error) {
		i := slices.IndexFunc(keys, func(k secretKey) bool { return k.ID == accessKey })
		if i < 0 { // removed meanwhile
			return nil, fmt.Errorf("%w: %s", ErrNoAccessKey, printable(accessKey))
		}
		return fn(keys, i), nil
	}
	k := m.keys.get(accessKey)
	if k == nil || k.owner == accessKey { // a user's name
		return fmt.Errorf("%w: %s", ErrNoAccessKey, printable(accessKey))
	}
	var err error
	if k.account != "" {
		_, err = m.updateAccount(ctx, k.account, func(a *accountEntry) (err error) {
			a.keys, err = change(a.keys)
			return err
		})
	} else {
		_, err = m.updateUser(ctx, k.owner, func(u *userEntry) (changed bool, err error) {
			u.keys, err = change(u.keys)
			return true, err
		})
	}
	return err
}
