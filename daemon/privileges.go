package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// account is whom the daemon runs as after it has given up root's rights.
type account struct {
	name     string // as given, for messages: "sluice:sluice"
	uid, gid int
	groups   []int // all of them, gid included
}

// parseAccount looks up NAME[:GROUP]. Both may be numbers; a number that is no
// user's needs a group.
func parseAccount(spec string) (*account, error) {
	name, group, given := strings.Cut(spec, ":")
	a := &account{name: spec, uid: -1, gid: -1}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	switch {
	case err == nil:
		a.uid, _ = strconv.Atoi(u.Uid) // decimal on every Unix
		a.gid, _ = strconv.Atoi(u.Gid)
		ids, err := u.GroupIds()
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		for _, id := range ids {
			if gid, err := strconv.Atoi(id); err == nil {
				a.groups = append(a.groups, gid)
			}
		}
	default:
		if a.uid, err = strconv.Atoi(name); err != nil || a.uid < 0 {
			return nil, fmt.Errorf("user: there is no user %q", name)
		}
		if !given {
			return nil, fmt.Errorf("user: %d is no user's number: give a group, too (%d:GROUP)", a.uid, a.uid)
		}
	}
	if given {
		if a.gid, err = groupID(group); err != nil {
			return nil, err
		}
		a.groups = append(a.groups, a.gid)
	}
	return a, nil
}

// groupID looks up a group by name or number.
func groupID(name string) (int, error) {
	if g, err := user.LookupGroup(name); err == nil {
		return strconv.Atoi(g.Gid)
	}
	gid, err := strconv.Atoi(name)
	if err != nil || gid < 0 {
		return 0, fmt.Errorf("there is no group %q", name)
	}
	return gid, nil
}

// opened is what was opened with root's rights, to be used without them.
type opened struct {
	listeners map[string]net.Listener // by the address in the configuration
	devices   map[string]int          // descriptors of block devices, by path
}

// becomeUser opens what only root can, sees to it that the directories belong to
// the account, and gives up root's rights for good, in every thread. Everything
// else (rings, metadata, sockets) is opened afterwards, as the account.
func (d *daemon) becomeUser(ctx context.Context) error {
	if d.cfg.User == "" {
		return nil
	}
	a, err := parseAccount(d.cfg.User)
	if err != nil {
		return err
	}
	if os.Geteuid() == a.uid {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("user: only root can become %s", a.name)
	}
	raiseMemlock(d.cfg.Buffers, d.log)
	dirs := []string{d.cfg.StateDir}
	for _, loc := range d.locs {
		if !loc.block {
			dirs = append(dirs, loc.path)
		}
	}
	for _, dir := range dirs {
		if err := a.adopt(dir, d.log); err != nil {
			return err
		}
	}
	if err := a.adoptRun(filepath.Dir(d.cfg.AdminSocket)); err != nil {
		return err
	}
	if err := d.openAsRoot(ctx); err != nil {
		return err
	}
	if err := a.become(); err != nil {
		return fmt.Errorf("user %s: %w", a.name, err)
	}
	d.log.Info("gave up root's rights", "user", a.name, "uid", a.uid, "gid", a.gid, "groups", a.groups)
	return nil
}

// openAsRoot opens block devices and ports below 1024.
func (d *daemon) openAsRoot(ctx context.Context) error {
	d.opened = opened{listeners: map[string]net.Listener{}, devices: map[string]int{}}
	for _, loc := range d.locs {
		if !loc.block {
			continue
		}
		// As package ioring opens them.
		fd, err := unix.Open(loc.file, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_EXCL|unix.O_DIRECT, 0)
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("drive %s: it is mounted or held by another process", loc.path)
		}
		if err != nil {
			return fmt.Errorf("drive %s: %w", loc.path, err)
		}
		d.opened.devices[loc.file] = fd
	}
	var lc net.ListenConfig
	for _, addr := range d.cfg.Listen {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("S3 endpoint: %w", err)
		}
		if n, err := net.LookupPort("tcp", port); err != nil || n == 0 || n >= 1024 {
			continue
		}
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("S3 endpoint: %w", err)
		}
		d.opened.listeners[addr] = ln
	}
	return nil
}

// openFile is open(2), but for block devices that were opened as root.
func (o *opened) openFile(path string, flags int, perm uint32) (int, error) {
	if fd, ok := o.devices[path]; ok {
		delete(o.devices, path)
		return fd, nil
	}
	return unix.Open(path, flags, perm)
}

// close closes what nobody took.
func (o *opened) close() {
	for _, fd := range o.devices {
		_ = unix.Close(fd)
	}
	for _, ln := range o.listeners {
		_ = ln.Close()
	}
	*o = opened{}
}

// adopt makes dir the account's: made where it is missing, given to the account
// where it is empty. What holds something is never given away: it must belong to
// the account already.
func (a *account) adopt(dir string, log *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		old := syscall.Umask(0o022) // parents must let the account through
		err = os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755)
		syscall.Umask(old)
		if err == nil {
			err = makeDirs(dir)
		}
	}
	if err != nil {
		return err
	}
	foreign, err := a.foreign(dir)
	if err != nil {
		return err
	}
	empty := true
	for _, e := range entries {
		if e.Name() == "lost+found" { // every new ext4's, root's for good
			continue
		}
		empty = false
		other, err := a.foreign(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		foreign = foreign || other
	}
	switch {
	case !foreign:
		return nil
	case !empty:
		return fmt.Errorf("%s, or something in it, does not belong to the user %s: if it is Sluice's, run 'chown -R %d:%d %s'", dir, a.name, a.uid, a.gid, dir)
	}
	log.Info("an empty directory is given to the daemon's user", "dir", dir, "user", a.name)
	return os.Chown(dir, a.uid, a.gid)
}

// adoptRun makes the directory of the admin socket where it is missing. Others
// may look into it: the socket has a mode of its own.
func (a *account) adoptRun(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old := syscall.Umask(0o022)
	err := os.MkdirAll(dir, 0o755)
	syscall.Umask(old)
	return errors.Join(err, os.Chown(dir, a.uid, a.gid))
}

// foreign reports whether path is somebody else's.
func (a *account) foreign(path string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return int(st.Uid) != a.uid, nil
}

// become changes the credentials of all threads. Package syscall does so for
// these calls (since Go 1.16); package unix does not.
func (a *account) become() error {
	if err := syscall.Setgroups(a.groups); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setresgid(a.gid, a.gid, a.gid); err != nil {
		return fmt.Errorf("setresgid: %w", err)
	}
	if err := syscall.Setresuid(a.uid, a.uid, a.uid); err != nil {
		return fmt.Errorf("setresuid: %w", err)
	}
	if a.uid != 0 && syscall.Setresuid(-1, 0, -1) == nil {
		return errors.New("root's rights could be taken back")
	}
	return undumpable() // changing the user may have reset it
}
