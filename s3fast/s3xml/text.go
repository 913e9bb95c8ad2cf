package s3xml

import (
	"time"
	"unicode/utf8"
)

// Header begins every document.
const Header = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

// Namespace of S3's documents.
const Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// Classes of bytes: those that stand as they are in character data, and in
// URL-encoded names.
const (
	plainText = 1 << iota
	plainURL
)

// classes are the classes of each byte. It is never changed.
var classes = func() (t [256]uint8) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		if c != '&' && c != '<' && c != '>' && c != '"' {
			t[c] |= plainText
		}
		if 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' ||
			c == '-' || c == '_' || c == '.' || c == '*' || c == '/' {
			t[c] |= plainURL
		}
	}
	return t
}()

const hexUpper = "0123456789ABCDEF"

// AppendEscaped appends s as character data. & < > " become named references.
// Control characters, and the code points XML 1.0 has no room for, become
// hexadecimal references ("&#x1;"), which is how S3 writes them although XML 1.0
// parsers refuse most of them. A byte that is not UTF-8 becomes U+FFFD.
func AppendEscaped(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if classes[c]&plainText != 0 {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				dst = append(dst, s[start:i]...)
				dst = append(dst, "\uFFFD"...)
				start = i + n
			case r == 0xFFFE || r == 0xFFFF:
				dst = append(dst, s[start:i]...)
				dst = append(dst, "&#xFFF"...)
				dst = append(dst, hexUpper[r&15], ';')
				start = i + n
			}
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendReference(dst, c)
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

func appendReference(dst []byte, c byte) []byte {
	switch c {
	case '&':
		return append(dst, "&amp;"...)
	case '<':
		return append(dst, "&lt;"...)
	case '>':
		return append(dst, "&gt;"...)
	case '"':
		return append(dst, "&quot;"...)
	}
	dst = append(dst, "&#x"...)
	if c > 15 {
		dst = append(dst, hexUpper[c>>4])
	}
	return append(dst, hexUpper[c&15], ';')
}

// AppendURLEncoded appends s the way S3 does for encoding-type=url: letters,
// digits and "-_.*/" as they are, space as "+", every other byte as %XX. (It is
// the form encoding of HTML with "/" spared; SDKs undo it with their
// plus-decoding unquote.) The result needs no XML escaping.
func AppendURLEncoded(dst []byte, s string) []byte {
	start := 0
	for i := range len(s) {
		c := s[i]
		if classes[c]&plainURL != 0 {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		if c == ' ' {
			dst = append(dst, '+')
		} else {
			dst = append(dst, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return append(dst, s[start:]...)
}

// timeWidth is the length of a time.
const timeWidth = len("2006-01-02T15:04:05.000Z")

// clock writes times as AppendTime does. It keeps the last one: objects that are
// neighbours in a listing were often written in the same second.
type clock struct {
	known bool
	sec   int64
	text  [timeWidth]byte
}

func (c *clock) append(dst []byte, t time.Time) []byte {
	if sec := t.Unix(); !c.known || sec != c.sec {
		c.known, c.sec = true, sec
		AppendTime(c.text[:0], t)
	}
	return append(dst, c.text[:]...)
}

// AppendTime appends t in UTC as 2006-01-02T15:04:05.000Z; a year outside
// 0…9999 is clamped. The fraction is cut off and always written as .000, as S3
// does: clients compare the times of a listing with Last-Modified, which has none.
func AppendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	dst = appendDigits(dst, min(max(year, 0), 9999), 4)
	dst = append(dst, '-')
	dst = appendDigits(dst, int(month), 2)
	dst = append(dst, '-')
	dst = appendDigits(dst, day, 2)
	dst = append(dst, 'T')
	dst = appendDigits(dst, hour, 2)
	dst = append(dst, ':')
	dst = appendDigits(dst, minute, 2)
	dst = append(dst, ':')
	dst = appendDigits(dst, sec, 2)
	return append(dst, ".000Z"...)
}

func appendDigits(dst []byte, v, width int) []byte {
	var buf [4]byte
	for i := width - 1; i >= 0; i-- {
		buf[i] = byte('0' + v%10)
		v /= 10
	}
	return append(dst, buf[:width]...)
}

// AppendElement appends <name>text</name> with text escaped. name is written
// as it is.
func AppendElement(dst []byte, name, text string) []byte {
	dst = open(dst, name)
	dst = AppendEscaped(dst, text)
	return closeTag(dst, name)
}
