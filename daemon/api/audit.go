package api

import (
	"context"
	"net/http"
	"time"
)

// AuditWebhook is the answer of GET /v1/audit-webhook.
type AuditWebhook struct {
	Enabled   bool       `json:"enabled"`
	Endpoint  string     `json:"endpoint"`   // secrets in its query masked
	AuthToken string     `json:"auth_token"` // "********" when there is one
	CA        bool       `json:"custom_ca"`  // https is checked with certificates given by --ca-file
	Batch     AuditBatch `json:"batch"`
	AuditState
}

// AuditBatch says how events are gathered. In the body of PATCH
// /v1/audit-webhook/batch a nil field stays as it is.
type AuditBatch struct {
	Mode    *string `json:"batch_mode,omitempty"`  // lines, array or off
	Count   *int    `json:"batch_count,omitempty"` // events per POST
	Bytes   *int    `json:"batch_size,omitempty"`  // bytes per POST
	Linger  *string `json:"batch_time,omitempty"`  // "1s"
	Timeout *string `json:"timeout,omitempty"`     // of a POST, "10s"
	Spool   *int64  `json:"spool_size,omitempty"`  // bytes
}

// AuditState tells how delivery goes. Counts are since the daemon started.
type AuditState struct {
	Up         bool      `json:"up"` // the last POST was taken, or none was made
	Error      string    `json:"error,omitempty"`
	LastOK     time.Time `json:"last_delivery,omitzero"`
	Queued     uint64    `json:"queued_events"`
	SpoolBytes int64     `json:"spool_bytes"`
	Oldest     float64   `json:"oldest_seconds"` // age of the oldest event that waits
	Delivered  uint64    `json:"delivered_events"`
	Retries    uint64    `json:"failed_posts"`
	Dropped    uint64    `json:"dropped_events"`
	Discarded  uint64    `json:"discarded_events"`
	Damaged    uint64    `json:"damaged_events"`
}

// EnableAudit is the body of PUT /v1/audit-webhook.
type EnableAudit struct {
	Endpoint  string `json:"endpoint"`
	AuthToken string `json:"auth_token"`       // value of the Authorization header
	CA        string `json:"ca_pem,omitempty"` // "": the system's certificates
	Verify    bool   `json:"verify,omitempty"` // send a test event first
}

// AuditWebhook describes the audit webhook.
func (c *Client) AuditWebhook(ctx context.Context) (out AuditWebhook, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/audit-webhook", nil, &out)
}

// EnableAudit turns auditing on, or changes where events go.
func (c *Client) EnableAudit(ctx context.Context, in EnableAudit) (out AuditWebhook, err error) {
	return out, c.call(ctx, http.MethodPut, "/v1/audit-webhook", in, &out)
}

// DisableAudit turns auditing off. Events that wait are kept for the next
// EnableAudit, unless discard is true.
func (c *Client) DisableAudit(ctx context.Context, discard bool) (out AuditWebhook, err error) {
	path := "/v1/audit-webhook"
	if discard {
		path += "?discard=true"
	}
	return out, c.call(ctx, http.MethodDelete, path, nil, &out)
}

// ConfigureAuditBatch changes how events are gathered, while auditing is on or off.
func (c *Client) ConfigureAuditBatch(ctx context.Context, in AuditBatch) (out AuditWebhook, err error) {
	return out, c.call(ctx, http.MethodPatch, "/v1/audit-webhook/batch", in, &out)
}
