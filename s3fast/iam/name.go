package iam

import (
	"fmt"
	"strings"
)

// Lengths of names in bytes (AWS IAM User Guide, "IAM and AWS STS quotas").
const (
	maxUserName   = 64
	maxPolicyName = 128
)

// checkUserName: 1…64 of letters, digits and "+=,.@_-". ErrBadName.
func checkUserName(name string) error { return checkName(name, maxUserName) }

// checkPolicyName: 1…128 of the same. ErrBadName.
func checkPolicyName(name string) error { return checkName(name, maxPolicyName) }

func checkName(name string, most int) error {
	ok := len(name) > 0 && len(name) <= most
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		ok = letter || '0' <= c && c <= '9' || strings.IndexByte("+=,.@_-", c) >= 0
	}
	if !ok {
		return fmt.Errorf("%w %s: 1 to %d letters, digits and +=,.@_-", ErrBadName, printable(name), most)
	}
	return nil
}

// printable quotes a name for an error, cut to a bounded length.
func printable(name string) string {
	return fmt.Sprintf("%.*q", maxPolicyName, name)
}
