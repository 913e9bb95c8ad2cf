package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/seal/kms/kmstest"
)

// serveEncrypted starts the daemon and makes an encrypted cluster, a bucket and a
// user.
func (n *node) serveEncrypted() {
	n.t.Helper()
	n.start()
	n.up("/-/live")
	ctx := context.Background()
	if _, err := n.admin.CreateCluster(ctx, api.CreateCluster{Name: "default", ConfigFS: configFS, Encrypted: true}); err != nil {
		n.t.Fatal(err)
	}
	n.kill() // at the earliest moment
	n.serve()
}

// find names the files below the drive that hold text.
func (n *node) find(text string) (found []string) {
	n.t.Helper()
	err := filepath.WalkDir(filepath.Join(n.dir, "drive"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return found
}

// TestEncryptedDrive plants markers wherever users leave data and looks for them
// on the drive.
func TestEncryptedDrive(t *testing.T) {
	n := newNode(t)
	n.serveEncrypted()
	ctx := context.Background()
	body := bytes.Repeat([]byte("planted-body "), 4000)
	put := func(query string) {
		t.Helper()
		if status, text := n.s3("PUT", "/"+nodeBucket+"/dir/planted-key", query, body); status != http.StatusOK {
			t.Fatalf("put: %d %s", status, text)
		}
	}
	put("")
	if _, err := n.admin.CreateUser(ctx, api.CreateUser{Name: "planted-user", Role: "s3", Password: "Planted-Secret-1"}); err != nil {
		t.Fatal(err)
	}
	n.stop()
	for _, text := range []string{"planted-key", "planted-body", "planted-user", "Planted-Secret-1", nodeUser, nodeSecret, `"region"`} {
		if found := n.find(text); len(found) > 0 {
			t.Errorf("%q is in %v", text, found)
		}
	}

	// Another start, without the keys and with them.
	kek := filepath.Join(n.dir, "state", kekFile)
	if err := os.Rename(kek, kek+".away"); err != nil {
		t.Fatal(err)
	}
	n.fails(1, `key-encryption keys|restore that file`)
	if err := os.Rename(kek+".away", kek); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.up("/-/ready")
	if status, got := n.s3("GET", "/"+nodeBucket+"/dir/planted-key", "", nil); status != http.StatusOK || !bytes.Equal(got, body) {
		t.Errorf("get: %d, %d bytes", status, len(got))
	}
	if _, err := n.admin.RotateKMS(ctx); err != nil {
		t.Fatal(err)
	}
	n.kill()
	n.start()
	n.up("/-/ready")
	if status, got := n.s3("GET", "/"+nodeBucket+"/dir/planted-key", "", nil); status != http.StatusOK || !bytes.Equal(got, body) {
		t.Errorf("get after a rotation: %d, %d bytes", status, len(got))
	}
}

// TestVault moves the keys of an encrypted cluster to a key server, which then
// goes away and comes back.
func TestVault(t *testing.T) {
	n := newNode(t)
	srv := kmstest.New(t)
	n.serveEncrypted()
	ctx := context.Background()
	put := func(key string) {
		t.Helper()
		if status, text := n.s3("PUT", "/"+nodeBucket+"/"+key, "", []byte(key)); status != http.StatusOK {
			t.Fatalf("put: %d %s", status, text)
		}
	}
	get := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			if status, got := n.s3("GET", "/"+nodeBucket+"/"+key, "", nil); status != http.StatusOK || string(got) != key {
				t.Errorf("get %s: %d %s", key, status, got)
			}
		}
	}
	put("before")
	in := api.SetKMS{Backend: "vault", Address: srv.Address(), KeyName: "main", Token: "token", CAFile: srv.CAFile()}
	if _, err := n.admin.SetKMS(ctx, in); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Fatalf("a server without the key: %v", err)
	}
	srv.AddKey("main", false)
	st, err := n.admin.SetKMS(ctx, in)
	if err != nil || st.Backend != "vault" || !st.Healthy || st.Token != "stored" || st.Changing != "" {
		t.Fatalf("%+v, %v", st, err)
	}
	if err := os.Remove(filepath.Join(n.dir, "state", kekFile)); err != nil { // no longer needed
		t.Fatal(err)
	}
	put("in-vault")
	if st, err = n.admin.RotateKMS(ctx); err != nil || st.Version != 2 || srv.Versions("main") != 2 {
		t.Fatalf("%+v, %v", st, err)
	}
	srv.Retire("main", 2) // everything was rewrapped
	n.kill()
	n.start()
	n.up("/-/ready")
	get("before", "in-vault")

	srv.Stop()
	put("during")
	get("before", "in-vault", "during")
	if st, err := n.admin.KMS(ctx); err != nil || st.Healthy || st.Error == "" {
		t.Errorf("status during the outage: %+v, %v", st, err)
	}
	if _, err := n.admin.RotateKMS(ctx); err == nil {
		t.Error("rotated without a server")
	}
	n.stop()
	n.start() // waits for the server
	await(t, closeTimeout, func() error {
		if !strings.Contains(n.log.String(), "cannot be unwrapped yet") {
			return errors.New("it does not wait")
		}
		return nil
	})
	srv.Start()
	n.up("/-/ready")
	get("before", "in-vault", "during")

	// A bad token, a better one in a file, and back to a file of keys.
	in.Token, in.TokenFile = "", filepath.Join(n.dir, "token")
	if err := os.WriteFile(in.TokenFile, []byte("token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if st, err := n.admin.SetKMS(ctx, in); err != nil || st.Token != "file "+in.TokenFile {
		t.Fatalf("%+v, %v", st, err)
	}
	if data, err := os.ReadFile(filepath.Join(n.dir, "state", kmsFile)); err != nil || bytes.Contains(data, []byte(`"token"`)) {
		t.Errorf("the old token is still in the file: %v", err)
	}
	if st, err := n.admin.SetKMS(ctx, api.SetKMS{Backend: "local"}); err != nil || st.Backend != "local" || !st.Healthy {
		t.Fatalf("%+v, %v", st, err)
	}
	srv.Stop()
	n.kill()
	n.start()
	n.up("/-/ready")
	get("before", "in-vault", "during")
}
