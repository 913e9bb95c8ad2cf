package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
)

// TestFirstStartKilled kills the daemon at random moments of its very first
// start and of the administrator's first commands, again and again on the same
// drives: it must never refuse what it left half made.
func TestFirstStartKilled(t *testing.T) {
	t.Parallel()
	lives, rounds := 4, 4
	if long() {
		lives, rounds = 10, 8
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range lives {
		n := newNode(t, "--reserve", "16MiB")
		n.args = append(n.args, "--drive", filepath.Join(n.dir, "drive2"))
		for range rounds {
			n.start()
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() { // the commands fail while the daemon starts and once it is dead
				defer close(done)
				for {
					select {
					case <-stop:
						return
					default:
						n.firstCommands(2 * time.Second) // some fail
						time.Sleep(time.Millisecond)
					}
				}
			}()
			// A start takes from 50 ms to over a second, as busy as the machine is.
			time.Sleep(time.Duration(rnd.IntN(600)) * time.Millisecond)
			if !n.alive() {
				t.Fatalf("the daemon ended by itself: %v", n.exit)
			}
			n.kill()
			close(stop)
			<-done
		}
		n.start()
		n.up("/-/live")
		if err := n.firstCommands(time.Minute); err != nil {
			t.Error(err)
		}
		n.up("/-/ready")
		if status, text := n.s3("PUT", "/"+nodeBucket+"/k", "", make([]byte, 200<<10)); status != 200 {
			t.Errorf("PUT after all that: %d %s", status, text)
		}
		n.stop()
	}
}

// firstCommands makes what a cluster needs; what is there already is as good.
func (n *node) firstCommands(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, cluster := n.admin.CreateCluster(ctx, api.CreateCluster{Name: "default", ConfigFS: configFS})
	_, bucket := n.admin.CreateBucket(ctx, api.CreateBucket{Name: nodeBucket})
	_, user := n.admin.CreateUser(ctx, api.CreateUser{Name: nodeUser, Role: "s3", Password: nodeSecret})
	_, policy := n.admin.AttachPolicy(ctx, "readwrite", api.AttachPolicy{User: nodeUser})
	all := []error{cluster, bucket, user, policy}
	return errors.Join(slices.DeleteFunc(all, func(err error) bool {
		var told *api.Error
		return errors.As(err, &told) && told.Status == http.StatusConflict
	})...)
}

// TestForeignState gives the daemon what is not its own: it must say what is
// wrong, change nothing, and end with exit code 1.
func TestForeignState(t *testing.T) {
	t.Parallel()
	made := newNode(t).serve()
	if status, _ := made.s3("PUT", "/"+nodeBucket+"/k", "", []byte("v")); status != 200 {
		t.Fatal(status)
	}
	made.stop()
	copyTo := func(t *testing.T, n *node) {
		if err := os.CopyFS(n.dir, os.DirFS(made.dir)); err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Join(n.dir, "state", "cluster.key"), 0o600)
	}
	for _, c := range []struct {
		name, want string
		spoil      func(dir string) error
	}{
		{"another cluster key", "cluster key file is not the one", func(dir string) error {
			key := filepath.Join(dir, "state", "cluster.key")
			return os.WriteFile(key, []byte("sluice-key-1:"+strings.Repeat("ab", 32)+"\n"), 0o600)
		}},
		{"key lost", "cluster key file is missing: restore", func(dir string) error {
			return os.Remove(filepath.Join(dir, "state", "cluster.key"))
		}},
		{"key readable by others", "chmod 600", func(dir string) error {
			return os.Chmod(filepath.Join(dir, "state", "cluster.key"), 0o644)
		}},
		{"metadata lost", "no current copy of the metadata is there", func(dir string) error {
			return os.RemoveAll(filepath.Join(dir, "drive", "meta"))
		}},
		{"data overwritten", "drive .*superblock|drive .*not", func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, "drive", "data"), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte(strings.Repeat("junk", 1<<19)), 0)
			return err
		}},
		{"certificate spoilt", "certificate .*auto.pem", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "state", "tls", "auto.pem"), []byte("junk"), 0o600)
		}},
		{"directory of somebody else", "not empty", func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, "drive")); err != nil {
				return err
			}
			if err := os.Mkdir(filepath.Join(dir, "drive"), 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "drive", "thesis.tex"), nil, 0o600)
		}},
		{"socket path taken", "not a socket", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "s.sock"), []byte("x"), 0o600)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			copyTo(t, n)
			if err := c.spoil(n.dir); err != nil {
				t.Fatal(err)
			}
			n.fails(1, c.want)
		})
	}
}

// TestNotMounted: a blank directory where the only drive was is not taken for a first
// start, until the administrator says so.
func TestNotMounted(t *testing.T) {
	t.Parallel()
	n := newNode(t).serve()
	n.stop()
	drive := filepath.Join(n.dir, "drive")
	if err := os.RemoveAll(drive); err != nil {
		t.Fatal(err)
	}
	n.fails(1, "mount them.*remove .*drives.json and .*metadata-witness")
	if err := os.Mkdir(drive, 0o700); err != nil {
		t.Fatal(err)
	}
	n.fails(1, "mount them")
	if entries, err := os.ReadDir(drive); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	for _, name := range []string{"drives.json", "metadata-witness"} {
		if err := os.Remove(filepath.Join(n.dir, "state", name)); err != nil {
			t.Fatal(err)
		}
	}
	n.serve().stop()
}

// TestStopWhileStarting sends SIGTERM at random moments of the start: the exit
// code is 0 all the same.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for i := range 8 {
		earlier := len(n.log.String())
		n.start()
		time.Sleep(time.Duration(60+40*i) * time.Millisecond)
		if !strings.Contains(n.log.String()[earlier:], "level=") {
			n.kill() // before main ran, a signal's action is the kernel's
			continue
		}
		n.signal(syscall.SIGTERM)
		n.ended(20 * time.Second)
	}
}
