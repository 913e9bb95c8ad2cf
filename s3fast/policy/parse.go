package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds within a document.
const (
	maxStatements = 128
	maxPattern    = 2048 // bytes of one Action or Resource
)

// parser walks a document's tokens. encoding/json's own matching would accept
// names in any case and silently take the last of two equal names.
type parser struct {
	dec *json.Decoder
}

// Parse parses and compiles a document of at most MaxSize bytes. Its error wraps
// ErrMalformed and names the faulty element.
//
// Understood are Version ("2012-10-17", "2008-10-17", or none, which is the
// latter), Id, and Statement (one object or an array of them) with Sid, Effect,
// Action and Resource (each one string or an array). All else is refused:
// Condition, NotAction, NotResource, Principal and NotPrincipal, policy
// variables, names in another case or given twice, empty arrays, resources
// other than "*" and "arn:aws:s3:::…".
func Parse(doc []byte) (*Policy, error) {
	if len(doc) > MaxSize {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrMalformed, MaxSize)
	}
	if !utf8.Valid(doc) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	p := &parser{dec: json.NewDecoder(bytes.NewReader(doc))}
	policy, err := p.document()
	if err == nil {
		if _, end := p.dec.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("data after the document")
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("document ends early")
		}
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return policy, nil
}

func (p *parser) document() (*Policy, error) {
	if err := p.delim('{', "the document must be a JSON object"); err != nil {
		return nil, err
	}
	policy := &Policy{}
	err := p.object(func(name string) error {
		switch name {
		case "Version":
			v, err := p.text(name)
			if err == nil && v != "2012-10-17" && v != "2008-10-17" {
				err = errors.New("Version: must be 2012-10-17 or 2008-10-17")
			}
			return err
		case "Id":
			_, err := p.text(name)
			return err
		case "Statement":
			return p.statements(policy)
		}
		return fmt.Errorf("%s: unknown element", clip(name))
	})
	if err != nil {
		return nil, err
	}
	if len(policy.statements) == 0 {
		return nil, errors.New("Statement: missing or empty")
	}
	return policy, nil
}

// statements reads one object or an array of objects.
func (p *parser) statements(policy *Policy) error {
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
		policy.statements = []statement{s}
		return nil
	case json.Delim('['):
	default:
		return errors.New("Statement: must be an object or an array of objects")
	}
	for p.dec.More() {
		i := len(policy.statements)
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
		for j := range policy.statements {
			if s.sid != "" && policy.statements[j].sid == s.sid {
				return fmt.Errorf("Statement[%d]: Sid: used twice", i)
			}
		}
		policy.statements = append(policy.statements, s)
	}
	_, err = p.dec.Token()
	return err
}

// statement reads the inside of a statement.
func (p *parser) statement() (statement, error) {
	var s statement
	err := p.object(func(name string) error {
		var err error
		switch name {
		case "Sid":
			s.sid, err = p.text(name)
		case "Effect":
			s.effect, err = p.effect()
		case "Action":
			s.actions, err = p.patterns(name, checkAction, true)
		case "Resource":
			s.resources, err = p.patterns(name, checkResource, false)
		case "Condition", "NotAction", "NotResource", "Principal", "NotPrincipal":
			err = fmt.Errorf("%s: not supported", name)
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
	case s.actions == nil:
		return s, errors.New("Action: missing")
	case s.resources == nil:
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

// patterns reads one string or a non-empty array of strings.
func (p *parser) patterns(element string, check func(string) error, fold bool) ([]pattern, error) {
	var out []pattern
	add := func(text string) error {
		err := check(text)
		switch {
		case len(text) > maxPattern:
			err = fmt.Errorf("longer than %d bytes", maxPattern)
		case strings.Contains(text, "${"):
			err = errors.New("policy variables are not supported")
		}
		if err != nil {
			return fmt.Errorf("%s %q: %w", element, clip(text), err)
		}
		out = append(out, compile(text, fold))
		return nil
	}
	t, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		text, err := asText(t, element)
		if err != nil {
			return nil, err
		}
		if err := add(text); err != nil {
			return nil, err
		}
		return out, nil
	}
	for p.dec.More() {
		text, err := p.text(element)
		if err != nil {
			return nil, err
		}
		if err := add(text); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: empty array", element)
	}
	_, err = p.dec.Token()
	return out, err
}

// checkAction: "*", or service ":" name, wildcards in the name only.
func checkAction(text string) error {
	if text == "*" {
		return nil
	}
	service, name, ok := strings.Cut(text, ":")
	if !ok || name == "" || service != "*" && !made(service, "-") || !made(name, "*?") {
		return errors.New(`must be "*" or like "s3:GetObject" or "s3:Get*"`)
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
func checkResource(text string) error {
	if text == "*" {
		return nil
	}
	name, ok := strings.CutPrefix(text, "arn:aws:s3:::")
	if !ok || name == "" {
		return errors.New(`must be "*" or begin with "arn:aws:s3:::"`)
	}
	if name[0] == '/' {
		return errors.New("names no bucket")
	}
	return nil
}

// object reads names and, by fn, their values, through the closing brace.
func (p *parser) object(fn func(name string) error) error {
	var seen [8]string // more distinct names than any object here may have
	n := 0
	for p.dec.More() {
		name, err := p.text("name")
		if err != nil {
			return err
		}
		for _, s := range seen[:n] {
			if s == name {
				return fmt.Errorf("%s: given twice", clip(name))
			}
		}
		if n == len(seen) {
			return errors.New("too many elements")
		}
		seen[n] = name
		n++
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
	if strings.ContainsRune(text, utf8.RuneError) {
		return "", fmt.Errorf("%s: holds an invalid character", element)
	}
	return text, nil
}

// clip bounds what an error repeats of the document.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
