package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast"
	"github.com/sluicehq/sluice/s3fast/audit"
	"github.com/sluicehq/sluice/s3fast/oidc"
)

// maxBucketText bounds owner and location of an imported bucket in bytes.
const maxBucketText = 256

// checkRates refuses rates that could not have been set.
func checkRates(r s3fast.Rates) error {
	burst, running := int64(r.Burst), int64(r.Concurrency)
	return setRates(new(s3fast.Rates), &api.SetLimits{
		RequestsPerSecond: &r.Requests, Burst: &burst, Concurrency: &running, InBytes: &r.InBytes, OutBytes: &r.OutBytes,
	})
}

func (p *importPlan) limits(ctx context.Context, c *exportContent) error {
	if c.Limits == nil {
		return nil
	}
	set := *c.Limits
	err := errors.Join(checkRates(set.Default), checkRates(set.Anonymous))
	for name, rates := range set.Users {
		if name == "" || len(name) > maxBucketText {
			err = errors.Join(err, refuse(api.CodeUsage, "limits of %.64q, which is no user name", name))
		}
		err = errors.Join(err, checkRates(rates))
	}
	if len(set.Users) > maxLimitUsers {
		err = errors.Join(err, refuse(api.CodeUsage, "%d users have limits of their own: %d at most", len(set.Users), maxLimitUsers))
	}
	if err != nil {
		return err
	}
	old, rev, err := p.d.readLimits(ctx)
	if err != nil {
		return err
	}
	exists := !reflect.DeepEqual(old, s3fast.LimitSettings{})
	if !p.note("limits", "", exists, reflect.DeepEqual(old, set), "") {
		return nil
	}
	value, err := json.Marshal(set)
	if err != nil {
		return err
	}
	p.step(func(ctx context.Context) error {
		p.d.limitsMu.Lock()
		defer p.d.limitsMu.Unlock()
		if _, err := p.d.engine.Docs("").Put(ctx, docLimits, value, rev); err != nil {
			return err
		}
		p.d.limits.Set(set)
		return nil
	})
	return nil
}

func (p *importPlan) audit(_ context.Context, c *exportContent) error {
	doc, key := []byte(c.Audit), p.d.key // which opens nothing in it
	if c.SealedAudit != nil {
		if p.key == nil || c.Audit != nil {
			return refuse(api.CodeUsage, "malformed export: sealed_audit")
		}
		var err error
		if doc, err = p.key.Open(auditContext, c.SealedAudit); err != nil {
			return err
		}
		key = p.key
	}
	if doc == nil {
		return nil
	}
	cfg, err := audit.Unmarshal(doc, key)
	if err != nil {
		return auditRefusal(err)
	}
	old := p.d.audit.hook.Config()
	note := ""
	if p.key == nil {
		// The token was left out: who sends to the same place keeps the one it has.
		if old.Endpoint == cfg.Endpoint {
			cfg.Token = old.Token
		} else {
			note = "no token was exported: give it again if the endpoint asks for one"
		}
	}
	if p.note("audit", "", old.Enabled || old.Endpoint != "", old == cfg, note) {
		p.step(func(ctx context.Context) error {
			return auditRefusal(p.d.audit.change(ctx, func(c *audit.Config) error { *c = cfg; return nil }))
		})
	}
	return nil
}

func (p *importPlan) providers(_ context.Context, c *exportContent) error {
	all := map[string]oidc.Config{}
	before := map[string][]byte{}
	for _, old := range p.d.providers.list() {
		doc, err := old.Encode()
		if err != nil {
			return err
		}
		all[old.Name], before[old.Name] = old, doc
	}
	seen := map[string]bool{}
	for _, doc := range c.OIDC {
		in, err := oidc.ParseConfig(doc)
		if err != nil || seen[in.Name] {
			return refuse(api.CodeUsage, "malformed export: OIDC provider %.64q: %v", in.Name, err)
		}
		seen[in.Name] = true
		encoded, err := in.Encode()
		if err != nil {
			return err
		}
		old, exists := before[in.Name]
		all[in.Name] = in
		if p.note("oidc", in.Name, exists, bytes.Equal(old, encoded), "") {
			p.step(func(ctx context.Context) error { return p.d.providers.put(ctx, in) })
		}
	}
	if _, err := oidc.NewSet(slices.Collect(maps.Values(all)), oidc.Options{}); err != nil {
		return refuse(api.CodeUsage, "OIDC providers: %v", err)
	}
	return nil
}

func (p *importPlan) buckets(ctx context.Context, c *exportContent) error {
	seen := make(map[string]bool, len(c.Buckets))
	for i := range c.Buckets {
		b := &c.Buckets[i]
		err := s3fast.CheckBucketName(b.Name)
		switch {
		case err != nil:
			return refuse(api.CodeUsage, "bucket name %.64q: %v", b.Name, err)
		case seen[b.Name]:
			return refuse(api.CodeUsage, "malformed export: bucket %s is given twice", b.Name)
		}
		seen[b.Name] = true
		for _, text := range []string{b.Owner, b.Location} {
			if len(text) > maxBucketText || !utf8.ValidString(text) || b.Owner == "" {
				return refuse(api.CodeUsage, "malformed export: owner or location of bucket %s", b.Name)
			}
		}
		if err := p.bucket(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (p *importPlan) bucket(ctx context.Context, b *exportBucket) error {
	old, err := p.d.engine.Bucket(ctx, b.Name)
	exists := err == nil
	if err != nil && engine.KindOf(err) != engine.NoBucket {
		return err
	}
	note := ""
	if exists && old.Owner != b.Owner {
		note = "it keeps its owner, " + old.Owner
	}
	if p.note("bucket", b.Name, exists, true, note) {
		p.step(func(ctx context.Context) error {
			_, err := p.d.engine.CreateBucket(ctx, b.Name, b.Owner, b.Location)
			return err
		})
	}
	// What lets people in comes last: "policy" is behind "public-access-block" here.
	paths := slices.Sorted(maps.Keys(b.Documents))
	slices.SortStableFunc(paths, func(a, b string) int {
		return rankOf(a) - rankOf(b)
	})
	for _, path := range paths {
		if err := p.setting(ctx, b.Name, exists, path, []byte(b.Documents[path])); err != nil {
			return err
		}
	}
	return nil
}

func rankOf(path string) int {
	if path == "policy" {
		return 1
	}
	return 0
}

func (p *importPlan) setting(ctx context.Context, bucket string, exists bool, path string, value []byte) error {
	if err := s3fast.CheckSetting(bucket, path, value); err != nil {
		return refuse(api.CodeUsage, "setting %.64q of bucket %s: %v", path, bucket, err)
	}
	name, note := bucket+"/"+path, ""
	if path == "parity" {
		use, why, err := p.carried(string(value), api.ParityDefault)
		if err != nil {
			return err
		}
		if use == api.ParityDefault {
			p.changes = append(p.changes, api.ImportChange{Kind: "bucket-setting", Name: name, Action: api.ImportUnchanged, Note: why})
			return nil
		}
	}
	var old []byte
	has := false
	if exists {
		doc, err := p.d.engine.Docs(bucket).Get(ctx, path)
		if err != nil && engine.KindOf(err) != engine.NoDoc {
			return err
		}
		old, has = doc.Value, err == nil
	}
	if !p.note("bucket-setting", name, has, bytes.Equal(old, value), note) {
		return nil
	}
	p.step(func(ctx context.Context) error {
		if err := p.d.s3.ImportSetting(ctx, bucket, path, value); err != nil {
			return fmt.Errorf("setting %s of bucket %s: %w", path, bucket, err)
		}
		return nil
	})
	return nil
}
