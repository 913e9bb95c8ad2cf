package iam

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Temporary credentials, version 1. All three parts follow from the session key,
// 32 random bytes kept in "iam/session-key", and from the access key:
//
//	access key  "ASIA" and 16 characters of base32, random
//	secret key  base64url of the first 30 bytes of
//	            HMAC-SHA256(session key, "sluice/iam/1/session-secret" 0 ACCESS-KEY)
//	token       base64url, unpadded, of
//
//	offset  bytes  what
//	0       1      version: 1
//	1       12     nonce, random
//	13      n      ciphertext of the n bytes of the claims
//	13+n    16     authentication tag
//
// The cipher is AES-256-GCM; its key is HMAC-SHA256(session key,
// "sluice/iam/1/session-token" 0 ACCESS-KEY), so that each key seals one token and
// a token opens with its own access key only; its additional data is the version
// byte. A new session key ends all sessions.
//
// Claims: a string is its length as an unsigned varint (encoding/binary) and its
// bytes.
//
//	1 byte   kind: 1 a user's session, 2 a web identity's
//	8 bytes  when it expires: Unix time in ms, big-endian
//	string   session name
//	kind 1:
//	  string   user
//	  string   the user's id (see document.go)
//	  uvarint  the user's count of revocations when it was made
//	  string   id of the service account, or ""
//	kind 2:
//	  string   issuer
//	  string   subject
//	  string   audience
//	  uvarint  number of policies, at most MaxAttached, and their names, each a string
//	string   inline policy, "" for none
//	8 bytes  when it was issued, likewise; the first tokens end before it
const (
	tokenVersion   = 1
	tokenOverhead  = 1 + 12 + 16
	sessionSecret  = "sluice/iam/1/session-secret\x00"
	sessionToken   = "sluice/iam/1/session-token\x00"
	secretRawBytes = 30
	// MaxToken is the largest session token in bytes.
	MaxToken = 4096
)

// Kinds of claims.
const (
	claimsUser = 1
	claimsWeb  = 2
)

// claims is what a token carries.
type claims struct {
	kind    byte
	expires time.Time
	issued  time.Time // zero: not told
	session string
	inline  []byte // nil: none

	user, userID string // kind claimsUser
	revoked      uint64
	account      string

	web WebIdentity // kind claimsWeb
}

var errClaims = errors.New("iam: malformed claims")

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (c *claims) encode() []byte {
	b := make([]byte, 0, 256+len(c.inline))
	b = append(b, c.kind)
	b = binary.BigEndian.AppendUint64(b, uint64(c.expires.UnixMilli()))
	b = appendString(b, c.session)
	if c.kind == claimsUser {
		b = appendString(b, c.user)
		b = appendString(b, c.userID)
		b = binary.AppendUvarint(b, c.revoked)
		b = appendString(b, c.account)
	} else {
		b = appendString(b, c.web.Issuer)
		b = appendString(b, c.web.Subject)
		b = appendString(b, c.web.Audience)
		b = binary.AppendUvarint(b, uint64(len(c.web.Policies)))
		for _, name := range c.web.Policies {
			b = appendString(b, name)
		}
	}
	b = appendString(b, string(c.inline))
	if !c.issued.IsZero() {
		b = binary.BigEndian.AppendUint64(b, uint64(c.issued.UnixMilli()))
	}
	return b
}

// claimsReader reads claims; after a failure it reads zeros.
type claimsReader struct {
	b   []byte
	bad bool
}

func (r *claimsReader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *claimsReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(uint64(n))
	return v
}

func (r *claimsReader) string() string { return string(r.take(r.uvarint())) }

func decodeClaims(b []byte) (c claims, err error) {
	r := &claimsReader{b: b}
	head := r.take(9)
	if r.bad {
		return c, errClaims
	}
	c.kind = head[0]
	c.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(head[1:]))).UTC()
	c.session = r.string()
	switch c.kind {
	case claimsUser:
		c.user, c.userID, c.revoked, c.account = r.string(), r.string(), r.uvarint(), r.string()
	case claimsWeb:
		c.web = WebIdentity{Issuer: r.string(), Subject: r.string(), Audience: r.string()}
		n := r.uvarint()
		if n > MaxAttached {
			return c, errClaims
		}
		for range n {
			c.web.Policies = append(c.web.Policies, r.string())
		}
	default:
		return c, errClaims
	}
	if inline := r.string(); inline != "" {
		c.inline = []byte(inline)
	}
	if len(r.b) > 0 {
		if issued := r.take(8); !r.bad {
			c.issued = time.UnixMilli(int64(binary.BigEndian.Uint64(issued))).UTC()
			r.bad = c.issued.IsZero()
		}
	}
	if r.bad || len(r.b) > 0 || len(c.inline) > MaxSessionPolicy || c.account != "" && !isKey(accountPrefix, c.account) {
		return c, errClaims
	}
	return c, nil
}

// masterKey is the session key, immutable.
type masterKey struct {
	raw [32]byte
	rev int64
}

func newMasterKey(raw [32]byte, rev int64) *masterKey { return &masterKey{raw, rev} }

func (k *masterKey) derive(use, accessKey string) []byte {
	h := hmac.New(sha256.New, k.raw[:])
	h.Write([]byte(use))
	h.Write([]byte(accessKey))
	return h.Sum(nil)
}

// secret is the secret key of temporary credentials: 40 characters.
func (k *masterKey) secret(accessKey string) string {
	return base64.RawURLEncoding.EncodeToString(k.derive(sessionSecret, accessKey)[:secretRawBytes])
}

func (k *masterKey) aead(accessKey string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.derive(sessionToken, accessKey))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal makes the token of an access key. ErrTokenTooLarge.
func (k *masterKey) seal(accessKey string, c *claims) (string, error) {
	plain := c.encode()
	if n := base64.RawURLEncoding.EncodedLen(len(plain) + tokenOverhead); n > MaxToken {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrTokenTooLarge, n, MaxToken)
	}
	aead, err := k.aead(accessKey)
	if err != nil {
		return "", fmt.Errorf("iam: sealing a token: %w", err)
	}
	box := aead.Seal([]byte{tokenVersion}, nil, plain, []byte{tokenVersion})
	return base64.RawURLEncoding.EncodeToString(box), nil
}

// open reverses seal. ErrBadToken.
func (k *masterKey) open(accessKey, token string) (claims, error) {
	if len(token) > MaxToken {
		return claims{}, ErrBadToken
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(token)
	// The decoder skips line breaks: a token has one spelling only.
	if err != nil || strings.ContainsAny(token, "\r\n") || len(box) < tokenOverhead || box[0] != tokenVersion {
		return claims{}, ErrBadToken
	}
	aead, err := k.aead(accessKey)
	if err != nil {
		return claims{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	plain, err := aead.Open(nil, nil, box[1:], box[:1])
	if err != nil {
		return claims{}, ErrBadToken
	}
	c, err := decodeClaims(plain)
	if err != nil {
		return claims{}, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	return c, nil
}

// sessionSecret is Secret for temporary credentials. A session that is in use is
// found in the cache; else the secret is computed.
func (m *Manager) sessionSecret(accessKey string) (string, bool) {
	if !isKey(sessionPrefix, accessKey) {
		return "", false
	}
	master := m.master.Load()
	if master == nil {
		return "", false
	}
	if e := m.sessions.get(accessKey); e != nil && e.master == master {
		return e.secret, true
	}
	return master.secret(accessKey), true
}

// RotateSessionKey makes a new session key: all temporary credentials end. It
// replaces a damaged one, too.
func (m *Manager) RotateSessionKey(ctx context.Context) error {
	_, err := m.makeMaster(ctx, true)
	return err
}

// makeMaster makes the session key; when there is one, only with replace.
func (m *Manager) makeMaster(ctx context.Context, replace bool) (*masterKey, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.end(ctx)
	old := m.master.Load()
	if old != nil && !replace {
		return old, nil // made by another meanwhile
	}
	rev, isDamaged := m.damagedRev(masterDoc)
	if isDamaged && !replace {
		return nil, m.intact(masterDoc)
	}
	if old != nil {
		rev = old.rev
	}
	var raw [32]byte
	rand.Read(raw[:]) // never fails (crypto/rand)
	value, err := encodeMaster(raw, m.time(), m.key)
	if err != nil {
		return nil, fmt.Errorf("iam: encoding the session key: %w", err)
	}
	if rev, err = m.docs.Put(ctx, masterDoc, value, rev); err != nil {
		return nil, m.failed(ctx, masterDoc, fmt.Errorf("iam: storing the session key: %w", err))
	}
	m.setDamaged(masterDoc, 0, nil)
	k := newMasterKey(raw, rev)
	m.master.Store(k)
	return k, nil
}
