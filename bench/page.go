package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/sluicehq/sluice/bench/htmlreport"
)

// writePage writes the report as a page with plots.
func (r *report) writePage(file string) error {
	f, err := os.Create(file) // #nosec G304: where the user wants it
	if err != nil {
		return err
	}
	return errors.Join(htmlreport.Write(f, r.page()), f.Close())
}

// page is the report as a document.
func (r *report) page() *htmlreport.Document {
	m := &r.Machine
	d := &htmlreport.Document{
		Title: "bench " + r.Scenario, Subtitle: r.Time.Format("2006-01-02 15:04 MST"),
		Facts: [][2]string{
			{"processor", fmt.Sprintf("%s, %d cores", m.CPU, m.Cores)},
			{"system", "Linux " + m.Kernel + ", TCP congestion control " + m.TCP},
			{"load before", m.Load},
			{"server on CPUs", orElse(m.ServerCPUs, "any")},
			{"load generator on CPUs", orElse(m.ClientCPUs, "any")},
			{"an answer to a PUT promises", r.Sync},
			{"command", strings.Join(r.Command, " ")},
		},
	}
	for _, note := range r.Notes {
		d.Facts = append(d.Facts, [2]string{"note", note})
	}
	if r.Compare != nil && len(r.Compare.Endpoints) > 0 {
		d.Sections = append(d.Sections, r.Compare.sections()...)
	}
	if len(r.Results) > 0 {
		d.Sections = append(d.Sections, r.resultSections()...)
	}
	if len(r.Limits) > 0 {
		d.Sections = append(d.Sections, limitSection(r.Limits))
	}
	return d
}

func text(s string) htmlreport.Cell { return htmlreport.Cell{Text: s} }

// spreadCell shows a median with its least and greatest in small print.
func spreadCell(s *spread, print func(float64) string) htmlreport.Cell {
	if s == nil || s.Median == 0 {
		return text("–")
	}
	return htmlreport.Cell{Text: print(s.Median), Note: print(s.Low) + "–" + print(s.High)}
}

// ratioCell marks a ratio whose whole spread is on one side of 1. less tells that
// small is good.
func ratioCell(s *spread, less bool) htmlreport.Cell {
	c := spreadCell(s, number)
	if s != nil {
		below, above := s.High < 1, s.Low > 1
		c.Good, c.Bad = below && less || above && !less, above && less || below && !less
	}
	return c
}

// label names a row on axes.
func (r *rowReport) label() string { return fmt.Sprintf("%s ×%d", r.Name, r.Concurrency) }

// sections shows a comparison.
func (x *compareReport) sections() []htmlreport.Section {
	first := x.Endpoints[0].Name
	ends := htmlreport.Table{Head: []string{"endpoint", "version", "sync", "RSS peak MiB, all rows"}, Align: "lllr"}
	for _, e := range x.Endpoints {
		ends.Rows = append(ends.Rows, []htmlreport.Cell{text(e.Name), text(e.describe()), text(e.Sync), text(number(e.RSSPeakMiB))})
	}
	out := []htmlreport.Section{{
		Title: "Endpoints", Tables: []htmlreport.Table{ends},
		Text: fmt.Sprintf("Every row was run on every endpoint in turn, in %d rounds, another endpoint first in each. Figures are medians over the rounds, with the least and greatest. Ratios are to %s, taken round by round; one is marked where all rounds agree on which is better. Every byte that was read was compared with what had been written.", x.Rounds, first),
	}}
	out = append(out, htmlreport.Section{
		Title: "Server CPU time per operation", Text: "Of the server's process and its children, as the kernel counts it.",
		Tables: []htmlreport.Table{x.table()},
		Charts: []htmlreport.Chart{
			x.bars("CPU time per operation", "µs", func(s *sideReport) spread { return s.CPUPerOpUs }),
			x.bars("CPU time per GiB", "s", func(s *sideReport) spread { return s.CPUPerGiBSec }),
		},
	})
	out = append(out, htmlreport.Section{Title: "Speed", Charts: []htmlreport.Chart{
		x.bars("operations per second", "1/s", func(s *sideReport) spread { return s.PerSecond }),
		x.bars("throughput", "MiB/s", func(s *sideReport) spread { return s.MiBPerSec }),
		x.bars("share of the row's limit", "%", func(s *sideReport) spread {
			return spread{100 * s.OfLimit, math.NaN(), math.NaN()}
		}),
	}})
	return append(out, x.latencySection())
}

// table has a row for each row and endpoint.
func (x *compareReport) table() htmlreport.Table {
	t := htmlreport.Table{
		Head: []string{"operation", "endpoint", "CPU/op", "CPU s/GiB", "ratio", "ops/s", "MiB/s", "ratio", "p50", "p99", "syscalls/op",
			"switches/op", "of its limit", "limit"},
		Align: "llrrrrrrrrrrrl",
	}
	for i := range x.Rows {
		r := &x.Rows[i]
		for k := range r.Sides {
			s := &r.Sides[k]
			limit := "–"
			if r.Limit != nil {
				limit = fmt.Sprintf("%s: %s %s", r.Limit.Name, number(r.Limit.Value), r.Limit.Unit)
			}
			t.Rows = append(t.Rows, []htmlreport.Cell{
				text(r.label()), text(s.Endpoint), spreadCell(&s.CPUPerOpUs, span), spreadCell(&s.CPUPerGiBSec, number),
				ratioCell(s.CPURatio, true), spreadCell(&s.PerSecond, number), spreadCell(&s.MiBPerSec, number),
				ratioCell(s.RateRatio, false), spreadCell(&s.P50us, span), spreadCell(&s.P99us, span), text(number(s.Syscalls)),
				spreadCell(&s.Switches, number), text(percent(s.OfLimit)), text(limit),
			})
		}
	}
	return t
}

// bars draws one figure of all rows; those that do not have it are left out.
func (x *compareReport) bars(title, unit string, of func(*sideReport) spread) htmlreport.Chart {
	c := htmlreport.Chart{Kind: "bars", Title: title, XLabel: "operation", YLabel: title, Unit: unit, LogY: unit != "%"}
	for _, e := range x.Endpoints {
		c.Series = append(c.Series, htmlreport.Series{Name: e.Name})
	}
	for i := range x.Rows {
		r, known := &x.Rows[i], false
		for k := range r.Sides {
			known = known || of(&r.Sides[k]).Median > 0
		}
		if !known {
			continue
		}
		c.Categories = append(c.Categories, r.label())
		for k := range c.Series {
			v := spread{math.NaN(), math.NaN(), math.NaN()}
			if k < len(r.Sides) {
				v = of(&r.Sides[k])
			}
			s := &c.Series[k]
			s.Y, s.Lo, s.Hi = append(s.Y, v.Median), append(s.Lo, v.Low), append(s.Hi, v.High)
		}
	}
	return c
}

// latencySection plots the whole distribution of each row.
func (x *compareReport) latencySection() htmlreport.Section {
	out := htmlreport.Section{Title: "Latency", Text: "All rounds together: one operation in so many took so long or longer. Of an open loop, time counts from when an operation was to be sent."}
	for i := range x.Rows {
		r := &x.Rows[i]
		c := latencyChart(r.label())
		for k := range r.Sides {
			c.Series = append(c.Series, r.Sides[k].All.Distribution.series(r.Sides[k].Endpoint))
		}
		out.Charts = append(out.Charts, c)
	}
	return out
}

func latencyChart(title string) htmlreport.Chart {
	return htmlreport.Chart{Kind: "lines", Title: title, XLabel: "one operation in", YLabel: "latency", Unit: "µs", LogX: true, LogY: true}
}

// series is the distribution by the odds of a latency or a greater one, at steps
// of a quarter of a power of two and at the maximum.
func (d distribution) series(name string) htmlreport.Series {
	s, total := htmlreport.Series{Name: name}, 0.0
	for _, pair := range d {
		total += pair[1]
	}
	below, next := 0.0, 1.0
	for i, pair := range d {
		odds := total / (total - below) // of this latency or a greater one
		if odds >= next || i == len(d)-1 {
			s.X, s.Y = append(s.X, odds), append(s.Y, pair[0])
			next = odds * math.Pow(2, 0.25)
		}
		below += pair[1]
	}
	return s
}

// resultSections shows single measurements: a table and bars, and the
// distributions of each operation by concurrency.
func (r *report) resultSections() []htmlreport.Section {
	t := htmlreport.Table{
		Head:  []string{"operation", "", "at once", "ops/s", "MiB/s", "p50", "p99", "p99.9", "CPU/op", "CPU s/GiB", "syscalls/op", "RSS peak MiB", "of its limit"},
		Align: "llrrrrrrrrrrr",
	}
	charts := map[string]*htmlreport.Chart{}
	var order []string
	for i := range r.Results {
		x := &r.Results[i]
		t.Rows = append(t.Rows, []htmlreport.Cell{
			text(x.Name), text(x.Scheme), text(fmt.Sprint(x.Concurrency)), text(number(x.PerSecond)), text(number(x.MiBPerSec)),
			text(span(x.P50us)), text(span(x.P99us)), text(span(x.P999us)), text(span(x.CPUPerOpUs)), text(number(x.CPUPerGiBSec)),
			text(number(x.Syscalls)), text(number(x.RSSPeakMiB)), text(percent(x.OfLimit)),
		})
		name := x.Scheme + " " + x.Name
		if charts[name] == nil {
			c := latencyChart(name)
			charts[name], order = &c, append(order, name)
		}
		if c := charts[name]; len(c.Series) < 8 {
			c.Series = append(c.Series, x.Distribution.series(fmt.Sprintf("×%d", x.Concurrency)))
		}
	}
	out := []htmlreport.Section{
		{Title: "Results", Tables: []htmlreport.Table{t}, Charts: []htmlreport.Chart{
			r.bars("server CPU time per operation", "µs", func(x *result) float64 { return x.CPUPerOpUs }),
			r.bars("operations per second", "1/s", func(x *result) float64 { return x.PerSecond }),
		}},
		{Title: "Latency", Text: "One operation in so many took so long or longer."},
	}
	for _, name := range order {
		out[1].Charts = append(out[1].Charts, *charts[name])
	}
	return out
}

// bars draws one figure of the results, a series for each scheme.
func (r *report) bars(title, unit string, of func(*result) float64) htmlreport.Chart {
	c := htmlreport.Chart{Kind: "bars", Title: title, XLabel: "operation", YLabel: title, Unit: unit, LogY: true}
	rows, schemes := map[string]int{}, map[string]int{}
	for i := range r.Results {
		x := &r.Results[i]
		name := fmt.Sprintf("%s ×%d", x.Name, x.Concurrency)
		if _, known := rows[name]; !known {
			if len(rows) == barsMost {
				continue
			}
			rows[name] = len(rows)
			c.Categories = append(c.Categories, name)
		}
		if _, known := schemes[x.Scheme]; !known {
			schemes[x.Scheme] = len(schemes)
			c.Series = append(c.Series, htmlreport.Series{Name: x.Scheme})
		}
	}
	for k := range c.Series {
		c.Series[k].Y = make([]float64, len(rows))
		for i := range c.Series[k].Y {
			c.Series[k].Y[i] = math.NaN()
		}
	}
	for i := range r.Results {
		x := &r.Results[i]
		if at, known := rows[fmt.Sprintf("%s ×%d", x.Name, x.Concurrency)]; known {
			c.Series[schemes[x.Scheme]].Y[at] = of(x)
		}
	}
	return c
}

// barsMost bounds the categories of a chart of bars.
const barsMost = 200

func limitSection(list []limitFigure) htmlreport.Section {
	t := htmlreport.Table{Head: []string{"the machine alone", "unit", "median"}, Align: "llr"}
	for i := range list {
		t.Rows = append(t.Rows, []htmlreport.Cell{text(list[i].Name), text(list[i].Unit), spreadCell(&list[i].spread, number)})
	}
	return htmlreport.Section{
		Title: "Limits", Tables: []htmlreport.Table{t},
		Text: "Measured in the same run, before, between and after the rows: the drive through the daemon's own ring and O_DIRECT, the wire to a process that only sends and receives, and the hashes.",
	}
}
