package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/engine/seal/kms"
	"github.com/sluicehq/sluice/engine/seal/kms/kmstest"
)

func TestKMSConfig(t *testing.T) {
	dir := t.TempDir()
	c, err := loadKMSConfig(dir)
	if err != nil || c.Current.Backend != kmsLocal || c.Current.KeyFile != filepath.Join(dir, kekFile) {
		t.Fatalf("default: %+v, %v", c, err)
	}
	c.Next = &backendConfig{ID: keyring.NewBackendID(), Backend: kmsVault, Key: "k", Address: "https://h", Token: "secret"}
	if err := saveKMSConfig(dir, c); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, kmsFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, err := loadKMSConfig(dir)
	if err != nil || again.Current != c.Current || *again.Next != *c.Next {
		t.Fatalf("read back: %+v, %v", again, err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"later":         strings.Replace(string(good), `"v": 1`, `"v": 2`, 1),
		"no version":    strings.Replace(string(good), `"v": 1`, `"v": 0`, 1),
		"unknown field": strings.Replace(string(good), `"v": 1`, `"v": 1, "x": 1`, 1),
		"no id":         strings.Replace(string(good), defaultKMSb, "", 1),
		"same id":       strings.Replace(string(good), c.Next.ID, defaultKMSb, 1),
		"two values":    string(good) + "{}",
		"empty":         "",
		"long":          string(good) + strings.Repeat(" ", maxKMSFile),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadKMSConfig(dir); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKMSConfig(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by the group: %v", err)
	}
}

func FuzzKMSConfig(f *testing.F) {
	f.Add([]byte(`{"v":1,"current":{"id":"0000000000000000","backend":"local","key":"sluice","key_file":"/k"}}`))
	f.Add([]byte(`{"v":1,"current":{"id":"1","backend":"vault"},"next":{"id":"2"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := decodeKMSConfig(text)
		if err != nil {
			return
		}
		if b, err := c.Current.open(false); err == nil && b.KMS == nil {
			t.Fatal("a backend of nothing")
		}
	})
}

func TestBackendOf(t *testing.T) {
	for what, c := range map[string]struct {
		in api.SetKMS
		ok bool
	}{
		"local":            {api.SetKMS{Backend: "local"}, true},
		"local file":       {api.SetKMS{Backend: "local", KeyFile: "/k", KeyName: "x"}, true},
		"relative":         {api.SetKMS{Backend: "local", KeyFile: "k"}, false},
		"local with token": {api.SetKMS{Backend: "local", Token: "t"}, false},
		"vault":            {api.SetKMS{Backend: "vault", Address: "https://h", TokenFile: "/t"}, true},
		"vault token":      {api.SetKMS{Backend: "vault", Address: "https://h", Token: "t", CAFile: "/c"}, true},
		"no token":         {api.SetKMS{Backend: "vault", Address: "https://h"}, false},
		"two tokens":       {api.SetKMS{Backend: "vault", Address: "https://h", Token: "t", TokenFile: "/t"}, false},
		"no address":       {api.SetKMS{Backend: "vault", Token: "t"}, false},
		"vault key file":   {api.SetKMS{Backend: "vault", Address: "https://h", Token: "t", KeyFile: "/k"}, false},
		"none":             {api.SetKMS{}, false},
	} {
		b, err := backendOf(&c.in, "/state")
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil && (b.Key == "" || b.Backend == kmsLocal && b.KeyFile == "" || b.Backend == kmsVault && b.Mount == "") {
			t.Errorf("%s: %+v", what, b)
		}
	}
}

// vaultKeys is key management with a server as its backend, and a metadata key
// that the server wrapped.
func vaultKeys(t *testing.T, srv *kmstest.Server) (*keys, *[32]byte) {
	t.Helper()
	state, home := t.TempDir(), t.TempDir()
	b := backendConfig{
		ID: keyring.NewBackendID(), Backend: kmsVault, Key: "sluice", Address: srv.Address(), Token: "token", CAFile: srv.CAFile(),
	}
	if err := saveKMSConfig(state, kmsConfig{V: kmsVersion, Current: b}); err != nil {
		t.Fatal(err)
	}
	k, err := openKeys(state, []string{home}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	key, err := k.newStoreKey(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return k, key
}

// TestStoreKeyWaits starts while the server is away: for a while it is waited
// for, and then the error says what is missing.
func TestStoreKeyWaits(t *testing.T) {
	srv := kmstest.New(t)
	srv.AddKey("sluice", false)
	k, key := vaultKeys(t, srv)
	wrapped, err := k.files.read()
	if err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	k.patience = 0
	if _, err := k.storeKey(context.Background(), wrapped); !errors.Is(err, kms.ErrUnavailable) ||
		!strings.Contains(err.Error(), srv.Address()) || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("server stopped: %v", err)
	}
	k.patience = time.Minute
	time.AfterFunc(500*time.Millisecond, srv.Start)
	got, err := k.storeKey(context.Background(), wrapped)
	if err != nil || *got != *key {
		t.Fatalf("server back: %v", err)
	}
	srv.DropKey("sluice")
	begun := time.Now()
	if _, err := k.storeKey(context.Background(), wrapped); !errors.Is(err, kms.ErrNoKey) || !strings.Contains(err.Error(), "restore the key") {
		t.Errorf("key lost: %v", err)
	}
	if time.Since(begun) > 10*time.Second {
		t.Error("a key that is lost is waited for")
	}
	if err := os.Remove(filepath.Join(k.stateDir, kmsFile)); err != nil {
		t.Fatal(err)
	}
	bare, err := openKeys(k.stateDir, k.files.dirs(), k.log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bare.storeKey(context.Background(), wrapped); err == nil || !strings.Contains(err.Error(), "restore "+filepath.Join(k.stateDir, kmsFile)) {
		t.Errorf("kms.json lost: %v", err)
	}
}

// TestStoreKeyFile loses and damages the file with the wrapped key.
func TestStoreKeyFile(t *testing.T) {
	ctx, state, home := context.Background(), t.TempDir(), t.TempDir()
	k, err := openKeys(state, []string{home}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.openBackends(true); err != nil {
		t.Fatal(err)
	}
	open := func(key *[32]byte) (*pebblemeta.Store, error) {
		return pebblemeta.Open(home, pebblemeta.Options{Key: key})
	}
	reopen := func(what, want string, encrypted bool) {
		t.Helper()
		s, err := k.openStore(ctx, open)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if s.Encrypted() != encrypted {
			t.Errorf("%s: encrypted %v", what, s.Encrypted())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	reopen("new", "", false)
	key, err := k.newStoreKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(nil)
	if err == nil {
		err = errors.Join(s.Encrypt(ctx, key), s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	reopen("encrypted", "", true)
	file, spare := filepath.Join(home, keyring.StoreKeyFile), filepath.Join(state, keyring.StoreKeyFile)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", string(whole[:len(whole)/2])} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		reopen("damaged", "", true)
		if got, err := os.ReadFile(file); err != nil || string(got) != string(whole) {
			t.Errorf("not restored: %q, %v", got, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	reopen("lost", "", true)
	if err := errors.Join(os.Remove(file), os.Remove(spare)); err != nil {
		t.Fatal(err)
	}
	reopen("lost with its copy", "restore it", true)
	other, _, err := keyring.NewStoreKey(ctx, k.current, time.Now())
	if err == nil {
		err = other.Write(state)
	}
	if err != nil {
		t.Fatal(err)
	}
	reopen("the copy of another store's", "another key", true)
}
