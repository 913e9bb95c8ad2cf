package iam

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Passwords.
const (
	MinPassword       = 8   // characters
	MaxPassword       = 128 // bytes
	generatedPassword = 40  // characters, as AWS's secret keys
)

// Hash of a password of a user that does not sign S3 requests:
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$SUM
//
// SALT (16 bytes) and SUM (32 bytes) in unpadded base64; m in KiB. The costs are
// OWASP's first choice ("Password Storage Cheat Sheet"); only these are accepted
// from a stored document, so that a damaged one cannot ask for more memory.
const (
	hashPrefix = "$argon2id$v=19$m=19456,t=2,p=1$"
	hashMemory = 19456 // KiB
	hashTime   = 2
	hashLanes  = 1
	hashSalt   = 16 // bytes
	hashSum    = 32 // bytes
	hashingMax = 4  // hashes computed at once: 4 × 19 MiB
)

// checkPassword applies WEKA's rules, and refuses what cannot be typed or sent:
// control characters, more than MaxPassword bytes, other encodings than UTF-8.
func checkPassword(password string) error {
	if len(password) > MaxPassword {
		return fmt.Errorf("%w; this one is longer than %d bytes", ErrBadPassword, MaxPassword)
	}
	var upper, lower, other bool
	for _, r := range password {
		switch {
		case unicode.IsControl(r):
			return fmt.Errorf("%w; this one holds a control character", ErrBadPassword)
		case unicode.IsUpper(r):
			upper = true
		case unicode.IsLower(r):
			lower = true
		case !unicode.IsLetter(r):
			other = true
		}
	}
	if !utf8.ValidString(password) || utf8.RuneCountInString(password) < MinPassword || !upper || !lower || !other {
		return ErrBadPassword
	}
	return nil
}

// GeneratePassword returns a random secret of 40 characters (letters, digits,
// "-" and "_": 240 bits) that satisfies the password rules.
func GeneratePassword() string {
	var raw [generatedPassword * 6 / 8]byte
	for {
		rand.Read(raw[:]) // never fails (crypto/rand)
		// Some lack a digit or a letter case, by chance: about 1 in 300.
		if s := base64.RawURLEncoding.EncodeToString(raw[:]); checkPassword(s) == nil {
			return s
		}
	}
}

// hash makes the stored form. It takes some 20 ms and 19 MiB.
func (m *Manager) hash(password string) string {
	var salt [hashSalt]byte
	rand.Read(salt[:])
	enc := base64.RawStdEncoding
	return hashPrefix + enc.EncodeToString(salt[:]) + "$" + enc.EncodeToString(m.argon(password, salt[:]))
}

// dummyHash is a hash of no password, made without computing one.
func dummyHash() string {
	var raw [hashSalt + hashSum]byte
	rand.Read(raw[:])
	enc := base64.RawStdEncoding
	return hashPrefix + enc.EncodeToString(raw[:hashSalt]) + "$" + enc.EncodeToString(raw[hashSalt:])
}

func (m *Manager) argon(password string, salt []byte) []byte {
	m.hashing <- struct{}{}
	defer func() { <-m.hashing }()
	return argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashLanes, hashSum)
}

type parsedHash struct{ salt, sum []byte }

func parseHash(s string) (h parsedHash, err error) {
	rest, ok := strings.CutPrefix(s, hashPrefix)
	salt, sum, ok2 := strings.Cut(rest, "$")
	if !ok || !ok2 {
		return h, errors.New("unknown password hash")
	}
	enc := base64.RawStdEncoding.Strict()
	if h.salt, err = enc.DecodeString(salt); err != nil || len(h.salt) != hashSalt {
		return h, errors.New("bad salt of the password hash")
	}
	if h.sum, err = enc.DecodeString(sum); err != nil || len(h.sum) != hashSum {
		return h, errors.New("bad password hash")
	}
	return h, nil
}

// CheckPassword verifies a user's password in constant time; that of a disabled
// user is never right. A name that does not exist takes as long as a wrong
// password of a user that is not an S3 user.
func (m *Manager) CheckPassword(name, password string) bool {
	if len(password) > MaxPassword {
		return false
	}
	u := m.users.get(name)
	if u != nil && u.Role == S3 {
		// Digests are of equal length: the comparison does not tell the secret's.
		want, got := sha256.Sum256([]byte(u.secret)), sha256.Sum256([]byte(password))
		return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && !u.Disabled
	}
	stored := m.dummy
	if u != nil {
		stored = u.hash
	}
	h, err := parseHash(stored)
	if err != nil {
		return false
	}
	same := subtle.ConstantTimeCompare(h.sum, m.argon(password, h.salt)) == 1
	return same && u != nil && !u.Disabled
}
