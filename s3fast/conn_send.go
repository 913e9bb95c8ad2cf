package s3fast

import (
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender writes to a TCP connection of which the kernel's own descriptor is known.
// Against net.Conn.Write it spares timers, for it needs a deadline only where it must
// wait, and takes what is sent from two places at once, so that a response's header
// and the beginning of its body are one system call and one segment.
//
// It belongs to the goroutine that serves the connection.
type sender struct {
	raw  syscall.RawConn // nil: there is none, and net.Conn.Write is what is used
	try  func(fd uintptr) bool
	once func(fd uintptr)

	vec   [2]unix.Iovec
	msg   unix.Msghdr
	flags uintptr
	wait  bool // try is called again, once there is room, until something was sent
	n     int  // bytes sent by the last try
	errno syscall.Errno
}

// init finds the descriptor of nc.
func (s *sender) init(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	s.raw, s.try, s.once = raw, s.attempt, func(fd uintptr) { s.attempt(fd) }
}

// attempt is for RawConn: it reports whether it need not be called again.
func (s *sender) attempt(fd uintptr) bool {
	beforeSend()
	for {
		// The socket does not block, so the call takes no longer than copying what
		// there is room for. Leaving the scheduler out of it spares its monitor the
		// taking away, and this thread the getting back, of a processor.
		n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.msg)), s.flags)
		switch errno {
		case 0:
			s.n, s.errno = int(n), 0
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			s.n, s.errno = 0, 0
			return !s.wait
		}
		s.n, s.errno = 0, errno
		return true
	}
}

// set makes what is to be sent head and then body, one of which is not empty. With
// more the kernel may keep the last, incomplete segment back until the next send.
func (s *sender) set(head, body []byte, more bool) {
	k := 0
	for _, p := range [2][]byte{head, body} {
		if len(p) > 0 {
			s.vec[k].Base = &p[0]
			s.vec[k].SetLen(len(p))
			k++
		}
	}
	s.msg.Iov = &s.vec[0]
	s.msg.SetIovlen(k)
	s.flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	if more {
		s.flags |= unix.MSG_MORE
	}
}

// send writes head and then body, and waits for room for them for as long as
// patience from begun. It returns how much of both was written.
func (c *conn) send(head, body []byte, more bool, begun time.Time, patience time.Duration) (n int, err error) {
	s := &c.sender
	defer func() { s.vec = [2]unix.Iovec{} }()
	for total := len(head) + len(body); ; {
		s.set(head, body, more)
		if s.wait {
			err = s.raw.Write(s.try)
		} else {
			err = s.raw.Control(s.once) // heeds no deadline, an old one neither
		}
		if err == nil && s.errno != 0 {
			err = &net.OpError{Op: "write", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError("sendmsg", s.errno)}
		}
		if err == nil {
			n += s.n
		}
		if err != nil || n == total {
			s.wait = false
			return n, err
		}
		k := min(s.n, len(head))
		head, body = head[k:], body[s.n-k:]
		if !s.wait {
			s.wait = true
			if err := c.Conn.SetWriteDeadline(begun.Add(patience)); err != nil {
				s.wait = false
				return n, err
			}
		}
	}
}
