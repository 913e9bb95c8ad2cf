package main

import (
	"fmt"
	"math"
	"strings"
)

// steps is the number of steps of MD5 for one block.
const steps = 64

// round numbers the four functions of RFC 1321: F, G, H and I.
type round int

const (
	roundF round = iota // b&c | ^b&d
	roundG              // b&d | c&^d
	roundH              // b ^ c ^ d
	roundI              // c ^ (b | ^d)
)

// step is one line of the tables of RFC 1321, section 3.4.
type step struct {
	round  round
	word   int    // index of the message word
	sine   uint32 // T[i]: the integer part of 2^32 × |sin(i+1)|
	index  int    // i, from 0
	rotate int    // bits to the left
}

func schedule() [steps]step {
	rotations := [4][4]int{{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}}
	var out [steps]step
	for i := range out {
		r := round(i / 16)
		word := [4]int{i, 5*i + 1, 3*i + 5, 7 * i}[r] % 16
		sine := uint32(math.Floor(math.Abs(math.Sin(float64(i+1))) * (1 << 32)))
		out[i] = step{round: r, word: word, sine: sine, index: i, rotate: rotations[r][i%4]}
	}
	return out
}

// role returns which of the registers of a, b, c and d plays a, b, c and d in
// step i: they move on by one in each step.
func role(i int, regs [4]string) (a, b, c, d string) {
	i %= 4
	return regs[(4-i)%4], regs[(5-i)%4], regs[(6-i)%4], regs[(7-i)%4]
}

// ternary returns the immediate of VPTERNLOGD that computes the function of r
// when the destination holds d, the second operand c and the third b.
func ternary(r round) int {
	imm := 0
	for i := range 8 {
		d, c, b := i>>2&1, i>>1&1, i&1
		var f int
		switch r {
		case roundF:
			f = b&c | (b^1)&d
		case roundG:
			f = b&d | c&(d^1)
		case roundH:
			f = b ^ c ^ d
		case roundI:
			f = c ^ (b | (d ^ 1))
		}
		imm |= f << i
	}
	return imm
}

// printer collects assembly.
type printer struct{ strings.Builder }

// text begins a function without a result that takes args, of eight bytes each,
// and has frame bytes of locals.
func (p *printer) text(comment, name string, frame int, args ...string) {
	flags := "NOSPLIT"
	if frame > 0 {
		flags = "0"
	}
	p.linef("")
	p.linef("// %s", comment)
	p.linef("// func %s(%s)", name, strings.Join(args, ", "))
	p.linef("TEXT ·%s(SB), %s, $%d-%d", name, flags, frame, 8*len(args))
}

// linef prints one line.
func (p *printer) linef(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

// op prints one instruction, its operands in the order of Go's assembler: the
// destination last.
func (p *printer) op(name string, operands ...any) {
	if len(operands) == 0 {
		p.linef("\t%s", name)
		return
	}
	text := make([]string, len(operands))
	for i, o := range operands {
		text[i] = fmt.Sprint(o)
		if n, ok := o.(int); ok {
			text[i] = fmt.Sprintf("$%d", n)
		}
	}
	p.linef("\t%s %s", name, strings.Join(text, ", "))
}

// at is the memory operand offset(base).
func at(offset int, base string) string { return fmt.Sprintf("%d(%s)", offset, base) }

// vectors returns the names of the registers of a kind ('X', 'Y' or 'Z') from
// number first.
func vectors(kind byte, first, count int) []string {
	out := make([]string, count)
	for i := range out {
		out[i] = fmt.Sprintf("%c%d", kind, first+i)
	}
	return out
}
