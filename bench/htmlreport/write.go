package htmlreport

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"strings"
)

// The page as the template sees it: every string is cleaned, not yet escaped.
type (
	pageView struct {
		Title, Subtitle string
		Style           template.CSS
		Facts           [][2]string
		Sections        []sectionView
	}
	sectionView struct {
		ID, Title  string
		Paragraphs []string
		Tables     []tableView
		Figures    []figureView
	}
	tableView struct {
		Caption, Label string // Label: what names it to a screen reader
		Head           []cellView
		Rows           [][]cellView
	}
	cellView struct {
		Text, Note, Class, Mark, Meaning string
	}
	figureView struct {
		Title, Note string
		SVG         template.HTML
		Figures     tableView
	}
)

// Write renders d. A document that Table, Chart or Series does not allow is an
// error, and then nothing is written; other errors are w's.
func Write(w io.Writer, d *Document) error {
	if err := d.check(); err != nil {
		return err
	}
	page, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("htmlreport: %w", err)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, view(d)); err != nil {
		return fmt.Errorf("htmlreport: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

func view(d *Document) *pageView {
	p := &pageView{Title: orElse(clean(d.Title), "Report"), Subtitle: clean(d.Subtitle), Style: template.CSS(pageCSS)}
	for _, fact := range d.Facts {
		p.Facts = append(p.Facts, [2]string{clean(fact[0]), clean(fact[1])})
	}
	charts := 0
	for i := range d.Sections {
		s := &d.Sections[i]
		v := sectionView{ID: fmt.Sprintf("s%d", i+1), Title: orElse(clean(s.Title), fmt.Sprintf("Section %d", i+1))}
		for paragraph := range strings.SplitSeq(clean(s.Text), "\n\n") {
			if paragraph = strings.TrimSpace(paragraph); paragraph != "" {
				v.Paragraphs = append(v.Paragraphs, paragraph)
			}
		}
		for j := range s.Tables {
			v.Tables = append(v.Tables, viewTable(&s.Tables[j], v.Title))
		}
		for j := range s.Charts {
			c := &s.Charts[j]
			charts++
			drawn, table := newPlot(c), figures(c)
			v.Figures = append(v.Figures, figureView{
				Title: clean(c.Title), Note: drawn.note(c), Figures: viewTable(&table, v.Title),
				SVG: template.HTML(drawn.draw(c, fmt.Sprintf("c%d", charts))), // drawing escapes what it writes
			})
		}
		p.Sections = append(p.Sections, v)
	}
	return p
}

func viewTable(t *Table, section string) tableView {
	class := func(column int) string {
		if t.Align == "" {
			return "l"
		}
		return t.Align[column : column+1]
	}
	v := tableView{Caption: clean(t.Caption)}
	v.Label = orElse(v.Caption, section)
	for i, head := range t.Head {
		v.Head = append(v.Head, cellView{Text: clean(head), Class: class(i)})
	}
	for _, row := range t.Rows {
		cells := make([]cellView, len(row))
		for i, c := range row {
			cells[i] = cellView{Text: clean(c.Text), Note: clean(c.Note), Class: class(i)}
			switch {
			case c.Bad:
				cells[i].Class, cells[i].Mark, cells[i].Meaning = class(i)+" bad", "✗", "bad"
			case c.Good:
				cells[i].Class, cells[i].Mark, cells[i].Meaning = class(i)+" good", "✓", "good"
			}
		}
		v.Rows = append(v.Rows, cells)
	}
	return v
}
