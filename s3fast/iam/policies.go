package iam

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/sluicehq/sluice/s3fast/policy"
)

// Policy returns a policy, predefined or custom. ErrNoPolicy.
func (m *Manager) Policy(name string) (PolicyInfo, error) {
	m.state.RLock()
	defer m.state.RUnlock()
	p := m.policies.get(name)
	if p == nil {
		return PolicyInfo{}, fmt.Errorf("%w: %s", ErrNoPolicy, printable(name))
	}
	return m.info(p), nil
}

// NamesOf returns the names of policies that an Identity has, in order; that of one
// that is there no more, or has been replaced meanwhile, is "".
func (m *Manager) NamesOf(set policy.Set) []string {
	m.state.RLock()
	defer m.state.RUnlock()
	out := make([]string, len(set))
	m.policies.each(func(p *storedPolicy) {
		if i := slices.Index(set, p.compiled); i >= 0 {
			out[i] = p.name
		}
	})
	return out
}

// Policies lists all policies by name.
func (m *Manager) Policies() []PolicyInfo {
	m.state.RLock()
	defer m.state.RUnlock()
	out := make([]PolicyInfo, 0, m.policies.count.Load())
	m.policies.each(func(p *storedPolicy) { out = append(out, m.info(p)) })
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func (m *Manager) info(p *storedPolicy) PolicyInfo {
	return PolicyInfo{
		Name: p.name, Predefined: p.predefined, Document: p.document, Created: p.created,
		Users: sorted(m.attached[p.name]), Groups: sorted(m.carried[p.name]),
	}
}

func sorted(names map[string]struct{}) []string {
	out := make([]string, 0, len(names))
	for name := range names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// AddPolicy adds a custom policy; with replace, it takes the place of one of the
// same name, which keeps its users and creation time. Policies may be attached to
// many users and groups. ErrBadName, ErrPredefined, ErrPolicyExists, ErrLimit,
// ErrCorrupt, and policy.ErrMalformed.
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
	defer m.end(ctx)
	p := &storedPolicy{
		name: name, document: string(doc), compiled: compiled, set: policy.Set{compiled}, created: m.time(),
	}
	if err := m.admit(p, replace); err != nil {
		return PolicyInfo{}, err
	}
	value, err := encodePolicy(p)
	if err != nil {
		return PolicyInfo{}, fmt.Errorf("iam: encoding policy: %w", err)
	}
	if p.rev, err = m.put(ctx, policyDocs+name, value, p.rev); err != nil {
		return PolicyInfo{}, err
	}
	m.setPolicy(name, p)
	return m.Policy(name)
}

// admit checks that p may be stored, and takes over what it keeps of the policy
// it replaces.
func (m *Manager) admit(p *storedPolicy, replace bool) error {
	old := m.policies.get(p.name)
	switch {
	case old != nil && !replace:
		return fmt.Errorf("%w: %s", ErrPolicyExists, p.name)
	case old != nil:
		p.rev, p.created = old.rev, old.created
	case m.policies.count.Load() >= int64(MaxPolicies+len(policy.PredefinedNames())):
		return fmt.Errorf("%w: %d policies", ErrLimit, MaxPolicies)
	}
	return nil
}

// RemovePolicy removes a custom policy that is not attached, be it damaged.
// Sessions of web identities that name it end. ErrNoPolicy, ErrPredefined,
// ErrPolicyInUse.
func (m *Manager) RemovePolicy(ctx context.Context, name string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.end(ctx)
	path := policyDocs + name
	rev, ok := m.damagedRev(path)
	if p := m.policies.get(name); p != nil {
		rev, ok = p.rev, true
		if p.predefined {
			return fmt.Errorf("%w: %s", ErrPredefined, name)
		}
	}
	m.state.RLock()
	users, groups := len(m.attached[name]), len(m.carried[name])
	m.state.RUnlock()
	switch {
	case !ok:
		return fmt.Errorf("%w: %s", ErrNoPolicy, printable(name))
	case users+groups > 0:
		return fmt.Errorf("%w: %s, to %d users and %d groups", ErrPolicyInUse, name, users, groups)
	}
	return m.remove(ctx, path, rev)
}
