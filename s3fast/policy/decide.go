package policy

import "strings"

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
	Canonical string   // canonical user id of the account, 64 hex digits; "" not known
	// Bound is set of a session that a service account began: narrowing policies
	// limit it whatever a bucket policy grants, as they limit the service account
	// itself, or it could widen its rights by the name that it gives its session.
	Bound bool
}

// Context gives the values of condition keys. A key is asked for with its name
// in lower case ("aws:sourceip"); what follows a slash keeps its case
// ("s3:existingobjecttag/Colour"). No value: the key is absent. Values must not
// be changed. Lookups are made only for keys that a policy names, and for one
// decision mostly once (more often only of the ninth key and further ones).
type Context interface {
	Lookup(key string) []string
}

// Input are the policies that apply to a request.
type Input struct {
	// Identity are the policies attached to the user and to its groups.
	Identity Set
	// Names are those of Identity, in its order, for Explain; they may be left out.
	Names []string
	// Narrow are policies that must each allow as well: a service account's own
	// and a session's. They never grant by themselves. What a bucket policy grants
	// a session by its own ARN, or everyone, they limit only by a Deny (but see
	// Principal.Bound).
	Narrow []*Policy
	// Bucket is the policy of the bucket, or nil.
	Bucket *Policy
	// Unmatched grants of a public bucket policy are ignored for principals
	// outside the account (RestrictPublicBuckets of the public access block).
	// Within one account those are the anonymous.
	RestrictPublic bool
}

// Uses reports whether one of the policies does; see Policy.Uses.
func (in *Input) Uses(prefix string) bool {
	return in.Identity.Uses(prefix) || Set(in.Narrow).Uses(prefix) || in.Bucket.Uses(prefix)
}

// Decide decides a request by all policies that apply. See the package's
// documentation for the order. It does not allocate, save for variables in
// values of case-insensitive operators and what Context does.
func Decide(r *Request, in *Input) Decision {
	c := lookups{context: r.Context}
	identity := in.Identity.decide(r, &c)
	if identity == Deny {
		return Deny
	}
	narrow := true
	for _, p := range in.Narrow {
		switch p.grant(r, &c).decision() {
		case Deny:
			return Deny
		case DefaultDeny:
			narrow = false
		}
	}
	bucket := in.Bucket.grant(r, &c)
	if bucket == grantDeny {
		return Deny
	}
	if by := settle(r, in, identity, narrow, bucket); by == byIdentity || by == byBucket {
		return Allow
	}
	return DefaultDeny
}

// reason of a decision in which no explicit deny matches.
type reason uint8

const (
	byIdentity   reason = iota // allowed
	byBucket                   // allowed
	notNarrow                  // a narrowing policy does not allow
	notPublic                  // public grants are restricted
	notAnonymous               // nothing is granted to everyone
	notDelegated               // the account is allowed, by identity policies nothing
	notAllowed
)

// settle decides once no policy denies.
func settle(r *Request, in *Input, identity Decision, narrow bool, bucket grant) reason {
	if r.Principal.Anonymous {
		switch {
		case bucket != grantAll:
			return notAnonymous
		case in.RestrictPublic && in.Bucket.IsPublic():
			return notPublic
		}
		return byBucket
	}
	// AWS's rule is about sessions. AWS has no service accounts: their policies
	// limit all that they may do.
	direct := strings.HasPrefix(r.Principal.ARN, "arn:aws:sts:") && !r.Principal.Bound
	if bucket > grantBehind && len(in.Narrow) > 0 && !direct {
		bucket = grantBehind
	}
	switch {
	case bucket >= grantOwn:
		return byBucket
	case identity != Allow && bucket == grantAccount:
		return notDelegated
	case identity != Allow && bucket != grantBehind:
		return notAllowed
	case !narrow:
		return notNarrow
	case identity == Allow:
		return byIdentity
	}
	return byBucket
}
