package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// testProvider is an OpenID provider on 127.0.0.1.
type testProvider struct {
	*httptest.Server
	discoveries, fetches atomic.Int64

	mu     sync.Mutex
	keys   []jose.JSONWebKey // published
	about  map[string]any    // the discovery document
	answer http.HandlerFunc  // in place of both documents, if set
}

func newTestProvider(t testing.TB, keys ...jose.JSONWebKey) *testProvider {
	p := &testProvider{}
	for _, k := range keys {
		p.keys = append(p.keys, k.Public())
	}
	p.Server = httptest.NewTLSServer(p)
	p.about = map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys"}
	t.Cleanup(p.Close)
	return p
}

func (p *testProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	answer, keys, about := p.answer, p.keys, p.about
	p.mu.Unlock()
	if r.URL.Path == "/keys" {
		p.fetches.Add(1)
	} else {
		p.discoveries.Add(1)
	}
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(about)
	case r.URL.Path == "/keys":
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: keys})
	default:
		http.NotFound(w, r)
	}
}

func (p *testProvider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *testProvider) config() Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	return Config{Name: "test", Issuer: p.URL, ClientIDs: []string{"app", "other-app"}, CA: string(ca)}
}

// clock is a clock to be set.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func key(t testing.TB, id string, private any) jose.JSONWebKey {
	t.Helper()
	return jose.JSONWebKey{KeyID: id, Key: private}
}

func ecKey(t testing.TB, id string) jose.JSONWebKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key(t, id, k)
}

// sign makes a token.
func sign(t testing.TB, alg jose.SignatureAlgorithm, k any, claims any, header ...string) string {
	t.Helper()
	o := &jose.SignerOptions{}
	for i := 0; i+1 < len(header); i += 2 {
		o.WithHeader(jose.HeaderKey(header[i]), header[i+1])
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: k}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, ok := claims.(string)
	if !ok {
		b, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		payload = string(b)
	}
	jws, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (p *testProvider) claims(now time.Time) map[string]any {
	return map[string]any{
		"iss": p.URL, "sub": "user-1", "aud": "app", "policy": "readonly",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

func TestAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak := func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}()
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec := ecKey(t, "ec")
	p := newTestProvider(t, key(t, "rsa", rsaKey), key(t, "weak", weak), ec, key(t, "p384", p384),
		key(t, "p521", p521), key(t, "ed", ed))
	v, err := NewProvider(p.config(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		alg jose.SignatureAlgorithm
		key crypto.PrivateKey
		kid string
		ok  bool
	}{
		{jose.RS256, rsaKey, "rsa", true}, {jose.RS384, rsaKey, "rsa", true}, {jose.RS512, rsaKey, "rsa", true},
		{jose.PS256, rsaKey, "rsa", true}, {jose.PS384, rsaKey, "rsa", true}, {jose.PS512, rsaKey, "rsa", true},
		{jose.ES256, ec.Key, "ec", true}, {jose.ES384, p384, "p384", true}, {jose.EdDSA, ed, "ed", true},
		{jose.ES512, p521, "p521", false}, {jose.RS256, weak, "weak", false},
		{jose.RS256, rsaKey, "ec", false}, {jose.ES256, ec.Key, "p384", false}, {jose.EdDSA, ed, "none", false},
		{jose.HS256, []byte(strings.Repeat("k", 32)), "rsa", false},
		{jose.RS256, rsaKey, "", true}, {jose.EdDSA, ed, "", true}, {jose.RS256, weak, "", false},
	} {
		token := sign(t, row.alg, row.key, p.claims(time.Now()), "kid", row.kid)
		if row.kid == "" {
			token = sign(t, row.alg, row.key, p.claims(time.Now()))
		}
		id, err := v.Verify(context.Background(), token)
		if (err == nil) != row.ok || err != nil && !strings.Contains(err.Error(), ErrInvalidToken.Error()) {
			t.Errorf("%s by %q: %v", row.alg, row.kid, err)
		}
		if row.ok && (id.Subject != "user-1" || id.Audience != "app" || id.Policies[0] != "readonly" || id.Provider != "test") {
			t.Errorf("%+v", id)
		}
	}
}

func TestRotation(t *testing.T) {
	old, fresh := ecKey(t, "old"), ecKey(t, "new")
	p, c := newTestProvider(t, old), newClock()
	v, err := NewProvider(p.config(), Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(k jose.JSONWebKey, want string, fetches int64) {
		t.Helper()
		_, err := v.Verify(context.Background(), sign(t, jose.ES256, k.Key, p.claims(c.now()), "kid", k.KeyID))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("%v, want %q", err, want)
		}
		if n := p.fetches.Load(); n != fetches {
			t.Fatalf("%d fetches, want %d", n, fetches)
		}
	}
	expect(old, "", 1)
	expect(old, "", 1)
	p.set(func() { p.keys = []jose.JSONWebKey{fresh.Public()} })
	// Whoever makes up key IDs causes one request per refetchMin.
	for range 5 {
		expect(fresh, "publishes no key", 1)
	}
	c.advance(refetchMin)
	expect(fresh, "", 2)
	expect(old, "publishes no key", 2)
	c.advance(refetchMin)
	expect(old, "publishes no key", 3)
	// The provider is away: what it published last goes on for a while.
	p.set(func() { p.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) } })
	c.advance(keysFresh)
	expect(fresh, "", 3)
	c.advance(keysStale - keysFresh - time.Second)
	expect(fresh, "", 3)
	c.advance(refetchMin)
	expect(fresh, "cannot be reached", 3)
	p.set(func() { p.answer = nil })
	expect(fresh, "cannot be reached", 3) // told again without asking
	c.advance(refetchMin)
	expect(fresh, "", 4)
}

// TestOneFlight: many tokens at once cause one pair of requests.
func TestOneFlight(t *testing.T) {
	k := ecKey(t, "k")
	p := newTestProvider(t, k)
	v, err := NewProvider(p.config(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, jose.ES256, k.Key, p.claims(time.Now()), "kid", "k")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := v.Verify(context.Background(), token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p.fetches.Load() != 1 || p.discoveries.Load() != 1 {
		t.Errorf("%d fetches, %d discoveries", p.fetches.Load(), p.discoveries.Load())
	}
}

func TestMisbehaviour(t *testing.T) {
	k := ecKey(t, "k")
	document := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	for name, change := range map[string]func(p *testProvider){
		"away": func(p *testProvider) { p.Close() },
		"slow": func(p *testProvider) {
			p.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		},
		"slow body": func(p *testProvider) {
			p.answer = func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte("{"))
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
		},
		"huge":            func(p *testProvider) { p.answer = document(`{"issuer":"` + strings.Repeat("x", documentMax)) },
		"not JSON":        func(p *testProvider) { p.answer = document("<html>") },
		"a list":          func(p *testProvider) { p.answer = document("[]") },
		"error":           func(p *testProvider) { p.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) } },
		"other issuer":    func(p *testProvider) { p.about["issuer"] = p.URL + "/" },
		"no issuer":       func(p *testProvider) { delete(p.about, "issuer") },
		"no keys' URL":    func(p *testProvider) { delete(p.about, "jwks_uri") },
		"plain keys' URL": func(p *testProvider) { p.about["jwks_uri"] = "http" + strings.TrimPrefix(p.URL, "https") + "/keys" },
		"file":            func(p *testProvider) { p.about["jwks_uri"] = "file:///etc/passwd" },
		"no keys":         func(p *testProvider) { p.keys = nil },
		"redirect": func(p *testProvider) {
			p.answer = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
			}
		},
		"untrusted": nil,
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestProvider(t, k)
			cfg := p.config()
			if change == nil {
				cfg.CA = ""
			} else {
				change(p)
			}
			v, err := NewProvider(cfg, Options{Timeout: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			token := sign(t, jose.ES256, k.Key, p.claims(time.Now()), "kid", "k")
			for range 2 {
				began := time.Now()
				_, err = v.Verify(context.Background(), token)
				if err == nil || !strings.Contains(err.Error(), ErrUnreachable.Error()) {
					t.Errorf("%v", err)
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("took %s", took)
				}
			}
			if p.discoveries.Load() > 1 {
				t.Errorf("asked %d times", p.discoveries.Load())
			}
		})
	}
	t.Run("caller gone", func(t *testing.T) {
		p := newTestProvider(t, k)
		p.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		v, err := NewProvider(p.config(), Options{Timeout: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := v.Verify(ctx, sign(t, jose.ES256, k.Key, p.claims(time.Now()))); err == nil {
			t.Error("verified")
		}
	})
}

// TestOddKeys: keys of unknown kinds and for other uses beside a good one.
func TestOddKeys(t *testing.T) {
	good, enc := ecKey(t, "good"), ecKey(t, "enc")
	enc.Use = "enc"
	pub, _ := good.Public().MarshalJSON()
	encPub, _ := enc.Public().MarshalJSON()
	private, _ := ecKey(t, "private").MarshalJSON()
	p := newTestProvider(t)
	doc := `{"keys":[{"kty":"XYZ","kid":"good"},5,null,{"kty":"oct","kid":"oct","k":"AAAA"},` + string(encPub) + "," + string(private) + "," + string(pub) + `]}`
	p.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_, _ = w.Write([]byte(doc))
			return
		}
		_ = json.NewEncoder(w).Encode(p.about)
	}
	v, err := NewProvider(p.config(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(context.Background(), sign(t, jose.ES256, good.Key, p.claims(time.Now()), "kid", "good")); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify(context.Background(), sign(t, jose.ES256, enc.Key, p.claims(time.Now()), "kid", "enc")); err == nil {
		t.Error("a key for encryption was used")
	}
	// The public key as an HMAC's secret, and no signature at all.
	der := pub
	confused := sign(t, jose.HS256, append(der, make([]byte, 32)...), p.claims(time.Now()), "kid", "good")
	none := "eyJhbGciOiJub25lIn0." + strings.Split(confused, ".")[1] + "."
	for _, token := range []string{confused, none} {
		if _, err := v.Verify(context.Background(), token); err == nil {
			t.Error("verified")
		}
	}
}
