package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// sameStop is how long further signals count as the one that began the stop: a
// terminal's Ctrl-C reaches the process both directly and through whatever
// started it.
const sameStop = time.Second

// signals is what the daemon does about signals. SIGTERM and SIGINT begin the
// stop; another one later than sameStop ends the process at once, which is as
// safe as a crash. SIGHUP reads the certificates again. SIGPIPE is ignored: a
// reader of the log that went away is no reason to stop serving.
type signals struct {
	got    chan os.Signal
	reload chan struct{} // holds one pending SIGHUP
	exit   func(code int)
}

// watchSignals returns a context that ends with the first signal to stop.
func watchSignals(parent context.Context) (context.Context, *signals) {
	s := &signals{got: make(chan os.Signal, 8), reload: make(chan struct{}, 1), exit: os.Exit}
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(s.got, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(parent)
	go s.run(cancel)
	return ctx, s
}

// close returns to the signals' default actions.
func (s *signals) close() {
	signal.Stop(s.got)
	close(s.got)
}

func (s *signals) run(stop context.CancelFunc) {
	var first time.Time
	for sig := range s.got {
		switch {
		case sig == syscall.SIGHUP:
			select {
			case s.reload <- struct{}{}:
			default:
			}
		case first.IsZero():
			first = time.Now()
			stop()
		case time.Since(first) >= sameStop:
			slog.Error("second signal: ending at once", "signal", sig)
			s.exit(1)
		}
	}
	stop()
}
