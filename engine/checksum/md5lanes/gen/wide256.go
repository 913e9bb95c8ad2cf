package main

import "fmt"

// group is eight of the streams of an AVX2 kernel.
type group struct {
	regs  [4]string // a, b, c, d
	temp  string
	words int // offset of the sixteen transposed words in the frame
	saved int // offset of the state before the block
}

// wide256 prints the kernel of eight or sixteen streams in one or two groups.
// Without a rotation and a ternary operation the chain is six operations, which
// leaves room for a second group beside the first.
func wide256(p *printer, groups int) {
	name := fmt.Sprintf("wide256x%d", groups)
	set := make([]group, groups)
	for i := range set {
		set[i] = group{regs: [4]string(vectors('Y', 4*i, 4)), temp: fmt.Sprintf("Y%d", 8+i), words: i * 512, saved: groups*512 + i*128}
	}
	p.text(fmt.Sprintf("%sBlocks advances streams 0 to %d of sixteen by n > 0 blocks, with AVX2.", name, 8*groups-1),
		name+"Blocks", 640*groups+32, "state *[4][16]uint32", "p *[16]*byte", "n int")
	p.op("MOVQ", "state+0(FP)", "DI")
	p.op("MOVQ", "p+8(FP)", "SI")
	p.op("MOVQ", "n+16(FP)", "CX")
	p.op("LEAQ", "31(SP)", "R14") // the frame, from a 32-byte boundary
	p.op("ANDQ", -32, "R14")
	p.op("XORQ", "DX", "DX")
	for i, g := range set {
		for j, r := range g.regs {
			p.op("VMOVDQU", at(64*j+32*i, "DI"), r)
		}
	}
	p.op("LEAQ", "sines<>(SB)", "DI")
	p.linef("%sLoop:", name)
	for i, g := range set {
		transpose256(p, i, g)
		for j, r := range g.regs {
			p.op("VMOVDQU", r, at(g.saved+32*j, "R14"))
		}
	}
	p.op("VPCMPEQD", "Y14", "Y14", "Y14")
	p.op("VMOVDQU", "halves<>(SB)", "Y15")
	for _, s := range schedule() {
		p.op("VPBROADCASTD", at(4*s.index, "DI"), "Y10")
		for _, g := range set {
			step256(p, s, g)
		}
	}
	for _, g := range set {
		for j, r := range g.regs {
			p.op("VPADDD", at(g.saved+32*j, "R14"), r, r)
		}
	}
	p.op("ADDQ", 64, "DX")
	p.op("DECQ", "CX")
	p.op("JNZ", name+"Loop")
	p.op("MOVQ", "state+0(FP)", "DI")
	for i, g := range set {
		for j, r := range g.regs {
			p.op("VMOVDQU", r, at(64*j+32*i, "DI"))
		}
	}
	p.op("VZEROUPPER")
	p.op("RET")
}

// step256 prints one step of a group; Y10 holds its constant, Y14 ones, Y15 the
// byte order of a rotation by 16.
func step256(p *printer, s step, g group) {
	a, b, c, d := role(s.index, g.regs)
	t := g.temp
	p.op("VPADDD", "Y10", a, a)
	p.op("VPADDD", at(g.words+32*s.word, "R14"), a, a)
	switch s.round {
	case roundF:
		p.op("VPXOR", d, c, t)
		p.op("VPAND", b, t, t)
		p.op("VPXOR", d, t, t)
	case roundG: // two terms without a common bit, the one without b first
		p.op("VPANDN", c, d, t)
		p.op("VPADDD", t, a, a)
		p.op("VPAND", b, d, t)
	case roundH:
		p.op("VPXOR", d, c, t)
		p.op("VPXOR", b, t, t)
	case roundI:
		p.op("VPXOR", "Y14", d, t)
		p.op("VPOR", b, t, t)
		p.op("VPXOR", c, t, t)
	}
	p.op("VPADDD", t, a, a)
	if s.rotate == 16 {
		p.op("VPSHUFB", "Y15", a, a)
	} else {
		p.op("VPSLLD", s.rotate, a, t)
		p.op("VPSRLD", 32-s.rotate, a, a)
		p.op("VPOR", t, a, a)
	}
	p.op("VPADDD", b, a, a)
}

// transpose256 writes the words of a block of the eight streams of group i to
// its place in the frame.
func transpose256(p *printer, i int, g group) {
	loadLanes(p, 8*i)
	for q := range 4 {
		row := [4]string(vectors('Y', 8, 4))
		loadRows(p, q, row, "VMOVDQU", "VINSERTI128")
		four := [4]string{"Y15", "Y10", "Y9", "Y8"}
		combine(p, row, [3]string{"Y12", "Y13", "Y14"}, four)
		for j, r := range four {
			p.op("VMOVDQU", r, at(g.words+32*(4*q+j), "R14"))
		}
	}
}
