package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// schema names the form of the JSON report. A field that goes or changes its
// meaning makes a new number; new fields do not.
const schema = "sluice-bench/2"

// report is everything a run found out; -out writes it as one JSON object.
//
// Names end in their units: _us microseconds, _s seconds, _mib MiB; rates are per
// second. What is not known is absent. Of a matrix, results has one element per
// measurement (type result); of a comparison, compare has the rows, in each the
// endpoints in the order of compare.endpoints, in each medians with their least
// and greatest over the rounds, ratios to the first endpoint, and the rounds
// themselves. limits are the machine's own (type limitFigure). A
// latency_distribution is a list of pairs: the upper end of a bucket in µs, 1.6 %
// wide at most, and the operations in it.
type report struct {
	Schema   string          `json:"schema"`
	Time     time.Time       `json:"time"`
	Scenario string          `json:"scenario"`
	Command  []string        `json:"command"`
	Machine  machine         `json:"machine"`
	Sync     string          `json:"sync"` // what the server promises with its answer to a PUT
	Daemon   json.RawMessage `json:"daemon,omitempty"`
	Notes    []string        `json:"notes,omitempty"` // what could not be measured, and why
	Results  []result        `json:"results,omitempty"`
	Compare  *compareReport  `json:"compare,omitempty"`
	Limits   []limitFigure   `json:"limits,omitempty"`
	Drive    []driveResult   `json:"drive,omitempty"`
	Abuse    []abuseResult   `json:"abuse,omitempty"`
	Rebuild  []rebuildResult `json:"rebuild,omitempty"`
	Ratios   []ratio         `json:"encrypted,omitempty"`
	// Of the daemon, in MiB: after its start, and some time after the load.
	IdleRSSBefore float64 `json:"idle_rss_before_mib,omitempty"`
	IdleRSSAfter  float64 `json:"idle_rss_after_mib,omitempty"`
	RestartSec    float64 `json:"restart_after_kill_s,omitempty"`
}

// machine is what the figures were taken on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Load   string `json:"load"` // /proc/loadavg at the start
	TCP    string `json:"tcp_congestion_control"`
	// Where server and generator were pinned to; absent: anywhere.
	ServerCPUs string `json:"server_cpus,omitempty"`
	ClientCPUs string `json:"client_cpus,omitempty"`
}

func thisMachine(cores int) machine {
	m := machine{Cores: cores, CPU: "unknown"}
	m.TCP = firstLine("/proc/sys/net/ipv4/tcp_congestion_control")
	m.Kernel, m.Load = firstLine("/proc/sys/kernel/osrelease"), firstLine("/proc/loadavg")
	text, _ := os.ReadFile("/proc/cpuinfo") // other architectures have no model name
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// tables writes the report as Markdown.
func (r *report) tables(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, %d cores, Linux %s, load %s; sync: %s\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Load, r.Sync)
	if r.Machine.ServerCPUs+r.Machine.ClientCPUs != "" {
		fmt.Fprintf(&b, "server on CPUs %s, load generator on %s\n", orElse(r.Machine.ServerCPUs, "any"), orElse(r.Machine.ClientCPUs, "any"))
	}
	for _, note := range r.Notes {
		b.WriteString(note + "\n")
	}
	r.resultTable(&b)
	if r.Compare != nil && len(r.Compare.Endpoints) > 0 {
		r.Compare.describe(&b)
	}
	describeFigures(&b, r.Limits)
	ratios(&b, r.Ratios)
	if len(r.Drive) > 0 {
		b.WriteString("\n| fio | block | depth × jobs | ops/s | MiB/s | p50 | p99 |\n|---|---|--:|--:|--:|--:|--:|\n")
	}
	for _, x := range r.Drive {
		fmt.Fprintf(&b, "| %s | %s | %d × %d | %s | %s | %s | %s |\n", x.Name, x.Block, x.Depth, x.Jobs,
			number(x.PerSecond), number(x.MiBPerSec), span(x.P50us), span(x.P99us))
	}
	for i := range r.Rebuild {
		r.Rebuild[i].describe(&b)
	}
	for i := range r.Abuse {
		r.Abuse[i].describe(&b)
	}
	if r.IdleRSSBefore > 0 {
		fmt.Fprintf(&b, "\nidle RSS %.0f MiB before the load", r.IdleRSSBefore)
		if r.IdleRSSAfter > 0 {
			fmt.Fprintf(&b, ", %.0f MiB after it", r.IdleRSSAfter)
		}
		b.WriteByte('\n')
	}
	if r.RestartSec > 0 {
		fmt.Fprintf(&b, "\nrestart after kill -9: %.2f s\n", r.RestartSec)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// resultTable writes the results of single measurements as Markdown.
func (r *report) resultTable(b *strings.Builder) {
	if len(r.Results) == 0 {
		return
	}
	b.WriteString("\n| | operation | at once | ops/s | MiB/s | p50 | p99 | CPU/op | CPU s/GiB | switches/op | syscalls/op | RSS peak MiB | of its limit | CPU: server + client + others |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n")
	for i := range r.Results {
		x := &r.Results[i]
		fmt.Fprintf(b, "| %s | %s | %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %.1f + %.1f + %.1f |\n",
			x.Scheme, x.Name, x.Concurrency, number(x.PerSecond), number(x.MiBPerSec), span(x.P50us), span(x.P99us),
			span(x.CPUPerOpUs), number(x.CPUPerGiBSec), number(x.Switches), number(x.Syscalls), number(x.RSSPeakMiB),
			percent(x.OfLimit), x.CPUShare, x.ClientCores, x.OtherCores)
	}
	var more strings.Builder
	for i := range r.Results {
		r.Results[i].describeLoop(&more, "")
	}
	if more.Len() > 0 {
		b.WriteString("\n" + more.String())
	}
}

// describeLoop writes what a table row has no room for.
func (r *result) describeLoop(b *strings.Builder, who string) {
	if o := r.Open; o != nil {
		fmt.Fprintf(b, "- %s%s ×%d: of %d operations at %s/s, %d were sent late and %d dropped; p99.9 %s, max %s\n",
			who, r.Name, r.Concurrency, o.Intended, number(o.Rate), o.Late, o.Dropped, span(r.P999us), span(r.MaxUs))
	}
	for _, k := range r.Kinds {
		fmt.Fprintf(b, "- %s%s ×%d, %s: %d operations, p50 %s, p99 %s, max %s\n", who, r.Name, r.Concurrency, k.Op, k.Operations,
			span(k.P50us), span(k.P99us), span(k.MaxUs))
	}
}

// write shows the report and writes it to the files that are wanted.
func (r *report) write(jsonFile, htmlFile string) error {
	err := r.tables(os.Stdout)
	if jsonFile != "" {
		text, err2 := json.MarshalIndent(r, "", " ")
		err = errors.Join(err, err2, os.WriteFile(jsonFile, append(compactPairs(text), '\n'), 0o644)) // #nosec G306: for anyone to read
	}
	if htmlFile != "" {
		err = errors.Join(err, r.writePage(htmlFile))
	}
	return err
}

// tell keeps a result and shows it as progress.
func (r *report) tell(x result) {
	r.Results = append(r.Results, x)
	fmt.Fprintf(os.Stderr, "%-5s %-28s ×%-3d %10s/s %9s MiB/s  p50 %-8s p99 %-8s others %.1f\n", x.Scheme, x.Name, x.Concurrency,
		number(x.PerSecond), number(x.MiBPerSec), span(x.P50us), span(x.P99us), x.OtherCores)
}

func (r *report) tellDrive(x driveResult) {
	r.Drive = append(r.Drive, x)
	fmt.Fprintf(os.Stderr, "fio %-28s %s ×%d×%d %10s/s %9s MiB/s\n", x.Name, x.Block, x.Depth, x.Jobs, number(x.PerSecond), number(x.MiBPerSec))
}

// number prints three digits or more; 0 is nothing known.
func number(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// span prints microseconds.
func span(us float64) string {
	switch {
	case us == 0:
		return "–"
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	case us < 1e6:
		return number(us/1e3) + " ms"
	}
	return number(us/1e6) + " s"
}
