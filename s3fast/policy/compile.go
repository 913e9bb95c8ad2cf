package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const arnPrefix = "arn:aws:s3:::"

// compiler turns a document into a policy.
type compiler struct {
	bucket    string // "" for identity policies
	variables bool
	policy    *Policy
}

func (d *document) compile(bucket string) (*Policy, error) {
	c := &compiler{bucket, d.variables, &Policy{}}
	for i := range d.statements {
		s, err := c.statement(&d.statements[i])
		if err != nil {
			if d.array {
				return nil, fmt.Errorf("Statement[%d]: %w", i, err)
			}
			return nil, fmt.Errorf("Statement: %w", err)
		}
		c.policy.public = c.policy.public || s.isPublic(d.variables)
		c.policy.statements = append(c.policy.statements, s)
	}
	return c.policy, nil
}

func (c *compiler) statement(raw *rawStatement) (statement, error) {
	s := statement{sid: raw.sid, effect: raw.effect}
	var err error
	if s.actions, err = c.element(&raw.action, c.checkAction, syntax{wild: true}, true); err != nil {
		return s, err
	}
	sx := syntax{wild: true, variables: c.variables}
	if s.resources, err = c.element(&raw.resource, c.checkResource, sx, false); err != nil {
		return s, err
	}
	if s.principals, err = c.principals(raw); err != nil {
		return s, err
	}
	for i := range raw.conditions {
		t, err := c.condition(raw.conditions[:i], &raw.conditions[i])
		if err != nil {
			return s, fmt.Errorf("Condition: %s: %w", clip(raw.conditions[i].operator), err)
		}
		s.conditions = append(s.conditions, t)
	}
	return s, nil
}

func (c *compiler) element(raw *rawElement, check func(string) error, sx syntax, fold bool) (element, error) {
	e := element{not: strings.HasPrefix(raw.name, "Not")}
	for _, text := range raw.values {
		err := check(text)
		if len(text) > maxPattern {
			err = fmt.Errorf("longer than %d bytes", maxPattern)
		}
		var segs []segment
		if err == nil {
			segs, err = sx.split(text)
		}
		if err != nil {
			return e, fmt.Errorf("%s %q: %w", raw.name, clip(text), err)
		}
		c.uses(segs)
		e.patterns = append(e.patterns, compile(segs, fold))
	}
	return e, nil
}

// checkAction: "*", or service ":" name, wildcards in the name only.
func (c *compiler) checkAction(text string) error {
	if text == "*" {
		return nil
	}
	service, name, ok := strings.Cut(text, ":")
	if !ok || name == "" || service != "*" && !made(service, "-") || !made(name, "*?") {
		return errors.New(`must be "*" or like "s3:GetObject" or "s3:Get*"`)
	}
	if c.bucket != "" && lower(service) != "s3" {
		return errors.New("not an action of S3")
	}
	return nil
}

// made reports whether s is not empty and made of ASCII letters, digits and the
// characters of extra.
func made(s, extra string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if ('a' > c|0x20 || c|0x20 > 'z') && ('0' > c || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return s != ""
}

// checkResource: other services' and partitions' ARNs would never match, so a
// Deny of one would be weaker than it reads.
func (c *compiler) checkResource(text string) error {
	name, ok := strings.CutPrefix(text, arnPrefix)
	if c.bucket != "" {
		if inside, found := strings.CutPrefix(name, c.bucket); !ok || !found || inside != "" && inside[0] != '/' {
			return fmt.Errorf("must be %q or begin with %q", arnPrefix+c.bucket, arnPrefix+c.bucket+"/")
		}
		return nil
	}
	if text == "*" {
		return nil
	}
	if !ok || name == "" {
		return errors.New(`must be "*" or begin with "arn:aws:s3:::"`)
	}
	if name[0] == '/' {
		return errors.New("names no bucket")
	}
	return nil
}

func (c *compiler) principals(raw *rawStatement) (*principals, error) {
	e := &raw.principal
	switch {
	case c.bucket == "" && e.name == "":
		return nil, nil
	case c.bucket == "":
		return nil, fmt.Errorf("%s: only bucket policies have it", e.name)
	case e.name == "":
		return nil, errors.New("Principal: missing")
	case e.name == "NotPrincipal" && raw.effect == Allow:
		return nil, errors.New("NotPrincipal: must be used with Deny")
	}
	p := &principals{not: e.name == "NotPrincipal"}
	for _, v := range e.values {
		err := p.add(v.kind, v.text)
		if len(v.text) > maxPattern {
			err = fmt.Errorf("longer than %d bytes", maxPattern)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s %q: %w", e.name, v.kind, clip(v.text), err)
		}
	}
	if len(p.federated) > 0 {
		c.use(federatedProvider)
	}
	return p, nil
}

func (c *compiler) condition(earlier []rawCondition, raw *rawCondition) (condition, error) {
	t := condition{operator: raw.operator, name: raw.key, values: slices.Clone(raw.values)}
	var err error
	if t.op, err = parseOperator(raw.operator); err != nil {
		return t, err
	}
	if t.key, err = checkKey(raw.key); err != nil {
		return t, fmt.Errorf("%s: %w", clip(raw.key), err)
	}
	for i := range earlier {
		if earlier[i].operator == raw.operator {
			if k, err := checkKey(earlier[i].key); err == nil && k == t.key {
				return t, fmt.Errorf("%s: given twice", clip(raw.key))
			}
		}
	}
	for _, v := range t.values {
		if len(v) > maxPattern {
			return t, fmt.Errorf("%s: %q: longer than %d bytes", clip(raw.key), clip(v), maxPattern)
		}
	}
	if t.test, err = t.op.compileValues(t.values, c.variables); err != nil {
		return t, fmt.Errorf("%s: %w", clip(raw.key), err)
	}
	c.use(t.key)
	switch m := t.test.(type) {
	case patterns:
		for i := range m {
			c.uses(m[i].segs)
		}
	case folded:
		for _, segs := range m {
			c.uses(segs)
		}
	case arns:
		for i := range m {
			for j := range m[i] {
				c.uses(m[i][j].segs)
			}
		}
	}
	return t, nil
}

// uses notes the keys of variables.
func (c *compiler) uses(segs []segment) {
	for i := range segs {
		if segs[i].kind == segVariable {
			c.use(segs[i].text)
		}
	}
}

func (c *compiler) use(key string) {
	if !slices.Contains(c.policy.keys, key) {
		c.policy.keys = append(c.policy.keys, key)
	}
}

// clip bounds what an error repeats of the document.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
