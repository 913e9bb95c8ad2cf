package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
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

// closeTimeout bounds each of the steps of a stop that follow the requests in
// flight.
const closeTimeout = 15 * time.Second

// daemon is everything that runs in one process.
type daemon struct {
	cfg      *config.Config
	log      *slog.Logger
	started  time.Time
	locs     []location
	opened   opened // with root's rights
	slots    *slots // of client connections
	limits   *s3fast.Limits
	limitsMu sync.Mutex // serializes changes of limits
	lock     *os.File   // of the state directory

	arena     *ioring.Arena
	engine    *engine.Engine
	keys      *keys
	key       *seal.Key // of the cluster
	iam       *iam.Manager
	audit     *auditor
	providers *providers
	clusters  *clusters
	certs     *certificates // nil with TLS off
	s3        *s3fast.Server
	s3lns     []net.Listener
	admin     *http.Server

	ready  readiness
	failed chan error // a server ended by itself
}

// open builds the daemon from the bottom up: arena, metadata, drives, engine,
// identities, certificate, S3 frontend, admin socket.
func open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*daemon, error) {
	d := &daemon{cfg: cfg, log: log, started: time.Now(), failed: make(chan error, 8)}
	for _, step := range []func(context.Context) error{
		d.locateDrives, d.becomeUser, d.openEngine, d.openLimits, d.openIdentities, d.openAudit, d.openFrontend, d.listenS3, d.openAdmin,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	d.serveAll()
	return d, nil
}

// locateDrives looks at what the drive paths are.
func (d *daemon) locateDrives(context.Context) error {
	for _, path := range d.cfg.Drives {
		loc, err := locate(path)
		if err != nil {
			return err
		}
		d.locs = append(d.locs, loc)
	}
	return nil
}

// openEngine opens metadata and drives and joins them.
func (d *daemon) openEngine(ctx context.Context) (err error) {
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
	if d.lock, err = lockDir(d.cfg.StateDir); err != nil {
		return err
	}
	if d.keys, err = openKeys(d.cfg.StateDir, home, d.log); err != nil {
		return err
	}
	store, err := d.keys.openStore(ctx, func(key *[32]byte) (*pebblemeta.Store, error) {
		return pebblemeta.Open(home, pebblemeta.Options{CacheSize: d.cfg.Cache, Logger: d.log, Key: key})
	})
	if errors.Is(err, unix.EAGAIN) { // the store's lock file
		return fmt.Errorf("drive with metadata %s: another daemon uses it", home)
	}
	if err != nil {
		return fmt.Errorf("metadata store %s: %w", home, err)
	}
	id, err := clusterID(ctx, store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	drives, err := d.openDrives(ctx, id)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	free := func() (int64, error) { return freeBytes(home) }
	reserve := reserveOf(d.cfg, home) / 4
	d.engine, err = engine.Open(ctx, engine.Config{
		Drives:       drives,
		Store:        &floorStore{Store: store, free: free, floor: min(reserve/4, floorMost)},
		InlineMax:    d.cfg.InlineMax,
		WriteBuffers: d.cfg.Buffers / 2,
		MetaFree:     free,
		MetaReserve:  reserve,
		Logger:       d.log,
	})
	if err != nil {
		return errors.Join(err, closeDrives(drives), store.Close())
	}
	if err := d.keys.openRing(ctx, d.engine.Docs(""), store); err != nil {
		return err
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
	docs := d.engine.Docs("")
	key, err := loadKey(ctx, docs, filepath.Join(d.cfg.StateDir, "cluster.key"))
	if err != nil {
		return err
	}
	d.key = key
	if d.iam, err = iam.Open(ctx, iamDocs{docs}, key, time.Now); err != nil {
		return err
	}
	var damaged []string
	if d.providers, damaged, err = openProviders(ctx, docs); err != nil {
		return err
	}
	for _, path := range append(d.iam.Damaged(), damaged...) {
		d.log.Error("a stored document cannot be read: whom it concerns is shut out until it is replaced", "document", path)
	}
	d.clusters, err = openClusters(ctx, docs, d.cfg.Region, d.encryptCluster)
	return err
}

// openFrontend makes the S3 server and the certificate.
func (d *daemon) openFrontend(context.Context) (err error) {
	if d.cfg.TLS != config.TLSOff {
		if d.certs, err = openCertificates(filepath.Join(d.cfg.StateDir, "tls"), time.Now(), nil); err != nil {
			return err
		}
		if err := d.certs.askClients(d.cfg); err != nil {
			return err
		}
	}
	d.slots = d.newSlots()
	d.s3, err = s3fast.New(s3fast.Config{
		Engine:       d.engine,
		IAM:          d.iam,
		Cluster:      d.clusters.view,
		Region:       d.cfg.Region,
		Service:      d.servicePage,
		StallTimeout: d.cfg.StallTimeout,
		IdleTimeout:  d.cfg.IdleTimeout,
		MaxConns:     d.cfg.MaxConns + refuseRoom, // the listener keeps the limit
		MaxRequests:  d.cfg.MaxRequests,
		Logger:       d.log,
		Audit:        d.audit.hook,
		Keys:         d.keys.ring,
		PlainKeys:    d.cfg.TLS == config.TLSOff, // TLS ends in front of the daemon, if anywhere
		OIDC:         d.providers.view,
		Limits:       d.limits,
		Memory:       d.memoryShare,

		TrustedProxies: d.cfg.TrustedProxies,
		HSTS:           d.hsts(),
	})
	if err == nil {
		d.slots.idle = d.s3.CloseIdle
	}
	return err
}

func (d *daemon) listenS3(ctx context.Context) error {
	var lc net.ListenConfig
	opts := muxOptions{
		required: d.cfg.TLS == config.TLSRequired,
		silence:  d.cfg.StallTimeout,
		slots:    d.slots,
	}
	if d.certs != nil {
		opts.tls = d.certs.config()
	}
	for _, addr := range d.cfg.Listen {
		ln := d.opened.listeners[addr]
		if delete(d.opened.listeners, addr); ln == nil {
			var err error
			if ln, err = lc.Listen(ctx, "tcp", addr); err != nil {
				return fmt.Errorf("S3 endpoint: %w", err)
			}
		}
		d.s3lns = append(d.s3lns, newMuxListener(ln, opts))
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
		if err := d.s3.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
			d.log.Warn("requests still in flight were cut off", "after", d.cfg.ShutdownTimeout)
		} else {
			errs = append(errs, err)
		}
	}
	for _, ln := range d.s3lns {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	// What comes now needs time of its own: it has little to do, but must be
	// done also when requests took all there was.
	ctx, cancel = context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if d.admin != nil {
		if err := d.admin.Shutdown(ctx); err != nil {
			errs = append(errs, err, d.admin.Close())
		}
	}
	errs = append(errs, d.audit.close(ctx), d.closeStorage(ctx))
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	d.opened.close()
	return errors.Join(errs...)
}

// closeStorage closes engine and arena. The arena goes only after the engine is
// closed: transfers in flight use its memory.
func (d *daemon) closeStorage(ctx context.Context) error {
	if d.engine != nil {
		if err := d.engine.Close(ctx); err != nil {
			return err
		}
	}
	if d.arena != nil {
		return d.arena.Close()
	}
	return nil
}

// reloadCertificates reads the certificates' files again, for an administrator
// who replaced them by hand.
func (d *daemon) reloadCertificates() {
	if d.certs == nil {
		d.log.Info("SIGHUP: nothing to read again, TLS is off")
		return
	}
	if err := d.certs.reload(); err != nil {
		d.log.Error("SIGHUP: keeping the certificate in use", "err", err)
		return
	}
	d.log.Info("SIGHUP: certificate read again", "fingerprint", d.certs.describe(d.cfg.TLS).Fingerprint)
}
