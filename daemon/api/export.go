package api

import (
	"context"
	"encoding/json"
	"net/http"
)

// MaxExport bounds an export in bytes.
const MaxExport = 60 << 20

// Export is the body of POST /v1/export.
type Export struct {
	Passphrase string `json:"passphrase,omitempty"` // "": secrets are left out
}

// Exported is its answer.
type Exported struct {
	Document json.RawMessage `json:"document"`
	Sealed   bool            `json:"sealed"`          // secrets are in it
	Notes    []string        `json:"notes,omitempty"` // what is not in it, and should be known
}

// Import is the body of POST /v1/import.
type Import struct {
	Document   json.RawMessage `json:"document"`
	Passphrase string          `json:"passphrase,omitempty"`
	DryRun     bool            `json:"dry_run,omitempty"`
	Replace    bool            `json:"replace,omitempty"` // what is there and differs
}

// What an import does with one thing.
const (
	ImportAdd       = "add"
	ImportReplace   = "replace"
	ImportUnchanged = "unchanged" // the same is there
	ImportConflict  = "conflict"  // another is there, and Replace was not asked for
)

// ImportChange is what an import does, or would do, with one thing.
type ImportChange struct {
	Kind   string `json:"kind"` // cluster, policy, group, user, service-account, limits, audit, oidc, scrub, bucket, bucket-setting
	Name   string `json:"name"`
	Action string `json:"action"`
	Note   string `json:"note,omitempty"`
}

// Imported is the answer of POST /v1/import.
type Imported struct {
	DryRun  bool           `json:"dry_run"`
	Changes []ImportChange `json:"changes"`
}

// Export returns the cluster's configuration.
func (c *Client) Export(ctx context.Context, in Export) (out Exported, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/export", in, &out)
}

// Import brings an exported configuration into the cluster.
func (c *Client) Import(ctx context.Context, in Import) (out Imported, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/import", in, &out)
}
