package api

import "time"

// Error codes.
const (
	CodeUsage       = "usage"
	CodeDenied      = "denied"
	CodeNotFound    = "not_found"
	CodeExists      = "exists"
	CodeConflict    = "conflict"
	CodeInternal    = "internal"
	CodeUnavailable = "unavailable"
	CodeNoSpace     = "no_space"
)

// Error is an answer that is no success.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"error"`
}

func (e *Error) Error() string { return e.Message }

// Version of the daemon or of ctl.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	Format  int    `json:"format"` // on-disk format version; 0 for ctl
}

// Cluster is the cluster's configuration.
type Cluster struct {
	Name     string    `json:"name"`
	ConfigFS string    `json:"config_fs"`
	ID       string    `json:"id"`
	Domains  []string  `json:"domains"`
	Region   string    `json:"region"`
	Created  time.Time `json:"created"`
	// Encrypted: the metadata is encrypted, and objects are unless a request or
	// their bucket asks for something else.
	Encrypted bool `json:"encrypted,omitempty"`
	// Parity is how many drives may fail at a time, "0" to "4"; "": by the number of
	// drives.
	Parity string `json:"parity,omitempty"`
	// What holds for buckets of each type that chose nothing themselves; "" by default.
	Standard    Performance `json:"standard_buckets,omitzero"`
	Performance Performance `json:"performance_buckets,omitzero"`
}

// CreateCluster is the body of POST /v1/cluster.
type CreateCluster struct {
	Name     string   `json:"name"`
	ConfigFS string   `json:"config_fs"` // ".config_fs"
	Domains  []string `json:"domains,omitempty"`
	// Encrypted asks for an encrypted cluster; only while there are no buckets.
	Encrypted bool   `json:"encrypted,omitempty"`
	Parity    string `json:"parity,omitempty"` // a number, or "auto"; "": auto
	// Of buckets of each type that chose nothing themselves.
	Standard    Performance `json:"standard_buckets,omitzero"`
	Performance Performance `json:"performance_buckets,omitzero"`
}

// UpdateCluster is the body of PATCH /v1/cluster. A nil field stays as it is.
type UpdateCluster struct {
	Domains *[]string `json:"domains,omitempty"`
	Parity  *string   `json:"parity,omitempty"` // as in CreateCluster
	// Of buckets that chose nothing themselves; "default" removes a choice, and ""
	// leaves it as it is.
	Standard    Performance `json:"standard_buckets,omitzero"`
	Performance Performance `json:"performance_buckets,omitzero"`
}

// Status is the answer of GET /v1/status.
type Status struct {
	Version   Version   `json:"version"`
	Started   time.Time `json:"started"`
	Ready     bool      `json:"ready"`
	Cluster   *Cluster  `json:"cluster"` // null before cluster create
	Listen    []string  `json:"listen"`
	TLS       string    `json:"tls"` // auto, required, off
	Drives    []Drive   `json:"drives"`
	MetaBytes int64     `json:"meta_bytes"`
	// MetaCopies are the directories with a copy of the metadata, MetaWanted how many
	// there should be.
	MetaCopies []MetaCopy `json:"meta_copies"`
	MetaWanted int        `json:"meta_copies_wanted"`
	Garbage    int64      `json:"garbage_blobs"`
	Buckets    int        `json:"buckets"`
	Users      int        `json:"users"`
	Parity     *Parity    `json:"parity,omitempty"`
	Warnings   []string   `json:"warnings,omitempty"` // what needs an administrator's attention
	// Audit tells how the delivery of audit events goes; null while it is off.
	Audit *AuditState `json:"audit,omitempty"`
}

// MetaCopy is one copy of the metadata.
type MetaCopy struct {
	Dir     string `json:"dir"`
	Drive   string `json:"drive,omitempty"` // id
	Primary bool   `json:"primary,omitempty"`
	Filling bool   `json:"filling,omitempty"` // it is being made
	Bytes   int64  `json:"bytes"`
	Done    int64  `json:"done_bytes,omitempty"` // while it is being made
	Faults  uint64 `json:"faults"`               // reads of it that failed or did not verify
}

// Bucket is a bucket.
type Bucket struct {
	Name    string    `json:"name"`
	Owner   string    `json:"owner"`
	Objects int64     `json:"objects"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
}

// CreateBucket is the body of POST /v1/buckets.
type CreateBucket struct {
	Name      string `json:"name"`
	Policy    string `json:"policy,omitempty"`    // preset: none, download, upload, public
	Encrypted bool   `json:"encrypted,omitempty"` // objects are encrypted by default
	Parity    string `json:"parity,omitempty"`    // a number, or "default"; "": default
	Type      string `json:"type,omitempty"`      // "STANDARD" or "PERFORMANCE"; "": STANDARD
	Performance
}

// User is a user.
type User struct {
	Name     string    `json:"name"`
	Role     string    `json:"role"`
	Policy   string    `json:"policy"`             // the first of Policies, or ""
	Policies []string  `json:"policies,omitempty"` // attached to the user itself
	Groups   []string  `json:"groups,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
}

// CreateUser is the body of POST /v1/users. An empty password asks the daemon
// to generate one, which the answer then carries, once.
type CreateUser struct {
	Name     string `json:"name"`
	Role     string `json:"role"`
	Password string `json:"password,omitempty"`
}

// CreatedUser is its answer.
type CreatedUser struct {
	User
	Password string `json:"password,omitempty"` // only when generated
}

// SetPassword is the body of PUT /v1/users/{name}/password.
type SetPassword struct {
	Password string `json:"password"`
}

// SetRole is the body of PUT /v1/users/{name}/role.
type SetRole struct {
	Role string `json:"role"`
}

// Policy is an IAM policy.
type Policy struct {
	Name       string    `json:"name"`
	Predefined bool      `json:"predefined"`
	Users      []string  `json:"users"`
	Groups     []string  `json:"groups,omitempty"`
	Created    time.Time `json:"created,omitzero"`
	Document   string    `json:"document"`
}

// PutPolicy is the body of POST /v1/policies.
type PutPolicy struct {
	Name     string `json:"name"`
	Document string `json:"document"`
	Replace  bool   `json:"replace,omitempty"`
}

// AttachPolicy is the body of POST /v1/policies/{name}/attach and, with an
// empty policy name in POST /v1/policies/-/detach, of detach. User and Group may
// be empty when exactly one S3 user exists.
type AttachPolicy struct {
	User  string `json:"user,omitempty"`
	Group string `json:"group,omitempty"`
	Add   bool   `json:"add,omitempty"` // attach besides what is attached, not in its place
}

// Attachment is the answer of attach and detach.
type Attachment struct {
	Policy string `json:"policy"`
	User   string `json:"user,omitempty"`
	Group  string `json:"group,omitempty"`
}

// TLS is the answer of GET /v1/tls.
type TLS struct {
	Mode        string    `json:"mode"`   // auto, required, off
	Source      string    `json:"source"` // "auto-generated" or "custom"
	Subject     string    `json:"subject"`
	Names       []string  `json:"names"` // DNS names and IP addresses
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Fingerprint string    `json:"sha256_fingerprint"`
	Certificate string    `json:"certificate_pem"`
	ClientAuth  string    `json:"client_auth,omitempty"` // of client certificates: optional, required; absent: off
}

// SetTLS is the body of PUT /v1/tls: PEM certificate chain and private key.
type SetTLS struct {
	Certificate string `json:"certificate_pem"`
	PrivateKey  string `json:"private_key_pem"`
}
