package main

import (
	"fmt"
	"strings"
)

// compareReport is what a comparison found out.
type compareReport struct {
	Rounds    int              `json:"rounds"`
	Endpoints []endpointReport `json:"endpoints"`
	Rows      []rowReport      `json:"rows"`
}

type endpointReport struct {
	endpoint
	RSSPeakMiB float64 `json:"rss_peak_mib,omitempty"` // over all rows
}

// rowReport is one row on all endpoints, in the order of compareReport.Endpoints.
type rowReport struct {
	Name        string       `json:"name"`
	Op          string       `json:"operation"`
	Size        int64        `json:"size_bytes"`
	Concurrency int          `json:"concurrency"`
	Rate        float64      `json:"rate_per_second,omitempty"`
	Cold        bool         `json:"cold,omitempty"`
	Limit       *bound       `json:"limit,omitempty"`
	CPULimit    *bound       `json:"cpu_limit,omitempty"`
	Sides       []sideReport `json:"endpoints"`
}

// sideReport is a row on one endpoint. Ratios are to the first endpoint, round by
// round; the first has none. Shares are of the limit, 1 being all of it.
type sideReport struct {
	Endpoint     string   `json:"endpoint"`
	PerSecond    spread   `json:"operations_per_second"`
	MiBPerSec    spread   `json:"mib_per_second"`
	P50us        spread   `json:"latency_p50_us"`
	P99us        spread   `json:"latency_p99_us"`
	CPUPerOpUs   spread   `json:"server_cpu_us_per_operation"`
	CPUPerGiBSec spread   `json:"server_cpu_s_per_gib"`
	Switches     spread   `json:"server_voluntary_switches_per_operation"`
	RSSPeakMiB   spread   `json:"server_rss_peak_mib"`
	Syscalls     float64  `json:"server_system_calls_per_operation,omitempty"`
	RateRatio    *spread  `json:"rate_ratio,omitempty"`
	CPURatio     *spread  `json:"cpu_ratio,omitempty"`
	P50Ratio     *spread  `json:"p50_ratio,omitempty"`
	P99Ratio     *spread  `json:"p99_ratio,omitempty"`
	OfLimit      float64  `json:"share_of_limit,omitempty"`
	OfCPULimit   float64  `json:"share_of_cpu_limit,omitempty"`
	All          result   `json:"all_rounds"` // latencies of all rounds together, medians else
	Rounds       []result `json:"rounds"`
}

// columns are the figures that are compared.
type columns struct{ rate, mib, p50, p99, cpu, cpuGiB, switches, rss []float64 }

func columnsOf(rounds []result) (c columns) {
	for i := range rounds {
		r := &rounds[i]
		c.rate, c.mib = append(c.rate, r.PerSecond), append(c.mib, r.MiBPerSec)
		c.p50, c.p99 = append(c.p50, r.P50us), append(c.p99, r.P99us)
		c.cpu, c.cpuGiB = append(c.cpu, r.CPUPerOpUs), append(c.cpuGiB, r.CPUPerGiBSec)
		c.switches, c.rss = append(c.switches, r.Switches), append(c.rss, r.RSSPeakMiB)
	}
	return c
}

// report sums the results up, also of a run that ended early.
func (c *comparison) report() *compareReport {
	rep := &compareReport{Rounds: c.rounds}
	for _, side := range c.list {
		rep.Endpoints = append(rep.Endpoints, endpointReport{side.endpoint, side.peak})
	}
	for i, r := range c.rows {
		if len(c.results) == 0 || len(c.results[i][0]) == 0 {
			continue
		}
		x := rowReport{
			Name: c.results[i][0][0].Name, Op: r.op, Size: r.size, Concurrency: r.concurrency, Rate: r.rate, Cold: r.cold,
		}
		x.Limit, x.CPULimit = c.limits.bounds(r)
		base := columnsOf(c.results[i][0])
		for k, side := range c.list {
			if rounds := c.results[i][k]; len(rounds) > 0 {
				x.Sides = append(x.Sides, x.side(side.Name, rounds, base, k > 0))
			}
		}
		rep.Rows = append(rep.Rows, x)
	}
	return rep
}

// side sums up one endpoint's rounds.
func (x *rowReport) side(name string, rounds []result, base columns, compared bool) sideReport {
	v := columnsOf(rounds)
	s := sideReport{
		Endpoint: name, PerSecond: spreadOf(v.rate), MiBPerSec: spreadOf(v.mib), P50us: spreadOf(v.p50), P99us: spreadOf(v.p99),
		CPUPerOpUs: spreadOf(v.cpu), CPUPerGiBSec: spreadOf(v.cpuGiB), Switches: spreadOf(v.switches), RSSPeakMiB: spreadOf(v.rss),
		Syscalls: rounds[0].Syscalls, Rounds: rounds,
	}
	if compared {
		s.RateRatio, s.CPURatio = ratioOf(v.rate, base.rate), ratioOf(v.cpu, base.cpu)
		s.P50Ratio, s.P99Ratio = ratioOf(v.p50, base.p50), ratioOf(v.p99, base.p99)
	}
	s.All = rounds[0]
	s.All.hist = new(histogram)
	for i := range rounds {
		if rounds[i].hist != nil {
			s.All.hist.merge(rounds[i].hist)
		}
		rounds[i].Distribution = nil // that of all rounds says it
	}
	s.All.latencies(s.All.hist)
	s.All.Kinds, s.All.Open = sumKinds(rounds), sumOpen(rounds)
	s.All.PerSecond, s.All.MiBPerSec = s.PerSecond.Median, s.MiBPerSec.Median
	s.All.CPUPerOpUs, s.All.CPUPerGiBSec = s.CPUPerOpUs.Median, s.CPUPerGiBSec.Median
	s.All.Switches, s.All.RSSPeakMiB = s.Switches.Median, s.RSSPeakMiB.Median
	s.OfLimit, s.OfCPULimit = x.Limit.share(&s.All), x.CPULimit.share(&s.All)
	return s
}

// sumOpen adds up what became of an open loop's operations; nil of closed ones.
func sumOpen(rounds []result) *openResult {
	if rounds[0].Open == nil {
		return nil
	}
	sum := &openResult{Rate: rounds[0].Open.Rate}
	for i := range rounds {
		o := rounds[i].Open
		sum.Intended += o.Intended
		sum.Sent += o.Sent
		sum.Late += o.Late
		sum.Dropped += o.Dropped
	}
	return sum
}

// sumKinds takes the median of each figure of MIXED's operations, and the sums
// and the maxima of what is none.
func sumKinds(rounds []result) (out []kindResult) {
	for k := range rounds[0].Kinds {
		sum := kindResult{Op: rounds[0].Kinds[k].Op}
		var p50, p99 []float64
		for i := range rounds {
			x := &rounds[i].Kinds[k]
			sum.Operations += x.Operations
			sum.MaxUs = max(sum.MaxUs, x.MaxUs)
			p50, p99 = append(p50, x.P50us), append(p99, x.P99us)
		}
		sum.P50us, sum.P99us = spreadOf(p50).Median, spreadOf(p99).Median
		out = append(out, sum)
	}
	return out
}

// describe writes the comparison as Markdown.
func (x *compareReport) describe(b *strings.Builder) {
	b.WriteString("\n| endpoint | version | sync | RSS peak MiB, all rows |\n|---|---|---|--:|\n")
	for _, e := range x.Endpoints {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", e.Name, e.describe(), e.Sync, number(e.RSSPeakMiB))
	}
	fmt.Fprintf(b, "\nMedians of %d rounds, taken in turn; ratios are to %s, round by round, with their least and greatest.\n", x.Rounds, x.Endpoints[0].Name)
	b.WriteString("\n| operation | at once | endpoint | CPU/op | CPU s/GiB | ratio | ops/s | MiB/s | ratio | p50 | p99 | syscalls/op | of its limit | of the least CPU |\n")
	b.WriteString("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for i := range x.Rows {
		r := &x.Rows[i]
		for k := range r.Sides {
			s := &r.Sides[k]
			name, at := r.Name, fmt.Sprint(r.Concurrency)
			if k > 0 {
				name, at = "", ""
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", name, at, s.Endpoint,
				span(s.CPUPerOpUs.Median), number(s.CPUPerGiBSec.Median), s.CPURatio.text(), number(s.PerSecond.Median),
				number(s.MiBPerSec.Median), s.RateRatio.text(), span(s.All.P50us), span(s.All.P99us), number(s.Syscalls),
				percent(s.OfLimit), percent(s.OfCPULimit))
		}
	}
	var more strings.Builder
	for i := range x.Rows {
		for k := range x.Rows[i].Sides {
			s := &x.Rows[i].Sides[k]
			s.All.describeLoop(&more, s.Endpoint+" ")
		}
	}
	if more.Len() > 0 {
		b.WriteString("\n" + more.String())
	}
	x.describeLimits(b)
}

// describeLimits says which limit each row was held against.
func (x *compareReport) describeLimits(b *strings.Builder) {
	seen := map[string][]string{}
	var order []string
	for i := range x.Rows {
		r := &x.Rows[i]
		for _, l := range []*bound{r.Limit, r.CPULimit} {
			if l == nil {
				continue
			}
			if seen[l.Name] == nil {
				order = append(order, l.Name)
			}
			seen[l.Name] = append(seen[l.Name], fmt.Sprintf("%s ×%d", r.Name, r.Concurrency))
		}
	}
	for i, name := range order {
		if i == 0 {
			b.WriteString("\nLimits of:\n")
		}
		fmt.Fprintf(b, "- %s: %s\n", name, strings.Join(seen[name], ", "))
	}
}

// percent prints a share; 0 is nothing known.
func percent(share float64) string {
	switch {
	case share == 0:
		return "–"
	case share < 0.001:
		return "<0.1 %"
	case share < 0.1:
		return fmt.Sprintf("%.1f %%", 100*share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// figures returns what was measured; nothing of nil.
func (l *limits) figures() []limitFigure {
	if l == nil {
		return nil
	}
	var out []limitFigure
	for _, f := range l.list {
		out = append(out, *f)
	}
	return out
}

// describeFigures writes the limits as Markdown.
func describeFigures(b *strings.Builder, list []limitFigure) {
	if len(list) == 0 {
		return
	}
	b.WriteString("\n| the machine alone | | median | least–greatest |\n|---|---|--:|--:|\n")
	for _, f := range list {
		fmt.Fprintf(b, "| %s | %s | %s | %s–%s |\n", f.Name, f.Unit, number(f.Median), number(f.Low), number(f.High))
	}
}
