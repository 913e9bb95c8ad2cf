package iam

import (
	"context"
	"fmt"
	"slices"
	"sort"
)

// Group returns a group. ErrNoGroup.
func (m *Manager) Group(name string) (Group, error) {
	m.state.RLock()
	defer m.state.RUnlock()
	g := m.groups.get(name)
	if g == nil {
		return Group{}, fmt.Errorf("%w: %s", ErrNoGroup, printable(name))
	}
	return m.groupView(g), nil
}

// Groups lists groups by name.
func (m *Manager) Groups() []Group {
	m.state.RLock()
	defer m.state.RUnlock()
	out := make([]Group, 0, m.groups.count.Load())
	m.groups.each(func(g *groupEntry) { out = append(out, m.groupView(g)) })
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func (m *Manager) groupView(g *groupEntry) Group {
	v := g.Group
	v.Policies = append([]string{}, v.Policies...)
	v.Members = sorted(m.members[v.Name])
	return v
}

// AddGroup adds a group. Names: 1…128 of letters, digits and "+=,.@_-".
// ErrBadName, ErrGroupExists, ErrLimit, ErrCorrupt.
func (m *Manager) AddGroup(ctx context.Context, name string) (Group, error) {
	if err := checkGroupName(name); err != nil {
		return Group{}, err
	}
	if err := m.begin(ctx); err != nil {
		return Group{}, err
	}
	defer m.end(ctx)
	if m.groups.get(name) != nil {
		return Group{}, fmt.Errorf("%w: %s", ErrGroupExists, name)
	}
	if m.groups.count.Load() >= MaxGroups {
		return Group{}, fmt.Errorf("%w: %d groups", ErrLimit, MaxGroups)
	}
	at := m.time()
	if err := m.storeGroup(ctx, &groupEntry{Group: Group{Name: name, Created: at, Modified: at}}); err != nil {
		return Group{}, err
	}
	return m.Group(name)
}

func (m *Manager) storeGroup(ctx context.Context, g *groupEntry) error {
	value, err := encodeGroup(g)
	if err != nil {
		return fmt.Errorf("iam: encoding group: %w", err)
	}
	if g.rev, err = m.put(ctx, groupDocs+g.Name, value, g.rev); err != nil {
		return err
	}
	m.setGroup(g.Name, g)
	return nil
}

// RemoveGroup removes a group that has no members, be it damaged (AWS's rule:
// what a group denies does not end by mistake). ErrNoGroup, ErrGroupInUse.
func (m *Manager) RemoveGroup(ctx context.Context, name string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.end(ctx)
	path := groupDocs + name
	rev, ok := m.damagedRev(path)
	if g := m.groups.get(name); g != nil {
		rev, ok = g.rev, true
	}
	m.state.RLock()
	members := len(m.members[name])
	m.state.RUnlock()
	switch {
	case !ok:
		return fmt.Errorf("%w: %s", ErrNoGroup, printable(name))
	case members > 0:
		return fmt.Errorf("%w: %s has %d", ErrGroupInUse, name, members)
	}
	return m.remove(ctx, path, rev)
}

// AddMember puts an S3 user into a group; to add a member is no error. A user is
// in at most MaxMemberships groups; a group has any number of members. ErrNoGroup,
// ErrNoUser, ErrNotS3User, ErrLimit.
func (m *Manager) AddMember(ctx context.Context, group, user string) error {
	_, err := m.updateUser(ctx, user, func(u *userEntry) (bool, error) {
		names := with(u.Groups, group)
		switch {
		case m.groups.get(group) == nil:
			return false, fmt.Errorf("%w: %s", ErrNoGroup, printable(group))
		case u.Role != S3:
			return false, fmt.Errorf("%w: %s is %s", ErrNotS3User, user, u.Role)
		case len(names) > MaxMemberships:
			return false, fmt.Errorf("%w: %d groups of %s", ErrLimit, MaxMemberships, user)
		case len(names) == len(u.Groups):
			return false, nil
		}
		u.Groups = names
		return true, nil
	})
	return err
}

// RemoveMember takes a user out of a group. ErrNoUser, ErrNotMember.
func (m *Manager) RemoveMember(ctx context.Context, group, user string) error {
	_, err := m.updateUser(ctx, user, func(u *userEntry) (bool, error) {
		if !slices.Contains(u.Groups, group) {
			return false, fmt.Errorf("%w: %s, %s", ErrNotMember, printable(group), user)
		}
		u.Groups, _ = without(u.Groups, group)
		return true, nil
	})
	return err
}

// AttachGroup attaches a policy to a group besides those attached, of which there
// may be MaxAttached; to attach one that is attached is no error. ErrNoPolicy,
// ErrNoGroup, ErrLimit.
func (m *Manager) AttachGroup(ctx context.Context, policyName, group string) error {
	return m.updateGroup(ctx, group, func(names []string) ([]string, error) {
		after := with(names, policyName)
		switch {
		case m.policies.get(policyName) == nil:
			return nil, fmt.Errorf("%w: %s", ErrNoPolicy, printable(policyName))
		case len(after) > MaxAttached:
			return nil, fmt.Errorf("%w: %d policies of %s", ErrLimit, MaxAttached, group)
		}
		return after, nil
	})
}

// DetachGroup detaches a policy from a group (policyName "": all that it has).
// ErrNoGroup, ErrNotAttached.
func (m *Manager) DetachGroup(ctx context.Context, policyName, group string) error {
	return m.updateGroup(ctx, group, func(names []string) ([]string, error) {
		after, ok := without(names, policyName)
		if !ok {
			return nil, fmt.Errorf("%w: %s has %q", ErrNotAttached, group, names)
		}
		return after, nil
	})
}

func (m *Manager) updateGroup(ctx context.Context, name string, change func([]string) ([]string, error)) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.end(ctx)
	old := m.groups.get(name)
	if old == nil {
		if err := m.intact(groupDocs + name); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s", ErrNoGroup, printable(name))
	}
	names, err := change(old.Policies)
	if err != nil || slices.Equal(names, old.Policies) {
		return err
	}
	g := *old
	g.Policies, g.Modified = names, m.time()
	return m.storeGroup(ctx, &g)
}
