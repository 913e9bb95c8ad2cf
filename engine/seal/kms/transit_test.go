package kms_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal/kms"
	"github.com/sluicehq/sluice/engine/seal/kms/kmstest"
)

func TestTransitRefusals(t *testing.T) {
	ctx, plain, aad := context.Background(), make([]byte, 32), []byte("use")
	s := kmstest.New(t)
	s.AddKey("main", false)
	k := openTransit(t, s, nil)
	wrapped, err := k.Wrap(ctx, "main", plain, aad)
	if err != nil {
		t.Fatal(err)
	}
	s.SetToken("another")
	for what, err := range map[string]error{
		"wrap":   errOf(k.Wrap(ctx, "main", plain, aad)),
		"unwrap": errOf(k.Unwrap(ctx, "main", wrapped, aad)),
		"rewrap": errOf(k.Rewrap(ctx, "main", wrapped, aad)),
		"create": k.Create(ctx, "new"),
	} {
		if !errors.Is(err, kms.ErrDenied) || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s with a bad token: %v", what, err)
		}
		if strings.Contains(err.Error(), `"token"`) {
			t.Errorf("%s: the error shows the token: %v", what, err)
		}
	}
	if st := k.Status(ctx); st.Healthy || st.Error == "" {
		t.Errorf("status with a bad token: %+v", st)
	}
	s.SetToken("token")

	// A token that may encrypt and decrypt, and nothing else, is enough.
	s.Deny("keys", "rotate")
	if _, err := k.Wrap(ctx, "main", plain, aad); err != nil {
		t.Errorf("wrap without leave to read keys: %v", err)
	}
	if st := k.Status(ctx); !st.Healthy || st.Version != 1 {
		t.Errorf("status without leave to read keys: %+v", st)
	}
	if _, err := k.Rotate(ctx, "main"); !errors.Is(err, kms.ErrDenied) {
		t.Errorf("rotate without leave: %v", err)
	}
	s.Deny()

	if _, err := k.Rotate(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	s.Retire("main", 2)
	if _, err := k.Unwrap(ctx, "main", wrapped, aad); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("version no longer in use: %v", err)
	}
	s.DropKey("main")
	if _, err := k.Unwrap(ctx, "main", wrapped, aad); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("key lost: %v", err)
	}
	// The API would make a new key here, and hide that the old one is gone.
	if _, err := k.Wrap(ctx, "main", plain, aad); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("wrap by a lost key: %v", err)
	}
}

func errOf(_ []byte, err error) error { return err }

func TestTransitOutage(t *testing.T) {
	ctx, plain, aad := context.Background(), make([]byte, 32), []byte("use")
	s := kmstest.New(t)
	s.AddKey("main", false)
	k := openTransit(t, s, nil)
	wrapped, err := k.Wrap(ctx, "main", plain, aad)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{500, 502, 503, 429, 412} {
		s.Fail(2, status)
		before := s.Requests("decrypt")
		if _, err := k.Unwrap(ctx, "main", wrapped, aad); err != nil {
			t.Errorf("status %d twice: %v", status, err)
		}
		if n := s.Requests("decrypt") - before; n != 3 {
			t.Errorf("status %d: %d requests", status, n)
		}
	}
	s.Fail(1000, 503)
	before := s.Requests("decrypt")
	if _, err := k.Unwrap(ctx, "main", wrapped, aad); !errors.Is(err, kms.ErrUnavailable) || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("sealed: %v", err)
	}
	if n := s.Requests("decrypt") - before; n != 4 {
		t.Errorf("%d tries of a sealed server", n)
	}
	s.Fail(0, 0)

	s.Stall()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := k.Unwrap(short, "main", wrapped, aad); !errors.Is(err, kms.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stalled: %v", err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("a stalled server was waited for %v", took)
	}
	s.Resume()

	s.Stop()
	if _, err := k.Unwrap(ctx, "main", wrapped, aad); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("stopped: %v", err)
	}
	s.Start()
	if got, err := k.Unwrap(ctx, "main", wrapped, aad); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("back again: %v", err)
	}
}

func TestTransitSettings(t *testing.T) {
	ctx, plain := context.Background(), make([]byte, 32)
	s := kmstest.New(t)
	s.AddKey("main", false)
	s.SetNamespace("team/a")
	s.SetMount("secrets/our-transit")
	s.SetToken("first")
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	k := openTransit(t, s, func(c *kms.TransitConfig) {
		c.Namespace, c.Mount, c.TokenFile, c.Token = "team/a", "/secrets/our-transit/", file, ""
	})
	if _, err := k.Wrap(ctx, "main", plain, nil); err != nil {
		t.Fatal(err)
	}
	s.SetToken("second")
	if _, err := k.Wrap(ctx, "main", plain, nil); !errors.Is(err, kms.ErrDenied) {
		t.Errorf("old token: %v", err)
	}
	write("second")
	if _, err := k.Wrap(ctx, "main", plain, nil); err != nil {
		t.Errorf("the file's new token: %v", err)
	}
	for _, text := range []string{"", "\n", "two\nlines"} {
		write(text)
		if _, err := k.Wrap(ctx, "main", plain, nil); !errors.Is(err, kms.ErrDenied) {
			t.Errorf("token file %q: %v", text, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Wrap(ctx, "main", plain, nil); !errors.Is(err, kms.ErrDenied) || !strings.Contains(err.Error(), file) {
		t.Errorf("no token file: %v", err)
	}
	other := openTransit(t, s, func(c *kms.TransitConfig) { c.Token = "second"; c.Namespace = "team/a" })
	if _, err := other.Wrap(ctx, "main", plain, nil); !errors.Is(err, kms.ErrNoKey) || !strings.Contains(err.Error(), "no handler for route") {
		t.Errorf("wrong mount path: %v", err)
	}
	untrusted := openTransit(t, s, func(c *kms.TransitConfig) { c.CAFile = "" })
	if st := untrusted.Status(ctx); st.Healthy || !strings.Contains(st.Error, "certificate") {
		t.Errorf("certificate of an unknown authority: %+v", st)
	}
}

func TestTransitConfig(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.pem")
	if err := os.WriteFile(bad, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := kms.TransitConfig{Address: "https://vault.example:8200", Key: "k"}
	for name, tc := range map[string]struct {
		change func(*kms.TransitConfig)
		ok     bool
	}{
		"good":            {func(*kms.TransitConfig) {}, true},
		"prefix":          {func(c *kms.TransitConfig) { c.Address += "/vault/" }, true},
		"loopback http":   {func(c *kms.TransitConfig) { c.Address = "http://127.0.0.1:8200" }, true},
		"http":            {func(c *kms.TransitConfig) { c.Address = "http://vault.example:8200" }, false},
		"no scheme":       {func(c *kms.TransitConfig) { c.Address = "vault.example:8200" }, false},
		"no host":         {func(c *kms.TransitConfig) { c.Address = "https://" }, false},
		"user":            {func(c *kms.TransitConfig) { c.Address = "https://a:b@h" }, false},
		"query":           {func(c *kms.TransitConfig) { c.Address += "/?a=b" }, false},
		"key with slash":  {func(c *kms.TransitConfig) { c.Key = "a/b" }, false},
		"no key":          {func(c *kms.TransitConfig) { c.Key = "" }, false},
		"mount with dots": {func(c *kms.TransitConfig) { c.Mount = "a/../b" }, false},
		"token in lines":  {func(c *kms.TransitConfig) { c.Token = "a\r\nb" }, false},
		"no CA file":      {func(c *kms.TransitConfig) { c.CAFile = bad + "x" }, false},
		"no certificate":  {func(c *kms.TransitConfig) { c.CAFile = bad }, false},
	} {
		cfg := good
		tc.change(&cfg)
		if _, err := kms.NewTransit(cfg); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTransitOddAnswers talks to servers that are no transit engine.
func TestTransitOddAnswers(t *testing.T) {
	ctx := context.Background()
	for body, want := range map[string]error{
		`not json`:                              kms.ErrUnavailable,
		`{"data":{"ciphertext":"plain"}}`:       kms.ErrUnavailable,
		`{"data":{"ciphertext":"vault:v1:"}}`:   kms.ErrUnavailable,
		`{"data":{"plaintext":"!"}}`:            kms.ErrUnavailable,
		`{"pad":"` + strings.Repeat("x", 1<<20): kms.ErrUnavailable,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) }))
		k, err := kms.NewTransit(kms.TransitConfig{Address: srv.URL, Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Wrap(ctx, "k", []byte("x"), nil); !errors.Is(err, want) {
			t.Errorf("%.40s: %v", body, err)
		}
		if _, err := k.Unwrap(ctx, "k", []byte("vault:v1:AAAA"), nil); err == nil {
			t.Errorf("%.40s: unwrapped", body)
		}
		srv.Close()
	}
	away := httptest.NewTLSServer(http.RedirectHandler("http://127.0.0.1:1/", http.StatusTemporaryRedirect))
	defer away.Close()
	s := kmstest.New(t)
	k, err := kms.NewTransit(kms.TransitConfig{Address: away.URL, Key: "k", CAFile: s.CAFile(), Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if st := k.Status(ctx); !strings.Contains(st.Error, "redirect from https to http") {
		t.Errorf("redirect into the open: %+v", st)
	}
	// What is plain on the loopback interface must not leave it.
	plain := httptest.NewServer(http.RedirectHandler("http://192.0.2.1:1/", http.StatusTemporaryRedirect))
	defer plain.Close()
	if k, err = kms.NewTransit(kms.TransitConfig{Address: plain.URL, Key: "k", Token: "secret"}); err != nil {
		t.Fatal(err)
	}
	if st := k.Status(ctx); !strings.Contains(st.Error, "redirect from http to http") {
		t.Errorf("redirect off this machine: %+v", st)
	}
}
