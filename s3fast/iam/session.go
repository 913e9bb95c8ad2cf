package iam

import (
	"context"
	"errors"
	"time"
)

// Errors of sessions; test with errors.Is.
var (
	ErrBadToken     = errors.New("iam: session token is invalid")           // S3: InvalidToken
	ErrExpiredToken = errors.New("iam: session token has expired")          // S3: ExpiredToken
	ErrBadDuration  = errors.New("iam: duration out of range")              // STS: ValidationError
	ErrMayNotAssume = errors.New("iam: sessions cannot assume a role here") // STS: AccessDenied
)

// Bounds of a session's life.
const (
	MinSession     = 15 * time.Minute
	MaxSession     = 7 * 24 * time.Hour
	DefaultSession = time.Hour
)

// AssumeRole is a request for temporary credentials.
type AssumeRole struct {
	Name     string        // role session name, 2…64 of letters, digits and "+=,.@-_"
	Duration time.Duration // 0: DefaultSession
	Policy   []byte        // inline session policy, or nil
}

// Credentials are temporary.
type Credentials struct {
	AccessKey, SecretKey, Token string
	Expires                     time.Time
	ARN                         string // arn:aws:sts::ACCOUNT:assumed-role/USER/NAME
	ID                          string // AssumedRoleId
}

// AssumeRole gives temporary credentials for the user that owns accessKey (a
// user's, or a service account's, whose policy narrows the session, too).
// ErrNoUser, ErrBadName, ErrBadDuration, policy.ErrMalformed.
func (m *Manager) AssumeRole(ctx context.Context, accessKey string, in AssumeRole) (Credentials, error) {
	return Credentials{}, ErrMayNotAssume
}

// WebIdentity is who a verified ID token says.
type WebIdentity struct {
	Issuer, Subject, Audience string
	Policies                  []string // names of policies that its role claim gives
}

// AssumeWebIdentity gives temporary credentials to someone who is no user here.
// ErrNoPolicy when a policy does not exist, and as AssumeRole.
func (m *Manager) AssumeWebIdentity(ctx context.Context, who WebIdentity, in AssumeRole) (Credentials, error) {
	return Credentials{}, ErrMayNotAssume
}

// Session returns the identity of temporary credentials whose signature has been
// verified: accessKey and token must belong together. ErrBadToken (also: revoked,
// or the parent is gone or disabled), ErrExpiredToken. It takes no lock; repeated
// calls for one token do not allocate.
func (m *Manager) Session(accessKey, token string) (*Identity, error) {
	return nil, ErrBadToken
}
