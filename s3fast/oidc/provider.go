package oidc

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	// keysFresh is how long keys are used without asking for them again, and
	// keysStale how long they are when asking fails. A key that the provider
	// withdraws is refused after the first, unless the provider is away.
	keysFresh = 10 * time.Minute
	keysStale = time.Hour
	// refetchMin is the least time between two requests for keys.
	refetchMin = 10 * time.Second

	defaultTimeout = 5 * time.Second
)

// Provider verifies the tokens of one issuer. Safe for concurrent use.
type Provider struct {
	cfg     Config
	client  *http.Client
	timeout time.Duration
	now     func() time.Time
	flight  singleflight.Group

	mu      sync.Mutex
	keys    *keySet   // guarded by mu; nil: none fetched yet
	asked   time.Time // guarded by mu: when keys were last asked for
	failure error     // guarded by mu: why that failed
}

// NewProvider makes a provider; nothing is fetched yet. ErrConfig.
func NewProvider(cfg Config, o Options) (*Provider, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Claim == "" {
		cfg.Claim = defaultClaim
	}
	cfg.ClientIDs = slices.Clone(cfg.ClientIDs)
	p := &Provider{cfg: cfg, client: cfg.client(), timeout: o.Timeout, now: o.Now}
	if p.timeout <= 0 {
		p.timeout = defaultTimeout
	}
	if p.now == nil {
		p.now = time.Now
	}
	return p, nil
}

// Verify verifies an ID token (OpenID Connect Core 1.0, section 3.1.3.7). Errors:
// ErrInvalidToken, ErrExpiredToken, ErrUnreachable, ErrNoPolicies.
func (p *Provider) Verify(ctx context.Context, token string) (Identity, error) {
	t, err := parseToken(token)
	if err != nil {
		return Identity{}, err
	}
	return p.verify(ctx, t)
}

func (p *Provider) verify(ctx context.Context, t *token) (Identity, error) {
	if t.issuer != p.cfg.Issuer {
		return Identity{}, fmt.Errorf("%w: another issuer", ErrInvalidToken)
	}
	// What a look at the token tells is not worth a request.
	if err := p.checkTimes(t); err != nil {
		return Identity{}, err
	}
	keys, err := p.keysFor(ctx, t)
	if err != nil {
		return Identity{}, err
	}
	if len(keys) == 0 {
		return Identity{}, fmt.Errorf("%w: the provider publishes no key for its signature", ErrInvalidToken)
	}
	for i := range keys {
		if _, err := t.jws.Verify(keys[i].Key); err == nil {
			return p.identity(t)
		}
	}
	return Identity{}, fmt.Errorf("%w: the signature does not match", ErrInvalidToken)
}

// keysFor returns the keys that the token may be signed with. When there are
// none, the provider is asked anew.
func (p *Provider) keysFor(ctx context.Context, t *token) ([]jose.JSONWebKey, error) {
	p.mu.Lock()
	set := p.keys
	p.mu.Unlock()
	if p.age(set) < keysFresh {
		if keys := set.match(t); len(keys) > 0 {
			return keys, nil
		}
	}
	// The flight goes on without us if ctx ends: others may wait for it.
	ch := p.flight.DoChan("", func() (any, error) { return p.refetch() })
	select {
	case res := <-ch:
		if res.Err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, res.Err)
		}
		return res.Val.(*keySet).match(t), nil //nolint:forcetypeassert // what refetch returns
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	}
}

// age is how old a key set is.
func (p *Provider) age(set *keySet) time.Duration {
	if set == nil {
		return keysStale
	}
	return p.now().Sub(set.at)
}

// refetch asks for the keys, unless that was done a moment ago. Keys that are not
// too old stand in for an answer.
func (p *Provider) refetch() (*keySet, error) {
	now := p.now()
	p.mu.Lock()
	set, failure := p.keys, p.failure
	soon := !p.asked.IsZero() && now.Sub(p.asked) < refetchMin
	if !soon {
		p.asked = now
	}
	p.mu.Unlock()
	if !soon {
		fetched, err := p.fetch()
		p.mu.Lock()
		if p.failure = err; err == nil {
			p.keys = fetched
		}
		set, failure = p.keys, err
		p.mu.Unlock()
	}
	if p.age(set) < keysStale {
		return set, nil
	}
	if failure == nil {
		// Fetched less than refetchMin ago and too old already: the clock jumped.
		failure = fmt.Errorf("the keys are older than %s", keysStale)
	}
	return nil, failure
}

// match returns the keys of the set that suit a token's algorithm and have the ID
// that it names, if it names one.
func (s *keySet) match(t *token) []jose.JSONWebKey {
	var out []jose.JSONWebKey
	for i := range s.keys {
		k := &s.keys[i]
		if (t.kid == "" || k.KeyID == t.kid) && (k.Algorithm == "" || k.Algorithm == string(t.algorithm)) &&
			slices.Contains(algorithms(k.Key), t.algorithm) {
			out = append(out, *k)
		}
	}
	// A token that names no key is tried with a few.
	return out[:min(len(out), keysTried)]
}

const keysTried = 8
