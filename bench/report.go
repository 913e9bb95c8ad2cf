package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// report is everything a run found out; -out writes it as JSON.
type report struct {
	Time     time.Time       `json:"time"`
	Scenario string          `json:"scenario"`
	Command  []string        `json:"command"`
	Machine  machine         `json:"machine"`
	Sync     string          `json:"sync"` // what the server promises with its answer to a PUT
	Daemon   json.RawMessage `json:"daemon,omitempty"`
	Results  []result        `json:"results,omitempty"`
	Drive    []driveResult   `json:"drive,omitempty"`
	Abuse    []abuseResult   `json:"abuse,omitempty"`
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
}

func thisMachine(cores int) machine {
	m := machine{Cores: cores, CPU: "unknown"}
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
	if len(r.Results) > 0 {
		b.WriteString("\n| | operation | at once | ops/s | MiB/s | p50 | p99 | CPU/op | CPU s/GiB | switches/op | RSS peak MiB | CPU: server + client + others |\n")
		b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n")
	}
	for i := range r.Results {
		x := &r.Results[i]
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %s | %s | %s | %s | %s | %s | %.1f + %.1f + %.1f |\n",
			x.Scheme, x.Name, x.Concurrency, number(x.PerSecond), number(x.MiBPerSec), span(x.P50us), span(x.P99us),
			span(x.CPUPerOpUs), number(x.CPUPerGiBSec), number(x.Switches), number(x.RSSPeakMiB),
			x.CPUShare, x.ClientCores, x.OtherCores)
	}
	ratios(&b, r.Ratios)
	if len(r.Drive) > 0 {
		b.WriteString("\n| fio | block | depth × jobs | ops/s | MiB/s | p50 | p99 |\n|---|---|--:|--:|--:|--:|--:|\n")
	}
	for _, x := range r.Drive {
		fmt.Fprintf(&b, "| %s | %s | %d × %d | %s | %s | %s | %s |\n", x.Name, x.Block, x.Depth, x.Jobs,
			number(x.PerSecond), number(x.MiBPerSec), span(x.P50us), span(x.P99us))
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
