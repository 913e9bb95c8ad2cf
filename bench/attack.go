package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// attackObject is what stalled downloads ask for.
const attackObject = "/attack/large"

// attackPause is how long an attacker waits before it connects again.
const attackPause = time.Second

// attackKinds are the ways to attack, each on connections of its own that are
// opened again when the server closes them.
var attackKinds = []string{
	"silent",   // never sends a byte
	"idle",     // sends one good request, then nothing more
	"header",   // stops in the middle of the header
	"upload",   // stops a MiB into a large body
	"download", // asks for a large object and reads nothing
	"flood",    // sends requests with bad signatures as fast as they are answered
}

// attack is the state of an attacking process.
type attack struct {
	t      *target
	bucket string
	opened sync.WaitGroup // first connections of all
	counts sync.Map       // name → *atomic.Int64
}

// runAttack attacks until in ends, and then writes its counts to out.
func runAttack(ctx context.Context, t *target, bucket string, mix attackMix, in io.Reader, out io.Writer) error {
	if t.tls != nil {
		t.tls = &tls.Config{InsecureSkipVerify: true} // #nosec G402: an attacker does not care
	}
	a := &attack{t: t, bucket: bucket}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for kind, n := range mix {
		for i := range n {
			a.opened.Add(1)
			all.Go(func() { a.keep(ctx, kind, i) })
		}
	}
	a.opened.Wait()
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	cancel()
	all.Wait()
	counts := map[string]int64{}
	a.counts.Range(func(name, n any) bool {
		counts[name.(string)] = n.(*atomic.Int64).Load() //nolint:forcetypeassert // count stores nothing else
		return true
	})
	return json.NewEncoder(out).Encode(counts)
}

func (a *attack) count(name string) {
	n, _ := a.counts.LoadOrStore(name, new(atomic.Int64))
	n.(*atomic.Int64).Add(1) //nolint:forcetypeassert // as above
}

// keep holds one connection of a kind, again and again.
func (a *attack) keep(ctx context.Context, kind string, n int) {
	sleep(ctx, time.Duration(n)*time.Millisecond/4) // not all at once
	first := sync.OnceFunc(a.opened.Done)
	defer first()
	for ctx.Err() == nil {
		conn, err := a.dial(ctx, kind == "header" || kind == "upload" || kind == "download" || kind == "flood")
		if err != nil {
			a.count(kind + " not connected")
		} else {
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			a.count(kind + " connected")
			a.hold(ctx, conn, kind, n, first)
			stop()
			conn.Close()
		}
		first()
		sleep(ctx, attackPause)
	}
}

// dial connects, with TLS if the target's scheme and the kind want it.
func (a *attack) dial(ctx context.Context, speaks bool) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 20 * time.Second}).DialContext(ctx, "tcp", a.t.addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(16 << 10) // best effort: so that little is sent ahead
	}
	if a.t.tls == nil || !speaks {
		return conn, nil
	}
	return tls.Client(conn, a.t.tls), nil
}

// hold plays a kind on conn until the server closes it.
func (a *attack) hold(ctx context.Context, conn net.Conn, kind string, n int, opened func()) {
	var send []byte
	switch kind {
	case "idle":
		send = []byte("GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n")
	case "header":
		send = []byte("GET / HTTP/1.1\r\nHost: x\r\nX-Half: ")
	case "upload":
		r := &request{method: "PUT", path: fmt.Sprintf("/%s/attack/%d", a.bucket, n), size: abuseLarge}
		send = append(a.t.head(r, time.Now()), make([]byte, 1<<20)...)
	case "download":
		send = a.t.head(&request{method: "GET", path: "/" + a.bucket + attackObject}, time.Now())
	case "flood":
		opened()
		a.flood(ctx, conn, n)
		return
	}
	if _, err := conn.Write(send); err != nil {
		return
	}
	opened()
	if kind == "download" {
		sleep(ctx, time.Hour)
		return
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && ctx.Err() == nil {
		a.count(kind + " cut off")
	}
}

// flood sends bad signatures: of a key that exists and of ones that do not.
func (a *attack) flood(ctx context.Context, conn net.Conn, n int) {
	head := a.t.head(&request{method: "GET", path: "/" + a.bucket}, time.Now())
	at := bytes.Index(head, []byte("Signature="))
	if at < 0 {
		return
	}
	for i := range 64 {
		head[at+len("Signature=")+i] = '0'
	}
	if n%2 == 1 {
		head = bytes.Replace(head, []byte("Credential="), fmt.Appendf(nil, "Credential=guess%d-", n), 1)
	}
	in := bufio.NewReader(conn)
	c := &client{in: in, scratch: make([]byte, readBuffer)}
	for ctx.Err() == nil {
		if _, err := conn.Write(head); err != nil {
			return
		}
		h, err := c.readHead()
		if err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, in, max(0, h.length)); err != nil {
			return
		}
		a.count("flood answered " + strings.TrimSpace(fmt.Sprint(h.status)))
	}
}
