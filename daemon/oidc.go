package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/oidc"
)

// docProviders + name: oidc.Config, see there.
const docProviders = "oidc/"

// providers keeps the OpenID Connect providers and the frontend's view of them.
type providers struct {
	docs    *engine.Docs
	mu      sync.Mutex // serializes changes
	configs []oidc.Config
	set     atomic.Pointer[oidc.Set]
}

// openProviders loads the providers. One whose document cannot be read is left
// out and returned in damaged: its tokens are refused, all else goes on.
func openProviders(ctx context.Context, docs *engine.Docs) (p *providers, damaged []string, err error) {
	p = &providers{docs: docs}
	found, err := docs.List(ctx, docProviders)
	if err != nil {
		return nil, nil, err
	}
	var configs []oidc.Config
	for _, doc := range found {
		c, err := oidc.ParseConfig(doc.Value)
		if err != nil || docProviders+c.Name != doc.Path {
			damaged = append(damaged, doc.Path)
			continue
		}
		configs = append(configs, c)
	}
	return p, damaged, p.use(configs)
}

// view is the frontend's.
func (p *providers) view() *oidc.Set { return p.set.Load() }

func (p *providers) use(configs []oidc.Config) error {
	set, err := oidc.NewSet(configs, oidc.Options{})
	if err != nil {
		return err
	}
	p.configs = configs
	p.set.Store(set)
	return nil
}

func (p *providers) list() []oidc.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.configs)
}

// put adds or replaces a provider.
func (p *providers) put(ctx context.Context, c oidc.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	value, err := c.Encode()
	if err != nil {
		return err
	}
	next := slices.DeleteFunc(slices.Clone(p.configs), func(o oidc.Config) bool { return o.Name == c.Name })
	next = append(next, c)
	slices.SortFunc(next, func(a, b oidc.Config) int { return strings.Compare(a.Name, b.Name) })
	if _, err := oidc.NewSet(next, oidc.Options{}); err != nil { // before it is stored
		return err
	}
	if _, err := p.docs.Put(ctx, docProviders+c.Name, value, -1); err != nil {
		return err
	}
	return p.use(next)
}

func (p *providers) remove(ctx context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.docs.Delete(ctx, docProviders+name, -1)
	if engine.KindOf(err) == engine.NoDoc {
		return refuse(api.CodeNotFound, "no such provider: %.64q", name)
	}
	if err != nil {
		return err
	}
	return p.use(slices.DeleteFunc(slices.Clone(p.configs), func(o oidc.Config) bool { return o.Name == name }))
}

func apiProvider(c oidc.Config) api.OIDCProvider {
	return api.OIDCProvider{Name: c.Name, Issuer: c.Issuer, ClientIDs: c.ClientIDs, Claim: c.Claim, CA: c.CA}
}

func adminProviders(d *daemon, _ *http.Request) (any, error) {
	out := []api.OIDCProvider{}
	for _, c := range d.providers.list() {
		out = append(out, apiProvider(c))
	}
	return out, nil
}

func adminSetProvider(d *daemon, r *http.Request) (any, error) {
	var in api.OIDCProvider
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.Name != r.PathValue("name") {
		return nil, refuse(api.CodeUsage, "the body names another provider than the path")
	}
	c := oidc.Config{Name: in.Name, Issuer: in.Issuer, ClientIDs: in.ClientIDs, Claim: in.Claim, CA: in.CA}
	if err := d.providers.put(r.Context(), c); err != nil {
		if errors.Is(err, oidc.ErrConfig) {
			return nil, refuse(api.CodeUsage, "%s", strings.TrimPrefix(err.Error(), "oidc: "))
		}
		return nil, fmt.Errorf("storing the provider: %w", err)
	}
	return apiProvider(c), nil
}

func adminRemoveProvider(d *daemon, r *http.Request) (any, error) {
	return nil, d.providers.remove(r.Context(), r.PathValue("name"))
}
