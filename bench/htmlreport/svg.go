package htmlreport

import (
	"fmt"
	"html"
	"strings"
	"unicode"
)

// Sizes in pixels of the drawing; the page scales it as a whole.
const (
	chartWidth = 760.0
	fontSize   = 12.0
	lineHeight = 18.0
	gap        = 8.0 // between a label and what it labels
	// palette is how many colours there are: classes c0 to c7 of the style sheet.
	palette = 8
	shapes  = 6 // kinds of markers
)

// clean replaces what XML cannot hold: control characters and broken UTF-8.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return r
		case r == '\r':
			return '\n'
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff:
			return unicode.ReplacementChar
		}
		return r // broken UTF-8 comes as U+FFFD
	}, strings.ReplaceAll(text, "\r\n", "\n"))
}

// escape makes text safe between tags and in quoted attributes.
func escape(text string) string { return html.EscapeString(clean(text)) }

// textWidth estimates, rather too large than too small, how many pixels text takes.
func textWidth(text string) float64 {
	em := 0.0
	for _, r := range text {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case strings.ContainsRune("ijlftrI.,:;|'! ()[]/-", r):
			em += 0.42
		case strings.ContainsRune("mwMW@%", r) || r >= 0x2e80:
			em += 1.05
		case r >= 'A' && r <= 'Z':
			em += 0.76
		default:
			em += 0.65
		}
	}
	return em * fontSize
}

// fit cuts text so that it takes no more than width pixels.
func fit(text string, width float64) string {
	if textWidth(text) <= width {
		return text
	}
	runes := []rune(text)
	low, high := 0, len(runes)
	for low < high { // the longest beginning that fits
		if mid := (low + high + 1) / 2; textWidth(string(runes[:mid])+"…") <= width {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return strings.TrimSpace(string(runes[:low])) + "…"
}

// drawing collects the elements of one SVG.
type drawing struct {
	b strings.Builder
}

// add writes one element or more; strings among args must be escaped.
func (d *drawing) add(format string, args ...any) {
	fmt.Fprintf(&d.b, format, args...)
	d.b.WriteByte('\n')
}

// label writes text at x, y; anchor is start, middle or end. Text that is cut to
// fit width is told in full to those who point at it.
func (d *drawing) label(class, anchor string, x, y float64, text string, width float64) {
	text = strings.ReplaceAll(clean(text), "\n", " ")
	more := ""
	cut := fit(text, width)
	if cut != text {
		more = "<title>" + escape(text) + "</title>"
	}
	d.add(`<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s%s</text>`, class, anchor, x, y, more, escape(cut))
}

// line draws a straight line of one of the style sheet's classes.
func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	d.add(`<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

// document frames what was drawn; id is unique in the page.
func (d *drawing) document(id, title, desc string, height float64) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" role="img" aria-labelledby="%s-t %s-d">
<title id="%s-t">%s</title>
<desc id="%s-d">%s</desc>
%s</svg>`, chartWidth, height, id, id, id, escape(title), id, escape(desc), d.b.String())
}

// look names the classes of series i: its colour, and beyond the palette's end
// that it is of the second turn.
func look(i int) string {
	if i >= palette {
		return fmt.Sprintf("c%d turn", i%palette)
	}
	return fmt.Sprintf("c%d", i)
}

// marker draws the mark of series i around x, y; inner elements go inside.
func (d *drawing) marker(i int, x, y float64, inner string) {
	const r = 4.0
	class := look(i)
	polygon := func(points ...float64) {
		var b strings.Builder
		for p := 0; p < len(points); p += 2 {
			fmt.Fprintf(&b, "%.1f,%.1f ", x+r*points[p], y+r*points[p+1])
		}
		d.add(`<polygon class="mark %s" points="%s">%s</polygon>`, class, strings.TrimSpace(b.String()), inner)
	}
	switch (i + i/palette) % shapes { // another shape when the colour returns
	case 0:
		d.add(`<circle class="mark %s" cx="%.1f" cy="%.1f" r="%.1f">%s</circle>`, class, x, y, r, inner)
	case 1:
		polygon(-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.9, 0.9)
	case 2:
		polygon(0, -1.2, 1.1, 0.8, -1.1, 0.8)
	case 3:
		polygon(0, -1.35, 1.35, 0, 0, 1.35, -1.35, 0)
	case 4:
		polygon(0, 1.2, 1.1, -0.8, -1.1, -0.8)
	default:
		polygon(-1.2, -0.45, -0.45, -0.45, -0.45, -1.2, 0.45, -1.2, 0.45, -0.45, 1.2, -0.45,
			1.2, 0.45, 0.45, 0.45, 0.45, 1.2, -0.45, 1.2, -0.45, 0.45, -1.2, 0.45)
	}
}

// legend writes the names of the series in rows that begin at y, each with its
// key, and gives the pixel below them. A single series without a name has none.
func (d *drawing) legend(c *Chart, y float64) float64 {
	if len(c.Series) == 0 || len(c.Series) == 1 && c.Series[0].Name == "" {
		return y
	}
	const key, between = 26.0, 18.0
	x := gap
	y += lineHeight
	for i := range c.Series {
		name := clean(c.Series[i].Name)
		if name == "" {
			name = fmt.Sprintf("series %d", i+1)
		}
		width := min(textWidth(name), chartWidth-2*gap-key)
		if x > gap && x+key+width > chartWidth-gap {
			x, y = gap, y+lineHeight
		}
		if c.Kind == "lines" {
			d.line("curve "+look(i), x, y-4, x+key-6, y-4)
			d.marker(i, x+(key-6)/2, y-4, "")
		} else {
			d.add(`<rect class="bar %s" x="%.1f" y="%.1f" width="%.1f" height="11"/>`, look(i), x, y-10, key-8)
		}
		d.label("t", "start", x+key, y, name, width)
		x += key + width + between
	}
	return y + gap
}
