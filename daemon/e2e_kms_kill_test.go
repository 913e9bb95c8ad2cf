package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
)

// killIn runs a change and kills the daemon at a random moment of it, then starts
// it again. took is how long such a change takes; it returns the better estimate.
func (n *node) killIn(took time.Duration, change func(ctx context.Context) error) time.Duration {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	begun, done := time.Now(), make(chan error, 1)
	go func() { done <- change(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			n.t.Fatal(err)
		}
		took = time.Since(begun)
	case <-time.After(rand.N(took + took/4)):
	}
	n.kill()
	n.start()
	n.up("/-/live")
	return took
}

// TestKilledKeyChanges kills the daemon while keys are made, exchanged and
// rotated: everything opens after each start, and each change can be repeated.
// KEY_KILLS in the environment is the number of rounds.
func TestKilledKeyChanges(t *testing.T) {
	rounds := 2
	if v, err := strconv.Atoi(os.Getenv("KEY_KILLS")); err == nil {
		rounds = v
	}
	create, rotate, change := 60*time.Millisecond, 30*time.Millisecond, 40*time.Millisecond
	for range rounds {
		n := newNode(t)
		n.start()
		n.up("/-/live")
		cluster := func(ctx context.Context) error {
			_, err := n.admin.CreateCluster(ctx, api.CreateCluster{Name: "default", ConfigFS: configFS, Encrypted: true})
			return err
		}
		create = n.killIn(create, cluster)
		n.kill()
		n.serveEncrypted()
		objects := 0
		check := func() {
			t.Helper()
			n.up("/-/ready")
			for i := range objects {
				key := strconv.Itoa(i)
				if status, got := n.s3("GET", "/"+nodeBucket+"/"+key, "", nil); status != http.StatusOK || string(got) != "planted-"+key {
					t.Fatalf("get %s: %d %s", key, status, got)
				}
			}
			key := strconv.Itoa(objects)
			if status, text := n.s3("PUT", "/"+nodeBucket+"/"+key, "", []byte("planted-"+key)); status != http.StatusOK {
				t.Fatalf("put %s: %d %s", key, status, text)
			}
			objects++
		}
		check()
		for i := range 3 {
			rotate = n.killIn(rotate, func(ctx context.Context) error { _, err := n.admin.RotateKMS(ctx); return err })
			check()
			to := api.SetKMS{Backend: "local", KeyFile: filepath.Join(n.dir, "keys"+strconv.Itoa(i))}
			set := func(ctx context.Context) error { _, err := n.admin.SetKMS(ctx, to); return err }
			change = n.killIn(change, set)
			check()
			if err := set(context.Background()); err != nil {
				t.Fatalf("repeating the change: %v", err)
			}
			check()
			if i > 0 {
				if err := os.Remove(filepath.Join(n.dir, "keys"+strconv.Itoa(i-1))); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.Remove(filepath.Join(n.dir, "state", kekFile)); err != nil {
			t.Fatal(err)
		}
		for _, lost := range []string{"", filepath.Join(n.dir, "drive", metaDir, "ENCRYPTION")} {
			n.stop()
			if lost != "" {
				if err := os.Remove(lost); err != nil {
					t.Fatal(err)
				}
			}
			n.start()
			check()
		}
		n.stop()
		if found := n.find("planted-"); len(found) > 0 {
			t.Fatal(errors.New("plain on the drive"), found)
		}
	}
}
