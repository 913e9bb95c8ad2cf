package iam

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lengths of names in bytes (AWS IAM User Guide, "IAM and AWS STS quotas").
const (
	maxUserName    = 64
	maxGroupName   = 128
	maxPolicyName  = 128
	maxSessionName = 64
	minSessionName = 2
	maxAccountName = 256 // a service account's: free text
)

// Access keys have 20 characters: a prefix that tells what they are, and letters
// and digits of base32 (RFC 4648, section 6).
const (
	accessKeyLen  = 20
	keyPrefix     = "AK"   // of a user or a service account
	sessionPrefix = "ASIA" // temporary, as AWS's
	accountPrefix = "SA"   // not a key: the id of a service account, of the same form
	idLen         = 16     // of a user's id, base32
)

// webRole stands in the ARNs of web identities where others have their user's
// name: no user may bear it.
const webRole = "web-identity"

// checkUserName: 1…64 of letters, digits and "+=,.@_-". ErrBadName.
func checkUserName(name string) error { return checkName(name, 1, maxUserName) }

// checkNewUserName refuses names, besides, that would be mistaken for temporary
// credentials, or whose sessions for those of web identities.
func checkNewUserName(name string) error {
	if err := checkUserName(name); err != nil {
		return err
	}
	if name == webRole || isKey(sessionPrefix, name) {
		return fmt.Errorf("%w %s: reserved", ErrBadName, name)
	}
	return nil
}

// checkGroupName and checkPolicyName: 1…128 of the same. ErrBadName.
func checkGroupName(name string) error  { return checkName(name, 1, maxGroupName) }
func checkPolicyName(name string) error { return checkName(name, 1, maxPolicyName) }

// checkSessionName: 2…64 of the same. ErrBadName.
func checkSessionName(name string) error { return checkName(name, minSessionName, maxSessionName) }

func checkName(name string, least, most int) error {
	ok := len(name) >= least && len(name) <= most
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		ok = letter || '0' <= c && c <= '9' || strings.IndexByte("+=,.@_-", c) >= 0
	}
	if !ok {
		return fmt.Errorf("%w %s: %d to %d letters, digits and +=,.@_-", ErrBadName, printable(name), least, most)
	}
	return nil
}

// checkAccountName: 0…256 bytes of UTF-8 without control characters. ErrBadName.
func checkAccountName(name string) error {
	if len(name) > maxAccountName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%w %s: up to %d bytes without control characters", ErrBadName, printable(name), maxAccountName)
	}
	return nil
}

// printable quotes a name for an error, cut to a bounded length.
func printable(name string) string {
	return fmt.Sprintf("%.*q", maxPolicyName, name)
}

// randomKey returns prefix and random characters, 20 in all: 80 bits or more.
func randomKey(prefix string) string {
	return prefix + randomBase32(accessKeyLen-len(prefix))
}

// randomBase32 returns n ≤ 24 characters of 5 bits each.
func randomBase32(n int) string {
	var raw [15]byte
	rand.Read(raw[:]) // never fails (crypto/rand)
	return base32.StdEncoding.EncodeToString(raw[:])[:n]
}

// isKey reports whether s has the form of randomKey(prefix).
func isKey(prefix, s string) bool {
	return len(s) == accessKeyLen && strings.HasPrefix(s, prefix) && isBase32(s[len(prefix):])
}

func isBase32(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}
