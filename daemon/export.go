package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast"
)

// export makes an export of the configuration; passphrase "" leaves the secrets out.
// Other changes may come in between its parts; each part is as it was at one moment.
func (d *daemon) export(ctx context.Context, passphrase string) (*api.Exported, error) {
	out := &api.Exported{}
	var key *seal.Key
	var sealed *exportSeal
	if passphrase != "" {
		if err := checkPassphrase(passphrase); err != nil {
			return nil, err
		}
		sealed = newExportSeal()
		key = sealed.key(passphrase)
		out.Sealed = true
	} else {
		out.Notes = append(out.Notes, "secrets were left out: who is imported from it needs a new password, and access keys anew")
	}
	c := &exportContent{Created: time.Now().UTC().Truncate(time.Second), Daemon: version}
	if rec := d.clusters.current.Load(); rec != nil {
		c.Cluster = &exportCluster{Name: rec.Name, Domains: rec.Domains, Encrypted: rec.Encrypted, Parity: rec.Parity,
			Standard: rec.Standard, Performance: rec.Performance}
	}
	for _, part := range []func(ctx context.Context, c *exportContent, key *seal.Key) ([]string, error){
		d.exportIdentities, d.exportSettings, d.exportAudit, d.exportBuckets,
	} {
		notes, err := part(ctx, c, key)
		if err != nil {
			return nil, err
		}
		out.Notes = append(out.Notes, notes...)
	}
	var err error
	out.Document, err = encodeExport(c, sealed, key)
	return out, err
}

func (d *daemon) exportIdentities(ctx context.Context, c *exportContent, key *seal.Key) (notes []string, err error) {
	all, err := d.iam.Export(ctx, key)
	if err != nil {
		return nil, err
	}
	c.Export = *all
	for _, path := range d.iam.Damaged() {
		notes = append(notes, "left out, as it cannot be read: "+path)
	}
	return notes, nil
}

func (d *daemon) exportSettings(ctx context.Context, c *exportContent, _ *seal.Key) (_ []string, err error) {
	if c.Scrub, err = d.ownScrub(ctx); err != nil {
		return nil, err
	}
	limits, rev, err := d.readLimits(ctx)
	if err != nil {
		return nil, err
	}
	if rev != 0 && !reflect.DeepEqual(limits, s3fast.LimitSettings{}) {
		c.Limits = &limits
	}
	c.OIDC = []json.RawMessage{}
	for _, p := range d.providers.list() {
		doc, err := p.Encode()
		if err != nil {
			return nil, err
		}
		c.OIDC = append(c.OIDC, doc)
	}
	return nil, nil
}

// exportAudit adds the audit webhook, whose address may hold a secret, too.
func (d *daemon) exportAudit(_ context.Context, c *exportContent, key *seal.Key) (notes []string, err error) {
	cfg := d.audit.hook.Config()
	if cfg.Endpoint == "" && !cfg.Enabled {
		return nil, nil
	}
	if key != nil {
		doc, err := cfg.Marshal(key)
		if err == nil {
			c.SealedAudit = key.Seal(auditContext, doc)
		}
		return nil, err
	}
	if cfg.ShowEndpoint() != cfg.Endpoint {
		return []string{"left out, as its address holds a secret: the audit webhook"}, nil
	}
	if cfg.Token != "" {
		cfg.Token = ""
		notes = append(notes, "left out: the token of the audit webhook")
	}
	c.Audit, err = cfg.Marshal(nil)
	return notes, err
}

func (d *daemon) exportBuckets(ctx context.Context, c *exportContent, _ *seal.Key) (notes []string, err error) {
	buckets, err := d.engine.ListBuckets(ctx, "", 1<<30)
	if err != nil {
		return nil, err
	}
	c.Buckets = make([]exportBucket, 0, len(buckets))
	for _, b := range buckets {
		docs, err := d.engine.Docs(b.Name).List(ctx, "")
		if err != nil {
			return nil, err
		}
		out := exportBucket{Name: b.Name, Owner: b.Owner, Location: b.Location, Documents: map[string]string{}}
		for _, doc := range docs {
			err := s3fast.CheckSetting(b.Name, doc.Path, doc.Value)
			switch {
			case errors.Is(err, s3fast.ErrNoSetting): // another part's business
			case err != nil:
				notes = append(notes, fmt.Sprintf("left out, as it cannot be read: setting %s of bucket %s: %v", doc.Path, b.Name, err))
			default:
				out.Documents[doc.Path] = string(doc.Value)
				if doc.Path == "encryption" && strings.Contains(string(doc.Value), "aws:kms") {
					notes = append(notes, fmt.Sprintf("bucket %s encrypts with a KMS key, which is not in an export", b.Name))
				}
			}
		}
		c.Buckets = append(c.Buckets, out)
	}
	return notes, nil
}
