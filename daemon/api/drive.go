package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// States of a drive, besides those of the engine.
const (
	StateActive   = "active"
	StateDraining = "draining" // everything is moved off it, then it leaves
	StateReplaced = "replaced" // its fragments are made anew on its successor
)

// Drive is one drive of the cluster.
type Drive struct {
	ID   string `json:"id"`
	Path string `json:"path"` // where it is, or was last
	// State is active, suspect (had errors or was slow lately), read-only, failed (was
	// taken out of service), absent (is not there), attaching, draining or replaced.
	State      string    `json:"state"`
	Error      string    `json:"error,omitempty"` // why it is not active
	Since      time.Time `json:"since,omitzero"`  // of Error
	Added      time.Time `json:"added,omitzero"`
	Kind       string    `json:"kind"`                // "directory" or "block device"
	Successor  string    `json:"successor,omitempty"` // id, of a drive that is being replaced
	Total      int64     `json:"total_bytes"`
	Used       int64     `json:"used_bytes"`
	Free       int64     `json:"free_bytes"`
	Backend    string    `json:"backend"` // "io_uring", "polled" or "pread"
	Direct     bool      `json:"direct"`  // O_DIRECT in force
	Registered bool      `json:"registered_buffers"`

	Errors   uint64   `json:"errors"`   // operations refused by the device, since it was opened
	Timeouts uint64   `json:"timeouts"` // operations without an answer in time
	Stalls   uint64   `json:"stalls"`   // slow ones
	Corrupt  uint64   `json:"corrupt"`  // frames that did not verify
	Hung     int      `json:"hung"`     // operations without an answer beyond the deadline, now
	Reads    *Latency `json:"read_latency,omitempty"`
	Writes   *Latency `json:"write_latency,omitempty"`

	Metadata string    `json:"metadata,omitempty"` // its copy of the metadata: "primary", "copy" or "filling"
	Smart    *Smart    `json:"smart,omitempty"`    // what the device tells of itself
	Task     *HealTask `json:"task,omitempty"`     // work on its fragments
}

// Latency sums up the operations of about the last minute; times in seconds.
type Latency struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_seconds"`
	P99   float64 `json:"p99_seconds"`
	Max   float64 `json:"max_seconds"`
}

// Smart is what a device tells of itself; null: it does not.
type Smart struct {
	Device       string   `json:"device,omitempty"`
	Model        string   `json:"model,omitempty"`
	Serial       string   `json:"serial,omitempty"`
	Temperature  *int64   `json:"temperature_celsius"`
	Wear         *int64   `json:"wear_percent"` // of the life the maker expects; may exceed 100
	Spare        *int64   `json:"spare_percent"`
	PowerOnHours *int64   `json:"power_on_hours"`
	MediaErrors  *int64   `json:"media_errors"`
	Critical     []string `json:"critical,omitempty"`
}

// AddDrive is the body of POST /v1/drives.
type AddDrive struct {
	Path      string `json:"path"` // absolute
	Rebalance bool   `json:"rebalance,omitempty"`
}

// RemoveDrive is the body of POST /v1/drives/{drive}/remove.
type RemoveDrive struct {
	Force  bool `json:"force,omitempty"`  // even if redundancy is lost
	Cancel bool `json:"cancel,omitempty"` // keep the drive after all
}

// ReplaceDrive is the body of POST /v1/drives/{drive}/replace.
type ReplaceDrive struct {
	Path string `json:"path"` // of the new drive, absolute
}

// Heal is the answer of GET /v1/heal.
type Heal struct {
	Queue       int64      `json:"queued_blobs"`      // waiting for repair; 100,000 stands for more
	Degraded    int64      `json:"degraded_blobs"`    // less redundant than they should be, as of the last walk
	Unhealed    int64      `json:"unhealable_blobs"`  // of them, those for which no drive is to be had
	Lost        int64      `json:"lost_blobs"`        // of them, those that cannot be read
	Unprotected int64      `json:"unprotected_blobs"` // without any redundancy, though the cluster has some by now
	Repaired    uint64     `json:"repaired_fragments"`
	Moved       uint64     `json:"moved_fragments"`
	Bytes       uint64     `json:"written_bytes"`
	Errors      uint64     `json:"errors"`
	LastError   string     `json:"last_error,omitempty"`
	Tasks       []HealTask `json:"tasks"`
}

// HealTask is work on the fragments of one drive, or, for rebalance, of all.
type HealTask struct {
	Drive     string    `json:"drive,omitempty"`
	Path      string    `json:"path,omitempty"`
	Kind      string    `json:"kind"` // rebuild, drain, rebalance, protect
	Total     int64     `json:"total_bytes"`
	Done      int64     `json:"done_bytes"`
	Fragments int64     `json:"fragments_left"`
	Started   time.Time `json:"started,omitzero"`
	Rate      float64   `json:"bytes_per_second"`
	ETA       float64   `json:"eta_seconds,omitempty"` // 0: not known
	Waiting   string    `json:"waiting,omitempty"`     // why nothing happens
}

// Scrub is the answer of GET, POST and PATCH /v1/scrub.
type Scrub struct {
	Running  bool      `json:"running"`
	Started  time.Time `json:"started,omitzero"` // the last scrub
	Finished time.Time `json:"finished,omitzero"`
	Blobs    int64     `json:"blobs"` // verified
	Bytes    int64     `json:"bytes"`
	Total    int64     `json:"total_bytes"`
	Corrupt  int64     `json:"corrupt_fragments"`
	Repaired int64     `json:"repaired_fragments"`
	Failed   int64     `json:"failed_fragments"` // that could not be mended
	Rate     int64     `json:"bytes_per_second"`
	Next     time.Time `json:"next,omitzero"`
	Error    string    `json:"last_error,omitempty"`

	Period  string `json:"period"` // in which everything is verified once; "0s": only when asked
	MinRate int64  `json:"min_bytes_per_second"`

	Metadata MetaScrub `json:"metadata"`
}

// MetaScrub is the verification of the metadata's copies, which goes with a scrub.
type MetaScrub struct {
	Running  bool      `json:"running"`
	Finished time.Time `json:"finished,omitzero"`
	Files    int64     `json:"files"`
	Bytes    int64     `json:"bytes"`
	Differ   int64     `json:"differing_files"` // of which a copy was not as the others, or damaged
	Repaired int64     `json:"repaired_files"`
	Error    string    `json:"error,omitempty"`
}

// StartScrub is the body of POST /v1/scrub.
type StartScrub struct {
	Rate int64 `json:"rate,omitempty"` // bytes per second; 0: as the period asks for
}

// SetScrub is the body of PATCH /v1/scrub. A nil field stays as it is.
type SetScrub struct {
	Period *string `json:"period,omitempty"` // a duration; "0s": never by itself
	Rate   *int64  `json:"rate,omitempty"`   // bytes per second at least
}

// Rebalance is the body of POST /v1/rebalance.
type Rebalance struct {
	Enabled bool `json:"enabled"`
}

// StartCheck is the body of POST /v1/check.
type StartCheck struct {
	Deep bool `json:"deep,omitempty"` // read and verify every fragment, too
}

// Check is the answer of GET and POST /v1/check: how far a check has come.
type Check struct {
	Running    bool      `json:"running"`
	Deep       bool      `json:"deep"`
	Started    time.Time `json:"started,omitzero"`
	Finished   time.Time `json:"finished,omitzero"`
	Error      string    `json:"error,omitempty"` // why it could not be completed
	Buckets    int64     `json:"buckets"`
	Objects    int64     `json:"objects"`
	Parts      int64     `json:"parts"`
	Uploads    int64     `json:"uploads"`
	Blobs      int64     `json:"blobs"`
	Inline     int64     `json:"inline_objects"`
	Fragments  int64     `json:"fragments"`
	Bytes      int64     `json:"bytes"`
	Degraded   int64     `json:"degraded_blobs"`
	Unreadable int64     `json:"unreadable_blobs"`
	Count      int64     `json:"problem_count"`
	Problems   []Problem `json:"problems"` // the first of them
}

// Problem is something that a check found and that must not be.
type Problem struct {
	Kind   string `json:"kind"`
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key,omitempty"`
	Blob   string `json:"blob,omitempty"`
	Drive  string `json:"drive,omitempty"`
	Detail string `json:"detail"`
}

func drivePath(drive, verb string) string { return "/v1/drives/" + url.PathEscape(drive) + verb }

// Drives lists the drives of the cluster.
func (c *Client) Drives(ctx context.Context) (out []Drive, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/drives", nil, &out)
}

// Drive returns one drive; drive is its id, the beginning of it, or its path.
func (c *Client) Drive(ctx context.Context, drive string) (out Drive, err error) {
	return out, c.call(ctx, http.MethodGet, drivePath(drive, ""), nil, &out)
}

// AddDrive takes a drive into the cluster.
func (c *Client) AddDrive(ctx context.Context, in AddDrive) (out Drive, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/drives", in, &out)
}

// RemoveDrive begins or cancels the removal of a drive.
func (c *Client) RemoveDrive(ctx context.Context, drive string, in RemoveDrive) (out Drive, err error) {
	return out, c.call(ctx, http.MethodPost, drivePath(drive, "/remove"), in, &out)
}

// ReplaceDrive begins the replacement of a drive and returns the new one.
func (c *Client) ReplaceDrive(ctx context.Context, drive string, in ReplaceDrive) (out Drive, err error) {
	return out, c.call(ctx, http.MethodPost, drivePath(drive, "/replace"), in, &out)
}

// Heal tells how far repair has come.
func (c *Client) Heal(ctx context.Context) (out Heal, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/heal", nil, &out)
}

// Rebalance starts or stops moving data from fuller drives to emptier ones.
func (c *Client) Rebalance(ctx context.Context, in Rebalance) (out Heal, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/rebalance", in, &out)
}

// Scrub tells how far the verification of everything has come.
func (c *Client) Scrub(ctx context.Context) (out Scrub, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/scrub", nil, &out)
}

// StartScrub verifies everything from the beginning.
func (c *Client) StartScrub(ctx context.Context, in StartScrub) (out Scrub, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/scrub", in, &out)
}

// SetScrub changes how often and how fast everything is verified.
func (c *Client) SetScrub(ctx context.Context, in SetScrub) (out Scrub, err error) {
	return out, c.call(ctx, http.MethodPatch, "/v1/scrub", in, &out)
}

// StopScrub ends a scrub.
func (c *Client) StopScrub(ctx context.Context) (out Scrub, err error) {
	return out, c.call(ctx, http.MethodDelete, "/v1/scrub", nil, &out)
}

// StartCheck holds metadata and drives against each other, in the daemon.
func (c *Client) StartCheck(ctx context.Context, in StartCheck) (out Check, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/check", in, &out)
}

// Check tells how far the last check has come.
func (c *Client) Check(ctx context.Context) (out Check, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/check", nil, &out)
}

// StopCheck ends a check.
func (c *Client) StopCheck(ctx context.Context) (out Check, err error) {
	return out, c.call(ctx, http.MethodDelete, "/v1/check", nil, &out)
}
