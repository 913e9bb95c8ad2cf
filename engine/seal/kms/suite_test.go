package kms_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/sluicehq/sluice/engine/seal/kms"
	"github.com/sluicehq/sluice/engine/seal/kms/kmstest"
)

func openTransit(t *testing.T, s *kmstest.Server, change func(*kms.TransitConfig)) *kms.Transit {
	t.Helper()
	cfg := kms.TransitConfig{Address: s.Address(), Key: "main", Token: "token", CAFile: s.CAFile()}
	if change != nil {
		change(&cfg)
	}
	k, err := kms.NewTransit(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSuite is what every backend must pass.
func TestSuite(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		k, err := kms.OpenLocal(filepath.Join(t.TempDir(), "kek"), "main", true)
		if err != nil {
			t.Fatal(err)
		}
		suite(t, k)
	})
	for _, derived := range []bool{false, true} {
		t.Run("transit", func(t *testing.T) {
			s := kmstest.New(t)
			s.AddKey("main", derived)
			suite(t, openTransit(t, s, nil))
		})
	}
}

func suite(t *testing.T, k kms.KMS) {
	ctx, plain, aad := context.Background(), bytes.Repeat([]byte{7}, 32), []byte("use")
	if k.DefaultKey() != "main" {
		t.Fatalf("default key %q", k.DefaultKey())
	}
	first, err := k.Wrap(ctx, "main", plain, aad)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(first, plain[:8]) {
		t.Fatal("the wrapped key shows the plain one")
	}
	opens := func(what string, wrapped []byte) {
		t.Helper()
		if got, err := k.Unwrap(ctx, "main", wrapped, aad); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %x, %v", what, got, err)
		}
	}
	refused := func(what string, want error, name string, wrapped, aad []byte) {
		t.Helper()
		if got, err := k.Unwrap(ctx, name, wrapped, aad); !errors.Is(err, want) || got != nil {
			t.Errorf("%s: unwrap: %v", what, err)
		}
		if _, err := k.Rewrap(ctx, name, wrapped, aad); !errors.Is(err, want) && what != "other use" {
			t.Errorf("%s: rewrap: %v", what, err)
		}
	}
	opens("fresh", first)
	if st := k.Status(ctx); !st.Healthy || st.Version != 1 || st.Key != "main" || st.Error != "" || st.Address == "" {
		t.Errorf("status %+v", st)
	}
	if v, err := k.Rotate(ctx, "main"); err != nil || v != 2 {
		t.Fatalf("rotate: %d, %v", v, err)
	}
	opens("after a rotation", first)
	second, err := k.Rewrap(ctx, "main", first, aad)
	if err != nil || bytes.Equal(first, second) {
		t.Fatalf("rewrap: %v", err)
	}
	opens("rewrapped", second)
	if st := k.Status(ctx); st.Version != 2 {
		t.Errorf("status %+v", st)
	}
	refused("other use", kms.ErrUnwrap, "main", second, []byte("other"))
	refused("no such key", kms.ErrNoKey, "absent", second, aad)
	refused("bad name", kms.ErrName, "a/../b", second, aad)
	refused("empty", kms.ErrUnwrap, "main", nil, aad)
	for i := range second {
		bad := bytes.Clone(second)
		bad[i] ^= 2
		if got, err := k.Unwrap(ctx, "main", bad, aad); err == nil || got != nil {
			t.Fatalf("byte %d flipped: %x, %v", i, got, err)
		}
		if _, err := k.Unwrap(ctx, "main", second[:i], aad); err == nil {
			t.Fatalf("cut to %d bytes", i)
		}
	}
	if _, err := k.Wrap(ctx, "absent", plain, aad); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("wrap by no key: %v", err)
	}
	if _, err := k.Rotate(ctx, "absent"); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("rotate no key: %v", err)
	}
	if _, err := k.Wrap(ctx, "main", make([]byte, 5000), aad); err == nil {
		t.Error("5,000 bytes wrapped")
	}
	for range 2 { // the second time it is there
		if err := k.Create(ctx, "other"); err != nil {
			t.Fatal(err)
		}
	}
	w, err := k.Wrap(ctx, "other", plain, aad)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(ctx, "main", w, aad); !errors.Is(err, kms.ErrUnwrap) {
		t.Errorf("unwrap by another key: %v", err)
	}
	opens("at the end", first)
}
