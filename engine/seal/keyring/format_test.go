package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal/kms"
)

const goodDoc = `{"v":1,"id":7,"backend":"0123456789abcdef","kms_key":"main","wrapped":"AAEC","created":"2025-01-02T03:04:05Z"}`

func TestDecodeDoc(t *testing.T) {
	path := docPath(7)
	if path != "keys/0000000007" {
		t.Fatal(path)
	}
	for text, want := range map[string]error{
		goodDoc: nil,
		strings.Replace(goodDoc, `"v":1`, `"v":2`, 1):            ErrNewer,
		strings.Replace(goodDoc, `"v":1`, `"v":2,"x":1`, 1):      ErrNewer,
		strings.Replace(goodDoc, `"v":1`, `"v":0`, 1):            ErrBadDoc,
		strings.Replace(goodDoc, `"id":7`, `"id":8`, 1):          ErrBadDoc,
		strings.Replace(goodDoc, `"id":7`, `"id":-1`, 1):         ErrBadDoc,
		strings.Replace(goodDoc, `"id":7`, `"id":7,"x":1`, 1):    ErrBadDoc,
		strings.Replace(goodDoc, `main`, `a b`, 1):               ErrBadDoc,
		strings.Replace(goodDoc, `0123456789abcdef`, `01234`, 1): ErrBadDoc,
		strings.Replace(goodDoc, `abcdef`, `ABCDEF`, 1):          ErrBadDoc,
		strings.Replace(goodDoc, `AAEC`, ``, 1):                  ErrBadDoc,
		strings.Replace(goodDoc, `2025-01-02T03:04:05Z`, `x`, 1): ErrBadDoc,
		strings.Replace(goodDoc, `,"created"`, `,"created1"`, 1): ErrBadDoc,
		goodDoc + "{}": ErrBadDoc,
		"":             ErrBadDoc,
		"null":         ErrBadDoc,
	} {
		if _, err := decodeDoc(path, []byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	docs := newDocs()
	docs.docs[path] = []byte("{")
	if _, err := Open(context.Background(), Config{Docs: docs, Current: localBackend(t, "main")}); !errors.Is(err, ErrBadDoc) {
		t.Errorf("Open: %v", err)
	}
}

func TestStoreKey(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	a, b := localBackend(t, "main"), localBackend(t, "second")
	if _, err := ReadStoreKey(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("absent: %v", err)
	}
	k, key, err := NewStoreKey(ctx, a, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, StoreKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	opens := func(what string, k StoreKey, backends ...Backend) {
		t.Helper()
		if got, err := k.Open(ctx, backends...); err != nil || *got != *key {
			t.Errorf("%s: %v", what, err)
		}
	}
	read, err := ReadStoreKey(dir)
	if err != nil || read.Backend() != a.ID || read.KMSKey() != "main" {
		t.Fatal(read, err)
	}
	opens("read", read, a)
	if _, err := read.Open(ctx, b); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("backend not configured: %v", err)
	}
	if _, err := a.KMS.Rotate(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	rotated, err := read.Rewrap(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	opens("rewrapped", rotated, a)
	moved, err := rotated.Rewrap(ctx, b, a)
	if err != nil || moved.KMSKey() != "second" {
		t.Fatal(err)
	}
	opens("moved", moved, b)
	opens("the old one", read, b, a)
	if _, err := rotated.Rewrap(ctx, b); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("moved without the old backend: %v", err)
	}
	if err := moved.Write(dir); err != nil {
		t.Fatal(err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	if err := os.WriteFile(filepath.Join(dir, StoreKeyFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStoreKey(dir); !errors.Is(err, ErrBadDoc) {
		t.Errorf("malformed: %v", err)
	}
	if err := moved.Write(filepath.Join(dir, "no")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func FuzzDecodeDoc(f *testing.F) {
	f.Add([]byte(goodDoc))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		doc, err := decodeDoc(docPath(7), value)
		if err != nil {
			return
		}
		again, err := json.Marshal(doc)
		if err != nil {
			return // a time beyond RFC 3339
		}
		if back, err := decodeDoc(docPath(7), again); err != nil || !bytes.Equal(back.Wrapped, doc.Wrapped) || !back.Created.Equal(doc.Created) {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func FuzzDecodeStoreKey(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"00112233445566778899aabbccddeeff","backend":"0123456789abcdef","kms_key":"main","wrapped":"AAEC","created":"2025-01-02T03:04:05Z"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := decodeStoreKey(text); err == nil && (k.doc.V != docVersion || len(k.doc.Wrapped) == 0) {
			t.Fatal("accepted")
		}
	})
}
