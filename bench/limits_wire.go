package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// The wire's protocol: a request of wireRequest bytes, about as many as the head
// of an S3 request has, begins with its kind and, big-endian, a count of bytes.
const (
	wireRequest = 512
	wireAnswer  = 4 << 10
	wireWrite   = 1 << 20

	wireSend    = 'S' // the far end sends so many bytes
	wireReceive = 'R' // it takes so many bytes and answers one
	wireTrip    = 'T' // it answers wireAnswer bytes
	wireBulk    = 64 << 20
)

// wire is the far end of loopback connections: a process of its own where the
// server would run, that does nothing but send and receive. Its CPU time is what
// the wire alone costs a server.
type wire struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	addr string
	pid  int // whose CPU time counts
}

func startWire(server cpuList) (w *wire, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w = &wire{cmd: exec.Command(self, "wire")}
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startOn(server, w.cmd); err != nil {
		return nil, err
	}
	w.pid = w.cmd.Process.Pid
	line, err := bufio.NewReader(out).ReadString('\n')
	if w.addr = strings.TrimSpace(line); err != nil {
		return nil, errors.Join(fmt.Errorf("the wire's far end: %w", err), w.stop())
	}
	return w, nil
}

func (w *wire) stop() error { return errors.Join(w.in.Close(), w.cmd.Wait()) }

// serveWire is the far end: it prints its address and serves until in ends.
func serveWire(in io.Reader, out io.Writer) error {
	l, err := (&net.ListenConfig{Control: unpaced}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = l.Close() // which ends the loop below
	}()
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = wireServe(conn) // the near end closes it
		}()
	}
}

// wireServe answers the requests of one connection until it ends.
func wireServe(conn net.Conn) error {
	req, data := make([]byte, wireRequest), make([]byte, wireWrite)
	for {
		if _, err := io.ReadFull(conn, req); err != nil {
			return err
		}
		left := int64(binary.BigEndian.Uint64(req[1:]) >> 1) // #nosec G115: shifted
		switch req[0] {
		case wireSend:
			for left > 0 {
				n, err := conn.Write(data[:min(left, wireWrite)])
				if err != nil {
					return err
				}
				left -= int64(n)
			}
		case wireReceive:
			for left > 0 {
				n, err := conn.Read(data[:min(left, wireWrite)])
				if err != nil {
					return err
				}
				left -= int64(n)
			}
			if _, err := conn.Write(data[:1]); err != nil {
				return err
			}
		case wireTrip:
			if _, err := conn.Write(data[:wireAnswer]); err != nil {
				return err
			}
		default:
			return errors.New("no such request")
		}
	}
}

// wireClient is the near end of one connection.
type wireClient struct {
	conn      net.Conn
	req, data []byte
}

func (w *wire) dial(ctx context.Context) (*wireClient, error) {
	conn, err := (&net.Dialer{Control: unpaced}).DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return nil, err
	}
	return &wireClient{conn, make([]byte, wireRequest), make([]byte, wireWrite)}, nil
}

// ask does one request of n bytes.
func (c *wireClient) ask(kind byte, n int64) error {
	c.req[0] = kind
	binary.BigEndian.PutUint64(c.req[1:], uint64(n)<<1) // #nosec G115: not negative
	if _, err := c.conn.Write(c.req); err != nil {
		return err
	}
	sends, answer := int64(0), n
	switch kind {
	case wireReceive:
		sends, answer = n, 1
	case wireTrip:
		answer = wireAnswer
	}
	for sends > 0 {
		k, err := c.conn.Write(c.data[:min(sends, wireWrite)])
		if err != nil {
			return err
		}
		sends -= int64(k)
	}
	for answer > 0 {
		k, err := c.conn.Read(c.data[:min(answer, readBuffer)])
		if err != nil {
			return err
		}
		answer -= int64(k)
	}
	return nil
}

// sample measures each direction over one connection, and round trips over one
// and many.
func (w *wire) sample(ctx context.Context, l *limits) error {
	for _, p := range []struct {
		id, name string
		kind     byte
		conns    int
		bytes    int64
	}{
		{limitSend, "loopback: send 1 MiB writes", wireSend, 1, wireBulk},
		{limitReceive, "loopback: receive 1 MiB writes", wireReceive, 1, wireBulk},
		{limitTrips + "_1", "loopback: 512 B for 4 KiB ×1", wireTrip, 1, 0},
		{limitTrips + "_16", "loopback: 512 B for 4 KiB ×16", wireTrip, 16, 0},
	} {
		count, seconds, cpu, err := w.load(ctx, p.kind, p.conns, p.bytes, l.time)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if p.bytes > 0 {
			gib := count * float64(p.bytes) / (1 << 30)
			l.add(p.id, p.name, "MiB/s", gib*1024/seconds)
			l.add(p.id+limitCPU, p.name+", CPU of that end", "s/GiB", cpu.Seconds()/gib)
		} else {
			l.add(p.id, p.name, "ops/s", count/seconds)
			l.add(p.id+limitCPU, p.name+", CPU of the far end", "µs/op", micros(cpu)/count)
		}
	}
	return nil
}

// load runs requests of a kind on several connections for some time. cpu is the
// far end's.
func (w *wire) load(ctx context.Context, kind byte, conns int, bytes int64, most time.Duration) (count, seconds float64, cpu time.Duration, err error) {
	clients := make([]*wireClient, conns)
	for i := range clients {
		if clients[i], err = w.dial(ctx); err != nil {
			return 0, 0, 0, err
		}
		defer clients[i].conn.Close()
		if err := clients[i].ask(kind, bytes); err != nil { // the connection warms up
			return 0, 0, 0, err
		}
	}
	before, err := processCPU(w.pid)
	if err != nil {
		return 0, 0, 0, err
	}
	begun := time.Now()
	counts, errs := make([]int, conns), make([]error, conns)
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() {
			for ; errs[i] == nil && ctx.Err() == nil && time.Since(begun) < most; counts[i]++ {
				errs[i] = c.ask(kind, bytes)
			}
		})
	}
	group.Wait()
	seconds = time.Since(begun).Seconds()
	after, err := processCPU(w.pid)
	for _, n := range counts {
		count += float64(n)
	}
	return count, seconds, after - before, errors.Join(append(errs, err)...)
}
