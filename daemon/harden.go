package main

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// harden keeps what the process holds to itself: files it makes are its user's
// only, no program it would start gains rights, and neither a core dump nor a
// debugger of the same user sees its memory, where secrets are. What the kernel
// refuses is told and passed over.
func harden(log *slog.Logger) {
	syscall.Umask(0o077)
	if err := noNewPrivileges(); err != nil {
		log.Warn("cannot set no_new_privs", "err", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		log.Warn("cannot turn core dumps off", "err", err)
	}
	if err := undumpable(); err != nil {
		log.Warn("cannot make the process undumpable", "err", err)
	}
}

// noNewPrivileges sets no_new_privs (prctl(2)) in every thread; it is a thread's,
// inherited by those that it makes.
func noNewPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errors.Is(errno, syscall.ENOTSUP) { // linked with cgo, as the race detector needs
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

func undumpable() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// raiseMemlock lets a user without CAP_IPC_LOCK register the I/O buffers: they
// count as locked memory, and all of them may come to be.
func raiseMemlock(buffers int64, log *slog.Logger) {
	var rl unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &rl); err != nil {
		log.Warn("cannot tell the limit of locked memory", "err", err)
		return
	}
	want := uint64(buffers) + 64<<20
	if rl.Cur >= want {
		return
	}
	raised := unix.Rlimit{Cur: max(rl.Max, want), Max: max(rl.Max, want)}
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &raised) == nil {
		return
	}
	raised = unix.Rlimit{Cur: rl.Max, Max: rl.Max}
	err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &raised)
	log.Debug("the limit of locked memory may keep buffers from being registered", "bytes", rl.Max, "wanted", want, "err", err)
}

// notifyInit tells the service manager of a state, as sd_notify(3) does; without
// one nothing happens.
func notifyInit(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
