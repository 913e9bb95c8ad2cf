package iam

import (
	"context"
	"fmt"
	"slices"
	"sort"
)

// User returns a user. ErrNoUser.
func (m *Manager) User(name string) (User, error) {
	u := m.users.get(name)
	if u == nil {
		return User{}, fmt.Errorf("%w: %s", ErrNoUser, printable(name))
	}
	return u.view(), nil
}

// CountUsers is the number of users.
func (m *Manager) CountUsers() int { return int(m.users.count.Load()) }

// Users lists users by name.
func (m *Manager) Users() []User {
	out := make([]User, 0, m.users.count.Load())
	m.users.each(func(u *userEntry) { out = append(out, u.view()) })
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// view is a copy that the caller may change.
func (u *userEntry) view() User {
	v := u.User
	v.Policies, v.Groups = append([]string{}, v.Policies...), append([]string{}, v.Groups...)
	return v
}

// AddUser adds a user. Names: 1…64 of letters, digits and "+=,.@_-", but not
// "web-identity" nor of the form of temporary access keys. ErrBadName,
// ErrBadRole, ErrBadPassword, ErrUserExists (also: an access key is called so),
// ErrLimit, ErrCorrupt.
func (m *Manager) AddUser(ctx context.Context, name string, role Role, password string) (User, error) {
	if err := checkNewUserName(name); err != nil {
		return User{}, err
	}
	role, err := ParseRole(string(role))
	if err != nil {
		return User{}, err
	}
	if err := checkPassword(password); err != nil {
		return User{}, err
	}
	if err := m.begin(ctx); err != nil {
		return User{}, err
	}
	defer m.end(ctx)
	if m.users.get(name) != nil || m.keys.get(name) != nil {
		return User{}, fmt.Errorf("%w: %s", ErrUserExists, name)
	}
	if m.users.count.Load() >= MaxUsers {
		return User{}, fmt.Errorf("%w: %d users", ErrLimit, MaxUsers)
	}
	at := m.time()
	u := &userEntry{User: User{Name: name, Role: role, Created: at, Modified: at}, id: randomBase32(idLen)}
	m.setSecret(u, password)
	if err := m.storeUser(ctx, u); err != nil {
		return User{}, err
	}
	return u.view(), nil
}

// storeUser writes u in place of the stored revision u.rev (0: a new user) and
// then puts it in force.
func (m *Manager) storeUser(ctx context.Context, u *userEntry) error {
	value, err := encodeUser(u, m.key)
	if err != nil {
		return fmt.Errorf("iam: encoding user: %w", err)
	}
	if u.rev, err = m.put(ctx, userDocs+u.Name, value, u.rev); err != nil {
		return err
	}
	m.setUser(u.Name, u)
	return nil
}

// setSecret keeps the password in the form that u's role asks for.
func (m *Manager) setSecret(u *userEntry, password string) {
	if u.Role == S3 {
		u.secret, u.hash = password, ""
	} else {
		u.secret, u.hash = "", m.hash(password)
	}
}

// updateUser changes a copy of a user by fn, stores it, and puts it in force. fn
// replaces the copy's slices and never changes them; it returns false when there
// is nothing to change.
func (m *Manager) updateUser(ctx context.Context, name string, fn func(*userEntry) (bool, error)) (User, error) {
	if err := m.begin(ctx); err != nil {
		return User{}, err
	}
	defer m.end(ctx)
	old := m.users.get(name)
	if old == nil {
		if err := m.intact(userDocs + name); err != nil {
			return User{}, err
		}
		return User{}, fmt.Errorf("%w: %s", ErrNoUser, printable(name))
	}
	u := *old
	changed, err := fn(&u)
	if err != nil {
		return User{}, err
	}
	if !changed {
		return old.view(), nil
	}
	if old.isAdmin() && !u.isAdmin() && m.lastAdmin() {
		return User{}, fmt.Errorf("%w: %s", ErrLastAdmin, name)
	}
	u.Modified = m.time()
	if err := m.storeUser(ctx, &u); err != nil {
		return User{}, err
	}
	return u.view(), nil
}

func (u *userEntry) isAdmin() bool { return u.Role == ClusterAdmin && !u.Disabled }

// lastAdmin reports whether there is no more than one enabled clusteradmin.
func (m *Manager) lastAdmin() bool {
	m.state.RLock()
	defer m.state.RUnlock()
	return m.admins <= 1
}

// DeleteUser removes a user, and with it its access keys, memberships, service
// accounts and sessions. It removes the document of one that is damaged, too.
// ErrNoUser, ErrLastAdmin.
func (m *Manager) DeleteUser(ctx context.Context, name string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.end(ctx)
	path := userDocs + name
	u := m.users.get(name)
	if u == nil {
		if rev, ok := m.damagedRev(path); ok {
			return m.remove(ctx, path, rev)
		}
		return fmt.Errorf("%w: %s", ErrNoUser, printable(name))
	}
	if u.isAdmin() && m.lastAdmin() {
		return fmt.Errorf("%w: %s", ErrLastAdmin, name)
	}
	// The user's document goes first: from then on its service accounts, whose
	// documents name its id, are orphans without power, crash or not.
	return m.remove(ctx, path, u.rev)
}

// SetPassword changes the password (an S3 user's secret key). ErrNoUser,
// ErrBadPassword.
func (m *Manager) SetPassword(ctx context.Context, name, password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	_, err := m.updateUser(ctx, name, func(u *userEntry) (bool, error) {
		m.setSecret(u, password)
		return true, nil
	})
	return err
}

// SetRole changes the role; a user that stops being s3 loses its policies,
// groups, access keys, service accounts and sessions for good, and its secret key
// becomes its password. A user that becomes s3 needs a new password, since
// signatures cannot be checked against a hash: ErrNeedPassword, see
// SetRoleAndPassword. ErrNoUser, ErrBadRole, ErrLastAdmin.
func (m *Manager) SetRole(ctx context.Context, name string, role Role) (User, error) {
	role, err := ParseRole(string(role))
	if err != nil {
		return User{}, err
	}
	return m.updateUser(ctx, name, func(u *userEntry) (bool, error) {
		switch {
		case u.Role == role:
			return false, nil
		case role == S3:
			return false, fmt.Errorf("%w: %s", ErrNeedPassword, name)
		}
		secret := u.secret
		if u.setRole(role) {
			m.setSecret(u, secret)
		}
		return true, nil
	})
}

// SetRoleAndPassword changes role and password in one step. ErrNoUser,
// ErrBadRole, ErrBadPassword, ErrLastAdmin.
func (m *Manager) SetRoleAndPassword(ctx context.Context, name string, role Role, password string) (User, error) {
	role, err := ParseRole(string(role))
	if err != nil {
		return User{}, err
	}
	if err := checkPassword(password); err != nil {
		return User{}, err
	}
	return m.updateUser(ctx, name, func(u *userEntry) (bool, error) {
		u.setRole(role)
		m.setSecret(u, password)
		return true, nil
	})
}

// setRole reports whether the user stops being s3: what only s3 users have ends,
// service accounts and sessions because the id that they name does.
func (u *userEntry) setRole(role Role) (stops bool) {
	if stops = u.Role == S3 && role != S3; stops {
		u.setPolicies(nil)
		u.Groups, u.keys = nil, nil
		u.id = randomBase32(idLen)
	}
	u.Role = role
	return stops
}

// SetEnabled enables or disables a user. One that is disabled can neither log in
// nor sign, nor can its access keys, service accounts and sessions; enabled again
// it has them back, but for what expired. ErrNoUser, ErrLastAdmin.
func (m *Manager) SetEnabled(ctx context.Context, name string, enabled bool) (User, error) {
	return m.updateUser(ctx, name, func(u *userEntry) (bool, error) {
		changed := u.Disabled == enabled
		u.Disabled = !enabled
		return changed, nil
	})
}

// Attach attaches a policy to an S3 user, in place of those attached; to attach
// the one that is attached is no error. ErrNoPolicy, ErrNoUser, ErrNotS3User.
func (m *Manager) Attach(ctx context.Context, policyName, user string) error {
	return m.attach(ctx, policyName, user, func([]string) []string { return []string{policyName} })
}

// AttachMore attaches a policy to an S3 user besides those attached, of which
// there may be MaxAttached. ErrNoPolicy, ErrNoUser, ErrNotS3User, ErrLimit.
func (m *Manager) AttachMore(ctx context.Context, policyName, user string) error {
	return m.attach(ctx, policyName, user, func(names []string) []string { return with(names, policyName) })
}

func (m *Manager) attach(ctx context.Context, policyName, user string, change func([]string) []string) error {
	_, err := m.updateUser(ctx, user, func(u *userEntry) (bool, error) {
		names := change(u.Policies)
		switch {
		case m.policies.get(policyName) == nil:
			return false, fmt.Errorf("%w: %s", ErrNoPolicy, printable(policyName))
		case u.Role != S3:
			return false, fmt.Errorf("%w: %s is %s", ErrNotS3User, user, u.Role)
		case len(names) > MaxAttached:
			return false, fmt.Errorf("%w: %d policies of %s", ErrLimit, MaxAttached, user)
		case slices.Equal(names, u.Policies):
			return false, nil
		}
		u.setPolicies(names)
		return true, nil
	})
	return err
}

// Detach detaches a policy from a user (policyName "": all that it has).
// ErrNoUser, ErrNotAttached.
func (m *Manager) Detach(ctx context.Context, policyName, user string) error {
	_, err := m.updateUser(ctx, user, func(u *userEntry) (bool, error) {
		names, ok := without(u.Policies, policyName)
		if !ok {
			return false, fmt.Errorf("%w: %s has %q", ErrNotAttached, user, u.Policies)
		}
		u.setPolicies(names)
		return true, nil
	})
	return err
}

// with returns names and name, in a slice of its own.
func with(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(slices.Clip(slices.Clone(names)), name)
}

// without returns names but for name ("": none of them), in a slice of its own;
// ok is false when there is nothing to leave out.
func without(names []string, name string) (rest []string, ok bool) {
	for _, n := range names {
		if name != "" && n != name {
			rest = append(rest, n)
		}
	}
	return rest, len(rest) < len(names)
}

// RevokeSessions ends all temporary credentials of a user and of its service
// accounts. ErrNoUser.
func (m *Manager) RevokeSessions(ctx context.Context, user string) error {
	_, err := m.updateUser(ctx, user, func(u *userEntry) (bool, error) {
		u.revoked++
		return true, nil
	})
	return err
}
