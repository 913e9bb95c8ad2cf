package policy

import "errors"

// MaxSize is the largest policy document in bytes (AWS: 6,144 for a managed
// policy, 20,480 for a bucket policy).
const MaxSize = 20480

// ErrMalformed: the document is not a policy, or holds something that is not
// supported. Errors wrap it and name statement, element and fault.
var ErrMalformed = errors.New("policy: malformed policy document")

// Decision of an evaluation.
type Decision uint8

// Decisions.
const (
	DefaultDeny Decision = iota // no statement matches
	Allow
	Deny // an explicit deny matches
)

// String is "default deny", "allow" or "deny".
func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	default:
		return "default deny"
	}
}

// Policy is a parsed, compiled policy. It is immutable.
type Policy struct {
	statements []statement
	keys       []string // condition keys whose values matter, each once
	public     bool
}

// Eval decides by this policy alone. Actions are compared without regard to
// ASCII case, resources exactly. A bucket ("…:::bucket") and its objects
// ("…:::bucket/…") are resources apart: "…:::bucket/*" does not match the
// bucket. A statement of a bucket policy that allows the principal's account
// does not allow: it delegates. A nil policy decides nothing.
func (p *Policy) Eval(r *Request) Decision {
	return p.grant(r, &lookups{context: r.Context}).decision()
}

// grant is how far a policy goes for a request; the more, the greater.
type grant uint8

const (
	grantNone    grant = iota
	grantAccount       // allows the account: left to identity policies
	grantBehind        // allows an ARN behind the principal: narrowing policies limit it
	grantOwn           // allows the principal's own ARN
	grantAll           // allows everyone; also what an identity policy allows
	grantDeny          // an explicit deny
)

func (g grant) decision() Decision {
	switch g {
	case grantNone, grantAccount:
		return DefaultDeny
	case grantDeny:
		return Deny
	default:
		return Allow
	}
}

// grant evaluates all statements. It does not allocate.
func (p *Policy) grant(r *Request, c *lookups) grant {
	if p == nil {
		return grantNone
	}
	most := grantNone
	for i := range p.statements {
		s := &p.statements[i]
		if s.effect == Allow && most == grantAll {
			continue // it can add nothing
		}
		miss, g := s.test(r, c)
		if c.spent() {
			return grantDeny
		}
		if miss != missNothing {
			continue
		}
		if g == grantDeny {
			return grantDeny
		}
		most = max(most, g)
	}
	return most
}

// IsPublic reports whether a bucket policy grants something to the public (S3
// User Guide, "The meaning of public"). It is false for identity policies.
func (p *Policy) IsPublic() bool { return p != nil && p.public }

// Uses reports whether the decision can depend on the value of a condition key
// whose name begins with prefix, in conditions or variables: whether the value
// is worth fetching. Names are compared as Context.Lookup gets them: without
// regard to case up to a slash.
func (p *Policy) Uses(prefix string) bool {
	if p == nil {
		return false
	}
	for _, k := range p.keys {
		if len(k) >= len(prefix) && sameKey(prefix, k[:len(prefix)]) {
			return true
		}
	}
	return false
}

// Set is several policies evaluated as one.
type Set []*Policy

// Eval decides: any deny wins, then any allow.
func (s Set) Eval(r *Request) Decision {
	return s.decide(r, &lookups{context: r.Context})
}

func (s Set) decide(r *Request, c *lookups) Decision {
	d := DefaultDeny
	for _, p := range s {
		switch p.grant(r, c).decision() {
		case Deny:
			return Deny
		case Allow:
			d = Allow
		}
	}
	return d
}

// Uses reports whether one of the policies does.
func (s Set) Uses(prefix string) bool {
	for _, p := range s {
		if p.Uses(prefix) {
			return true
		}
	}
	return false
}
