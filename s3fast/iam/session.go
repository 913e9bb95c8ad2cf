package iam

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/s3fast/policy"
)

// Errors of sessions; test with errors.Is.
var (
	ErrBadToken      = errors.New("iam: session token is invalid")                           // S3: InvalidToken
	ErrExpiredToken  = errors.New("iam: session token has expired")                          // S3: ExpiredToken
	ErrBadDuration   = errors.New("iam: duration out of range")                              // STS: ValidationError
	ErrMayNotAssume  = errors.New("iam: sessions cannot assume a role here")                 // STS: AccessDenied
	ErrTokenTooLarge = errors.New("iam: policies and names do not fit into a session token") // STS: PackedPolicyTooLarge
)

// Bounds of a session's life.
const (
	MinSession     = 15 * time.Minute
	MaxSession     = 7 * 24 * time.Hour
	DefaultSession = time.Hour
)

// MaxSessionPolicy is the largest inline policy of a session in bytes (AWS STS
// API Reference, AssumeRole, "Policy").
const MaxSessionPolicy = 2048

const (
	sessionARN = "arn:aws:sts::" + AccountID + ":assumed-role/"
	roleARN    = "arn:aws:iam::" + AccountID + ":role/"
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
	Expires                     time.Time // in whole seconds
	ARN                         string    // arn:aws:sts::ACCOUNT:assumed-role/USER/NAME
	ID                          string    // AssumedRoleId
}

// check checks a request but for what it names. ErrBadName, ErrBadDuration,
// policy.ErrMalformed.
func (in *AssumeRole) check() error {
	if err := checkSessionName(in.Name); err != nil {
		return err
	}
	if in.Duration == 0 {
		in.Duration = DefaultSession
	}
	if in.Duration < MinSession || in.Duration > MaxSession {
		return fmt.Errorf("%w: %v is not from %v to %v", ErrBadDuration, in.Duration, MinSession, MaxSession)
	}
	if in.Policy == nil {
		return nil
	}
	if len(in.Policy) > MaxSessionPolicy {
		return fmt.Errorf("%w: larger than the %d bytes of a session policy", policy.ErrMalformed, MaxSessionPolicy)
	}
	_, err := policy.Parse(in.Policy)
	return err
}

// AssumeRole gives temporary credentials for the user that owns accessKey (a
// user's, or a service account's, whose policy narrows the session, too). They
// end early with the user or the service account, when either is disabled, and by
// RevokeSessions, and never outlive a service account's expiry. ErrNoUser,
// ErrDisabled, ErrExpired, ErrMayNotAssume (also for the keys of sessions),
// ErrBadName, ErrBadDuration, policy.ErrMalformed.
func (m *Manager) AssumeRole(ctx context.Context, accessKey string, in AssumeRole) (Credentials, error) {
	if err := in.check(); err != nil {
		return Credentials{}, err
	}
	u, a, err := m.parent(accessKey)
	if err != nil {
		return Credentials{}, err
	}
	c := claims{
		kind: claimsUser, expires: m.now().Add(in.Duration), session: in.Name, inline: in.Policy,
		user: u.Name, userID: u.id, revoked: u.revoked,
	}
	if a != nil {
		c.account = a.ID
		if !a.Expires.IsZero() && a.Expires.Before(c.expires) {
			c.expires = a.Expires
		}
	}
	return m.issue(ctx, &c)
}

// parent finds for whom temporary credentials are asked.
func (m *Manager) parent(accessKey string) (*userEntry, *accountEntry, error) {
	err := m.Refused(accessKey)
	switch {
	case err == nil:
	case !errors.Is(err, ErrNoAccessKey):
		return nil, nil, fmt.Errorf("%w: %s", err, accessKey)
	case isKey(sessionPrefix, accessKey):
		return nil, nil, ErrMayNotAssume
	default:
		return nil, nil, fmt.Errorf("%w: %s", ErrNoUser, printable(accessKey))
	}
	k := m.keys.get(accessKey)
	if k == nil { // gone since, as below
		return nil, nil, fmt.Errorf("%w: %s", ErrNoUser, accessKey)
	}
	if k.owner == webRole { // its sessions' ARNs would be those of web identities
		return nil, nil, ErrMayNotAssume
	}
	u, a := m.users.get(k.owner), m.accounts.get(k.account)
	if u == nil || k.account != "" && a == nil {
		return nil, nil, fmt.Errorf("%w: %s", ErrNoUser, accessKey)
	}
	return u, a, nil
}

// WebIdentity is who a verified ID token says.
type WebIdentity struct {
	Issuer, Subject, Audience string
	Policies                  []string // names of policies that its role claim gives
}

// AssumeWebIdentity gives temporary credentials to someone who is no user here.
// The policies count as they are at each request; when one of them is removed,
// the session ends. ErrNoPolicy when a policy does not exist, ErrTokenTooLarge,
// and as AssumeRole.
func (m *Manager) AssumeWebIdentity(ctx context.Context, who WebIdentity, in AssumeRole) (Credentials, error) {
	if err := in.check(); err != nil {
		return Credentials{}, err
	}
	if err := checkNames(who.Policies, MaxAttached, checkPolicyName); err != nil {
		return Credentials{}, fmt.Errorf("%w: policies of a web identity: %w", ErrBadName, err)
	}
	for _, name := range who.Policies {
		if m.policies.get(name) == nil {
			return Credentials{}, fmt.Errorf("%w: %s", ErrNoPolicy, printable(name))
		}
	}
	return m.issue(ctx, &claims{
		kind: claimsWeb, expires: m.now().Add(in.Duration), session: in.Name, inline: in.Policy, web: who,
	})
}

// issue makes credentials that carry c.
func (m *Manager) issue(ctx context.Context, c *claims) (Credentials, error) {
	master := m.master.Load()
	if master == nil {
		var err error
		if master, err = m.makeMaster(ctx, false); err != nil {
			return Credentials{}, err
		}
	}
	c.expires, c.issued = c.expires.UTC().Truncate(time.Second), m.time()
	accessKey := randomKey(sessionPrefix)
	for m.users.get(accessKey) != nil { // a user from before such names were reserved
		accessKey = randomKey(sessionPrefix)
	}
	token, err := master.seal(accessKey, c)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{
		AccessKey: accessKey, SecretKey: master.secret(accessKey), Token: token,
		Expires: c.expires, ARN: c.arn(), ID: c.roleID(),
	}, nil
}

// role is what stands for the role in ARNs: sessions of a user have that user's
// rights and its name.
func (c *claims) role() string {
	if c.kind == claimsWeb {
		return webRole
	}
	return c.user
}

func (c *claims) arn() string { return sessionARN + c.role() + "/" + c.session }

// roleID is aws:userid of a session ("ROLE-ID:SESSION"). A web identity's is the
// same whenever the same issuer vouches for the same subject.
func (c *claims) roleID() string {
	id := c.userID
	if c.kind == claimsWeb {
		sum := sha256.Sum256([]byte("sluice/iam/1/web\x00" + c.web.Issuer + "\x00" + c.web.Subject))
		id = base32.StdEncoding.EncodeToString(sum[:])[:idLen]
	}
	return roleIDPrefix + id + ":" + c.session
}

// Session returns the identity of temporary credentials whose signature has been
// verified: accessKey and token must belong together. ErrBadToken (also: revoked,
// or the parent is gone or disabled), ErrExpiredToken. It takes no lock; repeated
// calls for one token do not allocate. What it answers is never older than the
// last change that was answered.
func (m *Manager) Session(accessKey, token string) (*Identity, error) {
	e := m.sessions.get(accessKey)
	if e == nil || e.token != token || !m.current(e) {
		var err error
		if e, err = m.open(accessKey, token); err != nil {
			return nil, err
		}
		if e.size <= sessionMost {
			m.sessions.put(e, m.now())
		}
	}
	if m.ended(e.identity.Expires) {
		return nil, ErrExpiredToken
	}
	if e.account != nil && m.ended(e.account.Expires) {
		return nil, ErrBadToken // expired earlier than when the session was made
	}
	return e.identity, nil
}

// current reports whether what e was compiled from is still in force: entries
// are immutable, so that the same one means the same state.
func (m *Manager) current(e *sessionEntry) bool {
	switch {
	case e.master != m.master.Load():
		return false
	case e.user == nil:
		return e.policyGen == m.policyGen.Load()
	case e.account != nil && m.accounts.get(e.account.ID) != e.account:
		return false
	}
	return m.users.get(e.user.Name) == e.user
}

// open opens a token and compiles its session.
func (m *Manager) open(accessKey, token string) (*sessionEntry, error) {
	master := m.master.Load()
	if master == nil || !isKey(sessionPrefix, accessKey) {
		return nil, ErrBadToken
	}
	c, err := master.open(accessKey, token)
	if err != nil {
		return nil, err
	}
	if m.ended(c.expires) {
		return nil, ErrExpiredToken
	}
	// What they were taken from may be the buffer of a request.
	accessKey, token = strings.Clone(accessKey), strings.Clone(token)
	e := &sessionEntry{accessKey: accessKey, token: token, secret: master.secret(accessKey), master: master}
	e.policyGen = m.policyGen.Load() // before any policy is looked up
	id := &Identity{
		Kind: KindSession, Name: c.user, AccessKey: accessKey, Account: c.account, Session: c.session,
		Principal: policy.Principal{Account: AccountID, ARN: c.arn()}, UserID: c.roleID(), Expires: c.expires, Issued: c.issued,
	}
	if c.kind == claimsWeb {
		err = m.openWeb(&c, id)
	} else {
		err = m.openUser(&c, e, id)
	}
	if err != nil {
		return nil, err
	}
	if c.inline != nil {
		p, err := policy.Parse(c.inline)
		if err != nil { // it was well-formed to a version that understood more
			return nil, fmt.Errorf("%w: %w", ErrBadToken, err)
		}
		e.size = p.Size()
		id.Narrow = append(id.Narrow[:len(id.Narrow):len(id.Narrow)], p)
	}
	e.identity = id
	return e, nil
}

// openUser fills in what a session has of its user and service account.
func (m *Manager) openUser(c *claims, e *sessionEntry, id *Identity) error {
	u := m.users.get(c.user)
	if u == nil || u.identity == nil || u.id != c.userID || u.revoked != c.revoked {
		return fmt.Errorf("%w: its user is gone or disabled, or it was revoked", ErrBadToken)
	}
	if c.account != "" {
		a := m.accounts.get(c.account)
		if a == nil || a.Disabled || a.ownerID != u.id {
			return fmt.Errorf("%w: its service account is gone or disabled", ErrBadToken)
		}
		e.account, id.Narrow = a, a.narrow
		id.Principal.Bound = true
	}
	e.user, id.Policies = u, u.identity.Policies
	id.Principal.Parents = []string{roleARN + u.Name, u.identity.Principal.ARN}
	return nil
}

// openWeb fills in what a web identity's session has.
func (m *Manager) openWeb(c *claims, id *Identity) error {
	for _, name := range c.web.Policies {
		p := m.policies.get(name)
		if p == nil { // it might have held a deny
			return fmt.Errorf("%w: its policy %s is gone", ErrBadToken, printable(name))
		}
		id.Policies = append(id.Policies, p.compiled)
	}
	id.Principal.Parents = []string{roleARN + webRole}
	id.Web = &c.web
	return nil
}
