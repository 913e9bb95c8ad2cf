package htmlreport

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1.00", 9.999: "10.0", 45.62: "45.6", 99.96: "100", 789.4: "789", 12345.6: "12,346", 999_999: "999,999",
		999_999.6: "1.00M", 1.234e6: "1.23M", 5.6e10: "56.0G", 7e13: "70.0T", 1e15: "1e+15", 0.00123: "0.00123", 1e-7: "1e−07",
		-1234567: "−1.23M", -12.5: "−12.5", -1234: "−1,234", math.NaN(): "–", math.Inf(-1): "–",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{1: "1", 2.5: "2.5", 100: "100", 0.05: "0.05", 2e6: "2M", 2.5e6: "2.5M", 1e-9: "1e−09"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 512: "512", 4096: "4 KiB", 1.5 * 1024 * 1024: "1.5 MiB", 16 << 30: "16 GiB", 1 << 52: "4,096 TiB"} {
		if got := size(v); got != want {
			t.Errorf("size(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, x := range []struct {
		log    bool
		lo, hi float64
		want   string
	}{
		{false, 0, 33, "0 10 20 30 40"},
		{false, 0, 1, "0 0.2 0.4 0.6 0.8 1.0"},
		{false, -48, 3, "−50 −40 −30 −20 −10 0 10"},
		{false, 1000.2, 1001.7, "1,000.0 1,000.5 1,001.0 1,001.5 1,002.0"},
		{false, 0, 2.5e6, "0 0.5M 1.0M 1.5M 2.0M 2.5M"},
		{false, 7, 7, "6.999999990 6.999999995 7.000000000 7.000000005 7.000000010"},
		{false, 1, 1, "0.999999999 0.9999999995 1 1.0000000005 1.000000001"},
		{false, 1e300, 1e300, "9.99999999e+299 9.999999995e+299 1e+300 1.0000000005e+300 1.000000001e+300"},
		{false, -1e300, 1e300, "−1e+300 −5e+299 0 5e+299 1e+300"},
		{false, 3e-73, 3.1e-73, "3e−73 3.02e−73 3.04e−73 3.06e−73 3.08e−73 3.1e−73"},
		{true, 1, 256, "1 2 5 10 20 50 100 200 500"},
		{true, 1, 25600, "1 10 100 1,000 10,000"},
		{true, 0.6, 40, "0.5 1 2 5 10 20 50"},
		{true, 3, 3, "2 5"},
		{true, 1e-6, 1e9, "1e−06 0.0001 0.01 1 100 10,000 1M 100M"},
	} {
		s := newScale(x.log, x.lo, x.hi)
		if got := strings.Join(s.labels(), " "); got != x.want {
			t.Errorf("%v to %v (log %v): %s, want %s", x.lo, x.hi, x.log, got, x.want)
		}
	}
}

func TestScales(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.Bool().Draw(t, "log")
		value := rapid.OneOf(rapid.Float64Range(-largest, largest), rapid.Float64Range(-1e4, 1e4))
		if log {
			value = rapid.OneOf(rapid.Float64Range(smallest, largest), rapid.Float64Range(0.01, 1e4))
		}
		lo, hi := value.Draw(t, "lo"), value.Draw(t, "hi")
		lo, hi = min(lo, hi), max(lo, hi)
		s := newScale(log, lo, hi)
		s.from, s.to = 100, 0
		slack := 1e-9 * max(math.Abs(lo), math.Abs(hi))
		if !(s.lo < s.hi) || s.lo > lo+slack || s.hi < hi-slack || math.IsInf(s.hi-s.lo, 0) {
			t.Fatalf("%v to %v became %v to %v", lo, hi, s.lo, s.hi)
		}
		if len(s.ticks) < 1 || len(s.ticks) > 11 {
			t.Fatalf("%d ticks from %v to %v", len(s.ticks), lo, hi)
		}
		labels := s.labels()
		for i, v := range s.ticks {
			if i > 0 && (v <= s.ticks[i-1] || labels[i] == labels[i-1]) {
				t.Fatalf("ticks %v, labels %v", s.ticks, labels)
			}
			if at := s.at(v); math.IsNaN(at) || at < 0 || at > 100 {
				t.Fatalf("tick %v is at pixel %v", v, at)
			}
		}
		if a, b := s.at(lo), s.at(hi); a < b || a > 100 || b < 0 {
			t.Fatalf("pixels %v, %v", a, b)
		}
	})
}

// TestLegendsDoNotOverlap: the estimated boxes of a legend's names stay apart and
// within the drawing.
func TestLegendsDoNotOverlap(t *testing.T) {
	place := regexp.MustCompile(`<text class="t" text-anchor="start" x="([0-9.]+)" y="([0-9.]+)">(?:<title>[^<]*</title>)?([^<]*)</text>`)
	rapid.Check(t, func(t *rapid.T) {
		c := Chart{Kind: rapid.SampledFrom([]string{"bars", "lines"}).Draw(t, "kind")}
		for i := range rapid.IntRange(2, maxSeries).Draw(t, "series") {
			c.Series = append(c.Series, Series{Name: fmt.Sprint(i, strings.Repeat("m", rapid.IntRange(0, 90).Draw(t, "length")))})
		}
		d := &drawing{}
		bottom := d.legend(&c, 0)
		end := map[string]float64{}
		found := place.FindAllStringSubmatch(d.b.String(), -1)
		if len(found) != len(c.Series) {
			t.Fatalf("%d names for %d series", len(found), len(c.Series))
		}
		for _, f := range found {
			x, _ := strconv.ParseFloat(f[1], 64)
			y, _ := strconv.ParseFloat(f[2], 64)
			if x-26 < end[f[2]] || x+textWidth(f[3]) > chartWidth || y > bottom {
				t.Fatalf("%q at %v, %v: the one before ends at %v", f[3], x, y, end[f[2]])
			}
			end[f[2]] = x + textWidth(f[3])
		}
	})
}

func TestFit(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("wide WIDE ", 30), strings.Repeat("\u0301", 100), strings.Repeat("漢字", 50)} {
		got := fit(text, 100)
		if textWidth(got) > 100 || textWidth(text) <= 100 && got != text {
			t.Errorf("%q became %q, %v wide", text, got, textWidth(got))
		}
	}
}

// TestContrast holds the style sheet to WCAG 2.1: 4.5:1 for text, 3:1 for what
// is drawn.
func TestContrast(t *testing.T) {
	rule := regexp.MustCompile(`(?m)^(.+) \{(?:.* )?(?:color|fill): (#[0-9a-f]{6});`)
	for name, css := range map[string]string{"light": lightCSS, "dark": darkCSS} {
		background := regexp.MustCompile(`background: (#[0-9a-f]{6})`).FindAllStringSubmatch(css, -1)
		found := rule.FindAllStringSubmatch(css, -1)
		if len(background) != 4 || len(found) != 7+palette {
			t.Fatalf("%s: %d backgrounds and %d colours", name, len(background), len(found))
		}
		var colours []string
		for _, f := range found {
			least := 4.5
			if strings.HasPrefix(f[1], "svg .c") {
				least = 3
				colours = append(colours, f[2])
			}
			for _, back := range background {
				if got := contrast(f[2], back[1]); got < least {
					t.Errorf("%s: %s %s on %s has a contrast of %.2f, less than %v", name, f[1], f[2], back[1], got, least)
				}
			}
		}
		slices.Sort(colours)
		if len(slices.Compact(colours)) != palette {
			t.Errorf("%s: colours %v", name, colours)
		}
	}
}

// contrast is the ratio of two colours by WCAG 2.1's formula of relative luminance.
func contrast(a, b string) float64 {
	luminance := func(hex string) float64 {
		sum := 0.0
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			n, _ := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8)
			v := float64(n) / 255
			if v <= 0.04045 {
				v /= 12.92
			} else {
				v = math.Pow((v+0.055)/1.055, 2.4)
			}
			sum += weight * v
		}
		return sum
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestTicksOfX: few values have ticks of their own, many share round ones.
func TestTicksOfX(t *testing.T) {
	for _, x := range []struct {
		label string
		log   bool
		xs    []float64
		want  string
	}{
		{"at once", true, []float64{1, 4, 16, 64, 256}, "1 4 16 64 256"},
		{"object size (bytes)", true, []float64{4096, 65536, 1 << 20}, "4 KiB 64 KiB 1 MiB"},
		{"bytes", true, []float64{4096}, "4 KiB"},
		{"at once", false, []float64{7, 7}, "7"},
		{"at once", false, []float64{1, 2, 1000}, "0 200 400 600 800 1,000"}, // 1 and 2 would meet
		{"seconds", false, []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, "0 5 10 15"},
		{"rate", false, []float64{100_000.1, 100_000.2}, "100,000.10 100,000.12 100,000.14 100,000.16 100,000.18 100,000.20"},
	} {
		c := Chart{Kind: "lines", XLabel: x.label, LogX: x.log, Series: []Series{{X: x.xs, Y: x.xs}}}
		p := newPlot(&c)
		s := p.xScale(&c, 50, 700)
		if got := strings.Join(s.labels(), " "); got != x.want {
			t.Errorf("%v: %s, want %s", x.xs, got, x.want)
		}
		for _, points := range p.series {
			for _, at := range points {
				if v := s.at(at.x); v < 50 || v > 700 {
					t.Errorf("%v is at pixel %v", at.x, v)
				}
			}
		}
	}
}
