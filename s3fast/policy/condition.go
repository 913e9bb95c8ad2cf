package policy

import (
	"errors"
	"strings"
)

// condition tests one key.
type condition struct {
	operator string // as written, for explanations
	name     string // of the key, likewise
	key      string // as Context.Lookup gets it
	op       operator
	values   []string // as written
	test     any      // compiled values of kinds other than Null; see compare
}

// operator is a parsed operator.
type operator struct {
	kind     kind
	cmp      comparison // of numbers and dates
	negated  bool
	ifExists bool
	set      setOperator
}

type kind uint8

const (
	kindString kind = iota // exact
	kindFold               // exact, whatever the case
	kindLike               // with wildcards
	kindNumeric
	kindDate
	kindBool
	kindBinary
	kindIP
	kindARN
	kindNull
)

// comparison of an order.
type comparison uint8

const (
	equal comparison = iota
	less
	lessOrEqual
	greater
	greaterOrEqual
)

// holds tells from the sign of value minus limit.
func (c comparison) holds(sign int) bool {
	switch c {
	case less:
		return sign < 0
	case lessOrEqual:
		return sign <= 0
	case greater:
		return sign > 0
	case greaterOrEqual:
		return sign >= 0
	default:
		return sign == 0
	}
}

// setOperator is a condition's qualifier.
type setOperator uint8

const (
	single setOperator = iota
	forAllValues
	forAnyValue
)

// parseOperator reads a name like "ForAnyValue:StringNotLikeIfExists".
func parseOperator(name string) (operator, error) {
	var op operator
	rest := name
	if s, ok := strings.CutPrefix(rest, "ForAllValues:"); ok {
		rest, op.set = s, forAllValues
	} else if s, ok := strings.CutPrefix(rest, "ForAnyValue:"); ok {
		rest, op.set = s, forAnyValue
	}
	rest, op.ifExists = strings.CutSuffix(rest, "IfExists")
	if !op.base(rest) {
		return op, errors.New("unknown operator")
	}
	if op.kind == kindNull && (op.ifExists || op.set != single) {
		return op, errors.New("Null takes neither IfExists nor a set operator")
	}
	return op, nil
}

// base reads a name without its additions.
func (op *operator) base(name string) bool {
	for _, order := range [...]struct {
		prefix string
		kind   kind
	}{{"Numeric", kindNumeric}, {"Date", kindDate}} {
		if rest, ok := strings.CutPrefix(name, order.prefix); ok {
			op.kind = order.kind
			return op.order(rest)
		}
	}
	switch name {
	case "StringEquals", "StringNotEquals":
		op.kind = kindString
	case "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase":
		op.kind = kindFold
	case "StringLike", "StringNotLike":
		op.kind = kindLike
	case "Bool":
		op.kind = kindBool
	case "BinaryEquals":
		op.kind = kindBinary
	case "IpAddress", "NotIpAddress":
		op.kind = kindIP
	case "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike":
		op.kind = kindARN
	case "Null":
		op.kind = kindNull
	default:
		return false
	}
	op.negated = strings.Contains(name, "Not")
	return true
}

func (op *operator) order(name string) bool {
	switch name {
	case "Equals":
	case "NotEquals":
		op.negated = true
	case "LessThan":
		op.cmp = less
	case "LessThanEquals":
		op.cmp = lessOrEqual
	case "GreaterThan":
		op.cmp = greater
	case "GreaterThanEquals":
		op.cmp = greaterOrEqual
	default:
		return false
	}
	return true
}

// holds evaluates the condition ("IAM JSON policy elements: Condition
// operators", "Multivalued context keys").
func (t *condition) holds(c *lookups, deny bool) bool {
	values := c.get(t.key)
	if t.op.kind == kindNull {
		want := "false"
		if isEmptySet(values) {
			want = "true"
		}
		for _, v := range t.values {
			if v == want {
				return true
			}
		}
		return false
	}
	if len(values) == 0 && t.op.ifExists {
		return true
	}
	switch t.op.set {
	case forAllValues:
		return isEmptySet(values) || t.all(values, c, deny)
	case forAnyValue:
		return !isEmptySet(values) && t.any(values, c, deny)
	}
	switch {
	case len(values) == 0:
		return t.op.negated
	case deny:
		return t.any(values, c, deny)
	}
	return t.all(values, c, deny)
}

// isEmptySet: absent, or a single empty value.
func isEmptySet(values []string) bool {
	return len(values) == 0 || len(values) == 1 && values[0] == ""
}

func (t *condition) all(values []string, c *lookups, deny bool) bool {
	for _, v := range values {
		if !t.passes(v, c, deny) {
			return false
		}
	}
	return true
}

func (t *condition) any(values []string, c *lookups, deny bool) bool {
	for _, v := range values {
		if t.passes(v, c, deny) {
			return true
		}
	}
	return false
}

// passes tests one value of the request.
func (t *condition) passes(value string, c *lookups, deny bool) bool {
	switch t.compare(value, c) {
	case yes:
		return !t.op.negated
	case no:
		return t.op.negated
	default: // it cannot be told
		return t.op.negated && deny
	}
}

// compare compares one value of the request with all values of the condition.
// (Through an interface's method c would escape to the heap.)
func (t *condition) compare(value string, c *lookups) outcome {
	switch m := t.test.(type) {
	case patterns:
		return m.match(value, c)
	case folded:
		return m.match(value, c)
	case arns:
		return m.match(value, c)
	case *numbers:
		return m.match(value)
	case *dates:
		return m.match(value)
	case bools:
		return m.match(value)
	case literals:
		return m.match(value)
	case addresses:
		return m.match(value)
	}
	return unknown
}
