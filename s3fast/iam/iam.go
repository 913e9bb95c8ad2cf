package iam

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// Limits of a cluster. A user may have any number of the service accounts.
const (
	MaxUsers           = 1_000_000
	MaxServiceAccounts = 1_000_000
	MaxGroups          = 10_000
	MaxPolicies        = 10_000 // custom ones
	MaxAttached        = 20     // policies of one user, or of one group
	MaxMemberships     = 20     // groups of one user
	MaxAccessKeys      = 2      // of one user besides its name, or of one service account
)

// AccountID is the account that every identity of a cluster belongs to.
const AccountID = "000000000000"

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
// must have that revision. List may give fn values that are valid only until it
// returns.
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
	Policy   string    `json:"policy"`   // the first of Policies, or ""
	Policies []string  `json:"policies"` // attached to the user itself, in the order of attaching
	Groups   []string  `json:"groups"`   // in the order of joining
	Disabled bool      `json:"disabled"` // may not log in or sign, nor may its keys, service accounts and sessions
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
}

// Group describes a group.
type Group struct {
	Name     string    `json:"name"`
	Policies []string  `json:"policies"` // in the order of attaching
	Members  []string  `json:"members"`  // users, sorted
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
}

// PolicyInfo describes a policy.
type PolicyInfo struct {
	Name       string    `json:"name"`
	Predefined bool      `json:"predefined"`
	Document   string    `json:"document"`
	Users      []string  `json:"users"`  // to whom it is attached, sorted
	Groups     []string  `json:"groups"` // likewise
	Created    time.Time `json:"created,omitzero"`
}

// AccessKey describes an access key of a user (besides its name) or of a service
// account; it never carries the secret.
type AccessKey struct {
	ID       string    `json:"access_key"` // 20 upper-case letters and digits, "AK…"
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

// KeyPair is a new access key with its secret of 40 characters, which is told
// this once.
type KeyPair struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// ServiceAccount describes a service account. It signs with keys of its own and
// may do what its owner may and its own policy, if it has one, allows as well.
type ServiceAccount struct {
	ID       string      `json:"id"` // "SA…", 20 characters; stays when keys are rotated
	Owner    string      `json:"owner"`
	Name     string      `json:"name"`             // free text
	Policy   string      `json:"policy,omitempty"` // JSON; "": no narrowing
	Expires  time.Time   `json:"expires,omitzero"` // zero: never
	Disabled bool        `json:"disabled"`
	Keys     []AccessKey `json:"keys"`
	Created  time.Time   `json:"created"`
	Modified time.Time   `json:"modified"`
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
	Account   string // id of the service account that signs, or whose session this is, or ""
	Session   string // role session name
	Principal policy.Principal
	UserID    string     // aws:userid
	Policies  policy.Set // the user's and its groups'; of a web identity: those its role claim names
	// Narrow are the service account's own policy and the session's: each must
	// allow, too.
	Narrow []*policy.Policy
	// Expires is when a session or an expiring service account ends; zero: never.
	Expires time.Time
	// Issued is when a session began; zero for others.
	Issued time.Time
	// Web is who a web identity is; nil for others.
	Web *WebIdentity
}

// Allows reports whether the identity may do action on resource by its own
// policies. An identity without a policy may do nothing.
func (id *Identity) Allows(action, resource string) bool {
	r := policy.Request{Action: action, Resource: resource, Principal: id.Principal}
	return policy.Decide(&r, &policy.Input{Identity: id.Policies, Narrow: id.Narrow}) == policy.Allow
}

// Manager keeps identities. Safe for concurrent use.
//
// Requests read tables whose entries are replaced atomically, and take no lock. Changes
// are made one at a time under writing, which is held across the store's I/O;
// state is held for moments only, and never while writing is waited for. What a
// change does in memory it does after the store has answered.
type Manager struct {
	docs Docs
	key  *seal.Key
	now  func() time.Time

	hashing chan struct{} // bounds the memory of password hashing
	dummy   string        // a hash to spend time on when there is no user
	denyAll policy.Set    // of identities whose policies cannot be read

	// Read without a lock, written under state.
	users    table[userEntry]    // by name
	keys     table[keyEntry]     // by access key, names of S3 users among them
	accounts table[accountEntry] // service accounts by id
	policies table[storedPolicy] // by name, predefined ones too
	groups   table[groupEntry]   // by name
	master   atomic.Pointer[masterKey]
	// policyGen counts changes of policies: what holds a compiled policy found by
	// name keeps the count it began with.
	policyGen atomic.Uint64
	sessions  sessionCache

	writing sync.Mutex
	dirty   map[string]bool // paths whose stored state is unknown; under writing

	state    sync.RWMutex
	attached index               // policy → users it is attached to
	carried  index               // policy → groups it is attached to
	members  index               // group → users
	owned    map[string][]string // user → ids of its service accounts
	admins   int                 // enabled clusteradmins
	damaged  map[string]damage   // documents that cannot be read, by path
	orphans  map[string]int64    // documents without power, to be removed: path → revision
}

// usable returns what an access key leads to when it may sign now.
func (m *Manager) usable(accessKey string) *keyEntry {
	k := m.keys.get(accessKey)
	if k == nil || k.identity == nil || m.ended(k.identity.Expires) {
		return nil
	}
	return k
}

// ended reports whether the time at which something expires has come.
func (m *Manager) ended(expires time.Time) bool {
	return !expires.IsZero() && !m.now().Before(expires)
}

// Secret returns the secret of an access key, for sigv4.Verifier: of an S3
// user's name, of a key of a user or service account, or of temporary
// credentials (which mean nothing without their token: see Session). ok is false
// when it may not sign: unknown, disabled, expired. It takes no lock and, but for
// the first use of temporary credentials, does not allocate.
func (m *Manager) Secret(accessKey string) (secret string, ok bool) {
	if k := m.usable(accessKey); k != nil {
		return k.secret, true
	}
	return m.sessionSecret(accessKey)
}

// Identity returns the compiled identity behind an access key: an S3 user's
// name, or a key of a user or of a service account. ok is false for those that
// may not sign, and for temporary credentials: see Session. It takes no lock and
// does not allocate.
func (m *Manager) Identity(accessKey string) (*Identity, bool) {
	if k := m.usable(accessKey); k != nil {
		return k.identity, true
	}
	return nil, false
}

// Known reports whether an access key may sign, as far as can be told without a
// signature: temporary credentials count while they are in use.
func (m *Manager) Known(accessKey string) bool {
	return m.usable(accessKey) != nil || m.sessions.get(accessKey) != nil
}

// Refused tells, for the log, why Identity knows nothing of an access key: nil
// when it does, else ErrNotS3User, ErrDisabled, ErrExpired, or ErrNoAccessKey.
// Clients are told of an unknown key in all cases.
func (m *Manager) Refused(accessKey string) error {
	k := m.keys.get(accessKey)
	switch {
	case k == nil && m.users.get(accessKey) != nil:
		return ErrNotS3User
	case k == nil:
		return ErrNoAccessKey
	case k.identity == nil:
		return ErrDisabled
	case m.ended(k.identity.Expires):
		return ErrExpired
	}
	return nil
}

func (u *userEntry) refused() error {
	switch {
	case u.Role != S3:
		return ErrNotS3User
	case u.Disabled:
		return ErrDisabled
	}
	return nil
}
