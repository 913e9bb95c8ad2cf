package s3xml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrMalformed: the document is not well-formed, is too large or too deep, or is
// not of the schema asked for (MalformedXML). Errors wrap it with the reason.
var ErrMalformed = errors.New("s3xml: malformed document")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// maxDepth bounds the nesting of elements; S3's request documents need five.
const maxDepth = 8

// parser is a small pull parser of XML 1.0 documents in UTF-8. It exists because
// encoding/xml can neither read the character references to control characters
// with which clients name keys that hold them ("&#x1;"), nor tell such a key
// from another: those references, and raw control characters, are accepted here.
//
// Document types, entities other than the five predefined, encodings other than
// UTF-8 and unbalanced tags are refused. Comments and processing instructions
// are skipped. Attributes are checked for form only, and namespaces are not
// looked at: prefixes are cut off element names, and any xmlns is accepted, since
// clients send several.
type parser struct {
	in    []byte
	pos   int
	stack [maxDepth]string // qualified names of the open elements
	depth int
	empty bool // the element just opened was <self-closing/>
}

// document parses in: its root must be called name; fn reads the root's content.
func document(in []byte, sizeMax int, name string, fn func(*parser) error) error {
	if len(in) > sizeMax {
		return malformed("larger than %d bytes", sizeMax)
	}
	p := &parser{in: bytes.TrimPrefix(in, []byte("\xEF\xBB\xBF"))}
	if err := p.declaration(); err != nil {
		return err
	}
	if err := p.misc(); err != nil {
		return err
	}
	root, err := p.start()
	if err != nil {
		return err
	}
	if root != name {
		return malformed("root element is not %s", name)
	}
	if err := fn(p); err != nil {
		return err
	}
	if err := p.misc(); err != nil {
		return err
	}
	if p.pos != len(p.in) {
		return malformed("content after the root element")
	}
	return nil
}

// declaration skips <?xml …?> and refuses encodings other than UTF-8.
func (p *parser) declaration() error {
	if !p.has("<?xml") || p.pos+5 >= len(p.in) || !isSpace(p.in[p.pos+5]) {
		return nil
	}
	end := bytes.Index(p.in, []byte("?>"))
	if end < 0 {
		return malformed("unterminated declaration")
	}
	decl := strings.ToLower(string(p.in[5:end]))
	p.pos = end + 2
	if _, enc, ok := strings.Cut(decl, "encoding"); ok {
		enc = strings.Trim(enc, " \t\r\n=")
		enc, _, _ = strings.Cut(strings.TrimLeft(enc, `"'`), enc[:min(1, len(enc))])
		if enc != "utf-8" && enc != "us-ascii" {
			return malformed("encoding is not UTF-8")
		}
	}
	return nil
}

// misc skips white space, comments and processing instructions.
func (p *parser) misc() error {
	for p.pos < len(p.in) {
		switch {
		case isSpace(p.in[p.pos]):
			p.pos++
		case p.has("<!--"), p.has("<?"):
			if err := p.skipMarkup(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// skipMarkup skips a comment or processing instruction.
func (p *parser) skipMarkup() error {
	open, end := 2, "?>"
	if p.has("<!--") {
		open, end = 4, "-->"
	}
	i := bytes.Index(p.in[p.pos+open:], []byte(end))
	if i < 0 {
		return malformed("unterminated comment or instruction")
	}
	p.pos += open + i + len(end)
	return nil
}

func (p *parser) has(s string) bool {
	return len(p.in)-p.pos >= len(s) && string(p.in[p.pos:p.pos+len(s)]) == s
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// name reads a qualified name. Characters beyond ASCII are let through.
func (p *parser) name() (string, error) {
	begin := p.pos
	for p.pos < len(p.in) {
		c := p.in[p.pos]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == ':' || c >= utf8.RuneSelf
		digit := '0' <= c && c <= '9' || c == '-' || c == '.'
		if !letter && (!digit || p.pos == begin) {
			break
		}
		p.pos++
	}
	if p.pos == begin {
		return "", malformed("name expected at byte %d", begin)
	}
	return string(p.in[begin:p.pos]), nil
}

// start reads a start tag and returns its local name. The caller must read the
// element with children or text.
func (p *parser) start() (string, error) {
	if p.pos >= len(p.in) || p.in[p.pos] != '<' {
		return "", malformed("element expected at byte %d", p.pos)
	}
	p.pos++
	qname, err := p.name()
	if err != nil {
		return "", err
	}
	if p.depth == maxDepth {
		return "", malformed("nested too deep")
	}
	if err := p.attributes(); err != nil {
		return "", err
	}
	p.stack[p.depth] = qname
	p.depth++
	return local(qname), nil
}

func local(qname string) string {
	if _, after, ok := strings.Cut(qname, ":"); ok {
		return after
	}
	return qname
}

// attributes skips attributes through the end of the start tag.
func (p *parser) attributes() error {
	for {
		spaced := p.space()
		switch {
		case p.has("/>"):
			p.pos += 2
			p.empty = true
			return nil
		case p.has(">"):
			p.pos++
			p.empty = false
			return nil
		case !spaced:
			return malformed("bad tag at byte %d", p.pos)
		}
		if _, err := p.name(); err != nil {
			return err
		}
		p.space()
		if !p.has("=") {
			return malformed("attribute without value at byte %d", p.pos)
		}
		p.pos++
		p.space()
		if !p.has(`"`) && !p.has("'") {
			return malformed("unquoted attribute at byte %d", p.pos)
		}
		i := bytes.IndexByte(p.in[p.pos+1:], p.in[p.pos])
		if i < 0 || bytes.IndexByte(p.in[p.pos+1:p.pos+1+i], '<') >= 0 {
			return malformed("bad attribute value at byte %d", p.pos)
		}
		p.pos += i + 2
	}
}

func (p *parser) space() bool {
	begin := p.pos
	for p.pos < len(p.in) && isSpace(p.in[p.pos]) {
		p.pos++
	}
	return p.pos > begin
}

// end reads the end tag of the innermost open element.
func (p *parser) end() error {
	p.pos += len("</")
	qname, err := p.name()
	if err != nil {
		return err
	}
	p.space()
	if !p.has(">") || qname != p.stack[p.depth-1] {
		return malformed("bad end tag at byte %d", p.pos)
	}
	p.pos++
	p.depth--
	return nil
}

// children reads the content of the element just started: elements only. fn must
// read each (with children or text) or fail.
func (p *parser) children(fn func(name string) error) error {
	if p.empty {
		p.empty = false
		p.depth--
		return nil
	}
	for {
		if err := p.misc(); err != nil {
			return err
		}
		if p.has("</") {
			return p.end()
		}
		name, err := p.start()
		if err != nil {
			return err
		}
		if err := fn(name); err != nil {
			return err
		}
	}
}

// text reads the content of the element just started: character data only, of at
// most max bytes.
func (p *parser) text(max int) (string, error) {
	if p.empty {
		p.empty = false
		p.depth--
		return "", nil
	}
	var buf []byte
	for p.pos < len(p.in) && len(buf) <= max {
		c := p.in[p.pos]
		switch {
		case p.has("</"):
			return string(buf), p.end()
		case p.has("<!--"), p.has("<?"):
			if err := p.skipMarkup(); err != nil {
				return "", err
			}
		case p.has("<![CDATA["):
			p.pos += len("<![CDATA[")
			i := bytes.Index(p.in[p.pos:], []byte("]]>"))
			if i < 0 {
				return "", malformed("unterminated CDATA")
			}
			var err error
			if buf, err = appendRaw(buf, p.in[p.pos:p.pos+i]); err != nil {
				return "", err
			}
			p.pos += i + len("]]>")
		case c == '<':
			return "", malformed("unexpected element at byte %d", p.pos)
		case c == '&':
			r, err := p.reference()
			if err != nil {
				return "", err
			}
			buf = utf8.AppendRune(buf, r)
		default:
			i := bytes.IndexAny(p.in[p.pos:], "<&")
			if i < 0 {
				return "", malformed("unterminated element")
			}
			run := p.in[p.pos : p.pos+i]
			if bytes.Contains(run, []byte("]]>")) {
				return "", malformed("]]> outside CDATA")
			}
			var err error
			if buf, err = appendRaw(buf, run); err != nil {
				return "", err
			}
			p.pos += i
		}
	}
	if len(buf) > max {
		return "", malformed("text longer than %d bytes", max)
	}
	return "", malformed("unterminated element")
}

// appendRaw appends character data with line ends normalised (XML 1.0, 2.11).
func appendRaw(dst, raw []byte) ([]byte, error) {
	if !utf8.Valid(raw) {
		return nil, malformed("not UTF-8")
	}
	for {
		i := bytes.IndexByte(raw, '\r')
		if i < 0 {
			return append(dst, raw...), nil
		}
		dst = append(append(dst, raw[:i]...), '\n')
		raw = raw[i+1:]
		if len(raw) > 0 && raw[0] == '\n' {
			raw = raw[1:]
		}
	}
}

// reference reads &…;: a predefined entity, or any code point but a surrogate.
func (p *parser) reference() (rune, error) {
	const longest = 12 // "&#x0010FFFF;"
	window := p.in[p.pos:min(len(p.in), p.pos+longest)]
	i := bytes.IndexByte(window, ';')
	if i < 0 {
		return 0, malformed("bad reference at byte %d", p.pos)
	}
	ref := string(window[1:i])
	p.pos += i + 1
	switch ref {
	case "amp":
		return '&', nil
	case "lt":
		return '<', nil
	case "gt":
		return '>', nil
	case "quot":
		return '"', nil
	case "apos":
		return '\'', nil
	}
	digits, ok := strings.CutPrefix(ref, "#")
	base := rune(10)
	if hex, isHex := strings.CutPrefix(digits, "x"); isHex {
		digits, base = hex, 16
	}
	var r rune
	for j := 0; j < len(digits); j++ {
		d := rune(digits[j])
		switch {
		case '0' <= d && d <= '9':
			d -= '0'
		case base == 16 && 'a' <= d|0x20 && d|0x20 <= 'f':
			d = d | 0x20 - 'a' + 10
		default:
			ok = false
		}
		if r = r*base + d; r > utf8.MaxRune {
			return 0, malformed("reference out of range at byte %d", p.pos)
		}
	}
	if !ok || digits == "" || !utf8.ValidRune(r) {
		return 0, malformed("bad reference at byte %d", p.pos)
	}
	return r, nil
}
