package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listenAdmin opens the admin socket with mode 0600, or 0660 and that group where
// one is given. A socket left behind by a daemon that died is replaced; one that
// answers is not.
func listenAdmin(path, group string) (net.Listener, error) {
	old := syscall.Umask(0o022) // others may look in: the socket has a mode of its own
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("admin socket %s: another daemon answers there", path)
	}
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("admin socket %s: the path holds something that is not a socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
	}
	// The mode must be right from the first moment the socket exists.
	old = syscall.Umask(0o177)
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if group == "" {
		return ln, nil
	}
	gid, err := groupID(group)
	if err == nil {
		err = os.Chown(path, -1, gid)
	}
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), ln.Close())
	}
	return ln, nil
}

// peerKey is the context key of the admin client's uid.
type peerKey struct{}

// withPeer records in ctx who is on the other side of an admin connection.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}) != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, *cred)
}

// peerAllowed reports whether the client may administer: root, the user that the
// daemon runs as, and with an admin group whoever the socket's mode lets in, for
// that are its members. An unknown peer may not.
func peerAllowed(ctx context.Context, group bool) (uid uint32, ok bool) {
	cred, known := ctx.Value(peerKey{}).(unix.Ucred)
	return cred.Uid, known && (group || cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}
