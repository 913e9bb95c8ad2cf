package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Bounds within a document.
const (
	maxStatements = 128
	maxValues     = 512  // of one element or condition
	maxConditions = 64   // of one statement: pairs of operator and key
	maxPattern    = 2048 // bytes of one Action, Resource or condition value
	maxNames      = 32   // of one object
)

// parser walks a document's tokens. encoding/json's own matching would accept
// names in any case and silently take the last of two equal names.
type parser struct {
	dec *json.Decoder
}

// document is a parsed document before it is compiled: its Version, which says
// what "${" means, may come last.
type document struct {
	variables  bool
	array      bool // Statement is an array
	statements []rawStatement
}

type rawStatement struct {
	sid        string
	effect     Decision
	action     rawElement
	resource   rawElement
	principal  rawPrincipal
	conditions []rawCondition
}

// rawElement is Action, NotAction, Resource or NotResource.
type rawElement struct {
	name   string // "" not given
	values []string
}

// rawPrincipal is Principal or NotPrincipal.
type rawPrincipal struct {
	name   string // "" not given
	values []rawPrincipalValue
}

type rawPrincipalValue struct{ kind, text string }

type rawCondition struct {
	operator, key string
	values        []string
}

// Parse parses and compiles an identity or session policy of at most MaxSize
// bytes. See the package's documentation for what is understood; all else is
// refused, as are Principal and NotPrincipal, names in another case or given
// twice, and empty arrays. Its error wraps ErrMalformed and names the faulty
// statement and element.
func Parse(doc []byte) (*Policy, error) { return parsePolicy(doc, "") }

// ParseBucket parses and compiles the policy of a bucket: as Parse, but each
// statement has a Principal or NotPrincipal, names actions of S3, and resources
// that are the bucket or in it.
func ParseBucket(doc []byte, bucket string) (*Policy, error) {
	if bucket == "" {
		return nil, fmt.Errorf("%w: no bucket", ErrMalformed)
	}
	return parsePolicy(doc, bucket)
}

func parsePolicy(text []byte, bucket string) (*Policy, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrMalformed, MaxSize)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	p := &parser{dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber() // numbers as they are written
	doc, err := p.document()
	if err == nil {
		if _, end := p.dec.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("data after the document")
		}
	}
	var out *Policy
	if err == nil {
		out, err = doc.compile(bucket)
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("document ends early")
		}
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return out, nil
}

func (p *parser) document() (*document, error) {
	if err := p.delim('{', "the document must be a JSON object"); err != nil {
		return nil, err
	}
	doc := &document{}
	err := p.object(func(name string) error {
		switch name {
		case "Version":
			v, err := p.text(name)
			if err == nil && v != "2012-10-17" && v != "2008-10-17" {
				err = errors.New("Version: must be 2012-10-17 or 2008-10-17")
			}
			doc.variables = v == "2012-10-17"
			return err
		case "Id":
			_, err := p.text(name)
			return err
		case "Statement":
			return p.statements(doc)
		}
		return fmt.Errorf("%s: unknown element", clip(name))
	})
	if err != nil {
		return nil, err
	}
	if len(doc.statements) == 0 {
		return nil, errors.New("Statement: missing or empty")
	}
	return doc, nil
}

// statements reads one object or an array of objects.
func (p *parser) statements(doc *document) error {
	t, err := p.dec.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		s, err := p.statement()
		if err != nil {
			return fmt.Errorf("Statement: %w", err)
		}
		doc.statements = []rawStatement{s}
		return nil
	case json.Delim('['):
		doc.array = true
	default:
		return errors.New("Statement: must be an object or an array of objects")
	}
	for p.dec.More() {
		i := len(doc.statements)
		if i == maxStatements {
			return fmt.Errorf("Statement: more than %d", maxStatements)
		}
		if err := p.delim('{', fmt.Sprintf("Statement[%d]: must be an object", i)); err != nil {
			return err
		}
		s, err := p.statement()
		if err != nil {
			return fmt.Errorf("Statement[%d]: %w", i, err)
		}
		for j := range doc.statements {
			if s.sid != "" && doc.statements[j].sid == s.sid {
				return fmt.Errorf("Statement[%d]: Sid: used twice", i)
			}
		}
		doc.statements = append(doc.statements, s)
	}
	_, err = p.dec.Token()
	return err
}

// statement reads the inside of a statement.
func (p *parser) statement() (rawStatement, error) {
	var s rawStatement
	err := p.object(func(name string) error {
		var err error
		switch name {
		case "Sid":
			s.sid, err = p.text(name)
		case "Effect":
			s.effect, err = p.effect()
		case "Action", "NotAction":
			err = p.element(&s.action, name)
		case "Resource", "NotResource":
			err = p.element(&s.resource, name)
		case "Principal", "NotPrincipal":
			err = p.principal(&s.principal, name)
		case "Condition":
			s.conditions, err = p.condition()
			if err != nil {
				err = fmt.Errorf("Condition: %w", err)
			}
		default:
			err = fmt.Errorf("%s: unknown element", clip(name))
		}
		return err
	})
	switch {
	case err != nil:
		return s, err
	case s.effect == DefaultDeny:
		return s, errors.New("Effect: missing")
	case s.action.name == "":
		return s, errors.New("Action: missing")
	case s.resource.name == "":
		return s, errors.New("Resource: missing")
	}
	return s, nil
}

func (p *parser) effect() (Decision, error) {
	text, err := p.text("Effect")
	if err != nil {
		return 0, err
	}
	switch text {
	case "Allow":
		return Allow, nil
	case "Deny":
		return Deny, nil
	}
	return 0, errors.New("Effect: must be Allow or Deny")
}

func (p *parser) element(e *rawElement, name string) error {
	if e.name != "" && e.name != name {
		return fmt.Errorf("%s: excluded by %s", name, e.name)
	}
	values, err := p.list(name, asText)
	*e = rawElement{name, values}
	return err
}

// principal reads "*", or an object of types of principals.
func (p *parser) principal(e *rawPrincipal, name string) error {
	if e.name != "" && e.name != name {
		return fmt.Errorf("%s: excluded by %s", name, e.name)
	}
	e.name = name
	t, err := p.dec.Token()
	switch {
	case err != nil:
		return err
	case t == "*":
		e.values = []rawPrincipalValue{{"AWS", "*"}}
		return nil
	case t != json.Delim('{'):
		return fmt.Errorf(`%s: must be "*" or an object`, name)
	}
	err = p.object(func(kind string) error {
		switch kind {
		case "AWS", "CanonicalUser", "Federated", "Service":
		default:
			return fmt.Errorf("%s: unknown type of principal", clip(kind))
		}
		values, err := p.list(kind, asText)
		for _, v := range values {
			e.values = append(e.values, rawPrincipalValue{kind, v})
		}
		return err
	})
	if err == nil && len(e.values) == 0 {
		err = errors.New("empty")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// condition reads operators, each an object of keys and their values.
func (p *parser) condition() ([]rawCondition, error) {
	if err := p.delim('{', "must be an object"); err != nil {
		return nil, err
	}
	var out []rawCondition
	err := p.object(func(operator string) error {
		before := len(out)
		err := p.delim('{', "must be an object")
		if err == nil {
			err = p.object(func(key string) error {
				if len(out) == maxConditions {
					return fmt.Errorf("more than %d", maxConditions)
				}
				values, err := p.list(clip(key), asScalar)
				out = append(out, rawCondition{operator, key, values})
				return err
			})
		}
		if err == nil && len(out) == before {
			err = errors.New("empty")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", clip(operator), err)
		}
		return nil
	})
	return out, err
}

// list reads one value or a non-empty array of values.
func (p *parser) list(element string, as func(json.Token, string) (string, error)) ([]string, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		text, err := as(t, element)
		return []string{text}, err
	}
	var out []string
	for p.dec.More() {
		if t, err = p.dec.Token(); err != nil {
			return nil, err
		}
		text, err := as(t, element)
		if err != nil {
			return nil, err
		}
		if len(out) == maxValues {
			return nil, fmt.Errorf("%s: more than %d values", element, maxValues)
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: empty array", element)
	}
	_, err = p.dec.Token()
	return out, err
}

// object reads names and, by fn, their values, through the closing brace.
func (p *parser) object(fn func(name string) error) error {
	var seen []string
	for p.dec.More() {
		name, err := p.text("name")
		if err != nil {
			return err
		}
		for _, s := range seen {
			if s == name {
				return fmt.Errorf("%s: given twice", clip(name))
			}
		}
		if len(seen) == maxNames {
			return errors.New("too many elements")
		}
		seen = append(seen, name)
		if err := fn(name); err != nil {
			return err
		}
	}
	_, err := p.dec.Token()
	return err
}

func (p *parser) delim(want json.Delim, message string) error {
	t, err := p.dec.Token()
	if err == nil && t != want {
		err = errors.New(message)
	}
	return err
}

func (p *parser) text(element string) (string, error) {
	t, err := p.dec.Token()
	if err != nil {
		return "", err
	}
	return asText(t, element)
}

func asText(t json.Token, element string) (string, error) {
	text, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%s: must be a string", element)
	}
	// encoding/json puts U+FFFD in the place of a lone surrogate: the pattern
	// would not be what the document says.
	for _, r := range text {
		if r == utf8.RuneError {
			return "", fmt.Errorf("%s: holds an invalid character", element)
		}
	}
	return text, nil
}

// asScalar takes numbers and booleans, too, as they are written.
func asScalar(t json.Token, element string) (string, error) {
	switch v := t.(type) {
	case json.Number:
		return v.String(), nil
	case bool:
		if v {
			return "true", nil
		}
		return "false", nil
	case string:
		return asText(t, element)
	}
	return "", fmt.Errorf("%s: must be a string, number or boolean", element)
}
