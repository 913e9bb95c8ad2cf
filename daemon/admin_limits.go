package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast"
)

// docLimits is the document of the cluster's limits: JSON of
// s3fast.LimitSettings.
const docLimits = "system/limits"

// maxLimitUsers bounds the users with limits of their own.
const maxLimitUsers = 10_000

// hstsAge is how long browsers that spoke HTTPS with an endpoint that speaks
// nothing else remember that.
const hstsAge = 180 * 24 * time.Hour

// hsts is the max-age of Strict-Transport-Security. Where plain HTTP is served,
// too, there is none: it would cut off those who use it.
func (d *daemon) hsts() time.Duration {
	if d.cfg.TLS == config.TLSRequired {
		return hstsAge
	}
	return 0
}

// memoryShare is the part of the I/O buffers that is on loan.
func (d *daemon) memoryShare() float64 {
	return float64(d.arena.InUse()) / float64(d.cfg.Buffers)
}

// newSlots bounds connections as configured. This machine itself, and trusted
// proxies, which speak for many clients, are exempt from the limit per address.
func (d *daemon) newSlots() *slots {
	each := d.cfg.MaxConnsPerAddr
	if each < 0 {
		each = max(1, d.cfg.MaxConns/2)
	}
	return newSlots(d.cfg.MaxConns, each, func(addr netip.Addr) bool {
		return addr.IsLoopback() || slices.ContainsFunc(d.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
	})
}

// openLimits loads the limits.
func (d *daemon) openLimits(ctx context.Context) error {
	d.limits = new(s3fast.Limits)
	settings, _, err := d.readLimits(ctx)
	if err == nil {
		d.limits.Set(settings)
	}
	return err
}

// readLimits returns the settings stored and their revision, 0 when there are
// none.
func (d *daemon) readLimits(ctx context.Context) (settings s3fast.LimitSettings, rev int64, err error) {
	doc, err := d.engine.Docs("").Get(ctx, docLimits)
	if engine.KindOf(err) == engine.NoDoc {
		return settings, 0, nil
	}
	if err != nil {
		return settings, 0, err
	}
	if err := json.Unmarshal(doc.Value, &settings); err != nil {
		return settings, 0, fmt.Errorf("%s: %w", docLimits, err)
	}
	return settings, doc.Rev, nil
}

// limitRoutes are the admin routes of limits.
func limitRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"GET /v1/limits":   adminLimits,
		"PATCH /v1/limits": adminSetLimits,
	}
}

func adminLimits(d *daemon, _ *http.Request) (any, error) {
	return d.describeLimits(), nil
}

// describeLimits tells what is in force and how much of it is used.
func (d *daemon) describeLimits() api.Limits {
	set := d.limits.Settings()
	out := api.Limits{Refused: d.limits.Refused(), Entries: []api.Limit{
		{Scope: api.ScopeDefault, Rates: apiRates(set.Default)},
		{Scope: api.ScopeAnonymous, Rates: apiRates(set.Anonymous), Usage: d.limitUsage("")},
	}}
	for _, name := range slices.Sorted(maps.Keys(set.Users)) {
		out.Entries = append(out.Entries, api.Limit{
			Scope: api.ScopeUser, User: name, Rates: apiRates(set.Users[name]), Usage: d.limitUsage(name),
		})
	}
	return out
}

func (d *daemon) limitUsage(name string) *api.LimitUsage {
	u := d.limits.Usage(name)
	return &api.LimitUsage{Running: u.Running, Refused: u.Refused}
}

// adminSetLimits changes one entry. It is in force for the next request.
func adminSetLimits(d *daemon, r *http.Request) (any, error) {
	var in api.SetLimits
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	d.limitsMu.Lock()
	defer d.limitsMu.Unlock()
	settings, rev, err := d.readLimits(r.Context())
	if err != nil {
		return nil, err
	}
	if err := d.changeLimits(&settings, &in); err != nil {
		return nil, err
	}
	value, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	if _, err := d.engine.Docs("").Put(r.Context(), docLimits, value, rev); err != nil {
		return nil, err
	}
	d.limits.Set(settings)
	return d.describeLimits(), nil
}

// changeLimits applies a change to settings.
func (d *daemon) changeLimits(settings *s3fast.LimitSettings, in *api.SetLimits) error {
	var rates s3fast.Rates
	users := maps.Clone(settings.Users)
	switch in.Scope {
	case api.ScopeDefault:
		rates = settings.Default
	case api.ScopeAnonymous:
		rates = settings.Anonymous
	case api.ScopeUser:
		own, has := users[in.User]
		if !in.Reset && !has {
			if _, err := d.iam.User(in.User); err != nil {
				return err
			}
			if len(users) >= maxLimitUsers {
				return refuse(api.CodeConflict, "%d users have limits of their own already: set a default instead", len(users))
			}
		}
		rates = own
	default:
		return refuse(api.CodeUsage, "scope %q is not %s, %s or %s", in.Scope, api.ScopeDefault, api.ScopeAnonymous, api.ScopeUser)
	}
	if in.Reset {
		rates = s3fast.Rates{}
	} else if err := setRates(&rates, in); err != nil {
		return err
	}
	switch in.Scope {
	case api.ScopeDefault:
		settings.Default = rates
	case api.ScopeAnonymous:
		settings.Anonymous = rates
	default:
		if users == nil {
			users = map[string]s3fast.Rates{}
		}
		if users[in.User] = rates; in.Reset {
			delete(users, in.User)
		}
		settings.Users = users
	}
	return nil
}

// setRates changes what in gives. A rate is at least one request an hour, and a
// KiB per second, so that a limit cannot be mistaken for a lock.
func setRates(rates *s3fast.Rates, in *api.SetLimits) error {
	const hourly = 1.0 / 3600
	if v := in.RequestsPerSecond; v != nil {
		if *v != 0 && !(*v >= hourly && *v <= 1e9) || math.IsNaN(*v) {
			return refuse(api.CodeUsage, "requests per second: %v is not 0 (no limit) or within 1/3600 to 1e9", *v)
		}
		rates.Requests = *v
	}
	for _, n := range []struct {
		name string
		from *int64
		to   *int
	}{{"burst", in.Burst, &rates.Burst}, {"concurrency", in.Concurrency, &rates.Concurrency}} {
		if n.from == nil {
			continue
		}
		if *n.from < 0 || *n.from > 1e6 {
			return refuse(api.CodeUsage, "%s: %d is not within 0 to 1000000", n.name, *n.from)
		}
		*n.to = int(*n.from)
	}
	for _, n := range []struct {
		name string
		from *int64
		to   *int64
	}{{"bytes in", in.InBytes, &rates.InBytes}, {"bytes out", in.OutBytes, &rates.OutBytes}} {
		if n.from == nil {
			continue
		}
		if *n.from != 0 && (*n.from < 1<<10 || *n.from > 1<<40) {
			return refuse(api.CodeUsage, "%s per second: %d is not 0 (no limit) or within 1 KiB to 1 TiB", n.name, *n.from)
		}
		*n.to = *n.from
	}
	return nil
}

func apiRates(r s3fast.Rates) api.Rates {
	return api.Rates{
		RequestsPerSecond: r.Requests, Burst: int64(r.Burst), Concurrency: int64(r.Concurrency), InBytes: r.InBytes, OutBytes: r.OutBytes,
	}
}
