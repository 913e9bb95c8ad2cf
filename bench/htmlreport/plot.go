package htmlreport

import (
	"fmt"
	"math"
	"strings"
)

// point is one value that can be drawn.
type point struct {
	x, y    float64 // of bars, x is the index of the category
	lo, hi  float64 // the whisker's ends, in this order
	whisker bool
}

// plot is what of a chart can be drawn, with the range it takes.
type plot struct {
	series             [][]point
	xLo, xHi, yLo, yHi float64 // the y's with whiskers
	count, dropped     int     // values drawn and left out
}

// newPlot sorts out what of c, which has passed its check, can be drawn.
func newPlot(c *Chart) *plot {
	p := &plot{xLo: math.Inf(1), xHi: math.Inf(-1), yLo: math.Inf(1), yHi: math.Inf(-1)}
	fits := func(v float64, log bool) bool { return finite(v) && (!log || v >= smallest) }
	for i := range c.Series {
		s := &c.Series[i]
		var points []point
		for n, y := range s.Y {
			at := point{x: float64(n), y: y}
			if c.Kind == "lines" {
				at.x = s.X[n]
			}
			if !fits(y, c.LogY) || c.Kind == "lines" && !fits(at.x, c.LogX) {
				p.dropped++
				continue
			}
			if len(s.Lo) > 0 && finite(s.Lo[n]) && finite(s.Hi[n]) {
				at.lo, at.hi, at.whisker = min(s.Lo[n], s.Hi[n]), max(s.Lo[n], s.Hi[n]), true
			}
			p.take(at, c.LogY)
			points = append(points, at)
		}
		p.series = append(p.series, points)
	}
	return p
}

// take widens the ranges so that they hold at.
func (p *plot) take(at point, logY bool) {
	p.count++
	p.xLo, p.xHi = min(p.xLo, at.x), max(p.xHi, at.x)
	p.yLo, p.yHi = min(p.yLo, at.y), max(p.yHi, at.y)
	if at.whisker {
		if !logY || at.lo >= smallest { // else the whisker ends at the axis
			p.yLo = min(p.yLo, at.lo)
		}
		p.yHi = max(p.yHi, at.hi)
	}
}

// valueScale makes the scale of the values. A linear one begins at zero, as
// lengths that are compared must; a logarithmic one leaves every bar some length.
func (p *plot) valueScale(c *Chart) scale {
	lo, hi := p.yLo, p.yHi
	switch {
	case !c.LogY:
		lo, hi = min(lo, 0), max(hi, 0)
		if lo == hi { // nothing but zeros
			hi = 1
		}
	case c.Kind == "bars":
		lo = max(lo*0.6, smallest)
	}
	return newScale(c.LogY, lo, hi)
}

// note says what is missing from the drawing; empty if nothing is.
func (p *plot) note(c *Chart) string {
	if p.dropped == 0 {
		return ""
	}
	verb, noun := "is", "value"
	if p.dropped > 1 {
		verb, noun = "are", "values"
	}
	why := "not a finite number"
	if c.LogY || c.Kind == "lines" && c.LogX {
		why += ", or not positive on a logarithmic axis"
	}
	return fmt.Sprintf("%d %s %s not drawn: %s.", p.dropped, noun, verb, why)
}

// describe says in a sentence what the chart shows, for those who do not see it.
func (p *plot) describe(c *Chart) string {
	var b strings.Builder
	if c.Kind == "bars" {
		fmt.Fprintf(&b, "Horizontal bars of %s for %d categories", orElse(c.valueLabel(), "values"), len(c.Categories))
	} else {
		fmt.Fprintf(&b, "Lines of %s over %s", orElse(c.valueLabel(), "values"), orElse(c.XLabel, "X"))
	}
	if c.LogY {
		b.WriteString(", on a logarithmic scale")
	}
	for i := range c.Series {
		sep := ", "
		if i == 0 {
			sep = "; series: "
		}
		b.WriteString(sep + orElse(c.Series[i].Name, fmt.Sprint(i+1)))
	}
	if p.count > 0 {
		fmt.Fprintf(&b, ". Values from %s to %s", number(p.yLo), number(p.yHi))
	}
	b.WriteString(". ")
	b.WriteString(p.note(c))
	return strings.TrimSpace(b.String())
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// draw makes the SVG of c; id is unique in the page.
func (p *plot) draw(c *Chart, id string) string {
	d := &drawing{}
	var height float64
	switch {
	case p.count == 0:
		d.label("t", "middle", chartWidth/2, 2*lineHeight, "No values.", chartWidth)
		height = 3 * lineHeight
	case c.Kind == "bars":
		height = d.bars(c, p)
	default:
		height = d.lines(c, p)
	}
	return d.document(id, c.Title, p.describe(c), height)
}

// figures is the chart as a table, with every value, drawn or not.
func figures(c *Chart) Table {
	t := Table{Caption: "Figures of: " + c.Title}
	spread := func(s *Series, n int) string {
		if len(s.Lo) == 0 || !finite(s.Lo[n]) || !finite(s.Hi[n]) {
			return ""
		}
		return number(s.Lo[n]) + " to " + number(s.Hi[n])
	}
	if c.Kind == "lines" {
		t.Head = []string{"Series", orElse(c.XLabel, "X"), orElse(c.valueLabel(), "Y")}
		t.Align = "lrr"
		for i := range c.Series {
			s := &c.Series[i]
			for n := range s.Y {
				t.Rows = append(t.Rows, []Cell{{Text: s.Name}, {Text: c.xText(s.X[n])}, {Text: number(s.Y[n]), Note: spread(s, n)}})
			}
		}
		return t
	}
	t.Head, t.Align = []string{orElse(c.XLabel, "Category")}, "l"
	for i := range c.Series {
		t.Head, t.Align = append(t.Head, orElse(c.Series[i].Name, c.valueLabel())), t.Align+"r"
	}
	for n, name := range c.Categories {
		row := []Cell{{Text: name}}
		for i := range c.Series {
			row = append(row, Cell{Text: number(c.Series[i].Y[n]), Note: spread(&c.Series[i], n)})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
