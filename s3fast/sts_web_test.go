package s3fast

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sluicehq/sluice/s3fast/oidc"
)

// TestWebIdentity gets credentials for ID tokens of a provider that is started
// here, and uses them.
func TestWebIdentity(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	var provider *httptest.Server
	provider = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "k", Key: key.Public()}}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": provider.URL, "jwks_uri": provider.URL + "/keys"})
	}))
	defer provider.Close()
	cfg := oidc.Config{Name: "local", Issuer: provider.URL, ClientIDs: []string{"app"},
		CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: provider.Certificate().Raw}))}
	var set atomic.Pointer[oidc.Set]
	r := newRig(t, func(c *Config) { c.OIDC = set.Load })
	r.bucket("bkt")
	r.put("/bkt/k", "data")
	token := func(change map[string]any) string {
		claims := map[string]any{"iss": provider.URL, "sub": "someone", "aud": "app", "policy": "readonly",
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
		for name, v := range change {
			claims[name] = v
		}
		payload, _ := json.Marshal(claims)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{KeyID: "k", Key: key}}, nil)
		must(t, err)
		jws, err := signer.Sign(payload)
		must(t, err)
		text, err := jws.CompactSerialize()
		must(t, err)
		return text
	}
	ask := func(token string, more ...string) answer {
		t.Helper()
		return r.raw("POST", r.stsRaw("", "", "", stsBody(append([]string{"Action", stsWeb, "RoleArn", "arn:aws:iam::000000000000:role/x",
			"RoleSessionName", "web", "WebIdentityToken", token}, more...)...)))
	}
	expect := func(a answer, want string) {
		t.Helper()
		if strings.TrimSpace(a.String()) != want {
			t.Errorf("%v, want %s\n%s", a, want, a.body)
		}
	}
	expect(ask(token(nil)), "400 InvalidIdentityToken") // no provider yet
	configured, err := oidc.NewSet([]oidc.Config{cfg}, oidc.Options{Timeout: 20 * time.Second})
	must(t, err)
	set.Store(configured)

	a := ask(token(nil))
	c := credentialsOf(t, a)
	equal(t, "subject", elements(a.body, "SubjectFromWebIdentityToken"), []string{"someone"})
	equal(t, "provider", elements(a.body, "Provider"), []string{provider.URL})
	equal(t, "audience", elements(a.body, "Audience"), []string{"app"})
	r.want(as(c, "GET", "/bkt/k", ""), "200")
	r.want(as(c, "PUT", "/bkt/l", "x"), "403 AccessDenied")
	both := credentialsOf(t, ask(token(map[string]any{"policy": []string{"readonly", "readwrite"}})))
	r.want(as(both, "PUT", "/bkt/l", "x"), "200")
	narrow := credentialsOf(t, ask(token(map[string]any{"policy": "readwrite"}), "Policy",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]}`))
	r.want(as(narrow, "PUT", "/bkt/l", "x"), "200")
	r.want(as(narrow, "GET", "/bkt/k", ""), "403 AccessDenied")

	expect(ask(token(map[string]any{"policy": "no-such-policy"})), "403 AccessDenied")
	expect(ask(token(map[string]any{"policy": ""})), "403 AccessDenied")
	expect(ask(token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})), "400 ExpiredTokenException")
	expect(ask(token(map[string]any{"aud": "theirs"})), "400 InvalidIdentityToken")
	expect(ask(token(map[string]any{"iss": "https://elsewhere.example.com"})), "400 InvalidIdentityToken")
	expect(ask(token(nil), "ProviderId", "www.amazon.com"), "400 ValidationError")
	expect(ask(token(nil), "DurationSeconds", "5"), "400 ValidationError")
	good := token(nil)
	expect(ask(good[:len(good)-4]+"AAAA"), "400 InvalidIdentityToken")

	cfg.Issuer = "https://127.0.0.1:1"
	away, err := oidc.NewSet([]oidc.Config{cfg}, oidc.Options{Timeout: 20 * time.Second})
	must(t, err)
	set.Store(away)
	expect(ask(token(map[string]any{"iss": cfg.Issuer})), "400 IDPCommunicationError")
	expect(ask(good), "400 InvalidIdentityToken") // its provider is not configured any more
	r.want(as(both, "GET", "/bkt/k", ""), "200")
}
