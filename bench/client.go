package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"time"
)

// Sizes of the client's buffers. A request whose content fits goes out in one
// write with its head.
const (
	firstWrite = 64 << 10
	laterWrite = 1 << 20
	readBuffer = 256 << 10
	answerMax  = 64 << 20 // longest answer kept in memory
)

// requestTimeout is how long one request may take, at least, before the run
// fails; at most twice as long.
const requestTimeout = 5 * time.Minute

// client is one connection, used by one goroutine. It is lean on purpose: on a
// machine shared with the server, its CPU time is the server's loss.
type client struct {
	t       *target
	pattern *pattern
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
	scratch []byte
	etag    []byte    // of the last answer
	ended   bool      // the server closes the connection after its answer
	until   time.Time // the deadline that conn has
	signer  *signer
	path    []byte  // of the request that perform makes
	head    []byte  // likewise
	req     request // likewise
}

func dial(ctx context.Context, t *target, p *pattern) (*client, error) {
	c := &client{
		t: t, pattern: p, in: bufio.NewReaderSize(nil, 64<<10),
		out: make([]byte, 0, firstWrite), scratch: make([]byte, readBuffer), signer: newSigner(t),
	}
	return c, c.connect(ctx)
}

// connect opens the connection.
func (c *client) connect(ctx context.Context) error {
	dialer := net.Dialer{Timeout: 10 * time.Second, Control: unpaced}
	conn, err := dialer.DialContext(ctx, "tcp", c.t.addr)
	if err != nil {
		return err
	}
	if c.t.tls != nil {
		tc := tls.Client(conn, c.t.tls)
		if err := tc.HandshakeContext(ctx); err != nil {
			return errors.Join(err, conn.Close())
		}
		conn = tc
	}
	c.conn, c.ended, c.until = conn, false, time.Time{}
	c.in.Reset(conn)
	return nil
}

func (c *client) close() { _ = c.conn.Close() } // nothing unsent is at stake

// do signs and sends r and reads its answer, content verified. The returned
// bytes are the answer's, when r.size is -1; they are valid until the next call.
func (c *client) do(r *request) ([]byte, error) {
	return c.send(r, c.t.head(r, time.Now()))
}

// send is do with a head made earlier: servers accept a signature for 15
// minutes, so a head that is used often is signed once.
func (c *client) send(r *request, head []byte) ([]byte, error) {
	if c.ended { // some servers serve one request each: what that costs is theirs
		c.close()
		if err := c.connect(context.Background()); err != nil {
			return nil, err
		}
	}
	// Timers are dear at tens of thousands of requests a second: one deadline
	// serves many of them.
	if now := time.Now(); c.until.Sub(now) < requestTimeout {
		c.until = now.Add(2 * requestTimeout)
		if err := c.conn.SetDeadline(c.until); err != nil {
			return nil, err
		}
	}
	if err := c.write(r, head); err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	body, err := c.answer(r)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	return body, nil
}

func (c *client) write(r *request, head []byte) error {
	c.out = append(c.out[:0], head...)
	w := c.pattern.window(r.seed, 0)
	switch {
	case r.method == "PUT":
		w.left = r.size
		w.skip(r.off)
	case r.method == "POST":
		c.out = append(c.out, r.body...)
	case r.ranged: // the header is not among those that are signed
		c.out = strconv.AppendInt(append(c.out[:len(c.out)-2], "range: bytes="...), r.off, 10)
		c.out = strconv.AppendInt(append(c.out, '-'), r.off+r.size-1, 10)
		c.out = append(c.out, "\r\n\r\n"...)
	}
	for w.left > 0 && len(c.out) < firstWrite {
		c.out = append(c.out, w.next(firstWrite-len(c.out))...)
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	for w.left > 0 {
		if _, err := c.conn.Write(w.next(laterWrite)); err != nil {
			return err
		}
	}
	return nil
}

// answerHead is what the client needs of an answer's head.
type answerHead struct {
	status  int
	length  int64 // -1: not given
	chunked bool
}

func (c *client) readHead() (h answerHead, err error) {
	h.length, c.etag = -1, c.etag[:0]
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return h, fmt.Errorf("not an HTTP answer: %q", line)
	}
	status, ok := digits(line[9:12])
	if !ok {
		return h, fmt.Errorf("not an HTTP answer: %q", line)
	}
	h.status = int(status)
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return h, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return h, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if h.length, ok = digits(value); !ok {
				return h, fmt.Errorf("content-length %q", value)
			}
		case bytes.EqualFold(name, []byte("connection")):
			c.ended = bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("etag")):
			c.etag = append(c.etag[:0], value...)
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			h.chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
}

// digits parses a decimal number of up to 18 digits, without allocating.
func digits(text []byte) (n int64, ok bool) {
	for _, d := range text {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	return n, len(text) > 0 && len(text) <= 18
}

func (c *client) answer(r *request) ([]byte, error) {
	h, err := c.readHead()
	if err != nil {
		return nil, err
	}
	good := h.status >= 200 && h.status < 300
	switch {
	case good && r.method == "HEAD":
		if r.size >= 0 && h.length != r.size {
			return nil, fmt.Errorf("content-length %d, want %d", h.length, r.size)
		}
		return nil, nil
	case good && r.ranged && h.status != 206:
		return nil, fmt.Errorf("answer %d to a range, want 206", h.status)
	case good && r.method == "GET" && r.size >= 0:
		if h.length != r.size {
			return nil, fmt.Errorf("content-length %d, want %d", h.length, r.size)
		}
		return nil, c.verify(r)
	}
	body, err := c.body(r, &h)
	if err == nil && !good {
		err = fmt.Errorf("answer %d: %.400s", h.status, body)
	}
	return body, err
}

// verify reads the content of r and compares all of it.
func (c *client) verify(r *request) error {
	w := c.pattern.window(r.seed, r.size)
	w.skip(r.off)
	for w.left > 0 {
		n, err := c.in.Read(c.scratch[:min(int64(len(c.scratch)), w.left)])
		if err := w.check(c.scratch[:n]); err != nil {
			return err
		}
		if err != nil {
			return fmt.Errorf("%d bytes early: %w", w.left, err)
		}
	}
	return nil
}

// body reads an answer that is not content.
func (c *client) body(r *request, h *answerHead) ([]byte, error) {
	switch {
	case r.method == "HEAD" || h.status == 204 || h.length == 0:
		return nil, nil
	case h.chunked:
		var body bytes.Buffer
		if _, err := body.ReadFrom(io.LimitReader(httputil.NewChunkedReader(c.in), answerMax)); err != nil {
			return nil, err
		}
		_, err := c.in.ReadSlice('\n') // the empty line after the last chunk
		return body.Bytes(), err
	case h.length < 0 || h.length > answerMax:
		return nil, fmt.Errorf("an answer of %d bytes", h.length)
	}
	if int64(cap(c.scratch)) < h.length {
		c.scratch = make([]byte, h.length)
	}
	body := c.scratch[:h.length]
	_, err := io.ReadFull(c.in, body)
	return body, err
}
