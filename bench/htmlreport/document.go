package htmlreport

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of one chart. More would not be readable; what exceeds them is an error.
const (
	maxSeries     = 2 * palette
	maxCategories = 400
	maxPoints     = 20_000 // all series together
)

// Document is what a report says, from top to bottom. Every string is plain text.
type Document struct {
	Title, Subtitle string
	Facts           [][2]string // what the figures were taken on: name, value
	Sections        []Section
}

// Section is a heading with, in this order, its text, tables and charts.
type Section struct {
	Title, Text string // in Text, an empty line begins a new paragraph
	Tables      []Table
	Charts      []Chart
}

// Table has one heading for each column; every row has as many cells.
type Table struct {
	Caption string
	Head    []string
	Align   string // one letter per column: l, r or c; empty is l for all
	Rows    [][]Cell
}

// Cell is one cell of a table. The first cell of a row is the row's heading.
type Cell struct {
	Text, Note string // Note: small print, for instance a spread
	Good, Bad  bool   // marked by colour and sign; Bad wins
}

// Chart is a plot.
//
// Kind "bars" draws a horizontal bar for each category and series: Series.Y has
// one value for each of Categories, and X is not looked at. XLabel names the
// categories, YLabel the values. LogX is not looked at.
//
// Kind "lines" draws Series.Y over Series.X, joined in the order given.
// Categories are not looked at. Where XLabel is "bytes" or ends in "bytes)", X is
// printed as 4 KiB, 1 MiB.
//
// Unit is that of the values (Y); it stands in brackets behind YLabel. A value
// that is NaN or infinite is not drawn, nor is one that is not positive on a
// logarithmic axis; a note below the chart says how many were left out.
type Chart struct {
	Kind                        string // "bars" or "lines"
	Title, XLabel, YLabel, Unit string
	LogX, LogY                  bool
	Categories                  []string // bars
	Series                      []Series
}

// Series is one set of bars of a colour, or one line. Lo and Hi, the ends of the
// whiskers, are empty or as long as Y; where either is NaN there is no whisker.
type Series struct {
	Name         string
	X, Y, Lo, Hi []float64
}

// check finds what Write refuses: everything wrong with d, joined.
func (d *Document) check() error {
	var errs []error
	for i := range d.Sections {
		s := &d.Sections[i]
		for j := range s.Tables {
			if err := s.Tables[j].check(); err != nil {
				errs = append(errs, fmt.Errorf("section %q, table %q: %w", s.Title, s.Tables[j].Caption, err))
			}
		}
		for j := range s.Charts {
			if err := s.Charts[j].check(); err != nil {
				errs = append(errs, fmt.Errorf("section %q, chart %q: %w", s.Title, s.Charts[j].Title, err))
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("htmlreport: %w", errors.Join(errs...))
}

func (t *Table) check() error {
	if t.Align != "" && len(t.Align) != len(t.Head) {
		return fmt.Errorf("%d letters align %d columns", len(t.Align), len(t.Head))
	}
	if bad := strings.Trim(t.Align, "lrc"); bad != "" {
		return fmt.Errorf("alignment %q is none of l, r, c", bad)
	}
	for i, row := range t.Rows {
		if len(row) != len(t.Head) {
			return fmt.Errorf("row %d has %d cells for %d columns", i, len(row), len(t.Head))
		}
	}
	return nil
}

func (c *Chart) check() error {
	if c.Kind != "bars" && c.Kind != "lines" {
		return fmt.Errorf("kind %q is neither bars nor lines", c.Kind)
	}
	if len(c.Series) > maxSeries {
		return fmt.Errorf("%d series, more than %d", len(c.Series), maxSeries)
	}
	if c.Kind == "bars" && len(c.Categories) > maxCategories {
		return fmt.Errorf("%d categories, more than %d", len(c.Categories), maxCategories)
	}
	points := 0
	for i := range c.Series {
		s := &c.Series[i]
		switch n := len(s.Y); {
		case c.Kind == "bars" && n != len(c.Categories):
			return fmt.Errorf("series %q has %d values for %d categories", s.Name, n, len(c.Categories))
		case c.Kind == "lines" && n != len(s.X):
			return fmt.Errorf("series %q has %d values of X and %d of Y", s.Name, len(s.X), n)
		case len(s.Lo) != len(s.Hi) || len(s.Lo) != 0 && len(s.Lo) != n:
			return fmt.Errorf("series %q has whiskers from %d to %d for %d values", s.Name, len(s.Lo), len(s.Hi), n)
		}
		points += len(s.Y)
	}
	if points > maxPoints {
		return fmt.Errorf("%d values, more than %d", points, maxPoints)
	}
	return nil
}
