package iam

import (
	"context"
	"errors"
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
	ErrBadRole         = errors.New("iam: unknown role")
	ErrNoPolicy        = errors.New("iam: no such policy")
	ErrPolicyExists    = errors.New("iam: policy exists")
	ErrPolicyInUse     = errors.New("iam: policy is attached")
	ErrPredefined      = errors.New("iam: predefined policies cannot be changed")
	ErrNotS3User       = errors.New("iam: only s3 users take policies")
	ErrAlreadyAttached = errors.New("iam: user has a policy attached")
	ErrNotAttached     = errors.New("iam: no policy attached")
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
func ParseRole(s string) (Role, error) { panic("not built") }

// Docs is the part of the engine's document store that the package needs.
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

// Identity is who signed a request, as compiled for the request path.
type Identity struct {
	Name     string
	Policies policy.Set
}

// Allows reports whether the identity may do action on resource. An identity
// without a policy may do nothing.
func (id *Identity) Allows(action, resource string) bool { panic("not built") }

// Manager keeps identities. Safe for concurrent use.
type Manager struct{}

// Open loads users and policies from docs.
func Open(ctx context.Context, docs Docs, key *seal.Key, now func() time.Time) (*Manager, error) {
	panic("not built")
}

// Secret returns the secret of an S3 user's access key (its name): for
// sigv4.Verifier. It takes no lock and does not allocate.
func (m *Manager) Secret(accessKey string) (string, bool) { panic("not built") }

// Identity returns the compiled identity of an S3 user.
func (m *Manager) Identity(accessKey string) (*Identity, bool) { panic("not built") }

// AddUser adds a user. Names: 1…64 of letters, digits and "+=,.@_-".
func (m *Manager) AddUser(ctx context.Context, name string, role Role, password string) (User, error) {
	panic("not built")
}

// DeleteUser removes a user.
func (m *Manager) DeleteUser(ctx context.Context, name string) error { panic("not built") }

// SetPassword changes the password (an S3 user's secret key).
func (m *Manager) SetPassword(ctx context.Context, name, password string) error { panic("not built") }

// SetRole changes the role; a user that stops being s3 loses its policy.
func (m *Manager) SetRole(ctx context.Context, name string, role Role) (User, error) {
	panic("not built")
}

// User returns a user.
func (m *Manager) User(name string) (User, error) { panic("not built") }

// Users lists users by name.
func (m *Manager) Users() []User { panic("not built") }

// AddPolicy adds a custom policy; PutPolicy semantics with replace.
func (m *Manager) AddPolicy(ctx context.Context, name string, doc []byte, replace bool) (PolicyInfo, error) {
	panic("not built")
}

// RemovePolicy removes a custom policy that is not attached.
func (m *Manager) RemovePolicy(ctx context.Context, name string) error { panic("not built") }

// Policy returns a policy, predefined or custom.
func (m *Manager) Policy(name string) (PolicyInfo, error) { panic("not built") }

// Policies lists all policies by name.
func (m *Manager) Policies() []PolicyInfo { panic("not built") }

// Attach attaches a policy to an S3 user, in place of the one attached.
func (m *Manager) Attach(ctx context.Context, policyName, user string) error { panic("not built") }

// Detach detaches the user's policy (policyName "" : whichever it is).
func (m *Manager) Detach(ctx context.Context, policyName, user string) error { panic("not built") }

// CheckPassword verifies a user's password in constant time.
func (m *Manager) CheckPassword(name, password string) bool { panic("not built") }
