package s3fast

import (
	"errors"
	"strings"
)

var errBucketName = errors.New("not a valid name: 3 to 63 lower-case letters, digits, dots and hyphens, unlike an IP address")

// CheckBucketName verifies a bucket name by the rules of general purpose buckets
// (Amazon S3 User Guide, "General purpose bucket naming rules"): 3…63 of a-z,
// 0-9, "-" and "."; beginning and ending in a letter or digit; no two adjacent
// dots; not formed like an IPv4 address; none of the reserved prefixes and
// suffixes. No label between dots begins or ends with "-" either: it could not
// be part of a host name (RFC 1123, section 2.1).
func CheckBucketName(name string) error {
	if len(name) < 3 || len(name) > 63 {
		return errBucketName
	}
	for i := range len(name) {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && (c != '-' && c != '.' || i == 0 || i == len(name)-1) {
			return errBucketName
		}
	}
	if strings.Contains(name, "..") || strings.Contains(name, ".-") || strings.Contains(name, "-.") {
		return errBucketName
	}
	// Of addresses only IPv4's are left: a colon has been refused above.
	if dottedQuad(name) {
		return errBucketName
	}
	for _, p := range [...]string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, p) {
			return errBucketName
		}
	}
	for _, x := range [...]string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, x) {
			return errBucketName
		}
	}
	return nil
}

// dottedQuad tells names of four decimal numbers, whatever their size.
func dottedQuad(name string) bool {
	dots := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			dots++
		case c < '0' || c > '9':
			return false
		}
	}
	return dots == 3
}
