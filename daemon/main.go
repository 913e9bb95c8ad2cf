package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine/meta"
)

// version is set by the linker.
var version = "dev"

func main() {
	setTimerSlack()
	os.Exit(run(os.Args[1:], os.Environ()))
}

// errUsage marks mistakes of the command line or configuration: exit code 2.
var errUsage = errors.New("usage")

func run(args, environ []string) int {
	cfg := config.Default()
	flags := cfg.Flags()
	ctx, sigs := watchSignals(context.Background())
	defer sigs.close()
	cmd := &cobra.Command{
		Use:   "sluiced --drive PATH[,PATH...]",
		Short: "S3-compatible object storage daemon",
		Long: "sluiced serves S3 from the drives given. Administer it with ctl.\nEvery flag is also a key of the --config file and a SLUICE_ environment variable.\n" +
			"A new drive is formatted; drives that are of the cluster are found again without being named, and a start\n" +
			"does without those that are missing as far as redundancy goes. A blank path where a drive was is left alone.\n" +
			"SIGTERM and SIGINT finish the requests in flight and stop; a second one stops at once. SIGHUP reads the\ncertificate files again.",
		Args:          cobra.NoArgs,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.Load(flags, environ); err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			if !tunedByEnvironment(environ) {
				startCollector()
			}
			return serve(cmd.Context(), &cfg, sigs.reload)
		},
	}
	cmd.Flags().AddFlagSet(flags)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	cmd.SetArgs(args)

	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil || errors.Is(err, pflag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "sluiced: %v\nTry 'sluiced --help'.\n", err)
		return 2
	}
	fmt.Fprintf(os.Stderr, "sluiced: %v\n", err)
	return 1
}

// serve runs the daemon until ctx is done. What arrives in reload has it read
// the certificates again.
func serve(ctx context.Context, cfg *config.Config, reload <-chan struct{}) error {
	log := newLogger(cfg)
	slog.SetDefault(log)
	harden(log)
	logCPU(log)
	fitConnections(cfg, log)
	d, err := open(ctx, cfg, log)
	if err != nil {
		// A command to the metadata that the signal caught under way has an
		// unknown outcome, as after a crash: the next start finds out.
		if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, meta.ErrUnknownOutcome)) {
			log.Info("stopped while starting", "err", err)
			return nil
		}
		return err
	}
	go newIdleTrimmer().run(ctx, idleEvery)
	go d.watchExpiry(ctx)
	log.Info("serving", "listen", d.addresses(), "admin_socket", cfg.AdminSocket, "tls", cfg.TLS, "version", version)
	if err := notifyInit("READY=1"); err != nil {
		log.Warn("cannot tell the service manager", "err", err)
	}
	for {
		select {
		case <-reload:
			d.reloadCertificates()
			continue
		case <-ctx.Done():
			log.Info("stopping: finishing requests in flight", "at_most", cfg.ShutdownTimeout)
		case err = <-d.failed:
			log.Error("a server failed", "err", err)
		}
		return errors.Join(err, d.close())
	}
}

func newLogger(cfg *config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level = slog.LevelInfo // Validate allows only names that parse
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}

// buildVersion describes this program.
func buildVersion(format int) api.Version {
	v := api.Version{Version: version, Go: runtime.Version(), Format: format}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	return v
}
