package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/s3fast"
	"github.com/sluicehq/sluice/s3fast/iam"
)

// daemon is everything that runs in one process.
type daemon struct {
	cfg     *config.Config
	log     *slog.Logger
	started time.Time
	locs    []location

	arena    *ioring.Arena
	engine   *engine.Engine
	iam      *iam.Manager
	clusters *clusters
	certs    *certificates // nil with TLS off
	s3       *s3fast.Server
	s3lns    []net.Listener
	admin    *http.Server

	ready  readiness
	failed chan error // a server ended by itself
}

// open builds the daemon from the bottom up: arena, metadata, drives, engine,
// identities, certificate, S3 frontend, admin socket.
func open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*daemon, error) {
	d := &daemon{cfg: cfg, log: log, started: time.Now(), failed: make(chan error, 8)}
	for _, step := range []func(context.Context) error{
		d.openEngine, d.openIdentities, d.openFrontend, d.listenS3, d.openAdmin,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	d.serveAll()
	return d, nil
}

// openEngine opens metadata and drives and joins them.
func (d *daemon) openEngine(ctx context.Context) (err error) {
	for _, path := range d.cfg.Drives {
		loc, err := locate(path)
		if err != nil {
			return err
		}
		d.locs = append(d.locs, loc)
	}
	home, err := metaHome(d.locs, d.cfg.StateDir)
	if err != nil {
		return err
	}
	if d.arena, err = ioring.NewArena(d.cfg.Buffers); err != nil {
		return err
	}
	if err := makeDirs(home, d.cfg.StateDir); err != nil {
		return err
	}
	store, err := pebblemeta.Open(home, pebblemeta.Options{CacheSize: d.cfg.Cache, Logger: d.log})
	if err != nil {
		return fmt.Errorf("metadata store %s: %w", home, err)
	}
	id, err := clusterID(ctx, store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	drives, err := openDrives(ctx, d.cfg, d.locs, id, d.arena, d.log)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	d.engine, err = engine.Open(ctx, engine.Config{
		Drives:       drives,
		Store:        store,
		InlineMax:    d.cfg.InlineMax,
		WriteBuffers: d.cfg.Buffers / 2,
		MetaFree:     func() (int64, error) { return freeBytes(home) },
		MetaReserve:  reserveOf(d.cfg, home) / 4,
		Logger:       d.log,
	})
	if err != nil {
		return errors.Join(err, closeDrives(drives), store.Close())
	}
	return rememberDrives(ctx, d.engine.Docs(""), drives, d.locs, d.log)
}

// freeBytes is what the file system of dir has left for the daemon.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// openIdentities loads users, policies and the cluster's configuration.
func (d *daemon) openIdentities(ctx context.Context) error {
	key, err := seal.LoadOrCreate(filepath.Join(d.cfg.StateDir, "cluster.key"), true)
	if err != nil {
		return err
	}
	docs := d.engine.Docs("")
	if err := checkKey(ctx, docs, key); err != nil {
		return err
	}
	if d.iam, err = iam.Open(ctx, iamDocs{docs}, key, time.Now); err != nil {
		return err
	}
	d.clusters, err = openClusters(ctx, docs, d.cfg.Region)
	return err
}

// openFrontend makes the S3 server and the certificate.
func (d *daemon) openFrontend(context.Context) (err error) {
	if d.cfg.TLS != config.TLSOff {
		if d.certs, err = openCertificates(filepath.Join(d.cfg.StateDir, "tls"), time.Now(), nil); err != nil {
			return err
		}
	}
	d.s3, err = s3fast.New(s3fast.Config{
		Engine:       d.engine,
		IAM:          d.iam,
		Cluster:      d.clusters.view,
		Region:       d.cfg.Region,
		Service:      d.servicePage,
		StallTimeout: d.cfg.StallTimeout,
		IdleTimeout:  d.cfg.IdleTimeout,
		MaxConns:     d.cfg.MaxConns,
		MaxRequests:  d.cfg.MaxRequests,
		Logger:       d.log,
	})
	return err
}

func (d *daemon) listenS3(ctx context.Context) error {
	var lc net.ListenConfig
	for _, addr := range d.cfg.Listen {
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("S3 endpoint: %w", err)
		}
		if d.certs != nil {
			ln = newMuxListener(ln, d.certs.config(), d.cfg.TLS == config.TLSRequired)
		}
		d.s3lns = append(d.s3lns, ln)
	}
	return nil
}

// serveAll starts the servers; what ends one of them arrives in d.failed.
func (d *daemon) serveAll() {
	for _, ln := range d.s3lns {
		go func() {
			if err := d.s3.Serve(ln); err != nil && !errors.Is(err, net.ErrClosed) {
				d.failed <- fmt.Errorf("S3 endpoint %s: %w", ln.Addr(), err)
			}
		}()
	}
	d.ready.set(true)
}

// addresses are the S3 endpoint's, as bound.
func (d *daemon) addresses() []string {
	var out []string
	for _, ln := range d.s3lns {
		out = append(out, ln.Addr().String())
	}
	return out
}

// close stops in reverse order: no new requests, requests in flight finished
// within the shutdown timeout, then everything synced and closed. It works on a
// daemon that was opened in part, too.
func (d *daemon) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.ShutdownTimeout)
	defer cancel()
	d.ready.set(false)
	var errs []error
	if d.s3 != nil {
		errs = append(errs, d.s3.Shutdown(ctx))
	}
	for _, ln := range d.s3lns {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if d.admin != nil {
		errs = append(errs, d.admin.Shutdown(ctx))
	}
	if d.engine != nil {
		errs = append(errs, d.engine.Close(ctx))
	}
	if d.arena != nil {
		errs = append(errs, d.arena.Close())
	}
	return errors.Join(errs...)
}
