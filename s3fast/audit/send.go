package audit

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// backoffMin and backoffMax bound the wait after a failed POST: it doubles
	// with each failure, and half of it is random.
	backoffMin = 250 * time.Millisecond
	backoffMax = 30 * time.Second
	// maxAnswer is how much of an answer is read; only its status counts.
	maxAnswer = 64 << 10
)

// endpoint is a configuration made ready to send.
type endpoint struct {
	cfg    *Config
	client *http.Client
	// channel is X-Splunk-Request-Channel, which Splunk's collector wants where
	// its acknowledgement of indexing is on: the cluster's GUID.
	channel string
}

// newEndpoint prepares the client of a valid configuration.
func newEndpoint(cfg *Config, info Info) *endpoint {
	t := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: cfg.Batch.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   cfg.Batch.Timeout,
		ResponseHeaderTimeout: cfg.Batch.Timeout,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true,
	}
	if cfg.CA != "" {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		t.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(cfg.CA))
	}
	// The token goes to the endpoint that was named and nowhere else.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &endpoint{cfg: cfg, client: &http.Client{Transport: t, CheckRedirect: stay}, channel: guid(info.ClusterID)}
}

func (e *endpoint) close() {
	if e != nil {
		e.client.CloseIdleConnections()
	}
}

// post sends one body. Success is any status 2xx.
func (e *endpoint) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Batch.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.cfg.Endpoint, bytes.NewReader(body))
	if err != nil {
		return plainError(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Sluice-audit")
	if e.cfg.Token != "" {
		req.Header.Set("Authorization", e.cfg.Token)
	}
	if e.channel != "" {
		req.Header.Set("X-Splunk-Request-Channel", e.channel)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return plainError(err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return statusError(resp.StatusCode)
	}
	if err != nil { // the status is an acknowledgement only if the answer is whole
		return plainError(err)
	}
	return nil
}

// plainError drops the URL, which may hold a secret, from an error of net/http.
func plainError(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errSlow
	}
	return err
}

var errSlow = errors.New("no answer within the timeout")

// statusError is an answer that is no success.
type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("the endpoint answered %d %s", int(s), http.StatusText(int(s)))
}

// tooMuch tells that fewer events at once might have been taken.
func tooMuch(err error) bool {
	var status statusError
	return errors.Is(err, errSlow) || errors.As(err, &status) && status == http.StatusRequestEntityTooLarge
}

// maxShrink is how often a batch is halved: ten thousand events become one.
const maxShrink = 14

// Test sends one event, "audit:Test", to the endpoint of c and returns why that
// failed. Nothing is retried or spooled. ErrConfig.
func (w *Webhook) Test(ctx context.Context, c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	info := w.info()
	e := newEndpoint(&c, info)
	defer e.close()
	test := Event{Time: w.now(), API: "audit:Test", Status: http.StatusOK}
	b := batch{mode: c.Batch.Mode}
	b.add(newEnvelope(info).appendEvent(nil, &test), 0)
	return e.post(ctx, b.finish())
}

// batch is the body of one POST.
type batch struct {
	mode  string
	body  []byte
	count int
	ack   uint64    // acknowledges the events before it
	since time.Time // of the first event
}

// add appends an event's JSON; its sequence number, unless 0, becomes its last
// field.
func (b *batch) add(event []byte, seq uint64) {
	if b.mode == ModeArray {
		if b.count == 0 {
			b.body = append(b.body, '[')
		} else {
			b.body = append(b.body, ',')
		}
	}
	b.count++
	if seq != 0 && len(event) > 0 {
		b.body = append(b.body, event[:len(event)-1]...)
		b.body = append(b.body, `,"sequence":`...)
		b.body = append(strconv.AppendUint(b.body, seq, 10), '}')
	} else {
		b.body = append(b.body, event...)
	}
	if b.mode != ModeArray {
		b.body = append(b.body, '\n')
	}
}

// finish returns the whole body.
func (b *batch) finish() []byte {
	if b.mode == ModeArray {
		b.body = append(b.body, ']')
	}
	return b.body
}

// fill gathers events from the spool, half as many as configured for each shrink;
// none when there are none.
func (w *Webhook) fill(r *reader, b *batch, cfg *Config, shrink int) {
	ack, _, _ := w.spool.position()
	if r.seq != ack {
		r.seek(ack)
	}
	*b = batch{mode: cfg.Batch.Mode, body: b.body[:0], ack: ack}
	most, bytes := max(cfg.Batch.Count>>shrink, 1), max(cfg.Batch.Bytes>>shrink, 1)
	if cfg.Batch.Mode == ModeOff {
		most = 1
	}
	for b.count < most && len(b.body) < bytes {
		it, ok := r.next()
		if !ok {
			break
		}
		if b.count > 0 && len(b.body)+len(it.event) > bytes {
			r.unread()
			break
		}
		if b.count == 0 {
			b.since = it.at
		}
		if it.event == nil {
			w.stats.damaged.Add(it.missing)
			e := lostEvent(loss{n: it.missing, first: it.at, last: it.at}, it.at, "the spool was damaged")
			b.add(w.env.Load().appendEvent(nil, &e), 0)
		} else {
			b.add(it.event, it.seq)
		}
		b.ack = r.seq
	}
}

// sender moves events from the spool to the endpoint, one batch at a time, so
// that their order is kept.
func (w *Webhook) sender() {
	r := &reader{s: w.spool}
	defer r.closeFile()
	var (
		e *endpoint
		b batch
	)
	defer func() { e.close() }()
	for fails, shrink := 0, 0; ; {
		cfg := w.cfg.Load()
		if e == nil || e.cfg != cfg {
			e.close()
			e = newEndpoint(cfg, w.info())
			b.count, fails, shrink = 0, 0, 0
		}
		if ack, _, _ := w.spool.position(); b.count > 0 && b.ack <= ack {
			b.count = 0 // discarded meanwhile
		}
		if b.count == 0 && cfg.Enabled {
			if w.fill(r, &b, cfg, shrink); b.count > 0 {
				b.finish()
			}
		}
		if b.count == 0 || !cfg.Enabled {
			w.stats.oldest.Store(0)
			select {
			case <-w.news:
				continue
			case <-w.stop:
				return
			}
		}
		w.stats.oldest.Store(b.since.UnixNano())
		if err := e.post(w.sending, b.body); err != nil {
			fails++
			w.failed(err, fails)
			if tooMuch(err) && shrink < maxShrink {
				b.count = 0
				shrink++
			}
			if !w.retryLater(fails, cfg) {
				return
			}
			continue
		}
		w.delivered(&b, fails)
		b.count, fails, shrink = 0, 0, max(shrink-1, 0)
		select {
		case <-w.stop:
			return
		default:
		}
	}
}

// retryLater waits until the next attempt is due or cfg is no longer in force;
// false when the webhook is being closed.
func (w *Webhook) retryLater(fails int, cfg *Config) bool {
	d := backoff(fails)
	done := make(chan struct{})
	timer := make(chan struct{})
	go func() {
		w.wait(d, done)
		close(timer)
	}()
	defer close(done)
	for w.cfg.Load() == cfg {
		select {
		case <-timer:
			return true
		case <-w.news: // more events, or another configuration
		case <-w.stop:
			return false
		}
	}
	return true
}

// backoff is how long to wait after so many failures in a row.
func backoff(fails int) time.Duration {
	d := backoffMax
	if fails < 8 {
		d = min(backoffMin<<(fails-1), backoffMax)
	}
	return d/2 + rand.N(d/2+1) // #nosec G404: only spreads the attempts
}

func (w *Webhook) failed(err error, fails int) {
	if w.sending.Err() != nil { // cut off by Close
		return
	}
	w.stats.retries.Add(1)
	w.stats.down.Store(true)
	text := err.Error()
	w.stats.lastError.Store(&text)
	ack, next, _ := w.spool.position()
	w.alarm(&w.stats.saidDown, "audit: the webhook does not take events; they wait in the spool",
		"err", text, "attempts", fails, "waiting", next-ack)
}

func (w *Webhook) delivered(b *batch, fails int) {
	w.stats.delivered.Add(uint64(b.count)) // #nosec G115: not negative
	w.stats.lastOK.Store(w.now().UnixNano())
	if w.stats.down.Swap(false) {
		w.say(slog.LevelInfo, &w.stats.saidUp, "audit: the webhook takes events again", "after_attempts", fails+1)
		w.stats.lastError.Store(nil)
	}
	if err := w.spool.acknowledge(b.ack); err != nil {
		w.alarm(&w.stats.saidDisk, "audit: the spool's cursor cannot be written", "err", err)
	}
	if w.stats.untold.Load() > 0 {
		poke(w.some)
	}
}
