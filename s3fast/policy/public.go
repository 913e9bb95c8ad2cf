package policy

import "strings"

// isPublic tells whether the statement makes a bucket policy public (S3 User
// Guide, "Blocking public access to your Amazon S3 storage", "The meaning of
// public"): it allows everyone, or whoever an identity provider vouches for,
// and no condition binds it to fixed values of one of the keys listed there.
// variables: whether "${" begins a variable.
func (s *statement) isPublic(variables bool) bool {
	if s.effect != Allow || s.principals == nil || !s.principals.everyone && len(s.principals.federated) == 0 {
		return false
	}
	for i := range s.conditions {
		if s.conditions[i].fixes(variables) {
			return false
		}
	}
	return true
}

// fixes tells whether the condition holds for fixed values only. One that holds
// for an absent key (negated, …IfExists, ForAllValues) does not.
func (t *condition) fixes(variables bool) bool {
	if t.op.negated || t.op.ifExists || t.op.set == forAllValues {
		return false
	}
	fixed := isFixed
	switch t.key {
	case "aws:sourceip":
		return t.op.kind == kindIP && t.test.(addresses).narrow()
	case "s3:dataaccesspointarn":
		fixed = isFixedAccessPoint
	case "aws:userid":
		fixed = isFixedUser
	case "aws:principalarn", "aws:principalaccount", "aws:principalorgid", "aws:principalorgpaths",
		"aws:principalservicename", "aws:principalservicenameslist",
		"aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:sourceaccount",
		"s3:dataaccesspointaccount", "s3:x-amz-server-side-encryption-aws-kms-key-id":
	default:
		return false
	}
	switch t.op.kind {
	case kindString, kindFold, kindLike, kindARN:
	default:
		return false
	}
	for _, v := range t.values {
		if variables && strings.Contains(v, "${") || !fixed(v) {
			return false
		}
	}
	return true
}

func isFixed(value string) bool { return !strings.ContainsAny(value, "*?") }

// isFixedUser: anonymous requests all have the same aws:userid ("AWS global
// condition context keys").
func isFixedUser(value string) bool { return isFixed(value) && !strings.EqualFold(value, "anonymous") }

// isFixedAccessPoint: the access point's name may be a pattern as long as the
// account is fixed.
func isFixedAccessPoint(value string) bool {
	part := strings.SplitN(value, ":", arnParts)
	return len(part) == arnParts && isFixed(strings.Join(part[:arnParts-1], ":")) && isAccount(part[4])
}

// narrow tells whether no range is broader than /8 of IPv4 or /32 of IPv6. The
// private ranges, which AWS excepts, are not.
func (a addresses) narrow() bool {
	for _, p := range a {
		least := 32
		if p.Addr().Is4() {
			least = 8
		}
		if p.Bits() < least {
			return false
		}
	}
	return true
}
