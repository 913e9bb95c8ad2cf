package htmlreport

import (
	"fmt"
	"math"
)

// Sizes of bar charts in pixels.
const (
	barHeight   = 13.0
	barGap      = 2.0
	groupGap    = 10.0
	nameMax     = 240.0 // most that the categories' names take
	leastForBar = 1.0   // a bar that is drawn can be seen
)

// bars draws a chart of kind bars; p is what of it can be drawn.
func (d *drawing) bars(c *Chart, p *plot) (height float64) {
	names := textWidth(c.XLabel)
	for _, name := range c.Categories {
		names = max(names, textWidth(name))
	}
	left := min(names, nameMax) + 2*gap
	s := p.valueScale(c)
	values := 0.0
	for _, series := range p.series {
		for _, at := range series {
			values = max(values, textWidth(number(at.y)))
		}
	}
	// The value of a bar is printed behind it: the room for the widest is kept
	// free, on the left, too, where there are bars that go there.
	s.from, s.to = left, chartWidth-values-2*gap
	if s.lo < 0 && !s.log {
		s.from += values + gap
	}
	top := d.legend(c, 0) + lineHeight
	group := float64(len(c.Series))*(barHeight+barGap) + groupGap
	bottom := top + group*float64(len(c.Categories))

	d.label("axis", "start", gap, top-5, c.XLabel, left-gap)
	for i, text := range s.labels() {
		x := s.at(s.ticks[i])
		d.line("grid", x, top, x, bottom)
		d.label("tick", "middle", x, bottom+fontSize+3, text, chartWidth)
	}
	zero := s.from
	if !s.log {
		zero = s.at(0)
	}
	for i, name := range c.Categories {
		middle := top + group*(float64(i)+0.5)
		d.label("t", "end", left-gap, middle+4, name, left-2*gap)
		if i > 0 {
			d.line("rule", gap, top+group*float64(i), s.to, top+group*float64(i))
		}
	}
	for i := range p.series {
		rest := p.series[i]
		for n := range c.Categories {
			y := top + group*float64(n) + groupGap/2 + float64(i)*(barHeight+barGap)
			if len(rest) == 0 || int(rest[0].x) != n { // left out: said where it would be
				d.label("value", "start", zero+4, y+barHeight-2.5, "–", chartWidth)
				continue
			}
			d.bar(c, i, rest[0], &s, zero, y)
			rest = rest[1:]
		}
	}
	d.line("base", zero, top, zero, bottom)
	d.label("axis", "middle", (s.from+s.to)/2, bottom+lineHeight+fontSize+4, c.valueLabel(), chartWidth-left)
	return bottom + 2*lineHeight + gap
}

// bar draws one bar with its whisker and its value; y is its upper edge.
func (d *drawing) bar(c *Chart, i int, at point, s *scale, zero, y float64) {
	x := s.at(at.y)
	from, width := min(zero, x), max(math.Abs(x-zero), leastForBar)
	d.add(`<rect class="bar %s" x="%.1f" y="%.1f" width="%.1f" height="%.0f"><title>%s</title></rect>`,
		look(i), from, y, width, barHeight, escape(c.describe(i, at)))
	low, high := from, from+width
	if at.whisker {
		a, b := s.at(at.lo), s.at(at.hi)
		middle := y + barHeight/2
		d.add(`<path class="whisker" d="M%.1f %.1fH%.1fM%.1f %.1fv6M%.1f %.1fv6"/>`, a, middle, b, a, middle-3, b, middle-3)
		low, high = min(low, a, b), max(high, a, b)
	}
	if at.y < 0 && !s.log {
		d.label("value", "end", low-4, y+barHeight-2.5, number(at.y), chartWidth)
	} else {
		d.label("value", "start", high+4, y+barHeight-2.5, number(at.y), chartWidth)
	}
}

// describe says in words what one point of series i is.
func (c *Chart) describe(i int, at point) string {
	text := ""
	if name := c.Series[i].Name; name != "" {
		text = name + ", "
	}
	if c.Kind == "bars" {
		text += c.Categories[int(at.x)] + ": "
	} else {
		text += c.xText(at.x) + ": "
	}
	text += number(at.y)
	if c.Unit != "" {
		text += " " + c.Unit
	}
	if at.whisker {
		text += fmt.Sprintf(" (%s to %s)", number(at.lo), number(at.hi))
	}
	return text
}

// valueLabel is the heading of the values' axis.
func (c *Chart) valueLabel() string {
	switch {
	case c.Unit == "":
		return c.YLabel
	case c.YLabel == "":
		return c.Unit
	}
	return c.YLabel + " (" + c.Unit + ")"
}
