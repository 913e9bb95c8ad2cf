package s3fast

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

// tokens makes continuation tokens: the position at which a listing goes on, and
// a MAC over it and over what is listed, so that a token which was made up, or
// made for another listing, is refused instead of leading anywhere.
//
// A token is URL-safe base64 without padding of
//
//	byte  0       format, 1
//	bytes 1…16    first half of HMAC-SHA-256(secret, format ‖ scope ‖ 0 ‖ position)
//	bytes 17…     position, as it is
//
// The secret must be the same in every run and on every server of the cluster, or
// listings would break off at restarts; the token protects no secret, only sense,
// so that it may be derived from the region.
type tokens struct{ secret []byte }

const (
	tokenFormat = 1
	tokenMAC    = 16
	maxToken    = 2048
)

var errToken = errors.New("s3fast: not a continuation token")

func newTokens(secret string) tokens {
	sum := sha256.Sum256([]byte("sluice continuation token\x00" + secret))
	return tokens{sum[:]}
}

func (t tokens) mac(position, scope string) []byte {
	h := hmac.New(sha256.New, t.secret)
	h.Write([]byte{tokenFormat})
	h.Write([]byte(scope))
	h.Write([]byte{0})
	h.Write([]byte(position))
	return h.Sum(nil)[:tokenMAC]
}

// seal makes a token.
func (t tokens) seal(position, scope string) string {
	b := append(make([]byte, 0, 1+tokenMAC+len(position)), tokenFormat)
	b = append(b, t.mac(position, scope)...)
	return base64.RawURLEncoding.EncodeToString(append(b, position...))
}

// open returns the position of a token that seal made for the same scope.
func (t tokens) open(token, scope string) (position string, err error) {
	if len(token) > maxToken {
		return "", errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 1+tokenMAC || b[0] != tokenFormat {
		return "", errToken
	}
	position = string(b[1+tokenMAC:])
	if !hmac.Equal(b[1:1+tokenMAC], t.mac(position, scope)) {
		return "", errToken
	}
	return position, nil
}
