package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Group is a set of S3 users that share policies.
type Group struct {
	Name     string    `json:"name"`
	Policies []string  `json:"policies"`
	Members  []string  `json:"members"`
	Created  time.Time `json:"created"`
}

// CreateGroup is the body of POST /v1/groups.
type CreateGroup struct {
	Name string `json:"name"`
}

// ChangeMembers is the body of PATCH /v1/groups/{name}/members.
type ChangeMembers struct {
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// SetEnabled is the body of PUT …/enabled.
type SetEnabled struct {
	Enabled bool `json:"enabled"`
}

// AccessKey is one key of a user or of a service account.
type AccessKey struct {
	AccessKey string    `json:"access_key"`
	Owner     string    `json:"owner"` // a user's name, or a service account's id
	Enabled   bool      `json:"enabled"`
	Created   time.Time `json:"created"`
}

// CreatedKey carries a new secret, once.
type CreatedKey struct {
	AccessKey
	SecretKey string `json:"secret_key"`
}

// ServiceAccount acts for its owner, with the owner's rights or fewer.
type ServiceAccount struct {
	ID       string      `json:"id"` // stays when keys are rotated
	Owner    string      `json:"owner"`
	Name     string      `json:"name,omitempty"`
	Policy   string      `json:"policy,omitempty"` // narrowing policy document
	Enabled  bool        `json:"enabled"`
	Expires  time.Time   `json:"expires,omitzero"`
	Created  time.Time   `json:"created"`
	Keys     []AccessKey `json:"keys"`
	Modified time.Time   `json:"modified,omitzero"`
}

// CreateServiceAccount is the body of POST /v1/service-accounts. Owner may be
// empty when exactly one S3 user exists.
type CreateServiceAccount struct {
	Owner   string    `json:"owner,omitempty"`
	Name    string    `json:"name,omitempty"`
	Policy  string    `json:"policy,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// CreatedServiceAccount is its answer; the secret is shown once.
type CreatedServiceAccount struct {
	ServiceAccount
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// AssumeRole is the body of POST /v1/sts/assume-role.
type AssumeRole struct {
	AccessKey string `json:"access_key"`
	Session   string `json:"session_name,omitempty"`
	Seconds   int64  `json:"duration_seconds,omitempty"` // 900…604800; 0: 3600
	Policy    string `json:"policy,omitempty"`
}

// Credentials are temporary credentials.
type Credentials struct {
	AccessKey    string    `json:"access_key"`
	SecretKey    string    `json:"secret_key"`
	SessionToken string    `json:"session_token"`
	Expires      time.Time `json:"expires"`
	ARN          string    `json:"arn"`
}

// OIDCProvider is an OpenID Connect provider whose ID tokens are accepted for
// AssumeRoleWithWebIdentity.
type OIDCProvider struct {
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"` // https URL
	ClientIDs []string `json:"client_ids"`
	Claim     string   `json:"claim"`            // whose value names policies
	CA        string   `json:"ca_pem,omitempty"` // roots to trust instead of the system's
}

func user(name string) string   { return "/v1/users/" + url.PathEscape(name) }
func groupPath(n string) string { return "/v1/groups/" + url.PathEscape(n) }
func account(id string) string  { return "/v1/service-accounts/" + url.PathEscape(id) }

// User returns one user.
func (c *Client) User(ctx context.Context, name string) (out User, err error) {
	return out, c.call(ctx, http.MethodGet, user(name), nil, &out)
}

// EnableUser enables or disables a user with all its keys and sessions.
func (c *Client) EnableUser(ctx context.Context, name string, enabled bool) (out User, err error) {
	return out, c.call(ctx, http.MethodPut, user(name)+"/enabled", SetEnabled{enabled}, &out)
}

// Groups lists groups by name.
func (c *Client) Groups(ctx context.Context) (out []Group, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/groups", nil, &out)
}

// Group returns one group.
func (c *Client) Group(ctx context.Context, name string) (out Group, err error) {
	return out, c.call(ctx, http.MethodGet, groupPath(name), nil, &out)
}

// CreateGroup adds a group.
func (c *Client) CreateGroup(ctx context.Context, name string) (out Group, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/groups", CreateGroup{name}, &out)
}

// RemoveGroup removes a group; its members stay.
func (c *Client) RemoveGroup(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, groupPath(name), nil, nil)
}

// ChangeMembers adds users to a group and takes users out of it.
func (c *Client) ChangeMembers(ctx context.Context, name string, in ChangeMembers) (out Group, err error) {
	return out, c.call(ctx, http.MethodPatch, groupPath(name)+"/members", in, &out)
}

// AccessKeys lists the keys of a user besides its name and password.
func (c *Client) AccessKeys(ctx context.Context, name string) (out []AccessKey, err error) {
	return out, c.call(ctx, http.MethodGet, user(name)+"/keys", nil, &out)
}

// AddAccessKey gives a user one more access key.
func (c *Client) AddAccessKey(ctx context.Context, name string) (out CreatedKey, err error) {
	return out, c.call(ctx, http.MethodPost, user(name)+"/keys", nil, &out)
}

// EnableAccessKey enables or disables a key of a user or a service account.
func (c *Client) EnableAccessKey(ctx context.Context, key string, enabled bool) error {
	return c.call(ctx, http.MethodPut, "/v1/keys/"+url.PathEscape(key)+"/enabled", SetEnabled{enabled}, nil)
}

// RemoveAccessKey removes a key of a user or a service account.
func (c *Client) RemoveAccessKey(ctx context.Context, key string) error {
	return c.call(ctx, http.MethodDelete, "/v1/keys/"+url.PathEscape(key), nil, nil)
}

// ServiceAccounts lists service accounts, of one owner or ("") of all.
func (c *Client) ServiceAccounts(ctx context.Context, owner string) (out []ServiceAccount, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/service-accounts?owner="+url.QueryEscape(owner), nil, &out)
}

// ServiceAccount returns one service account, named by any of its access keys.
func (c *Client) ServiceAccount(ctx context.Context, id string) (out ServiceAccount, err error) {
	return out, c.call(ctx, http.MethodGet, account(id), nil, &out)
}

// CreateServiceAccount adds a service account.
func (c *Client) CreateServiceAccount(ctx context.Context, in CreateServiceAccount) (out CreatedServiceAccount, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/service-accounts", in, &out)
}

// RemoveServiceAccount removes a service account with its keys.
func (c *Client) RemoveServiceAccount(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, account(id), nil, nil)
}

// EnableServiceAccount enables or disables a service account.
func (c *Client) EnableServiceAccount(ctx context.Context, id string, enabled bool) (out ServiceAccount, err error) {
	return out, c.call(ctx, http.MethodPut, account(id)+"/enabled", SetEnabled{enabled}, &out)
}

// SetServiceAccountPolicy replaces the narrowing policy; "" removes it.
func (c *Client) SetServiceAccountPolicy(ctx context.Context, id, document string) (out ServiceAccount, err error) {
	return out, c.call(ctx, http.MethodPut, account(id)+"/policy", PolicyDocument{document}, &out)
}

// RotateServiceAccount gives a service account a second key; the first stays
// live until it is removed.
func (c *Client) RotateServiceAccount(ctx context.Context, id string) (out CreatedKey, err error) {
	return out, c.call(ctx, http.MethodPost, account(id)+"/keys", nil, &out)
}

// AssumeRole gives temporary credentials.
func (c *Client) AssumeRole(ctx context.Context, in AssumeRole) (out Credentials, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/sts/assume-role", in, &out)
}

// RevokeSessions ends the sessions of a user, or ("") all there are.
func (c *Client) RevokeSessions(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/v1/sts/revoke", AttachPolicy{User: name}, nil)
}

// OIDCProviders lists OpenID Connect providers by name.
func (c *Client) OIDCProviders(ctx context.Context) (out []OIDCProvider, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/oidc", nil, &out)
}

// SetOIDCProvider adds or replaces a provider.
func (c *Client) SetOIDCProvider(ctx context.Context, in OIDCProvider) (out OIDCProvider, err error) {
	return out, c.call(ctx, http.MethodPut, "/v1/oidc/"+url.PathEscape(in.Name), in, &out)
}

// RemoveOIDCProvider removes a provider.
func (c *Client) RemoveOIDCProvider(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/oidc/"+url.PathEscape(name), nil, nil)
}
