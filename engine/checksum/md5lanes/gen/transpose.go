package main

import "fmt"

// lanes are the registers that hold where the blocks of eight streams are.
func lanes() [8]string { return [8]string{"AX", "BX", "R8", "R9", "R10", "R11", "R12", "R13"} }

// loadLanes loads them for the streams from first; SI has the addresses.
func loadLanes(p *printer, first int) {
	for j, r := range lanes() {
		p.op("MOVQ", at(8*(first+j), "SI"), r)
		prefetch(p, r)
	}
}

// loadRows loads words 4q to 4q+3 of the block at offset DX of eight streams: of
// stream j into the low half of row[j%4] if j < 4, else into the high half. So
// the halves need no shuffle to come together.
func loadRows(p *printer, q int, row [4]string, load, insert string) {
	from := lanes()
	for j, r := range row {
		p.op(load, fmt.Sprintf("%d(%s)(DX*1)", 16*q, from[j]), "X"+r[1:])
		p.op(insert, 1, fmt.Sprintf("%d(%s)(DX*1)", 16*q, from[4+j]), r, r)
	}
}

// combine transposes four rows of four words in each half to four, of which the
// first is a register of its own, and none is temp's or the last row's.
func combine(p *printer, row [4]string, temp [3]string, four [4]string) {
	p.op("VPUNPCKLDQ", row[1], row[0], temp[0])
	p.op("VPUNPCKHDQ", row[1], row[0], temp[1])
	p.op("VPUNPCKLDQ", row[3], row[2], temp[2])
	p.op("VPUNPCKHDQ", row[3], row[2], row[3])
	p.op("VPUNPCKLQDQ", temp[2], temp[0], four[0])
	p.op("VPUNPCKHQDQ", temp[2], temp[0], four[1])
	p.op("VPUNPCKLQDQ", row[3], temp[1], four[2])
	p.op("VPUNPCKHQDQ", row[3], temp[1], four[3])
}

// prefetch fetches what a stream needs some blocks later. It may be past the end
// of the piece: that is a hint and reads nothing.
func prefetch(p *printer, from string) {
	p.op("PREFETCHT0", fmt.Sprintf("%d(%s)(DX*1)", 8*64, from))
}
