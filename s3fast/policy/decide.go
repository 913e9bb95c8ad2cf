package policy

// Request is what a policy is asked about.
type Request struct {
	Action    string // "s3:GetObject"
	Resource  string // "arn:aws:s3:::bucket/key"; "arn:aws:s3:::*" where the action has none
	Principal Principal
	Context   Context // nil: no condition key has a value
}

// Principal is who asks.
type Principal struct {
	Anonymous bool
	Account   string   // 12 digits
	ARN       string   // "arn:aws:iam::ACCOUNT:user/alice", "arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION"
	Parents   []string // further ARNs that stand for it: of a session, its role and its user
}

// Context gives the values of condition keys. A key is asked for with its name
// in lower case ("aws:sourceip"); what follows a slash keeps its case
// ("s3:existingobjecttag/Colour"). No value: the key is absent. Values must not
// be changed. Lookups are made only for keys that a policy names.
type Context interface {
	Lookup(key string) []string
}

// Input are the policies that apply to a request.
type Input struct {
	// Identity are the policies attached to the user and to its groups.
	Identity Set
	// Narrow are policies that must each allow as well: a service account's own
	// and a session's. They never grant by themselves.
	Narrow []*Policy
	// Bucket is the policy of the bucket, or nil.
	Bucket *Policy
	// Unmatched grants of a public bucket policy are ignored for principals
	// outside the account (RestrictPublicBuckets of the public access block).
	RestrictPublic bool
}

// Explanation tells how a decision came about.
type Explanation struct {
	Decision   Decision
	Reason     string // one sentence
	Statements []StatementResult
}

// StatementResult is what one statement contributed.
type StatementResult struct {
	Source  string // "identity", "narrow", "bucket"
	Policy  int    // index within its source
	Index   int    // of the statement within its policy
	Sid     string
	Effect  string // "Allow" or "Deny"
	Matched bool
	Why     string // which element did not match, or that all did
}
