package policy

import "errors"

// MaxSize is the largest policy document in bytes (AWS: 6,144 for a managed
// policy, 20,480 for a bucket policy).
const MaxSize = 20480

// ErrMalformed: the document is not a policy, or holds an element that is not
// supported. Errors wrap it and name the element and the statement.
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

// Policy is a parsed, compiled identity policy. It is immutable.
type Policy struct {
	statements []statement
}

type statement struct {
	sid       string
	effect    Decision // Allow or Deny
	actions   []pattern
	resources []pattern
}

// Eval decides on an action ("s3:GetObject") on a resource
// ("arn:aws:s3:::bucket/key"). It does not allocate. Actions are compared
// without regard to ASCII case, resources exactly. A bucket ("…:::bucket") and
// its objects ("…:::bucket/…") are resources apart: "…:::bucket/*" does not
// match the bucket. An action that has no resource, such as
// s3:ListAllMyBuckets, is asked for on "arn:aws:s3:::*".
func (p *Policy) Eval(action, resource string) Decision {
	d := DefaultDeny
	for i := range p.statements {
		s := &p.statements[i]
		if s.effect == d { // a second allow tells nothing new
			continue
		}
		if matchAny(s.actions, action) && matchAny(s.resources, resource) {
			if s.effect == Deny {
				return Deny
			}
			d = Allow
		}
	}
	return d
}

func matchAny(patterns []pattern, s string) bool {
	for i := range patterns {
		if patterns[i].match(s) {
			return true
		}
	}
	return false
}

// Set is several policies evaluated as one.
type Set []*Policy

// Eval decides: any deny wins, then any allow.
func (s Set) Eval(action, resource string) Decision {
	d := DefaultDeny
	for _, p := range s {
		switch p.Eval(action, resource) {
		case Deny:
			return Deny
		case Allow:
			d = Allow
		}
	}
	return d
}
