package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress tells on stderr what runs and how long it will still take: one line
// rewritten on a terminal, else a line each. A nil one tells nothing.
type progress struct {
	w     io.Writer
	live  bool // a terminal: the line is rewritten
	steps int  // of the whole run
	done  int
	begun time.Time
	wide  int // of the line that stands there
	now   func() time.Time
}

func newProgress(steps int) *progress {
	live := term.IsTerminal(int(os.Stderr.Fd())) // #nosec G115: a descriptor
	return &progress{w: os.Stderr, live: live, steps: steps, now: time.Now}
}

// step begins the next of the steps. The time left is guessed from those done.
func (p *progress) step(what string) {
	if p == nil {
		return
	}
	if p.begun.IsZero() {
		p.begun = p.now()
	}
	left := ""
	if p.done > 0 && p.done <= p.steps {
		each := p.now().Sub(p.begun) / time.Duration(p.done)
		left = fmt.Sprintf(", %.0f s left", (each * time.Duration(p.steps-p.done)).Seconds())
	}
	p.done++
	p.say(fmt.Sprintf("%d of %d: %s%s", p.done, p.steps, what, left))
}

// say shows a line in place of the one before.
func (p *progress) say(line string) {
	if p == nil {
		return
	}
	if !p.live {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.wide-len(line))))
	p.wide = len(line)
}

// clear empties the line, so that something else can be written.
func (p *progress) clear() {
	if p != nil && p.live && p.wide > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.wide))
		p.wide = 0
	}
}
