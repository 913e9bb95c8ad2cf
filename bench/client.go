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

// requestTimeout is how long one request may take before the run fails.
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
}

func dial(ctx context.Context, t *target, p *pattern) (*client, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, err
	}
	if t.tls != nil {
		tc := tls.Client(conn, t.tls)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		conn = tc
	}
	return &client{
		t: t, pattern: p, conn: conn, in: bufio.NewReaderSize(conn, 64<<10),
		out: make([]byte, 0, firstWrite), scratch: make([]byte, readBuffer),
	}, nil
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
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return nil, err
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
	if r.method == "PUT" {
		w.left = r.size
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
	h.length = -1
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return h, fmt.Errorf("not an HTTP answer: %q", line)
	}
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return h, fmt.Errorf("not an HTTP answer: %q", line)
	}
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
			if h.length, err = strconv.ParseInt(string(value), 10, 64); err != nil || h.length < 0 {
				return h, fmt.Errorf("content-length %q", value)
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			h.chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
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
