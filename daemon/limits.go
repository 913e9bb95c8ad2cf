package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/config"
)

// ownFiles are the descriptors set aside for the daemon itself: the metadata
// store's tables, drives, admin connections. Clients must not be able to take
// them, for a store that cannot open its tables is out of service.
const ownFiles = 2048

// lockName is the file in the state directory that a running daemon holds.
const lockName = "lock"

// fitConnections raises the limit of open files, as far as it goes and, with the
// right to do so, as far as MaxConns needs; it lowers MaxConns to what is left to
// clients.
func fitConnections(cfg *config.Config, log *slog.Logger) {
	var rl unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &rl); err != nil {
		log.Warn("cannot tell the limit of open files", "err", err)
		return
	}
	want := uint64(cfg.MaxConns) + ownFiles + refuseRoom
	if rl.Max < want {
		// Refused to all but those with CAP_SYS_RESOURCE.
		if raised := (unix.Rlimit{Cur: want, Max: want}); unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			rl = raised
		}
	}
	if rl.Cur < rl.Max {
		raised := unix.Rlimit{Cur: rl.Max, Max: rl.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil {
			rl = raised
		}
	}
	if most := connectionsWithin(rl.Cur); cfg.MaxConns > most {
		log.Info("the limit of open files lowers max-connections", "max_connections", most, "open_files", rl.Cur, "wanted", cfg.MaxConns)
		cfg.MaxConns = most
	}
}

// connectionsWithin is how many client connections fit a limit of open files.
func connectionsWithin(files uint64) int {
	files = min(files, 1<<30)
	return int(max(files-min(files, ownFiles+refuseRoom), files/4, 1))
}

// lockDir makes sure that dir has one daemon only. The lock ends with the file
// or the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errors.New("another daemon uses it")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state directory %s: %w", dir, err), f.Close())
	}
	return f, nil
}
