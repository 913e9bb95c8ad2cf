package md5lanes

import (
	"encoding/binary"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// yieldersMax is how many leaders at a time have a yielder; others, on larger machines,
// do with less.
const yieldersMax = 4

// yielder lets others run, those too whose bytes came in meanwhile. Gosched does not: Go
// asks which sockets have news only once nothing else can run, and who calls Gosched
// can. With few processors the uploads that could fill the lanes stay asleep then. So
// a yielder waits for an event that it raises itself, for which Go has to ask.
//
// Measured, one core, 16 uploads, against Gosched: 1 MiB 0.79 → 0.52 s/GiB.
type yielder struct {
	event *os.File // an eventfd, never read
	raw   syscall.RawConn
	turn  func(fd uintptr) bool
	asked bool
}

// newYielder returns nil where there can be none.
func newYielder() *yielder {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil
	}
	y := &yielder{event: os.NewFile(uintptr(fd), "eventfd")}
	y.raw, err = y.event.SyscallConn()
	if err == nil {
		err = y.event.SetReadDeadline(time.Time{}) // fails where Go cannot poll it
	}
	if err != nil {
		_ = y.event.Close()
		return nil
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	y.turn = func(fd uintptr) bool {
		if y.asked {
			return true
		}
		y.asked = true
		_, err := unix.Write(int(fd), one[:]) // 2⁶⁴ of them would block
		return err != nil
	}
	return y
}

func (y *yielder) yield() {
	y.asked = false
	if y.raw.Read(y.turn) != nil { // not known to happen
		runtime.Gosched()
	}
}

// yield lets others run, with the pool unlocked.
func (l *pool) yield() {
	var y *yielder
	select {
	case y = <-l.yielders:
	default:
		if l.yieldersMade.Add(1) <= yieldersMax {
			y = newYielder()
		} else {
			l.yieldersMade.Add(-1)
		}
	}
	if y == nil {
		runtime.Gosched()
		return
	}
	y.yield()
	l.yielders <- y // has room for all
}
