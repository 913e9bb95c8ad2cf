package htmlreport

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample is a document that uses everything there is. Its figures are invented.
func sample() *Document {
	nan := math.NaN()
	return &Document{
		Title: "Speed of stores", Subtitle: "an example, whose figures are invented",
		Facts: [][2]string{{"machine", "2 cores, 8 GiB"}, {"kernel", "Linux 6.18"}, {"command", "bench compare -sizes 4KiB <a> & \"b\""}},
		Sections: []Section{{
			Title: "Comparison",
			Text:  "Each endpoint in turn.\nThe first figure is CPU.\n\nMedians of five rounds; small print is the spread.",
			Tables: []Table{{
				Caption: "CPU of the server, ms per operation", Head: []string{"operation", "alpha", "beta", "ratio"}, Align: "lrrc",
				Rows: [][]Cell{
					{{Text: "PUT 4 KiB × 16"}, {Text: "0.10", Note: "0.09 – 0.11"}, {Text: "1.10", Note: "1.0 – 1.3"}, {Text: "0.09", Good: true}},
					{{Text: "GET 1 MiB × 16"}, {Text: "0.41"}, {Text: "0.30"}, {Text: "1.37", Bad: true, Good: true}},
				},
			}},
			Charts: []Chart{{
				Kind: "bars", Title: "Server CPU per operation", XLabel: "operation", YLabel: "CPU", Unit: "ms",
				Categories: []string{"PUT 4 KiB × 16", "GET 4 KiB × 16", "HEAD × 16", "LIST of 1,000 keys of a prefix with a name much too long for its place × 16"},
				Series: []Series{
					{Name: "alpha", Y: []float64{0.10, 0.05, 0.03, 0.8}, Lo: []float64{0.09, 0.04, 0.03, 0.7}, Hi: []float64{0.11, 0.06, 0.04, 0.9}},
					{Name: "beta <script>", Y: []float64{1.10, 0.31, 0.26, 29}, Lo: []float64{1, nan, 0.2, 25}, Hi: []float64{1.3, nan, 0.3, 33}},
					{Name: "gamma", Y: []float64{0.38, 0.2, nan, 28}},
				},
			}, {
				Kind: "bars", Title: "The same on a logarithmic scale", LogY: true, YLabel: "CPU", Unit: "ms",
				Categories: []string{"PUT", "LIST"},
				Series:     []Series{{Name: "alpha", Y: []float64{0.1, 0.8}, Lo: []float64{-1, 0.5}, Hi: []float64{0.3, 1}}, {Name: "beta", Y: []float64{0, 29}}},
			}, {
				Kind: "bars", Title: "Change", YLabel: "against the revision before", Unit: "%",
				Categories: []string{"ring", "arena", "sigv4"}, Series: []Series{{Y: []float64{-12.5, 3, -48}, Lo: []float64{-14, -2, -50}, Hi: []float64{-11, 5, -45}}},
			}},
		}, {
			Title: "Curves",
			Charts: []Chart{{
				Kind: "lines", Title: "Objects per second", XLabel: "requests at once", YLabel: "objects", Unit: "1/s", LogX: true,
				Series: []Series{
					{Name: "alpha", X: []float64{1, 4, 16, 64, 256}, Y: []float64{1300, 5200, 9900, 12000, 12500}, Lo: []float64{1200, 5000, 9000, 11000, 12000}, Hi: []float64{1400, 5300, 10100, 12900, 13000}},
					{Name: "beta", X: []float64{1, 4, 16, 64, 256}, Y: []float64{500, 580, 600, 610, nan}},
				},
			}, {
				Kind: "lines", Title: "Latency by rate", XLabel: "objects per second", YLabel: "p99", Unit: "ms", LogY: true,
				Series: []Series{
					{Name: "alpha", X: []float64{0, 1000, 2000, 4000, 8100}, Y: []float64{0.6, 0.61, 0.7, 0.9, 220}},
					{Name: "beta", X: []float64{100, 200, 300, 500, 600}, Y: []float64{1.7, 1.8, 2.3, 12, 900}},
				},
			}, {
				Kind: "lines", Title: "By size", XLabel: "object size (bytes)", YLabel: "rate", Unit: "MiB/s", LogX: true,
				Series: []Series{{Name: "GET", X: []float64{4096, 65536, 1 << 20, 16 << 20}, Y: []float64{70, 500, 1300, 1400}}},
			}, {Kind: "bars", Title: "Nothing known", LogY: true, Categories: []string{"a"}, Series: []Series{{Name: "x", Y: []float64{0}}}}},
		}},
	}
}

func render(t interface{ Fatal(...any) }, d *Document) string {
	var b bytes.Buffer
	if err := Write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, d := range map[string]*Document{"sample": sample(), "empty": {}} {
		got, path := render(t, d), filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; look at it and run with -update", path)
		}
	}
}

// parse reads the page as XML, which is stricter than HTML, and gives its text.
func parse(t interface{ Fatalf(string, ...any) }, page string) (text string, elements map[string]int) {
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	var b strings.Builder
	elements = map[string]int{}
	ids := map[string]bool{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String(), elements
		}
		if err != nil {
			t.Fatalf("line %d: %v", strings.Count(page[:d.InputOffset()], "\n")+1, err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			elements[x.Name.Local]++
			for _, a := range x.Attr {
				if name := strings.ToLower(a.Name.Local); strings.HasPrefix(name, "on") || name == "src" ||
					name == "style" || name == "href" && !strings.HasPrefix(a.Value, "#s") {
					t.Fatalf("attribute %s=%q of %s", name, a.Value, x.Name.Local)
				}
				if a.Name.Local == "id" && ids[a.Value] {
					t.Fatalf("two elements have id %q", a.Value)
				} else if a.Name.Local == "id" {
					ids[a.Value] = true
				}
			}
		case xml.CharData:
			b.Write(x)
		}
	}
}

func TestPageIsWellFormedAndSelfContained(t *testing.T) {
	page := render(t, sample())
	text, elements := parse(t, page)
	for _, name := range []string{"script", "img", "link", "iframe", "image", "foreignObject"} {
		if elements[name] != 0 {
			t.Errorf("%d elements %s", elements[name], name)
		}
	}
	for _, want := range []string{"url(", "@import", "://"} {
		if strings.Contains(strings.ReplaceAll(page, `xmlns="http://www.w3.org/2000/svg"`, ""), want) {
			t.Errorf("the page holds %q", want)
		}
	}
	for _, want := range []string{"command", "bench compare -sizes 4KiB <a> & \"b\"", "0.09 – 0.11", "beta <script>",
		"1 value is not drawn: not a finite number.", "No values."} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	tables := elements["table"]
	if elements["svg"] != 7 || tables != 8 || elements["caption"] != tables || elements["desc"] != elements["svg"] {
		t.Errorf("elements: %v", elements)
	}
	if n := strings.Count(page, `scope="col"`) + strings.Count(page, `scope="row"`); n != elements["th"] {
		t.Errorf("%d of %d headings have a scope", n, elements["th"])
	}
}

// TestHostileStrings: whatever a string holds, it is text of the page and no more.
func TestHostileStrings(t *testing.T) {
	_, plain := parse(t, render(t, everywhere("x")))
	for _, text := range []string{
		`<script>alert(1)</script>`, `"><svg onload=alert(1)>`, `'"&<>`, `</title></style></svg>`, `]]>`, `<!--`, `{{.}}`,
		"\x00\x01\x1b\x7f\u0085", "\xff\xfe\xed\xa0\x80", "\ufffe\uffff", "a\r\nb", "\u202e\u0301", strings.Repeat("W", 5000), `&lt;`, `javascript:x`,
	} {
		page := render(t, everywhere(text))
		got, elements := parse(t, page)
		if want := strings.ReplaceAll(clean(text), "\n", " "); !strings.Contains(strings.ReplaceAll(got, "\n", " "), want) {
			t.Errorf("%q is not in the page", text)
		}
		for name, n := range elements {
			if name != "title" && n != plain[name] { // title: also that of labels that were cut
				t.Errorf("%q: %d elements %s instead of %d", text, n, name, plain[name])
			}
		}
	}
}

// everywhere puts text into every string of a document that may be any.
func everywhere(text string) *Document {
	series := []Series{{Name: text, X: []float64{1}, Y: []float64{2}}, {Name: text, X: []float64{3}, Y: []float64{4}}}
	return &Document{Title: text, Subtitle: text, Facts: [][2]string{{text, text}}, Sections: []Section{{
		Title: text, Text: text + text,
		Tables: []Table{{Caption: text, Head: []string{text, text}, Rows: [][]Cell{{{Text: text}, {Text: text, Note: text}}}}},
		Charts: []Chart{
			{Kind: "bars", Title: text, XLabel: text, YLabel: text, Unit: text, Categories: []string{text}, Series: series},
			{Kind: "lines", Title: text, XLabel: text, YLabel: text, Unit: text, Series: series},
		},
	}}}
}

func TestMalformedDocuments(t *testing.T) {
	bars := func(c Chart) *Document {
		c.Kind = orElse(c.Kind, "bars")
		return &Document{Sections: []Section{{Title: "here", Charts: []Chart{c}}}}
	}
	table := func(x Table) *Document { return &Document{Sections: []Section{{Title: "here", Tables: []Table{x}}}} }
	one, two := []float64{1}, []float64{1, 2}
	for name, d := range map[string]*Document{
		"a kind":              bars(Chart{Kind: "pie"}),
		"fewer values":        bars(Chart{Categories: []string{"a", "b"}, Series: []Series{{Y: one}}}),
		"more values":         bars(Chart{Categories: []string{"a"}, Series: []Series{{Y: two}}}),
		"X without Y":         bars(Chart{Kind: "lines", Series: []Series{{X: two, Y: one}}}),
		"Lo without Hi":       bars(Chart{Kind: "lines", Series: []Series{{X: one, Y: one, Lo: one}}}),
		"too many whiskers":   bars(Chart{Kind: "lines", Series: []Series{{X: one, Y: one, Lo: two, Hi: two}}}),
		"too many series":     bars(Chart{Series: make([]Series, maxSeries+1)}),
		"too many bars":       bars(Chart{Categories: make([]string, maxCategories+1)}),
		"too many points":     bars(Chart{Kind: "lines", Series: []Series{{X: make([]float64, maxPoints+1), Y: make([]float64, maxPoints+1)}}}),
		"a short row":         table(Table{Head: []string{"a", "b"}, Rows: [][]Cell{{{Text: "1"}}}}),
		"alignment":           table(Table{Head: []string{"a", "b"}, Align: "l"}),
		"an alignment's name": table(Table{Head: []string{"a"}, Align: "x"}),
	} {
		var b bytes.Buffer
		if err := Write(&b, d); err == nil || !strings.Contains(err.Error(), `"here"`) || b.Len() != 0 {
			t.Errorf("%s: error %v, %d bytes written", name, err, b.Len())
		}
	}
}

func TestWriteReportsTheWritersError(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(io.ErrNoProgress)
	if err := Write(w, &Document{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v", err)
	}
}

// TestAnyChart: whatever the values are, the page is well formed, every value is
// drawn or counted as left out, and everything is drawn within the frame.
func TestAnyChart(t *testing.T) {
	value := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-10, 1e6), rapid.SampledFrom([]float64{0, math.Inf(1), math.NaN(),
		math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-300, 1e300, -1e300, 1e-10, 1e15, 1e15 + 1}))
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 7).Draw(t, "n")
		values := func(name string) []float64 { return rapid.SliceOfN(value, n, n).Draw(t, name) }
		c := Chart{Kind: rapid.SampledFrom([]string{"bars", "lines"}).Draw(t, "kind"), XLabel: rapid.SampledFrom([]string{"", "bytes"}).Draw(t, "x"),
			LogX: rapid.Bool().Draw(t, "logx"), LogY: rapid.Bool().Draw(t, "logy"), Categories: rapid.SliceOfN(rapid.String(), n, n).Draw(t, "names")}
		for range rapid.IntRange(0, 10).Draw(t, "series") {
			s := Series{Name: rapid.String().Draw(t, "name"), X: values("X"), Y: values("Y")}
			if rapid.Bool().Draw(t, "whiskers") {
				s.Lo, s.Hi = values("Lo"), values("Hi")
			}
			c.Series = append(c.Series, s)
		}
		p := newPlot(&c)
		if p.count+p.dropped != n*len(c.Series) {
			t.Fatalf("%d drawn, %d left out of %d", p.count, p.dropped, n*len(c.Series))
		}
		page := render(t, &Document{Sections: []Section{{Charts: []Chart{c}}}})
		parse(t, page)
		for _, bad := range []string{"NaN", "Inf", `width="-`, `y="-`, `x="-`, `cx="-`, `cy="-`} {
			if svg := page[strings.Index(page, "<svg"):strings.Index(page, "</svg>")]; strings.Contains(svg, bad) && !strings.Contains(strings.Join(c.Categories, ""), bad) {
				t.Fatalf("the drawing holds %s: %s", bad, svg)
			}
		}
	})
}
