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
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/drive"
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

	mu      sync.Mutex
	devices map[string]int // descriptors of block devices, by path; kept, for drives that fail and return
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
	for _, dir := range append([]string{d.cfg.StateDir}, d.cfg.MetadataDirs...) {
		if err := a.adopt(dir, d.log); err != nil {
			return err
		}
	}
	d.adoptDrives(a)
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

// adoptDrives sees to it that directory drives belong to the account, and opens block
// devices. Whether the start can do without a drive that has trouble is not known yet.
func (d *daemon) adoptDrives(a *account) {
	d.opened.devices = map[string]int{}
	for i := range d.locs {
		loc := &d.locs[i]
		switch {
		case loc.err != nil:
		case !loc.block:
			loc.err = a.adopt(loc.path, d.log)
		default:
			// As package ioring opens them.
			fd, err := unix.Open(loc.file, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_EXCL|unix.O_DIRECT, 0)
			if errors.Is(err, unix.EBUSY) {
				err = errors.New("it is mounted or held by another process")
			}
			if err != nil {
				loc.err = fmt.Errorf("drive %s: %w", loc.path, err)
				continue
			}
			d.opened.devices[loc.file] = fd
		}
	}
}

// openAsRoot opens ports below 1024.
func (d *daemon) openAsRoot(ctx context.Context) error {
	d.opened.listeners = map[string]net.Listener{}
	listen, _ := congestion(d.cfg.TCPCongestion, systemCongestion())
	lc := listenConfig(listen)
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
	o.mu.Lock()
	defer o.mu.Unlock()
	if fd, ok := o.devices[path]; ok {
		return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	return unix.Open(path, flags, perm)
}

// has reports whether path was opened as root.
func (o *opened) has(path string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.devices[path]
	return ok
}

// release closes a block device that is not needed any more.
func (o *opened) release(path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if fd, ok := o.devices[path]; ok {
		delete(o.devices, path)
		_ = unix.Close(fd)
	}
}

// close closes everything.
func (o *opened) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, fd := range o.devices {
		_ = unix.Close(fd)
	}
	for _, ln := range o.listeners {
		_ = ln.Close()
	}
	o.devices, o.listeners = nil, nil
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

// examine is examine that knows the block devices that were opened as root.
func (d *daemon) examine(path string) location { return bounded(path, d.look) }

// look is look, but for block devices that were opened as root: the daemon's user
// cannot open them again. What is not blank is taken to be the drive that was there;
// to open it tells.
func (d *daemon) look(path string) location {
	if !d.opened.has(path) {
		return look(path)
	}
	loc := location{path: path, file: path, block: true}
	err := d.opened.notBlank(path)
	switch b, known := d.roster.at(path); {
	case errors.Is(err, errBlankPath):
		loc.fresh = true
	case err != nil:
		loc.err = fmt.Errorf("drive %s: %w", path, err)
	case known:
		loc.id = &drive.Identity{Drive: b.id, Cluster: d.clusterID}
	default:
		loc.err = fmt.Errorf("drive %s: which drive it is, a restart will tell", path)
	}
	return loc
}

// notBlank reads the beginning of a block device that was opened as root:
// errBlankPath when it is all zero.
func (o *opened) notBlank(path string) error {
	fd, err := o.openFile(path, 0, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return err
	}
	defer unix.Munmap(buf)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return err
	}
	for _, b := range buf[:n] {
		if b != 0 {
			return nil
		}
	}
	return errBlankPath
}
