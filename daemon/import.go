package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// importPlan is what an import does, found out and checked before the first change.
type importPlan struct {
	d       *daemon
	key     *seal.Key // of the export; nil: it has no secrets
	replace bool
	changes []api.ImportChange
	steps   []func(ctx context.Context) error
}

// note adds a change. It returns whether there is something to do.
func (p *importPlan) note(kind, name string, exists, same bool, note string) bool {
	c := api.ImportChange{Kind: kind, Name: name, Action: api.ImportReplace, Note: note}
	switch {
	case !exists:
		c.Action = api.ImportAdd
	case same:
		c.Action = api.ImportUnchanged
	case !p.replace:
		c.Action = api.ImportConflict
	}
	p.changes = append(p.changes, c)
	return c.Action == api.ImportAdd || c.Action == api.ImportReplace
}

func (p *importPlan) step(fn func(ctx context.Context) error) { p.steps = append(p.steps, fn) }

// importConfig brings an export into the cluster: see iam.Manager.Import for the
// rules, which hold for everything else, too.
func (d *daemon) importConfig(ctx context.Context, in *api.Import) (*api.Imported, error) {
	file, err := readExport(in.Document)
	if err != nil {
		return nil, err
	}
	if file.Seal != nil && in.Passphrase == "" {
		return nil, refuse(api.CodeUsage, "the export holds sealed secrets: give its passphrase")
	}
	c, key, err := file.open(in.Passphrase)
	if err != nil {
		return nil, err
	}
	p := &importPlan{d: d, key: key, replace: in.Replace}
	if err := p.make(ctx, c); err != nil {
		return nil, importRefusal(err)
	}
	out := &api.Imported{DryRun: in.DryRun, Changes: p.changes}
	if in.DryRun {
		return out, nil
	}
	if err := p.conflicts(); err != nil {
		return nil, err
	}
	for i, step := range p.steps {
		if err := step(ctx); err != nil {
			refusal := toRefusal(importRefusal(err))
			return nil, refuse(refusal.Code, "stopped after %d of %d steps, which are in force; the same import again goes on from there: %s", i, len(p.steps), refusal.Message)
		}
	}
	return out, nil
}

// make finds out what is to be done. The cluster's record comes last, so that clients
// are served when all is there, but before the buckets of an encrypted cluster, which
// is made so while there are none.
func (p *importPlan) make(ctx context.Context, c *exportContent) error {
	parts := []func(ctx context.Context, c *exportContent) error{p.identities, p.limits, p.audit, p.providers, p.scrub, p.buckets, p.cluster}
	if c.Cluster != nil && c.Cluster.Encrypted {
		slices.Reverse(parts[len(parts)-2:])
	}
	for _, part := range parts {
		if err := part(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// conflicts refuses an import that would have to replace something.
func (p *importPlan) conflicts() error {
	var names []string
	n := 0
	for _, c := range p.changes {
		if c.Action != api.ImportConflict {
			continue
		}
		if n++; len(names) < 3 {
			names = append(names, c.Kind+" "+c.Name)
		}
	}
	if n == 0 {
		return nil
	}
	more := ""
	if n > len(names) {
		more = fmt.Sprintf(" and %d more", n-len(names))
	}
	return refuse(api.CodeConflict, "nothing was changed: there is another %s%s already; --dry-run shows all, --replace puts what is imported in their place",
		strings.Join(names, ", "), more)
}

// importRefusal finds the code for what package iam refuses in an export.
func importRefusal(err error) error {
	if errors.Is(err, iam.ErrImport) || errors.Is(err, policy.ErrMalformed) || errors.Is(err, seal.ErrOpen) {
		return refuse(api.CodeUsage, "%s", strings.ReplaceAll(err.Error(), "iam: ", ""))
	}
	return err
}

func (p *importPlan) identities(ctx context.Context, c *exportContent) error {
	opts := iam.ImportOptions{Key: p.key, Replace: p.replace, DryRun: true}
	changes, err := p.d.iam.Import(ctx, &c.Export, opts)
	if err != nil {
		return err
	}
	todo := false
	for _, ch := range changes {
		note := ""
		switch {
		case ch.Action != iam.ActionAdd && ch.Action != iam.ActionReplace || !ch.Locked:
		case ch.Kind == iam.KindOfUser:
			note = "no secret was exported: give it a password ('ctl user passwd')"
		case ch.Kind == iam.KindOfAccount && p.key == nil:
			note = "no secret was exported: give it an access key ('ctl service-account rotate')"
		}
		p.changes = append(p.changes, api.ImportChange{Kind: ch.Kind, Name: ch.Name, Action: string(ch.Action), Note: note})
		todo = todo || ch.Action != iam.ActionKeep
	}
	if !todo {
		return nil
	}
	p.step(func(ctx context.Context) error {
		opts.DryRun = false
		changes, err := p.d.iam.Import(ctx, &c.Export, opts)
		if err == nil && slices.ContainsFunc(changes, func(c iam.Change) bool { return c.Action == iam.ActionRefuse }) {
			err = refuse(api.CodeConflict, "users or policies were changed by somebody else meanwhile")
		}
		return err
	})
	return nil
}

func (p *importPlan) cluster(ctx context.Context, c *exportContent) error {
	in := c.Cluster
	if in == nil {
		return nil
	}
	if err := checkClusterName(in.Name); err != nil {
		return err
	}
	domains, err := checkDomains(in.Domains)
	if err != nil {
		return err
	}
	parity, note, err := p.carried(in.Parity, api.ParityAuto)
	if err != nil {
		return err
	}
	if parity == api.ParityAuto {
		parity = ""
	}
	standard, performance, err := choices(&api.Cluster{}, in.Standard, in.Performance)
	if err != nil {
		return err
	}
	old := p.d.clusters.current.Load()
	if old == nil {
		return p.newCluster(ctx, api.CreateCluster{
			Name: in.Name, ConfigFS: configFS, Domains: domains, Parity: parity, Standard: standard, Performance: performance,
			Encrypted: in.Encrypted || p.d.keys.store.Encrypted(),
		}, note)
	}
	if in.Encrypted && !old.Encrypted {
		return refuse(api.CodeConflict, "the exported cluster is encrypted, and this one is not: that is chosen when it is created")
	}
	same := old.Name == in.Name && slices.Equal(old.Domains, domains) && old.Parity == parity &&
		old.Standard == standard && old.Performance == performance
	if p.note("cluster", in.Name, true, same, note) {
		p.step(func(ctx context.Context) error {
			cl := p.d.clusters
			cl.mu.Lock()
			defer cl.mu.Unlock()
			rec := cl.current.Load()
			if rec == nil {
				return errNoCluster
			}
			next := *rec
			next.Name, next.Domains, next.Parity = in.Name, domains, parity
			next.Standard, next.Performance = standard, performance
			_, err := cl.save(ctx, next)
			return err
		})
	}
	return nil
}

func (p *importPlan) newCluster(ctx context.Context, in api.CreateCluster, note string) error {
	if in.Encrypted && !p.d.keys.store.Encrypted() {
		buckets, err := p.d.engine.ListBuckets(ctx, "", 1)
		if err != nil {
			return err
		}
		if len(buckets) > 0 {
			return refuse(api.CodeConflict, "the exported cluster is encrypted, and there are buckets here that are not")
		}
	}
	p.note("cluster", in.Name, false, false, note)
	p.step(func(ctx context.Context) error {
		_, err := p.d.clusters.create(ctx, in)
		return err
	})
	return nil
}

// carried checks a parity, and takes the default in place of one that the drives here
// cannot carry.
func (p *importPlan) carried(setting, word string) (use, note string, err error) {
	if setting == "" {
		return word, "", nil
	}
	parity, err := parseParity(setting, word)
	if err != nil {
		return "", "", err
	}
	_, drives := p.d.engine.Protection()
	if carryParity(parity, drives) != nil {
		return word, fmt.Sprintf("parity %s instead of %s, which the drives here are too few for", word, setting), nil
	}
	return setting, "", nil
}
