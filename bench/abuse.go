package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The good clients of abuse, and the objects that are there before.
const (
	abuseClients = 8
	abuseKeys    = 256
	abuseSize    = 64 << 10
	abuseLarge   = 64 << 20 // what stalled downloads ask for
	abuseSettle  = 3 * time.Second
	// abuseSpare are descriptors that an attacking process, and the server beside
	// its connections, may need.
	abuseSpare = 3200
)

// abuse measures good clients, quiet and under attack in turn, and what the
// attack costs the server in memory. The attackers are processes of their own.
type abuse struct {
	t      *target
	p      *pattern
	bucket string
	idle   int // connections that send nothing, or nothing more
	rounds int
	warmUp time.Duration
	time   time.Duration
	tell   func(result)
}

// abuseResult compares the phases.
type abuseResult struct {
	Scheme      string  `json:"scheme"`
	Idle        int     `json:"idle_connections"`
	Stalled     int     `json:"stalled_connections"`
	Flood       int     `json:"flooding_connections"`
	QuietP99us  float64 `json:"quiet_p99_us"`  // median of the rounds
	AbusedP99us float64 `json:"abused_p99_us"` // likewise
	Ratio       float64 `json:"ratio"`
	PeakMiB     float64 `json:"abused_rss_peak_mib"`
	// What the server and the attackers say, at the end of the last round.
	Server  map[string]float64 `json:"server"`
	Attacks map[string]int64   `json:"attacks"`
}

func (a *abuse) object(i int64, method string) *request {
	key := i % abuseKeys
	return &request{method: method, path: fmt.Sprintf("/%s/abuse/%03d", a.bucket, key), seed: uint64(key), size: abuseSize}
}

// describe writes the comparison.
func (x *abuseResult) describe(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s, %d idle, %d stalled and %d flooding connections: p99 %s quiet, %s abused, ratio %.2f; RSS peak %.0f MiB\n",
		x.Scheme, x.Idle, x.Stalled, x.Flood, span(x.QuietP99us), span(x.AbusedP99us), x.Ratio, x.PeakMiB)
	for _, name := range slices.Sorted(maps.Keys(x.Server)) {
		fmt.Fprintf(b, "    %s %.0f\n", name, x.Server[name])
	}
	for _, name := range slices.Sorted(maps.Keys(x.Attacks)) {
		fmt.Fprintf(b, "    %s: %d\n", name, x.Attacks[name])
	}
}

// run fills the bucket and plays the rounds.
func (a *abuse) run(ctx context.Context) (res abuseResult, err error) {
	a.fit()
	if err := createBucket(ctx, a.t, a.p, a.bucket); err != nil {
		return res, err
	}
	fill := cell{name: "fill", concurrency: 8, limit: abuseKeys, next: func(i int64) (*request, []byte) { return a.object(i, "PUT"), nil }}
	if _, err := fill.run(ctx, a.t, a.p); err != nil {
		return res, err
	}
	large := cell{name: "fill large", concurrency: 1, limit: 1, next: func(int64) (*request, []byte) {
		return &request{method: "PUT", path: "/" + a.bucket + attackObject, seed: 1, size: abuseLarge}, nil
	}}
	if _, err := large.run(ctx, a.t, a.p); err != nil {
		return res, err
	}
	var quiet, abused []float64
	mix := attackMix{"silent": a.idle / 2, "idle": a.idle - a.idle/2, "header": 67, "upload": 67, "download": 66, "flood": 64}
	for range a.rounds {
		q, err := a.phase(ctx, "quiet")
		if err != nil {
			return res, err
		}
		quiet = append(quiet, q.P99us)
		x, err := a.attacked(ctx, mix, &res)
		if err != nil {
			return res, err
		}
		abused = append(abused, x.P99us)
		res.PeakMiB = max(res.PeakMiB, x.RSSPeakMiB)
		sleep(ctx, abuseSettle)
	}
	slices.Sort(quiet)
	slices.Sort(abused)
	res.Scheme, res.Idle, res.Stalled, res.Flood = a.t.scheme(), a.idle, mix["header"]+mix["upload"]+mix["download"], mix["flood"]
	res.QuietP99us, res.AbusedP99us = quiet[len(quiet)/2], abused[len(abused)/2]
	res.Ratio = res.AbusedP99us / res.QuietP99us
	return res, nil
}

// fit lowers the idle connections to what the server's limit of open files lets
// it hold, and says so.
func (a *abuse) fit() {
	most := int(processFiles(a.t.pid)) - abuseSpare
	if a.t.pid != 0 && a.idle > most {
		fmt.Fprintf(os.Stderr, "the server may open %d files: %d idle connections instead of %d\n", most+abuseSpare, most, a.idle)
		a.idle = max(0, most)
	}
}

// processFiles is the limit of open files of a process; 0: unknown.
func processFiles(pid int) (n int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			_, _ = fmt.Sscan(rest, &n) // the soft limit; "unlimited" is no limit of files
		}
	}
	return n
}

// phase measures the good clients: reads and writes in turn.
func (a *abuse) phase(ctx context.Context, name string) (result, error) {
	c := cell{
		name: name + " GET/PUT 64KiB", concurrency: abuseClients, bytes: abuseSize, warmUp: a.warmUp, measured: a.time,
		next: func(i int64) (*request, []byte) {
			if i%2 == 0 {
				return a.object(i*7919, "GET"), nil
			}
			return a.object(i*104729, "PUT"), nil
		},
	}
	res, err := c.run(ctx, a.t, a.p)
	if err == nil {
		a.tell(res)
	}
	return res, err
}

// attacked is phase under attack.
func (a *abuse) attacked(ctx context.Context, mix attackMix, res *abuseResult) (out result, err error) {
	var children []*attackProcess
	defer func() {
		res.Attacks = map[string]int64{}
		for _, c := range children {
			err = errors.Join(err, c.stop(res.Attacks))
		}
	}()
	for _, part := range mix.split(4000) {
		c, err := startAttack(a.t, a.bucket, part)
		if err != nil {
			return out, err
		}
		children = append(children, c)
	}
	for _, c := range children {
		if err := c.ready(); err != nil {
			return out, err
		}
	}
	sleep(ctx, abuseSettle)
	if out, err = a.phase(ctx, "abused"); err != nil {
		return out, err
	}
	res.Server, err = scrape(a.t, "sluice_connections_open", "sluice_connections_closed_for_room_total", "sluice_connections_refused_total",
		"sluice_s3_requests_in_flight", "sluice_buffers_in_use_bytes", "sluice_s3_answers_delayed", "sluice_s3_bad_signatures_total",
		"sluice_s3_unverified_refusals_total")
	return out, err
}

// scrape reads metrics of the server, over plain HTTP.
func scrape(t *target, names ...string) (map[string]float64, error) {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", t.addr)
		},
	}}
	resp, err := client.Get("http://" + t.host + "/-/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if slices.Contains(names, name) {
			if out[name], err = strconv.ParseFloat(value, 64); err != nil {
				return nil, err
			}
		}
	}
	return out, lines.Err()
}

// attackMix is how many connections of each kind there are.
type attackMix map[string]int

// String is the form of the flag -mix.
func (m attackMix) String() string {
	var parts []string
	for _, kind := range attackKinds {
		if m[kind] > 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", kind, m[kind]))
		}
	}
	return strings.Join(parts, ",")
}

func parseMix(text string) (attackMix, error) {
	m := attackMix{}
	for part := range strings.SplitSeq(text, ",") {
		kind, count, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 || !slices.Contains(attackKinds, kind) {
			return nil, fmt.Errorf("-mix: %q: want KIND=N, of %s", part, strings.Join(attackKinds, ", "))
		}
		m[kind] = n
	}
	return m, nil
}

// split shares the connections out to processes of at most each.
func (m attackMix) split(each int) (parts []attackMix) {
	part, room := attackMix{}, each
	for _, kind := range attackKinds {
		for left := m[kind]; left > 0; {
			n := min(left, room)
			part[kind] += n
			left -= n
			if room -= n; room == 0 {
				parts = append(parts, part)
				part, room = attackMix{}, each
			}
		}
	}
	if room < each {
		parts = append(parts, part)
	}
	return parts
}

// attackProcess is this program, attacking.
type attackProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startAttack(t *target, bucket string, mix attackMix) (*attackProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "attack", "-endpoint", t.scheme()+"://"+t.host, "-access-key", t.accessKey,
		"-region", t.region, "-bucket", bucket, "-mix", mix.String())
	cmd.Env = append(os.Environ(), "AWS_SECRET_ACCESS_KEY="+t.secret)
	cmd.Stderr = os.Stderr
	p := &attackProcess{cmd: cmd}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, startOn(nil, cmd)
}

// ready waits until all its connections have been opened once.
func (p *attackProcess) ready() error {
	line, err := p.out.ReadString('\n')
	if err == nil && line != "ready\n" {
		err = fmt.Errorf("an attacker says %q", line)
	}
	return err
}

// stop ends it and adds up what it counted.
func (p *attackProcess) stop(sum map[string]int64) error {
	if err := p.in.Close(); err != nil {
		return err
	}
	counts := map[string]int64{}
	err := json.NewDecoder(p.out).Decode(&counts)
	for name, n := range counts {
		sum[name] += n
	}
	return errors.Join(err, p.cmd.Wait())
}
