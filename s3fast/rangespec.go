package s3fast

import (
	"math"
	"strings"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

// byteRange is one parsed byte-range-spec (RFC 9110 §14.1.2). Numbers too large
// for 63 bits are held as the largest one.
type byteRange struct {
	first  int64 // -1: suffix range
	last   int64 // -1: open-ended
	suffix int64 // bytes, when first is -1
}

// parseRange parses a Range header. ok is false when the header is to be
// ignored, as S3 does with malformed headers, units other than bytes, and
// several ranges: the whole object is the answer then.
func parseRange(h string) (br byteRange, ok bool) {
	unit, spec, found := strings.Cut(h, "=")
	if !found || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return br, false
	}
	spec = strings.TrimSpace(spec)
	first, last, found := strings.Cut(spec, "-")
	if !found {
		return br, false
	}
	if first == "" {
		n, ok := parseDigits(last)
		return byteRange{first: -1, last: -1, suffix: n}, ok
	}
	if br.first, ok = parseDigits(first); !ok {
		return byteRange{}, false
	}
	if last == "" {
		br.last = -1
		return br, true
	}
	if br.last, ok = parseDigits(last); !ok || br.last < br.first {
		return byteRange{}, false
	}
	return br, true
}

// parseDigits parses a non-empty run of decimal digits, saturating.
func parseDigits(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if d := int64(c - '0'); n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
		} else {
			n = n*10 + d
		}
	}
	return n, true
}

// resolve applies the range to an object of size bytes: off and n ≥ 1, or ok is
// false when no byte of the object lies within.
func (br byteRange) resolve(size int64) (off, n int64, ok bool) {
	if br.first < 0 {
		n = min(br.suffix, size)
		return size - n, n, n > 0
	}
	if br.first >= size {
		return 0, 0, false
	}
	last := size - 1
	if br.last >= 0 {
		last = min(last, br.last)
	}
	return br.first, last - br.first + 1, true
}

// parseCopyRange parses x-amz-copy-source-range: "bytes=first-last", both ends
// given, within size (API Reference, UploadPartCopy). Error: InvalidArgument.
func parseCopyRange(h string, size int64) (off, n int64, err error) {
	malformed := s3err.InvalidArgument.Say("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy").
		With("ArgumentName", "x-amz-copy-source-range", "ArgumentValue", h)
	spec, ok := strings.CutPrefix(h, "bytes=")
	if !ok {
		return 0, 0, malformed
	}
	a, b, _ := strings.Cut(spec, "-")
	first, ok1 := parseDigits(a)
	last, ok2 := parseDigits(b)
	if !ok1 || !ok2 || last < first {
		return 0, 0, malformed
	}
	if last >= size {
		return 0, 0, s3err.InvalidArgument.Say("Range specified is not valid for source object of size: "+decimal(size)).
			With("ArgumentName", "x-amz-copy-source-range", "ArgumentValue", h)
	}
	return first, last - first + 1, nil
}
