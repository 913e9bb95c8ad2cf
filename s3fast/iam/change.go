package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/s3fast/policy"
)

// resyncTimeout bounds the reading back of a document whose write failed.
const resyncTimeout = 5 * time.Second

// begin starts a change: it takes the writing lock and reads again what an
// earlier failure left unknown. The caller must end it with m.writing.Unlock()
// unless it fails.
func (m *Manager) begin(ctx context.Context) error {
	m.writing.Lock()
	for path := range m.dirty {
		if err := m.resync(ctx, path); err != nil {
			m.writing.Unlock()
			return err
		}
	}
	return nil
}

// failed is told of a write that failed. The write may have happened all the
// same (a time-out, a crash of the store): memory must follow the store, so the
// document is read back, now or before the next change. It returns err.
func (m *Manager) failed(ctx context.Context, path string, err error) error {
	m.dirty[path] = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resyncTimeout)
	defer cancel()
	return errors.Join(err, m.resync(ctx, path))
}

// resync makes memory equal to the stored document.
func (m *Manager) resync(ctx context.Context, path string) error {
	value, rev, ok, err := m.docs.Get(ctx, path)
	if err != nil {
		return fmt.Errorf("iam: reading %s: %w", path, err)
	}
	if name, isUser := strings.CutPrefix(path, userPrefix); isUser {
		var u *userEntry
		if ok {
			if u, err = decodeUser(path, value, rev, m.key); err != nil {
				return err
			}
		}
		m.setUser(name, u)
	} else {
		name := strings.TrimPrefix(path, policyPrefix)
		var p *storedPolicy
		if ok {
			if p, err = decodePolicy(path, value, rev); err != nil {
				return err
			}
		}
		m.setPolicy(name, p)
	}
	delete(m.dirty, path)
	return nil
}

// setUser puts a user, or removes it when u is nil, in memory.
func (m *Manager) setUser(name string, u *userEntry) {
	m.state.Lock()
	defer m.state.Unlock()
	if old := m.users.get(name); old != nil {
		m.detach(old.Policy, name)
	}
	if u != nil {
		u.identity = m.identityOf(u)
		m.attach(u.Policy, name)
	}
	m.users.set(name, u)
}

// setPolicy puts a policy, or removes it when p is nil, in memory, and compiles
// the users to whom it is attached anew. That copies a shard for each of them:
// changing a policy of thousands of users takes milliseconds, and is rare.
func (m *Manager) setPolicy(name string, p *storedPolicy) {
	m.state.Lock()
	defer m.state.Unlock()
	if p != nil {
		m.policies[name] = p
	} else {
		delete(m.policies, name)
	}
	for user := range m.attached[name] {
		if old := m.users.get(user); old != nil {
			u := *old
			u.identity = m.identityOf(&u)
			m.users.set(user, &u)
		}
	}
}

// storeUser writes u in place of the stored revision u.rev (0: a new user) and
// then puts it in force.
func (m *Manager) storeUser(ctx context.Context, u *userEntry) error {
	value, err := encodeUser(u, m.key)
	if err != nil {
		return fmt.Errorf("iam: encoding user: %w", err)
	}
	path := userPrefix + u.Name
	rev, err := m.docs.Put(ctx, path, value, u.rev)
	if err != nil {
		return m.failed(ctx, path, fmt.Errorf("iam: storing user %s: %w", u.Name, err))
	}
	u.rev = rev
	m.setUser(u.Name, u)
	return nil
}

// AddUser adds a user. Names: 1…64 of letters, digits and "+=,.@_-". ErrBadName,
// ErrBadRole, ErrBadPassword, ErrUserExists, ErrLimit.
func (m *Manager) AddUser(ctx context.Context, name string, role Role, password string) (User, error) {
	if err := checkUserName(name); err != nil {
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
	defer m.writing.Unlock()
	if m.users.get(name) != nil {
		return User{}, fmt.Errorf("%w: %s", ErrUserExists, name)
	}
	if m.users.count.Load() >= MaxUsers {
		return User{}, fmt.Errorf("%w: %d users", ErrLimit, MaxUsers)
	}
	at := m.time()
	u := &userEntry{User: User{Name: name, Role: role, Created: at, Modified: at}}
	m.setSecret(u, password)
	if err := m.storeUser(ctx, u); err != nil {
		return User{}, err
	}
	return u.User, nil
}

// setSecret keeps the password in the form that u's role asks for.
func (m *Manager) setSecret(u *userEntry, password string) {
	if u.Role == S3 {
		u.secret, u.hash = password, ""
	} else {
		u.secret, u.hash = "", m.hash(password)
	}
}

func (m *Manager) time() time.Time { return m.now().UTC().Truncate(time.Millisecond) }

// updateUser changes a copy of a user by fn and stores it. fn returns false when
// there is nothing to change.
func (m *Manager) updateUser(ctx context.Context, name string, fn func(*userEntry) (bool, error)) (User, error) {
	if err := m.begin(ctx); err != nil {
		return User{}, err
	}
	defer m.writing.Unlock()
	old := m.users.get(name)
	if old == nil {
		return User{}, fmt.Errorf("%w: %s", ErrNoUser, printable(name))
	}
	u := *old
	changed, err := fn(&u)
	if err != nil || !changed {
		return u.User, err
	}
	u.Modified = m.time()
	if err := m.storeUser(ctx, &u); err != nil {
		return User{}, err
	}
	return u.User, nil
}

// DeleteUser removes a user. ErrNoUser.
func (m *Manager) DeleteUser(ctx context.Context, name string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.writing.Unlock()
	u := m.users.get(name)
	if u == nil {
		return fmt.Errorf("%w: %s", ErrNoUser, printable(name))
	}
	path := userPrefix + name
	if err := m.docs.Delete(ctx, path, u.rev); err != nil {
		return m.failed(ctx, path, fmt.Errorf("iam: deleting user %s: %w", name, err))
	}
	m.setUser(name, nil)
	return nil
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

// SetRole changes the role; a user that stops being s3 loses its policy, and its
// secret key becomes its password. A user that becomes s3 needs a new password,
// since signatures cannot be checked against a hash: ErrNeedPassword, see
// SetRoleAndPassword. ErrNoUser, ErrBadRole.
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
		case u.Role == S3:
			u.Role, u.Policy = role, ""
			m.setSecret(u, u.secret)
		}
		u.Role = role
		return true, nil
	})
}

// SetRoleAndPassword changes role and password in one step. ErrNoUser,
// ErrBadRole, ErrBadPassword.
func (m *Manager) SetRoleAndPassword(ctx context.Context, name string, role Role, password string) (User, error) {
	role, err := ParseRole(string(role))
	if err != nil {
		return User{}, err
	}
	if err := checkPassword(password); err != nil {
		return User{}, err
	}
	return m.updateUser(ctx, name, func(u *userEntry) (bool, error) {
		if u.Role = role; role != S3 {
			u.Policy = ""
		}
		m.setSecret(u, password)
		return true, nil
	})
}

// AddPolicy adds a custom policy; with replace, it takes the place of one of the
// same name, which keeps its users and creation time. Policies may be attached
// to many users; a user has at most one. ErrBadName, ErrPredefined,
// ErrPolicyExists, ErrLimit, and policy.ErrMalformed.
func (m *Manager) AddPolicy(ctx context.Context, name string, doc []byte, replace bool) (PolicyInfo, error) {
	if err := checkPolicyName(name); err != nil {
		return PolicyInfo{}, err
	}
	if _, ok := policy.Predefined(name); ok {
		return PolicyInfo{}, fmt.Errorf("%w: %s", ErrPredefined, name)
	}
	compiled, err := policy.Parse(doc)
	if err != nil {
		return PolicyInfo{}, err
	}
	if err := m.begin(ctx); err != nil {
		return PolicyInfo{}, err
	}
	defer m.writing.Unlock()
	p := &storedPolicy{name: name, document: string(doc), compiled: compiled, created: m.time()}
	if err := m.admit(p, replace); err != nil {
		return PolicyInfo{}, err
	}
	value, err := encodePolicy(p)
	if err != nil {
		return PolicyInfo{}, fmt.Errorf("iam: encoding policy: %w", err)
	}
	path := policyPrefix + name
	if p.rev, err = m.docs.Put(ctx, path, value, p.rev); err != nil {
		return PolicyInfo{}, m.failed(ctx, path, fmt.Errorf("iam: storing policy %s: %w", name, err))
	}
	m.setPolicy(name, p)
	return m.Policy(name)
}

// admit checks that p may be stored, and takes over what it keeps of the policy
// it replaces.
func (m *Manager) admit(p *storedPolicy, replace bool) error {
	m.state.RLock()
	defer m.state.RUnlock()
	old := m.policies[p.name]
	switch {
	case old != nil && !replace:
		return fmt.Errorf("%w: %s", ErrPolicyExists, p.name)
	case old != nil:
		p.rev, p.created = old.rev, old.created
	case len(m.policies) >= MaxPolicies+len(policy.PredefinedNames()):
		return fmt.Errorf("%w: %d policies", ErrLimit, MaxPolicies)
	}
	return nil
}

// RemovePolicy removes a custom policy that is not attached. ErrNoPolicy,
// ErrPredefined, ErrPolicyInUse.
func (m *Manager) RemovePolicy(ctx context.Context, name string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.writing.Unlock()
	m.state.RLock()
	p, users := m.policies[name], len(m.attached[name])
	m.state.RUnlock()
	switch {
	case p == nil:
		return fmt.Errorf("%w: %s", ErrNoPolicy, printable(name))
	case p.predefined:
		return fmt.Errorf("%w: %s", ErrPredefined, name)
	case users > 0:
		return fmt.Errorf("%w: %s, to %d users", ErrPolicyInUse, name, users)
	}
	path := policyPrefix + name
	if err := m.docs.Delete(ctx, path, p.rev); err != nil {
		return m.failed(ctx, path, fmt.Errorf("iam: deleting policy %s: %w", name, err))
	}
	m.setPolicy(name, nil)
	return nil
}

// Attach attaches a policy to an S3 user, in place of the one attached; to
// attach the one that is attached is no error. ErrNoPolicy, ErrNoUser,
// ErrNotS3User.
func (m *Manager) Attach(ctx context.Context, policyName, user string) error {
	_, err := m.updateUser(ctx, user, func(u *userEntry) (bool, error) {
		m.state.RLock()
		p := m.policies[policyName]
		m.state.RUnlock()
		switch {
		case p == nil:
			return false, fmt.Errorf("%w: %s", ErrNoPolicy, printable(policyName))
		case u.Role != S3:
			return false, fmt.Errorf("%w: %s is %s", ErrNotS3User, user, u.Role)
		case u.Policy == policyName:
			return false, nil
		}
		u.Policy = policyName
		return true, nil
	})
	return err
}

// Detach detaches the user's policy (policyName "" : whichever it is). ErrNoUser,
// ErrNotAttached.
func (m *Manager) Detach(ctx context.Context, policyName, user string) error {
	_, err := m.updateUser(ctx, user, func(u *userEntry) (bool, error) {
		if u.Policy == "" || policyName != "" && policyName != u.Policy {
			return false, fmt.Errorf("%w: %s has %q", ErrNotAttached, user, u.Policy)
		}
		u.Policy = ""
		return true, nil
	})
	return err
}
