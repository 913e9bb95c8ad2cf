package oidc

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

const (
	// MaxToken bounds a token, in bytes (AWS STS API Reference, WebIdentityToken).
	MaxToken = 20_000
	// leeway is what clocks may differ.
	leeway = 30 * time.Second

	maxSubject  = 255 // OpenID Connect Core 1.0, section 2
	maxPolicies = 32
	maxPolicy   = 128
	maxAudience = 64
)

// token is a token before its signature was verified.
type token struct {
	jws       *jose.JSONWebSignature
	algorithm jose.SignatureAlgorithm
	kid       string
	issuer    string
	claims    map[string]json.RawMessage
	nbf, iat  float64 // seconds since the Unix epoch; nbf 0: not given
	exp       float64
}

func invalid(why string) error { return fmt.Errorf("%w: %s", ErrInvalidToken, why) }

// parseToken takes a token in compact form apart (RFC 7515, section 3.1).
// ErrInvalidToken.
func parseToken(text string) (*token, error) {
	if len(text) > MaxToken {
		return nil, invalid("too long")
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.EdDSA,
	})
	if err != nil || len(jws.Signatures) != 1 {
		return nil, invalid("not a JSON Web Token signed with an algorithm that is accepted")
	}
	h := &jws.Signatures[0].Protected
	t := &token{jws: jws, algorithm: jose.SignatureAlgorithm(h.Algorithm), kid: h.KeyID}
	if _, critical := h.ExtraHeaders["crit"]; critical {
		return nil, invalid("its header has extensions")
	}
	// Logout tokens and others that have a type are no ID tokens.
	if kind, ok := h.ExtraHeaders[jose.HeaderType]; ok {
		if s, isText := kind.(string); !isText || !slices.Contains([]string{"jwt", "at+jwt", "application/jwt"}, strings.ToLower(s)) {
			return nil, invalid("its type is not JWT")
		}
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &t.claims); err != nil || t.claims == nil {
		return nil, invalid("its payload is no JSON object")
	}
	if t.issuer = t.text("iss"); t.issuer == "" {
		return nil, invalid("no issuer")
	}
	return t, t.times()
}

// text returns a claim that is a string, "" when it is none.
func (t *token) text(name string) string {
	var s string
	if raw, ok := t.claims[name]; !ok || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// times reads exp, iat and nbf (RFC 7519, section 4.1).
func (t *token) times() error {
	for _, c := range []struct {
		name     string
		to       *float64
		required bool
	}{{"exp", &t.exp, true}, {"iat", &t.iat, true}, {"nbf", &t.nbf, false}} {
		raw, ok := t.claims[c.name]
		if !ok && !c.required {
			continue
		}
		if !ok || json.Unmarshal(raw, c.to) != nil || *c.to < 0 || *c.to > math.MaxInt32*1000 || string(raw) == "null" {
			return invalid(c.name + " is missing or no time")
		}
	}
	return nil
}

// checkTimes holds the token against the clock. ErrExpiredToken, ErrInvalidToken.
func (p *Provider) checkTimes(t *token) error {
	now, slack := float64(p.now().UnixMilli())/1000, leeway.Seconds()
	switch {
	case now >= t.exp+slack:
		return ErrExpiredToken
	case t.iat > now+slack:
		return invalid("issued in the future")
	case t.nbf > now+slack:
		return invalid("not valid yet")
	}
	return nil
}

// identity checks the claims of a token whose signature was verified. Errors:
// ErrInvalidToken, ErrNoPolicies.
func (p *Provider) identity(t *token) (Identity, error) {
	id := Identity{Provider: p.cfg.Name, Issuer: t.issuer, Subject: t.text("sub")}
	if id.Subject == "" || len(id.Subject) > maxSubject || !plain(id.Subject) {
		return Identity{}, invalid("no subject, or one that is too long")
	}
	var err error
	if id.Audience, err = p.audience(t); err != nil {
		return Identity{}, err
	}
	raw, ok := claimAt(t.claims, p.cfg.Claim)
	if !ok {
		return Identity{}, ErrNoPolicies
	}
	id.Policies, err = policyNames(raw)
	return id, err
}

// audience finds the client ID of ours in the token's audience. A token for
// several must tell by azp which of them it was issued to, and so may any.
func (p *Provider) audience(t *token) (string, error) {
	list, ok := texts(t.claims["aud"])
	if !ok || len(list) == 0 || len(list) > maxAudience {
		return "", invalid("no audience")
	}
	i := slices.IndexFunc(list, func(a string) bool { return slices.Contains(p.cfg.ClientIDs, a) })
	if i < 0 {
		return "", invalid("it is for another audience")
	}
	if _, given := t.claims["azp"]; given || len(list) > 1 {
		party := t.text("azp")
		if !slices.Contains(p.cfg.ClientIDs, party) {
			return "", invalid("it was issued to another party")
		}
		return party, nil
	}
	return list[i], nil
}

// texts decodes a string or an array of strings.
func texts(raw json.RawMessage) ([]string, bool) {
	var one string
	if json.Unmarshal(raw, &one) == nil && len(raw) > 0 && raw[0] == '"' {
		return []string{one}, true
	}
	var list []*string
	if json.Unmarshal(raw, &list) != nil || list == nil {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, s := range list {
		if s == nil {
			return nil, false
		}
		out = append(out, *s)
	}
	return out, true
}

// claimAt finds a claim by its name or, failing that, by a path of dots.
func claimAt(claims map[string]json.RawMessage, path string) (json.RawMessage, bool) {
	if raw, ok := claims[path]; ok {
		return raw, true
	}
	// Names may hold dots themselves: the shortest that leads on is taken.
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		var inner map[string]json.RawMessage
		if raw, ok := claims[path[:i]]; ok && json.Unmarshal(raw, &inner) == nil && inner != nil {
			return claimAt(inner, path[i+1:])
		}
	}
	return nil, false
}

// policyNames reads names from a string, in which commas part them, or from an
// array of strings. ErrNoPolicies, ErrInvalidToken.
func policyNames(raw json.RawMessage) ([]string, error) {
	list, ok := texts(raw)
	if !ok {
		return nil, invalid("the claim that names policies is neither a string nor an array of strings")
	}
	var names []string
	for _, s := range list {
		for name := range strings.SplitSeq(s, ",") {
			name = strings.TrimSpace(name)
			switch {
			case name == "" || slices.Contains(names, name):
				continue
			case len(name) > maxPolicy || !plain(name):
				return nil, invalid("a policy's name is too long or not plain text")
			case len(names) == maxPolicies:
				return nil, invalid("it names too many policies")
			}
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, ErrNoPolicies
	}
	return names, nil
}

// plain tells whether s is UTF-8 without control characters.
func plain(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) < 0
}
