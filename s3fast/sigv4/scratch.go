package sigv4

import "sync"

// scratchMax is the largest buffer, in bytes, that goes back to the pool.
const scratchMax = 64 << 10

// scratch is the working memory of one verification.
type scratch struct {
	headers   []header
	signed    []string // names of the signed headers, sorted
	params    []param
	text      []byte // canonical query parts, then the string to sign
	canonical []byte
	stamp     []byte                   // the request's time
	add       func(name, value string) // appends to headers; made once per scratch
}

type header struct{ name, value string }

var scratches = sync.Pool{New: func() any {
	s := &scratch{}
	s.add = func(name, value string) { s.headers = append(s.headers, header{name, value}) }
	return s
}}

func getScratch() *scratch { return scratches.Get().(*scratch) }

// putScratch drops the references to the request before s goes back.
func putScratch(s *scratch) {
	clear(s.headers)
	clear(s.signed)
	s.headers, s.signed, s.params = s.headers[:0], s.signed[:0], s.params[:0]
	if cap(s.text) > scratchMax || cap(s.canonical) > scratchMax {
		return
	}
	scratches.Put(s)
}

const hexLower = "0123456789abcdef"

// appendHex appends b in lower-case hex.
func appendHex(dst []byte, b *[32]byte) []byte {
	for _, c := range b {
		dst = append(dst, hexLower[c>>4], hexLower[c&15])
	}
	return dst
}

// parseHex parses 64 lower-case hex digits; anyCase allows upper-case ones.
func parseHex[T string | []byte](s T, anyCase bool) (out [32]byte, ok bool) {
	if len(s) != 64 {
		return out, false
	}
	for i := range out {
		hi, lo := unhex(s[2*i]), unhex(s[2*i+1])
		if hi < 0 || lo < 0 || !anyCase && (isUpper(s[2*i]) || isUpper(s[2*i+1])) {
			return [32]byte{}, false
		}
		out[i] = byte(hi<<4 | lo)
	}
	return out, true
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
