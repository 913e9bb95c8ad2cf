package htmlreport

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Sizes of line charts in pixels.
const (
	plotHeight = 260.0
	// Beyond this many points of a series, markers would hide the line.
	maxMarkers = 80
	// At most this many different values of X have a tick of their own.
	maxOwnTicks = 12
)

// lines draws a chart of kind lines; p is what of it can be drawn.
func (d *drawing) lines(c *Chart, p *plot) (height float64) {
	ys := p.valueScale(c)
	texts := ys.labels()
	left := 0.0
	for _, text := range texts {
		left = max(left, textWidth(text))
	}
	left += 2 * gap
	xs := p.xScale(c, left, chartWidth-3*gap)
	right := chartWidth - 3*gap
	top := d.legend(c, 0) + lineHeight + gap
	bottom := top + plotHeight
	ys.from, ys.to = bottom, top

	for i, text := range texts {
		y := ys.at(ys.ticks[i])
		d.line("grid", left, y, right, y)
		d.label("tick", "end", left-gap, y+4, text, left)
	}
	for i, text := range xs.labels() {
		x := xs.at(xs.ticks[i])
		d.line("grid", x, top, x, bottom)
		d.label("tick", "middle", x, bottom+fontSize+5, text, chartWidth)
	}
	d.line("base", left, bottom, right, bottom)
	d.line("base", left, top, left, bottom)
	// The heading of the values stands above them: turned text is hard to read.
	d.label("axis", "start", gap, top-gap-3, c.valueLabel(), chartWidth-2*gap)
	d.label("axis", "middle", (left+right)/2, bottom+lineHeight+fontSize+6, c.XLabel, chartWidth-left)
	for i := range p.series {
		d.curve(c, i, p.series[i], &xs, &ys)
	}
	return bottom + 2*lineHeight + gap
}

// curve draws series i: whiskers, line, markers, in this order.
func (d *drawing) curve(c *Chart, i int, points []point, xs, ys *scale) {
	var whiskers, path strings.Builder
	for n, at := range points {
		x, y := xs.at(at.x), ys.at(at.y)
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(n, 1)], x, y)
		if at.whisker {
			a, b := ys.at(at.lo), ys.at(at.hi)
			fmt.Fprintf(&whiskers, "M%.1f %.1fV%.1fM%.1f %.1fh6M%.1f %.1fh6", x, a, b, x-3, a, x-3, b)
		}
	}
	if whiskers.Len() > 0 {
		d.add(`<path class="curve thin %s" d="%s"/>`, look(i), whiskers.String())
	}
	if len(points) > 1 {
		d.add(`<path class="curve %s" d="%s"/>`, look(i), path.String())
	}
	if len(points) > maxMarkers {
		return
	}
	for _, at := range points {
		d.marker(i, xs.at(at.x), ys.at(at.y), "<title>"+escape(c.describe(i, at))+"</title>")
	}
}

// xScale makes the scale of X between two pixels. Its ticks are where the points
// are (1, 4, 16, 64 at once) if those are few and their labels do not meet.
func (p *plot) xScale(c *Chart, from, to float64) scale {
	s := newScale(c.LogX, p.xLo, p.xHi)
	if !c.LogX && p.xLo >= 0 && s.lo < 0 { // widened too far
		s.lo = 0
		s.ticks = slices.DeleteFunc(s.ticks, func(v float64) bool { return v < 0 })
	}
	s.from, s.to = from, to
	if c.bytes() {
		s.name = size
	}
	all := p.distinctX(maxOwnTicks)
	switch len(all) {
	case 0:
		return s
	case 1:
		s.ticks, s.name = all, c.xText
		return s
	}
	own := scale{log: c.LogX, lo: all[0], hi: all[len(all)-1], from: from + 3*gap, to: to - 3*gap, ticks: all, name: c.xText}
	free, last := math.Inf(-1), ""
	for _, v := range all {
		text := c.xText(v)
		x, half := own.at(v), textWidth(text)/2
		if x-half < free || text == last {
			return s
		}
		free, last = x+half+gap, text
	}
	return own
}

// distinctX gives the different values of X, ascending; none if there are more
// than most.
func (p *plot) distinctX(most int) []float64 {
	var all []float64
	for _, points := range p.series {
		for _, at := range points {
			if !slices.Contains(all, at.x) {
				all = append(all, at.x)
			}
			if len(all) > most {
				return nil
			}
		}
	}
	slices.Sort(all)
	return all
}

// bytes tells whether X is a size in bytes, to be printed in binary units.
func (c *Chart) bytes() bool {
	label := strings.ToLower(c.XLabel)
	return label == "bytes" || strings.HasSuffix(label, "bytes)")
}

// xText prints a value of X.
func (c *Chart) xText(v float64) string {
	if c.bytes() {
		return size(v)
	}
	return short(v)
}

// size prints bytes: 512, 4 KiB, 1.5 MiB.
func size(v float64) string {
	unit := ""
	for _, next := range []string{" KiB", " MiB", " GiB", " TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, next
	}
	return short(v) + unit
}
