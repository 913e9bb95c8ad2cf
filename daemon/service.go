package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"
)

// readiness is whether the daemon takes requests.
type readiness struct{ on atomic.Bool }

func (r *readiness) set(on bool) { r.on.Store(on) }
func (r *readiness) get() bool   { return r.on.Load() }

// servicePage answers the paths below "/-/": live and ready for load balancers,
// metrics for Prometheus. They carry no secret and need no signature.
func (d *daemon) servicePage(ctx *fasthttp.RequestCtx) {
	if !ctx.IsGet() && !ctx.IsHead() {
		ctx.Error("method not allowed\n", fasthttp.StatusMethodNotAllowed)
		return
	}
	switch string(ctx.Path()) {
	case "/-/live":
		ctx.SetContentType("text/plain; charset=utf-8")
		ctx.SetBodyString("live\n")
	case "/-/ready":
		d.readyPage(ctx)
	case "/-/metrics":
		ctx.SetContentType("text/plain; version=0.0.4; charset=utf-8")
		ctx.SetBody(d.appendMetrics(nil))
	default:
		ctx.Error("not found\n", fasthttp.StatusNotFound)
	}
}

// readyPage answers 200 while S3 requests would be served: not while starting
// or stopping, not before a cluster exists, not with the metadata store or every
// drive out of service.
func (d *daemon) readyPage(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("text/plain; charset=utf-8")
	why := ""
	switch {
	case !d.ready.get():
		why = "starting or stopping"
	case d.clusters.view() == nil:
		why = "no S3 cluster has been created"
	case d.engine.Err() != nil:
		why = "storage is out of service" // the page is public: ctl status tells more
	}
	if why != "" {
		ctx.Error("not ready: "+why+"\n", fasthttp.StatusServiceUnavailable)
		return
	}
	ctx.SetBodyString("ready\n")
}

// appendMetrics renders every metric in Prometheus' text format.
func (d *daemon) appendMetrics(dst []byte) []byte {
	dst = d.s3.AppendMetrics(dst)
	dst = d.audit.hook.AppendMetrics(dst)
	var buf bytes.Buffer
	metrics.WriteProcessMetrics(&buf)
	st := d.engine.Status()
	d.driveMetrics(&buf, &st)
	fmt.Fprintf(&buf, "sluice_buffers_in_use_bytes %d\n", d.arena.InUse())
	fmt.Fprintf(&buf, "sluice_metadata_bytes %d\n", st.MetaBytes)
	fmt.Fprintf(&buf, "sluice_garbage_blobs %d\n", st.Garbage)
	fmt.Fprintf(&buf, "sluice_readers %d\n", st.Readers)
	fmt.Fprintf(&buf, "sluice_read_cache_bytes %d\n", st.Hot.Bytes)
	fmt.Fprintf(&buf, "sluice_read_cache_hits_total %d\n", st.Hot.Hits)
	fmt.Fprintf(&buf, "sluice_read_cache_misses_total %d\n", st.Hot.Misses)
	fmt.Fprintf(&buf, "sluice_purged_blobs_total %d\n", st.Purged)
	reads := d.engine.ReadStats()
	fmt.Fprintf(&buf, "sluice_reads_reconstructed_total %d\n", reads.Computed)
	fmt.Fprintf(&buf, "sluice_reads_hedged_total %d\n", reads.Hedged)
	fmt.Fprintf(&buf, "sluice_reads_repairs_queued_total %d\n", reads.Suspects)
	d.certMetric(&buf)
	fmt.Fprintf(&buf, "sluice_connections_open %d\n", d.slots.open.Load())
	fmt.Fprintf(&buf, "sluice_connections_closed_for_room_total %d\n", d.slots.closed.Load())
	fmt.Fprintf(&buf, "sluice_connections_refused_total %d\n", d.slots.refused.Load())
	names := make([]string, 0, len(st.MetaMetrics))
	for name := range st.MetaMetrics {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&buf, "sluice_metadata_%s %v\n", strings.TrimPrefix(name, "metadata_"), st.MetaMetrics[name])
	}
	return append(dst, buf.Bytes()...)
}

func (d *daemon) certMetric(w io.Writer) {
	if d.certs == nil {
		return
	}
	left := time.Until(d.certs.current.Load().tls.Leaf.NotAfter)
	fmt.Fprintf(w, "sluice_certificate_expires_seconds %d\n", int64(left.Seconds()))
}
