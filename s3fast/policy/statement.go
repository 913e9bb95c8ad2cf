package policy

// statement is compiled.
type statement struct {
	sid        string
	effect     Decision // Allow or Deny
	actions    element
	resources  element
	principals *principals // nil: an identity policy's
	conditions []condition
}

// element is Action, Resource, or their negations.
type element struct {
	patterns []pattern
	not      bool
}

// matches compares one after another. What cannot be told for want of a
// variable's value matches no plain element, and a negated one only for a Deny.
func (e *element) matches(s string, c *lookups, deny bool) bool {
	undecided := false
	for i := range e.patterns {
		p := &e.patterns[i]
		if !p.fits(s) {
			continue
		}
		switch p.match(s, c) {
		case yes:
			return !e.not
		case unknown:
			undecided = true
		}
	}
	return e.not && (!undecided || deny)
}

// outcome of a comparison.
type outcome uint8

const (
	no outcome = iota
	yes
	unknown // not comparable: a variable has no value, or the value is of another type
)

// miss is the first element that does not match.
type miss uint8

const (
	missNothing miss = iota
	missAction
	missResource
	missPrincipal
	missCondition
)

// test tells which element does not match, or what the statement grants.
func (s *statement) test(r *Request, c *lookups) (miss, grant) {
	deny := s.effect == Deny
	if !s.actions.matches(r.Action, c, deny) {
		return missAction, grantNone
	}
	if !s.resources.matches(r.Resource, c, deny) {
		return missResource, grantNone
	}
	g := grantAll
	if s.principals != nil {
		if g = s.principals.match(&r.Principal, c, deny); g == grantNone {
			return missPrincipal, grantNone
		}
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(c, deny) {
			return missCondition, grantNone
		}
	}
	if deny {
		g = grantDeny
	}
	return missNothing, g
}
