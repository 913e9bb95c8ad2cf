package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/seal/kms/kmstest"
	"github.com/sluicehq/sluice/s3fast/sigv4"
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
	n.putWith("dir/planted-key", body, map[string]string{
		"x-amz-meta-planted-name": "planted-value", "x-amz-tagging": "planted-tag=planted-tag-value", "content-type": "planted/type",
	})
	if _, err := n.admin.CreateUser(ctx, api.CreateUser{Name: "planted-user", Role: "s3", Password: "Planted-Secret-1"}); err != nil {
		t.Fatal(err)
	}
	n.stop()
	for _, text := range []string{"planted-", "planted/type", "Planted", "Planted-Secret-1", nodeUser, nodeSecret, `"region"`} {
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

// putWith stores an object with headers.
func (n *node) putWith(key string, body []byte, headers map[string]string) {
	n.t.Helper()
	req, err := http.NewRequest("PUT", "http://"+n.addr+"/"+nodeBucket+"/"+key, bytes.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	for name, v := range headers {
		req.Header.Set(name, v)
	}
	sum := sha256.Sum256(body)
	for name, v := range sigv4.Sign(httpView{req}, nodeUser, nodeSecret, "us-east-1", "s3", hex.EncodeToString(sum[:]), time.Now()) {
		req.Header.Set(name, v)
	}
	resp, err := plainHTTP.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		n.t.Fatalf("put: %d %s", resp.StatusCode, text)
	}
}

// TestEncryptedBucket encrypts one bucket of a plain cluster: its bodies, not its
// names. The key file is made when the first object needs it.
func TestEncryptedBucket(t *testing.T) {
	n := newNode(t).serve()
	ctx := context.Background()
	kek := filepath.Join(n.dir, "state", kekFile)
	if err := n.admin.DestroyBucket(ctx, nodeBucket); err != nil {
		t.Fatal(err)
	}
	if _, err := n.admin.CreateBucket(ctx, api.CreateBucket{Name: nodeBucket, Encrypted: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kek); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("keys before they are needed: %v", err)
	}
	body := bytes.Repeat([]byte("planted-body "), 4000)
	n.putWith("planted-key", body, nil)
	if _, err := os.Stat(kek); err != nil {
		t.Error(err)
	}
	n.stop()
	if found := n.find("planted-body"); len(found) > 0 {
		t.Errorf("the body is in %v", found)
	}
	if found := n.find("planted-key"); len(found) == 0 {
		t.Error("find finds nothing")
	}
	if err := os.Rename(kek, kek+".away"); err != nil {
		t.Fatal(err)
	}
	n.start() // other buckets need no key
	n.up("/-/ready")
	if status, text := n.s3("GET", "/"+nodeBucket+"/planted-key", "", nil); status == http.StatusOK {
		t.Errorf("get without the key: %d, %d bytes", status, len(text))
	}
	if _, err := os.Stat(kek); err == nil {
		t.Error("other keys took the place of the lost ones")
	}
	if err := os.Rename(kek+".away", kek); err != nil {
		t.Fatal(err)
	}
	await(t, closeTimeout, func() error { // no restart needed
		status, got := n.s3("GET", "/"+nodeBucket+"/planted-key", "", nil)
		if status != http.StatusOK || !bytes.Equal(got, body) {
			return fmt.Errorf("get with the key back: %d, %d bytes", status, len(got))
		}
		return nil
	})
}

// TestChangeCutShort has a change of the backend fail in the middle: everything
// stays readable, it can be taken back, and it is completed by a start.
func TestChangeCutShort(t *testing.T) {
	n := newNode(t)
	srv := kmstest.New(t)
	srv.AddKey("main", false)
	n.serveEncrypted()
	ctx := context.Background()
	n.putWith("object", []byte("body"), nil)
	if _, err := n.admin.RotateKMS(ctx); err != nil { // so there are two ring keys
		t.Fatal(err)
	}
	vault := api.SetKMS{Backend: "vault", Address: srv.Address(), KeyName: "main", Token: "token", CAFile: srv.CAFile()}
	check := func(backend string, changing bool) {
		t.Helper()
		if status, got := n.s3("GET", "/"+nodeBucket+"/object", "", nil); status != http.StatusOK || string(got) != "body" {
			t.Errorf("get: %d %s", status, got)
		}
		if st, err := n.admin.KMS(ctx); err != nil || st.Backend != backend || (st.Changing != "") != changing {
			t.Errorf("want %s, changing %v: %+v, %v", backend, changing, st, err)
		}
	}
	fail := func(credit int) {
		t.Helper()
		srv.DenyAfter(credit)
		if _, err := n.admin.SetKMS(ctx, vault); err == nil || !strings.Contains(err.Error(), "not complete") {
			t.Fatalf("after %d requests: %v", credit, err)
		}
		srv.DenyAfter(-1)
		check("local", true)
	}
	restart := func() {
		t.Helper()
		n.kill()
		n.start()
		n.up("/-/ready")
	}
	fail(7) // 3 for the probe, 3 for a ring key
	if _, err := n.admin.RotateKMS(ctx); err == nil {
		t.Error("rotated in the middle of a change")
	}
	if _, err := n.admin.SetKMS(ctx, api.SetKMS{Backend: "local", KeyFile: filepath.Join(n.dir, "third")}); err == nil {
		t.Error("a third backend in the middle of a change")
	}
	if _, err := n.admin.SetKMS(ctx, api.SetKMS{Backend: "local"}); err != nil {
		t.Fatalf("taking it back: %v", err)
	}
	check("local", false)
	fail(10) // both ring keys, not the metadata's key
	restart()
	check("vault", false)
	if err := os.Remove(filepath.Join(n.dir, "state", kekFile)); err != nil {
		t.Fatal(err)
	}
	restart()
	check("vault", false)
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
