package api

import (
	"context"
	"net/http"
)

// Scopes of a limit.
const (
	ScopeDefault   = "default"   // each user that has no limits of its own
	ScopeAnonymous = "anonymous" // unsigned requests, together
	ScopeUser      = "user"
)

// Rates are limits; 0 is none.
type Rates struct {
	RequestsPerSecond float64 `json:"requests_per_second"`
	Burst             int64   `json:"burst"` // requests; 0: those of one second
	Concurrency       int64   `json:"concurrency"`
	InBytes           int64   `json:"in_bytes_per_second"`
	OutBytes          int64   `json:"out_bytes_per_second"`
}

// LimitUsage is how much of its limits is used.
type LimitUsage struct {
	Running int64  `json:"running"` // requests in flight
	Refused uint64 `json:"refused"` // since the daemon's start, or since the user was last forgotten
}

// Limit is one entry of Limits.
type Limit struct {
	Scope string      `json:"scope"`
	User  string      `json:"user,omitempty"`
	Rates Rates       `json:"rates"`
	Usage *LimitUsage `json:"usage,omitempty"` // null for the default
}

// Limits is the answer of GET and PATCH /v1/limits: the default, that of
// anonymous clients, then users' own in the order of their names.
type Limits struct {
	Refused uint64  `json:"refused"` // requests, since the daemon's start
	Entries []Limit `json:"entries"`
}

// SetLimits is the body of PATCH /v1/limits. A nil field stays as it is; 0 lifts
// a limit; Reset lifts all of them, and takes back a user's own.
type SetLimits struct {
	Scope             string   `json:"scope"`
	User              string   `json:"user,omitempty"` // of ScopeUser
	Reset             bool     `json:"reset,omitempty"`
	RequestsPerSecond *float64 `json:"requests_per_second,omitempty"`
	Burst             *int64   `json:"burst,omitempty"`
	Concurrency       *int64   `json:"concurrency,omitempty"`
	InBytes           *int64   `json:"in_bytes_per_second,omitempty"`
	OutBytes          *int64   `json:"out_bytes_per_second,omitempty"`
}

// Limits returns the limits in force.
func (c *Client) Limits(ctx context.Context) (out Limits, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/limits", nil, &out)
}

// SetLimits changes one entry of the limits.
func (c *Client) SetLimits(ctx context.Context, in SetLimits) (out Limits, err error) {
	return out, c.call(ctx, http.MethodPatch, "/v1/limits", in, &out)
}
