package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestClaims(t *testing.T) {
	k := ecKey(t, "k")
	p, c := newTestProvider(t, k), newClock()
	v, err := NewProvider(p.config(), Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	now := c.now()
	type claims = map[string]any
	const absent = "\x00"
	for name, row := range map[string]struct {
		change claims
		err    error
		want   []string
	}{
		"good":                 {nil, nil, []string{"readonly"}},
		"comma list":           {claims{"policy": "a, b ,,a"}, nil, []string{"a", "b"}},
		"array":                {claims{"policy": []string{"a", "b,c"}}, nil, []string{"a", "b", "c"}},
		"no policy":            {claims{"policy": absent}, ErrNoPolicies, nil},
		"empty policy":         {claims{"policy": " , "}, ErrNoPolicies, nil},
		"empty array":          {claims{"policy": []string{}}, ErrNoPolicies, nil},
		"number":               {claims{"policy": 5}, ErrInvalidToken, nil},
		"null":                 {claims{"policy": nil}, ErrInvalidToken, nil},
		"nulls":                {claims{"policy": []any{nil}}, ErrInvalidToken, nil},
		"object":               {claims{"policy": claims{"a": "b"}}, ErrInvalidToken, nil},
		"long name":            {claims{"policy": strings.Repeat("p", 129)}, ErrInvalidToken, nil},
		"control character":    {claims{"policy": "a\nb"}, ErrInvalidToken, nil},
		"too many":             {claims{"policy": strings.Split(strings.Repeat("x,", 32), ",")}, nil, []string{"x"}},
		"far too many":         {claims{"policy": many(33)}, ErrInvalidToken, nil},
		"expired":              {claims{"exp": now.Add(-leeway - time.Second).Unix()}, ErrExpiredToken, nil},
		"just expired":         {claims{"exp": now.Add(-leeway + 2*time.Second).Unix()}, nil, []string{"readonly"}},
		"no expiry":            {claims{"exp": absent}, ErrInvalidToken, nil},
		"expiry is text":       {claims{"exp": "9999999999"}, ErrInvalidToken, nil},
		"expiry is null":       {claims{"exp": nil}, ErrInvalidToken, nil},
		"negative expiry":      {claims{"exp": -1}, ErrInvalidToken, nil},
		"fractional times":     {claims{"exp": float64(now.Unix()) + 9.5, "iat": float64(now.Unix()) - 0.5}, nil, []string{"readonly"}},
		"issued in the future": {claims{"iat": now.Add(leeway + 2*time.Second).Unix()}, ErrInvalidToken, nil},
		"no issue time":        {claims{"iat": absent}, ErrInvalidToken, nil},
		"not yet":              {claims{"nbf": now.Add(leeway + 2*time.Second).Unix()}, ErrInvalidToken, nil},
		"about now":            {claims{"nbf": now.Add(leeway - 2*time.Second).Unix()}, nil, []string{"readonly"}},
		"other issuer":         {claims{"iss": p.URL + "/"}, ErrInvalidToken, nil},
		"no issuer":            {claims{"iss": absent}, ErrInvalidToken, nil},
		"no subject":           {claims{"sub": absent}, ErrInvalidToken, nil},
		"subject a number":     {claims{"sub": 5}, ErrInvalidToken, nil},
		"long subject":         {claims{"sub": strings.Repeat("s", 256)}, ErrInvalidToken, nil},
		"no audience":          {claims{"aud": absent}, ErrInvalidToken, nil},
		"other audience":       {claims{"aud": "theirs"}, ErrInvalidToken, nil},
		"audience in a list":   {claims{"aud": []string{"app"}}, nil, []string{"readonly"}},
		"several audiences":    {claims{"aud": []string{"theirs", "app"}}, ErrInvalidToken, nil},
		"several, issued here": {claims{"aud": []string{"theirs", "app"}, "azp": "app"}, nil, []string{"readonly"}},
		"several, elsewhere":   {claims{"aud": []string{"theirs", "app"}, "azp": "theirs"}, ErrInvalidToken, nil},
		"azp of another":       {claims{"azp": "theirs"}, ErrInvalidToken, nil},
		"azp a number":         {claims{"azp": 5}, ErrInvalidToken, nil},
	} {
		all := p.claims(now)
		for name, v := range row.change {
			if all[name] = v; v == absent {
				delete(all, name)
			}
		}
		id, err := v.Verify(context.Background(), sign(t, jose.ES256, k.Key, all, "kid", "k"))
		if !errors.Is(err, row.err) || row.err == nil && err != nil || !slices.Equal(id.Policies, row.want) {
			t.Errorf("%s: %v, %v", name, id.Policies, err)
		}
	}
	for _, row := range []struct {
		payload string
		header  []string
	}{
		{"[]", nil}, {"null", nil}, {"", nil}, {"{", nil},
		{`{"iss":5}`, nil}, {"good", []string{"typ", "logout+jwt"}},
	} {
		var payload any = row.payload
		if row.payload == "good" {
			payload = p.claims(now)
		}
		if _, err := v.Verify(context.Background(), sign(t, jose.ES256, k.Key, payload, row.header...)); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("%s %v: %v", row.payload, row.header, err)
		}
	}
	good := sign(t, jose.ES256, k.Key, p.claims(now), "kid", "k", "typ", "JWT")
	parts := strings.Split(good, ".")
	other := strings.Split(sign(t, jose.ES256, ecKey(t, "k").Key, p.claims(now), "kid", "k"), ".")
	if _, err := v.Verify(context.Background(), good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", "x", "a.b.c", parts[0] + "." + parts[1], good + ".", good + "." + parts[2], parts[0] + "." + parts[1] + ".",
		other[0] + "." + other[1] + "." + other[2], parts[0] + "." + parts[1] + "." + other[2],
		strings.Repeat("a", MaxToken+1), `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	} {
		if _, err := v.Verify(context.Background(), bad); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("%.80q: %v", bad, err)
		}
	}
}

func many(n int) (list []string) {
	for i := range n {
		list = append(list, strings.Repeat("p", i+1))
	}
	return list
}

func TestClaimPath(t *testing.T) {
	var claims map[string]json.RawMessage
	_ = json.Unmarshal([]byte(`{"a.b":"1","a":{"c":"2","d":{"e":"3"}},"x.y":{"z":"4"},"s":"t"}`), &claims)
	for path, want := range map[string]string{
		"a.b": `"1"`, "a.c": `"2"`, "a.d.e": `"3"`, "x.y.z": `"4"`, "s.t": "", "a.d.f": "", ".": "", "a.": "",
	} {
		if raw, ok := claimAt(claims, path); string(raw) != want || ok != (want != "") {
			t.Errorf("%s: %s, %t", path, raw, ok)
		}
	}
}

func TestSet(t *testing.T) {
	k := ecKey(t, "k")
	a, b := newTestProvider(t, k), newTestProvider(t, k)
	ca, cb := a.config(), b.config()
	if _, err := NewSet([]Config{ca, cb}, Options{}); !errors.Is(err, ErrConfig) {
		t.Errorf("same name: %v", err)
	}
	cb.Name, cb.Claim = "b", "groups"
	s, err := NewSet([]Config{ca, cb}, Options{})
	if err != nil || s.Len() != 2 {
		t.Fatal(err)
	}
	cc := ca
	cc.Name = "c"
	if _, err := NewSet([]Config{ca, cc}, Options{}); !errors.Is(err, ErrConfig) {
		t.Errorf("same issuer: %v", err)
	}
	claims := b.claims(time.Now())
	claims["groups"] = []string{"g"}
	token := sign(t, jose.ES256, k.Key, claims)
	id, err := s.Verify(context.Background(), token)
	if err != nil || id.Provider != "b" || id.Policies[0] != "g" || a.discoveries.Load() != 0 {
		t.Errorf("%+v, %v", id, err)
	}
	for _, s := range []*Set{nil, {}} {
		if _, err := s.Verify(context.Background(), token); !errors.Is(err, ErrUnknownIssuer) || s.Len() != 0 {
			t.Errorf("no provider: %v", err)
		}
	}
	if _, err := NewSet(make([]Config, MaxProviders+1), Options{}); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	good := Config{Name: "kc-1", Issuer: "https://id.example.com/realms/a", ClientIDs: []string{"app"}, Claim: "roles"}
	doc, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"v":1,"name":"kc-1","issuer":"https://id.example.com/realms/a","client_ids":["app"],"claim":"roles"}`; string(doc) != want {
		t.Errorf("%s", doc)
	}
	if back, err := ParseConfig(doc); err != nil || back.Issuer != good.Issuer || back.Claim != "roles" {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{
		``, `{}`, `null`, string(doc) + "x", strings.Replace(string(doc), `"v":1`, `"v":2`, 1),
		strings.Replace(string(doc), `"v":1`, `"v":1,"x":1`, 1), strings.Repeat(" ", maxDocument+1),
	} {
		if _, err := ParseConfig([]byte(bad)); !errors.Is(err, ErrConfig) {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
	for name, change := range map[string]func(*Config){
		"name": func(c *Config) { c.Name = "A" }, "no name": func(c *Config) { c.Name = "" },
		"http": func(c *Config) { c.Issuer = "http://id.example.com" }, "no host": func(c *Config) { c.Issuer = "https:///x" },
		"query": func(c *Config) { c.Issuer += "?" }, "fragment": func(c *Config) { c.Issuer += "#x" },
		"user": func(c *Config) { c.Issuer = "https://u:p@id.example.com" }, "long": func(c *Config) { c.Issuer += strings.Repeat("x", 512) },
		"no clients": func(c *Config) { c.ClientIDs = nil }, "empty client": func(c *Config) { c.ClientIDs = []string{""} },
		"many clients": func(c *Config) { c.ClientIDs = many(17) }, "claim": func(c *Config) { c.Claim = "a b" },
		"CA": func(c *Config) { c.CA = "x" },
	} {
		c := good
		if change(&c); !errors.Is(c.Check(), ErrConfig) {
			t.Errorf("%s: %v", name, c.Check())
		}
		if _, err := NewProvider(c, Options{}); err == nil {
			t.Errorf("%s: provider made", name)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"v":1,"name":"kc-1","issuer":"https://id.example.com","client_ids":["app"],"claim":"roles"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := ParseConfig(doc)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseConfig(again); err != nil || back.Issuer != c.Issuer || !slices.Equal(back.ClientIDs, c.ClientIDs) {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

// FuzzToken takes tokens apart, and checks the claims of those that could have
// been signed: nothing panics, and what is accepted is within its bounds.
func FuzzToken(f *testing.F) {
	k := ecKey(f, "k")
	p := newTestProvider(f, k)
	v, err := NewProvider(p.config(), Options{})
	if err != nil {
		f.Fatal(err)
	}
	good := sign(f, jose.ES256, k.Key, p.claims(time.Now()), "kid", "k")
	signed := good[:strings.LastIndexByte(good, '.')+1]
	f.Add(good, "")
	f.Add("", `{"iss":"`+p.URL+`","sub":"s","aud":["app"],"azp":"app","iat":1,"exp":9e9,"policy":["a","b,c"]}`)
	f.Fuzz(func(t *testing.T, token, claims string) {
		// A signature has several forms (its last base64 digit, ECDSA's s); what is
		// signed has one.
		if _, err := v.Verify(context.Background(), token); err == nil && !strings.HasPrefix(token, signed) {
			t.Fatalf("verified %q", token)
		}
		if !json.Valid([]byte(claims)) {
			return
		}
		id, err := v.Verify(context.Background(), sign(t, jose.ES256, k.Key, claims, "kid", "k"))
		if err != nil {
			if !errors.Is(err, ErrInvalidToken) && !errors.Is(err, ErrExpiredToken) && !errors.Is(err, ErrNoPolicies) {
				t.Fatal(err)
			}
			return
		}
		if id.Issuer != p.URL || id.Subject == "" || !slices.Contains(v.cfg.ClientIDs, id.Audience) ||
			len(id.Policies) == 0 || len(id.Policies) > maxPolicies {
			t.Fatalf("%+v", id)
		}
	})
}
