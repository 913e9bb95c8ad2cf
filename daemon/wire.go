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
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/daemon/smart"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/metahome"
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
	opened   opened // with root's rights
	slots    *slots // of client connections
	limits   *s3fast.Limits
	limitsMu sync.Mutex // serializes changes of limits
	moving   sync.Mutex // held by an export or import of the configuration
	lock     *os.File   // of the state directory

	locs       []location // at the start: those of --drive, then others where drives are
	list       driveList  // at the start
	roster     *roster
	clusterID  [16]byte
	witness    metahome.Voter
	meta       *metadata
	chosen     chosenParity // by buckets
	supervisor *supervisor
	checks     checker
	metaScrub  metaScrubber
	smart      *smart.Cache
	scrubMu    sync.Mutex // serializes changes of scrubSet
	scrubSet   scrubDoc

	arena     *ioring.Arena
	alone     atomic.Bool // one drive is waited for, so far: see ioring.Options
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
	d := &daemon{cfg: cfg, log: log, started: time.Now(), failed: make(chan error, 8), roster: newRoster(), smart: smart.NewCache()}
	d.alone.Store(true)
	d.supervisor = newSupervisor(d)
	for _, step := range []func(context.Context) error{
		d.locateDrives, d.becomeUser, d.openEngine, d.openLimits, d.openIdentities, d.openAudit, d.openFrontend, d.listenS3, d.openAdmin,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	d.serveAll()
	d.supervisor.start()
	return d, nil
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
	if d.clusters, err = openClusters(ctx, docs, d.cfg.Region, d.encryptCluster); err != nil {
		return err
	}
	d.clusters.engine = d.engine
	d.clusters.useParity(d.clusters.current.Load())
	return nil
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
	listen, elsewhere := congestion(d.cfg.TCPCongestion, systemCongestion())
	lc := listenConfig(listen)
	opts := muxOptions{
		required:  d.cfg.TLS == config.TLSRequired,
		silence:   d.cfg.StallTimeout,
		slots:     d.slots,
		elsewhere: elsewhere,
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
	d.checks.stop(ctx)
	d.supervisor.close(ctx)
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
	} else if err := d.closeOpened(); err != nil {
		return err
	}
	if d.arena != nil {
		return d.arena.Close()
	}
	return nil
}

// closeOpened closes what a start opened that did not come to have an engine.
func (d *daemon) closeOpened() error {
	var errs []error
	if d.meta != nil {
		errs = append(errs, d.meta.store.Close())
	}
	return errors.Join(append(errs, d.roster.close())...)
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
