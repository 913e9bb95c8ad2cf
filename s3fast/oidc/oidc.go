package oidc

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors of verification; test with errors.Is. Their texts name what is wrong and
// never quote a token.
var (
	ErrConfig        = errors.New("oidc: invalid provider configuration")
	ErrInvalidToken  = errors.New("oidc: the token is not valid")
	ErrExpiredToken  = errors.New("oidc: the token has expired")
	ErrUnknownIssuer = errors.New("oidc: no provider of the token's issuer is configured")
	ErrUnreachable   = errors.New("oidc: the provider cannot be reached or its answer is not valid")
	ErrNoPolicies    = errors.New("oidc: the token's claim names no policy")
)

// Identity is who a verified ID token says.
type Identity struct {
	Provider string // name of the provider's configuration
	Issuer   string
	Subject  string   // 1…255 bytes
	Audience string   // the client ID of ours that the token was issued to
	Policies []string // what the claim names: 1…32 distinct names of 1…128 bytes
}

// Options of NewSet; the zero value is good.
type Options struct {
	Timeout time.Duration    // of all requests to a provider that one token causes; 0: 5 s
	Now     func() time.Time // nil: time.Now
}

// MaxProviders bounds a Set.
const MaxProviders = 16

// Set are the providers whose tokens are accepted. It is immutable: a change of
// the configuration makes a new one. A nil Set has none. Safe for concurrent use.
type Set struct{ providers []*Provider }

// NewSet makes a Set; nothing is fetched yet. ErrConfig: also when two providers
// have the same name or issuer, or there are more than MaxProviders.
func NewSet(configs []Config, o Options) (*Set, error) {
	if len(configs) > MaxProviders {
		return nil, fmt.Errorf("%w: more than %d providers", ErrConfig, MaxProviders)
	}
	s := &Set{}
	for i := range configs {
		p, err := NewProvider(configs[i], o)
		if err != nil {
			return nil, err
		}
		for _, other := range s.providers {
			if other.cfg.Name == p.cfg.Name || other.cfg.Issuer == p.cfg.Issuer {
				return nil, fmt.Errorf("%w: two providers of the same name or issuer: %s, %s", ErrConfig, other.cfg.Name, p.cfg.Name)
			}
		}
		s.providers = append(s.providers, p)
	}
	return s, nil
}

// Len is the number of providers.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.providers)
}

// Verify verifies an ID token by the provider that issued it. Errors:
// ErrUnknownIssuer and those of Provider.Verify.
func (s *Set) Verify(ctx context.Context, token string) (Identity, error) {
	t, err := parseToken(token)
	if err != nil {
		return Identity{}, err
	}
	if s != nil {
		for _, p := range s.providers {
			if p.cfg.Issuer == t.issuer {
				return p.verify(ctx, t)
			}
		}
	}
	return Identity{}, ErrUnknownIssuer
}
