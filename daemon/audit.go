package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/audit"
)

// docAudit is the configuration of the audit webhook, its token sealed
// (audit.Config.Marshal).
const docAudit = "system/audit-webhook"

// auditor keeps the audit webhook and its configuration.
type auditor struct {
	docs *engine.Docs
	key  *seal.Key
	hook *audit.Webhook
	mu   sync.Mutex // serializes changes
}

// openAudit opens the spool and puts the stored configuration in force. A
// configuration that cannot be read ends the start: serving on without audit is
// for an administrator to decide.
func (d *daemon) openAudit(ctx context.Context) error {
	docs := d.engine.Docs("")
	info, err := d.auditInfo(ctx, docs)
	if err != nil {
		return err
	}
	dir := filepath.Join(d.cfg.StateDir, "audit")
	if err := makeDirs(dir); err != nil {
		return err
	}
	hook, err := audit.Open(audit.Options{Dir: dir, Key: d.key, Info: info, Logger: d.log})
	if err != nil {
		return err
	}
	d.audit = &auditor{docs: docs, key: d.key, hook: hook}
	found, err := docs.Get(ctx, docAudit)
	if engine.KindOf(err) == engine.NoDoc {
		return nil
	}
	if err != nil {
		return err
	}
	cfg, err := audit.Unmarshal(found.Value, d.key)
	if err == nil {
		err = hook.Configure(cfg)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", docAudit, err)
	}
	return nil
}

// auditInfo returns what names this server in events.
func (d *daemon) auditInfo(ctx context.Context, docs *engine.Docs) (func() audit.Info, error) {
	found, err := docs.Get(ctx, docIdentity)
	if err != nil {
		return nil, err
	}
	var ident identityDoc
	if err := json.Unmarshal(found.Value, &ident); err != nil {
		return nil, fmt.Errorf("%s: %w", docIdentity, err)
	}
	info := audit.Info{ClusterID: ident.ID, Version: version}
	if info.ServerName, err = os.Hostname(); err != nil {
		info.ServerName = "unknown"
	}
	for _, addr := range d.cfg.Listen {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err == nil && ip != nil && !ip.IsUnspecified() {
			info.ServerIP = ip.String()
			break
		}
	}
	return func() audit.Info {
		named := info
		if c := d.clusters.current.Load(); c != nil {
			named.ClusterName = c.Name
		}
		return named
	}, nil
}

// close flushes what is in memory to the spool.
func (a *auditor) close(ctx context.Context) error {
	if a == nil {
		return nil
	}
	return a.hook.Close(ctx)
}

// change stores and applies what edit makes of the configuration.
func (a *auditor) change(ctx context.Context, edit func(c *audit.Config) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.hook.Config()
	if err := edit(&c); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return err
	}
	value, err := c.Marshal(a.key)
	if err != nil {
		return err
	}
	if _, err := a.docs.Put(ctx, docAudit, value, -1); err != nil {
		return err
	}
	return a.hook.Configure(c)
}
