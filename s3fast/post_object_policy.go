package s3fast

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// postPolicy is the policy document of a form: what the one who signed it allows
// whoever sends it to upload (Amazon S3 API Reference, "POST Policy").
type postPolicy struct {
	expiration time.Time
	conditions []postCondition
	min, max   int64 // content-length-range, bytes, both included
}

type postCondition struct {
	prefix bool   // starts-with, else eq
	field  string // lower-case
	value  string
}

// maxConditions bounds a policy; its document is bounded by maxFormField.
const maxConditions = 500

func invalidPolicy(why string) error {
	return s3err.InvalidPolicyDocument.Say("Invalid Policy: " + why)
}

func policyRefuses(why string) error {
	return s3err.AccessDenied.Say("Invalid according to Policy: " + why)
}

// parsePostPolicy parses the base64 text of a policy document. Error:
// InvalidPolicyDocument.
func parsePostPolicy(text string) (*postPolicy, error) {
	// Line ends inside the base64 are ignored, as forms made by hand have them.
	doc, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, invalidPolicy("not base64.")
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(unescapeDollar(doc), &top); err != nil || top == nil {
		return nil, invalidPolicy("Invalid JSON.")
	}
	for name := range top {
		if name != "expiration" && name != "conditions" {
			return nil, invalidPolicy("Unexpected: '" + name + "'")
		}
	}
	p := &postPolicy{max: engine.MaxPutSize}
	if p.expiration, err = parseExpiration(top["expiration"]); err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if top["conditions"] == nil || json.Unmarshal(top["conditions"], &list) != nil || list == nil {
		return nil, invalidPolicy("Policy missing conditions.")
	}
	if len(list) > maxConditions {
		return nil, invalidPolicy("too many conditions.")
	}
	for _, raw := range list {
		if err := p.add(raw); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unescapeDollar replaces "\$", which S3's policies may hold within strings and
// JSON does not know, by "$".
func unescapeDollar(doc []byte) []byte {
	if !bytes.Contains(doc, []byte(`\$`)) {
		return doc
	}
	out := make([]byte, 0, len(doc))
	for i := 0; i < len(doc); i++ {
		if doc[i] == '\\' && i+1 < len(doc) {
			if i++; doc[i] != '$' {
				out = append(out, '\\')
			}
		}
		out = append(out, doc[i])
	}
	return out
}

func parseExpiration(raw json.RawMessage) (time.Time, error) {
	var text string
	if raw == nil {
		return time.Time{}, invalidPolicy("Policy missing expiration.")
	}
	if json.Unmarshal(raw, &text) != nil {
		return time.Time{}, invalidPolicy("Invalid 'expiration' value.")
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, invalidPolicy("Invalid 'expiration' value: '" + text + "'")
	}
	return t, nil
}

// add adds one condition: an object of one exact match, or an array.
func (p *postPolicy) add(raw json.RawMessage) error {
	if raw[0] == '{' {
		var match map[string]json.RawMessage
		err := json.Unmarshal(raw, &match)
		for name, text := range match {
			value, ok := policyString(text)
			if err != nil || !ok || len(match) != 1 {
				break
			}
			p.conditions = append(p.conditions, postCondition{field: strings.ToLower(name), value: value})
			return nil
		}
		return invalidPolicy("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified, a string.")
	}
	var list []json.RawMessage
	var op string
	if json.Unmarshal(raw, &list) != nil || len(list) != 3 || json.Unmarshal(list[0], &op) != nil {
		return invalidPolicy("Invalid Condition: a condition is an object of one property, or an array of three elements.")
	}
	switch op = strings.ToLower(op); op {
	case "content-length-range":
		return p.addRange(list[1], list[2])
	case "eq", "starts-with":
		field, ok1 := policyString(list[1])
		value, ok2 := policyString(list[2])
		if !ok1 || !ok2 || len(field) < 2 || field[0] != '$' {
			return invalidPolicy("Invalid Condition: " + op + " takes a field's name that begins with $, and a string.")
		}
		p.conditions = append(p.conditions, postCondition{op == "starts-with", strings.ToLower(field[1:]), value})
		return nil
	}
	return invalidPolicy("Invalid Condition: the operation '" + op + "' is unknown.")
}

// policyString reads a string. A null, which encoding/json takes for an empty one,
// would let anything begin with it.
func policyString(raw json.RawMessage) (text string, ok bool) {
	err := json.Unmarshal(raw, &text)
	return text, err == nil && raw[0] == '"'
}

// addRange narrows the range of sizes; numbers may be written as strings.
func (p *postPolicy) addRange(low, high json.RawMessage) error {
	lo, err1 := strconv.ParseInt(strings.Trim(string(low), `"`), 10, 64)
	hi, err2 := strconv.ParseInt(strings.Trim(string(high), `"`), 10, 64)
	if err1 != nil || err2 != nil || lo < 0 || hi < lo {
		return invalidPolicy("Invalid content-length-range: two numbers are needed, 0 and up, in ascending order.")
	}
	p.min, p.max = max(p.min, lo), min(p.max, hi)
	return nil
}

// check holds a form for a bucket against the policy: every condition must hold,
// and every field must be named by one. (The size is checked by checkSize.)
// Error: AccessDenied.
func (p *postPolicy) check(f *postForm, bucket string, now time.Time) error {
	if !now.Before(p.expiration) {
		return policyRefuses("Policy expired.")
	}
	for i := range p.conditions {
		c := &p.conditions[i]
		value, ok := f.get(c.field)
		if c.field == "bucket" {
			value, ok = bucket, true
		}
		if !ok || !c.holds(value) {
			return policyRefuses("Policy Condition failed: " + c.String())
		}
	}
	if !p.covers("bucket") {
		return policyRefuses("Extra input fields: bucket")
	}
	for i := range f.fields {
		if name := f.fields[i].name; !policyExempt(name) && !p.covers(name) {
			return policyRefuses("Extra input fields: " + name)
		}
	}
	return nil
}

func (p *postPolicy) covers(name string) bool {
	return slices.ContainsFunc(p.conditions, func(c postCondition) bool { return c.field == name })
}

// checkSize holds the file's length against the range. Errors: EntityTooSmall,
// EntityTooLarge.
func (p *postPolicy) checkSize(size int64) error {
	switch {
	case size < p.min:
		return s3err.EntityTooSmall.With("ProposedSize", decimal(size), "MinSizeAllowed", decimal(p.min))
	case size > p.max:
		return s3err.EntityTooLarge.With("ProposedSize", decimal(size), "MaxSizeAllowed", decimal(p.max))
	}
	return nil
}

// holds evaluates the condition. A list of content types must match in each.
func (c *postCondition) holds(value string) bool {
	switch {
	case !c.prefix:
		return value == c.value
	case c.field == "content-type":
		for _, one := range strings.Split(value, ",") {
			if !strings.HasPrefix(strings.TrimSpace(one), c.value) {
				return false
			}
		}
		return true
	}
	return strings.HasPrefix(value, c.value)
}

// String is the condition as S3 writes it in errors.
func (c *postCondition) String() string {
	op := "eq"
	if c.prefix {
		op = "starts-with"
	}
	return `["` + op + `", "$` + c.field + `", "` + c.value + `"]`
}

// policyExempt tells the fields that no condition needs to name: those that the
// signature is made of, and the client's own ("POST Policy", "Condition
// Matching").
func policyExempt(name string) bool {
	switch name {
	case "x-amz-signature", "policy", "file", "bucket", "awsaccesskeyid", "signature":
		return true
	}
	return strings.HasPrefix(name, "x-ignore-")
}
