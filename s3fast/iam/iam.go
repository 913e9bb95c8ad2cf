package iam

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// Errors; test with errors.Is.
var (
	ErrNoUser          = errors.New("iam: no such user")
	ErrUserExists      = errors.New("iam: user exists")
	ErrBadName         = errors.New("iam: invalid name")
	ErrBadPassword     = errors.New("iam: password too weak: at least 8 characters with an upper-case letter, a lower-case letter, and a digit or special character")
	ErrNeedPassword    = errors.New("iam: a user that becomes an s3 user needs a new password: the old one is stored as a hash only")
	ErrBadRole         = errors.New("iam: unknown role")
	ErrNoPolicy        = errors.New("iam: no such policy")
	ErrPolicyExists    = errors.New("iam: policy exists")
	ErrPolicyInUse     = errors.New("iam: policy is attached")
	ErrPredefined      = errors.New("iam: predefined policies cannot be changed")
	ErrNotS3User       = errors.New("iam: only s3 users take policies")
	ErrAlreadyAttached = errors.New("iam: user has a policy attached")
	ErrNotAttached     = errors.New("iam: no policy attached")
	ErrLimit           = errors.New("iam: limit reached")
	ErrCorrupt         = errors.New("iam: stored document is damaged or of a newer version")
)

// Limits of a cluster.
const (
	MaxUsers    = 1_000_000
	MaxPolicies = 10_000 // custom ones
)

// Role of a user.
type Role string

// Roles, WEKA's.
const (
	ClusterAdmin Role = "clusteradmin"
	OrgAdmin     Role = "orgadmin"
	Regular      Role = "regular"
	ReadOnly     Role = "readonly"
	S3           Role = "s3"
)

// ParseRole parses a role, in any case. ErrBadRole.
func ParseRole(s string) (Role, error) {
	switch r := Role(strings.ToLower(s)); r {
	case ClusterAdmin, OrgAdmin, Regular, ReadOnly, S3:
		return r, nil
	}
	return "", fmt.Errorf("%w %q: one of clusteradmin, orgadmin, regular, readonly, s3", ErrBadRole, s)
}

// Docs is the part of the engine's document store that the package needs.
// Revisions are 1 and up. ifRev: -1 any, 0 the document must not exist, else it
// must have that revision.
type Docs interface {
	Get(ctx context.Context, path string) (value []byte, rev int64, ok bool, err error)
	List(ctx context.Context, prefix string, fn func(path string, value []byte, rev int64) error) error
	Put(ctx context.Context, path string, value []byte, ifRev int64) (rev int64, err error)
	Delete(ctx context.Context, path string, ifRev int64) error
}

// User describes a user; it never carries the secret.
type User struct {
	Name     string    `json:"name"`
	Role     Role      `json:"role"`
	Policy   string    `json:"policy"` // name of the attached policy, or ""
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
}

// PolicyInfo describes a policy.
type PolicyInfo struct {
	Name       string    `json:"name"`
	Predefined bool      `json:"predefined"`
	Document   string    `json:"document"`
	Users      []string  `json:"users"` // to whom it is attached
	Created    time.Time `json:"created,omitzero"`
}

// Kind of an identity.
type Kind uint8

// Kinds.
const (
	KindUser Kind = iota
	KindServiceAccount
	KindSession
)

// Identity is who signed a request, as compiled for the request path. It is
// immutable.
type Identity struct {
	Kind      Kind
	Name      string // of the user; of a service account or session: its parent user's, or "" for web identities
	AccessKey string
	Session   string // role session name
	Principal policy.Principal
	UserID    string     // aws:userid
	Policies  policy.Set // the user's and its groups'; of a web identity: those its role claim names
	// Narrow are the service account's own policy and the session's: each must
	// allow, too.
	Narrow []*policy.Policy
	// Expires is when a session or an expiring service account ends; zero: never.
	Expires time.Time
}

// Allows reports whether the identity may do action on resource. An identity
// without a policy may do nothing.
func (id *Identity) Allows(action, resource string) bool {
	return id.Policies.Eval(action, resource) == policy.Allow
}

// Manager keeps identities. Safe for concurrent use.
//
// Requests read users (a table of atomically replaced shards) and take no lock.
// Changes are made one at a time under writing, which is held across the store's
// I/O; state is held for moments only, and never while writing is waited for.
// What a change does in memory it does after the store has answered.
type Manager struct {
	docs Docs
	key  *seal.Key
	now  func() time.Time

	hashing chan struct{} // bounds the memory of password hashing
	dummy   string        // a hash to spend time on when there is no user

	users userTable

	writing sync.Mutex
	dirty   map[string]bool // paths whose stored state is unknown; under writing

	state    sync.RWMutex
	policies map[string]*storedPolicy       // by name, predefined ones too
	attached map[string]map[string]struct{} // policy name → names of its users
}

// Open loads users and policies from docs. A document that cannot be read makes
// it fail: ErrCorrupt, or seal.ErrOpen when the key is not the one that the
// secrets were sealed with.
func Open(ctx context.Context, docs Docs, key *seal.Key, now func() time.Time) (*Manager, error) {
	m := &Manager{
		docs:     docs,
		key:      key,
		now:      now,
		hashing:  make(chan struct{}, hashingMax),
		dirty:    map[string]bool{},
		policies: map[string]*storedPolicy{},
		attached: map[string]map[string]struct{}{},
	}
	m.dummy = m.hash(GeneratePassword())
	for _, name := range policy.PredefinedNames() {
		doc, _ := policy.Predefined(name)
		compiled, err := policy.Parse([]byte(doc))
		if err != nil {
			return nil, fmt.Errorf("iam: predefined policy %s: %w", name, err)
		}
		m.policies[name] = &storedPolicy{name: name, document: doc, compiled: compiled, predefined: true}
	}
	err := docs.List(ctx, policyPrefix, func(path string, value []byte, rev int64) error {
		p, err := decodePolicy(path, value, rev)
		if err == nil {
			m.policies[p.name] = p
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var loaded []*userEntry
	err = docs.List(ctx, userPrefix, func(path string, value []byte, rev int64) error {
		u, err := decodeUser(path, value, rev, key)
		if err == nil {
			loaded = append(loaded, u)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, u := range loaded {
		u.identity = m.identityOf(u)
		m.attach(u.Policy, u.Name)
	}
	m.users.load(loaded)
	return m, nil
}

// identityOf compiles a user. A policy that is not there (which changes never
// leave behind) gives no rights. state must be held, or no one else know m.
func (m *Manager) identityOf(u *userEntry) *Identity {
	id := &Identity{Name: u.Name}
	if p := m.policies[u.Policy]; p != nil && u.Role == S3 {
		id.Policies = policy.Set{p.compiled}
	}
	return id
}

// attach and detach keep the index. state must be held.
func (m *Manager) attach(policyName, user string) {
	if policyName == "" {
		return
	}
	if m.attached[policyName] == nil {
		m.attached[policyName] = map[string]struct{}{}
	}
	m.attached[policyName][user] = struct{}{}
}

func (m *Manager) detach(policyName, user string) {
	delete(m.attached[policyName], user)
	if len(m.attached[policyName]) == 0 {
		delete(m.attached, policyName)
	}
}

// Secret returns the secret of an S3 user's access key (its name): for
// sigv4.Verifier. It takes no lock and does not allocate.
func (m *Manager) Secret(accessKey string) (string, bool) {
	u := m.users.get(accessKey)
	if u == nil || u.Role != S3 {
		return "", false
	}
	return u.secret, true
}

// Identity returns the compiled identity of an S3 user. It takes no lock and
// does not allocate.
func (m *Manager) Identity(accessKey string) (*Identity, bool) {
	u := m.users.get(accessKey)
	if u == nil || u.Role != S3 {
		return nil, false
	}
	return u.identity, true
}

// User returns a user. ErrNoUser.
func (m *Manager) User(name string) (User, error) {
	u := m.users.get(name)
	if u == nil {
		return User{}, fmt.Errorf("%w: %s", ErrNoUser, printable(name))
	}
	return u.User, nil
}

// Users lists users by name.
func (m *Manager) Users() []User {
	out := []User{}
	m.users.each(func(u *userEntry) { out = append(out, u.User) })
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Policy returns a policy, predefined or custom. ErrNoPolicy.
func (m *Manager) Policy(name string) (PolicyInfo, error) {
	m.state.RLock()
	defer m.state.RUnlock()
	p := m.policies[name]
	if p == nil {
		return PolicyInfo{}, fmt.Errorf("%w: %s", ErrNoPolicy, printable(name))
	}
	return m.info(p), nil
}

// Policies lists all policies by name.
func (m *Manager) Policies() []PolicyInfo {
	m.state.RLock()
	defer m.state.RUnlock()
	out := make([]PolicyInfo, 0, len(m.policies))
	for _, p := range m.policies {
		out = append(out, m.info(p))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func (m *Manager) info(p *storedPolicy) PolicyInfo {
	users := make([]string, 0, len(m.attached[p.name]))
	for name := range m.attached[p.name] {
		users = append(users, name)
	}
	sort.Strings(users)
	return PolicyInfo{
		Name: p.name, Predefined: p.predefined, Document: p.document, Users: users, Created: p.created,
	}
}
