package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/s3fast/audit"
)

// auditRoutes are the admin routes of the audit webhook.
func auditRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"GET /v1/audit-webhook":         adminAudit,
		"PUT /v1/audit-webhook":         adminEnableAudit,
		"DELETE /v1/audit-webhook":      adminDisableAudit,
		"PATCH /v1/audit-webhook/batch": adminAuditBatch,
	}
}

func adminAudit(d *daemon, _ *http.Request) (any, error) {
	c := d.audit.hook.Config()
	linger, timeout := c.Batch.Linger.String(), c.Batch.Timeout.String()
	out := api.AuditWebhook{
		Enabled: c.Enabled, Endpoint: c.ShowEndpoint(), CA: c.CA != "",
		Batch: api.AuditBatch{
			Mode: &c.Batch.Mode, Count: &c.Batch.Count, Bytes: &c.Batch.Bytes, Linger: &linger,
			Timeout: &timeout, Spool: &c.Batch.Spool,
		},
		AuditState: d.auditState(),
	}
	if c.Token != "" {
		out.AuthToken = "********"
	}
	return out, nil
}

func (d *daemon) auditState() api.AuditState {
	st := d.audit.hook.Stats()
	return api.AuditState{
		Up: st.Up, Error: st.LastError, LastOK: st.LastOK.UTC(), Queued: st.Queued, SpoolBytes: st.SpoolBytes,
		Oldest: st.Oldest.Seconds(), Delivered: st.Delivered, Retries: st.Retries, Dropped: st.Dropped,
		Discarded: st.Discarded, Damaged: st.Damaged,
	}
}

func adminEnableAudit(d *daemon, r *http.Request) (any, error) {
	var in api.EnableAudit
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	err := d.audit.change(r.Context(), func(c *audit.Config) error {
		c.Enabled, c.Endpoint, c.Token, c.CA = true, in.Endpoint, in.AuthToken, in.CA
		if !in.Verify {
			return nil
		}
		if err := d.audit.hook.Test(r.Context(), *c); err != nil {
			if errors.Is(err, audit.ErrConfig) {
				return err
			}
			return refuse(api.CodeUnavailable, "the endpoint did not take a test event, nothing was changed: %v", err)
		}
		return nil
	})
	if err != nil {
		return nil, auditRefusal(err)
	}
	return adminAudit(d, r)
}

// adminDisableAudit ends auditing: from now on nothing is recorded or sent. What
// waits in the spool is kept and goes out after the next enable, unless
// ?discard=true.
func adminDisableAudit(d *daemon, r *http.Request) (any, error) {
	discard, err := strconv.ParseBool(r.URL.Query().Get("discard"))
	if err != nil && r.URL.Query().Has("discard") {
		return nil, refuse(api.CodeUsage, "discard must be true or false")
	}
	// Once auditing is off its end could not be recorded any more.
	d.recordAdmin(r, time.Now(), nil, nil)
	err = d.audit.change(r.Context(), func(c *audit.Config) error { c.Enabled = false; return nil })
	if err == nil && discard {
		err = d.audit.hook.Discard(r.Context())
	}
	if err != nil {
		return nil, auditRefusal(err)
	}
	return adminAudit(d, r)
}

func adminAuditBatch(d *daemon, r *http.Request) (any, error) {
	var in api.AuditBatch
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	err := d.audit.change(r.Context(), func(c *audit.Config) error {
		b := &c.Batch
		set(&b.Mode, in.Mode)
		set(&b.Count, in.Count)
		set(&b.Bytes, in.Bytes)
		set(&b.Spool, in.Spool)
		return errors.Join(setDuration(&b.Linger, in.Linger), setDuration(&b.Timeout, in.Timeout))
	})
	if err != nil {
		return nil, auditRefusal(err)
	}
	return adminAudit(d, r)
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func setDuration(to *time.Duration, text *string) (err error) {
	if text == nil {
		return nil
	}
	if *to, err = time.ParseDuration(*text); err != nil {
		return refuse(api.CodeUsage, "%q is no duration: write 500ms, 2s or 1m", *text)
	}
	return nil
}

// auditRefusal makes a mistake in the configuration one of usage.
func auditRefusal(err error) error {
	if errors.Is(err, audit.ErrConfig) {
		return refuse(api.CodeUsage, "%s", strings.TrimPrefix(err.Error(), audit.ErrConfig.Error()+": "))
	}
	return err
}

// maxAdminTag is how much of a field of an admin request an event tells, in bytes.
const maxAdminTag = 512

// maxAudited is how much of an admin request's body is looked at for names: all of
// it, or padding could hide them.
const maxAudited = maxAdminBody

// auditBody is an admin request's body, kept for the audit.
type auditBody struct {
	io.ReadCloser
	seen []byte
}

func (b *auditBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.seen = append(b.seen, p[:min(n, maxAudited-len(b.seen))]...)
	return n, err
}

// auditAdmin begins the audit of an admin request; the function that it returns
// records how it ended. A status that was only read is not recorded: it is polled.
func (d *daemon) auditAdmin(r *http.Request) func(err error) {
	if d.audit == nil {
		return func(error) {}
	}
	began, body := time.Now(), &auditBody{ReadCloser: r.Body}
	r.Body = body
	return func(err error) {
		if err == nil && r.Method == http.MethodGet && polled(r.URL.Path) {
			return
		}
		d.recordAdmin(r, began, body.seen, err)
	}
}

// polled reports whether a path is asked again and again, by people who wait and by
// monitoring.
func polled(path string) bool {
	switch path {
	case "/v1/status", "/v1/drives", "/v1/heal", "/v1/scrub", "/v1/check":
		return true
	}
	return false
}

func (d *daemon) recordAdmin(r *http.Request, began time.Time, body []byte, err error) {
	if !d.audit.hook.Enabled() {
		return
	}
	pattern := r.Pattern
	if !strings.HasPrefix(pattern, r.Method+" ") {
		pattern = r.Method + " " + r.Pattern // the catch-all's has no method
	}
	e := audit.Event{
		Time: began, API: "admin:" + pattern, Path: r.URL.Path, Host: "admin-socket", UserAgent: r.UserAgent(),
		Status: http.StatusOK, In: max(r.ContentLength, 0), Took: time.Since(began), Tags: adminTags(body),
	}
	if strings.HasPrefix(r.URL.Path, "/v1/buckets/") {
		e.Bucket = r.PathValue("name")
	}
	if err != nil {
		refusal := toRefusal(err)
		e.Status, e.Code = statusOf(refusal.Code), refusal.Code
	}
	if cred, ok := r.Context().Value(peerKey{}).(unix.Ucred); ok {
		uid := strconv.FormatUint(uint64(cred.Uid), 10)
		e.User = "uid:" + uid
		e.Tags = append(e.Tags, audit.Pair{Name: "uid", Value: uid}, audit.Pair{Name: "pid", Value: strconv.Itoa(int(cred.Pid))})
	}
	for name, values := range r.URL.Query() {
		e.Query = append(e.Query, audit.Pair{Name: name, Value: strings.Join(values, ",")})
	}
	d.audit.hook.Record(&e)
}

// adminTags picks out of a request's body what says on whom and what it acts.
// Only fields that are known to hold no secret are looked at.
func adminTags(body []byte) []audit.Pair {
	var fields map[string]json.RawMessage
	if len(body) == 0 || json.NewDecoder(bytes.NewReader(body)).Decode(&fields) != nil {
		return nil
	}
	var tags []audit.Pair
	for _, name := range [...]string{
		"name", "user", "users", "role", "group", "groups", "members", "policy", "policies", "bucket", "owner", "parent", "preset",
		"config_fs", "domains", "endpoint", "verify", "replace", "enabled", "encrypted", "expires", "duration", "limit",
		"parity", "dry_run",
		"batch_mode", "batch_count", "batch_size", "batch_time", "timeout", "spool_size",
		"add", "remove", "access_key", "session_name", "duration_seconds", "scope", "reset", "requests_per_second", "burst",
		"concurrency", "in_bytes_per_second", "out_bytes_per_second", "issuer", "client_ids", "claim", "backend", "key_name",
		"path", "rebalance", "force", "cancel", "deep", "rate", "period",
	} {
		raw, ok := fields[name]
		if !ok || raw[0] == '{' || string(raw) == "null" {
			continue
		}
		value := string(raw)
		var text string
		if json.Unmarshal(raw, &text) == nil {
			value = text
		}
		if len(value) > maxAdminTag {
			value = strings.ToValidUTF8(value[:maxAdminTag], "") + "…"
		}
		if name == "access_key" {
			name = "accessKey" // who asks for a session: audit.Secret takes that name for a secret's
		}
		if name == "endpoint" {
			c := audit.Config{Endpoint: value}
			value = c.ShowEndpoint()
		}
		tags = append(tags, audit.Pair{Name: name, Value: value})
	}
	return tags
}
