package main

import "fmt"

// single prints the kernel of one stream in the lowest lane of vector registers:
// with AVX-512 every round function is one operation and so is the rotation, which
// makes the chain four operations in all rounds, shorter than on the general
// registers.
func single(p *printer) {
	regs := [4]string(vectors('X', 0, 4))
	saved := [4]string(vectors('X', 4, 4))
	p.text("singleBlocks advances one stream by n > 0 blocks, with AVX-512VL.", "singleBlocks", 0,
		"state *[4]uint32", "p *byte", "n int")
	p.op("MOVQ", "state+0(FP)", "DI")
	p.op("MOVQ", "p+8(FP)", "SI")
	p.op("MOVQ", "n+16(FP)", "CX")
	p.op("LEAQ", "sines<>(SB)", "R8")
	for i, r := range regs {
		p.op("VMOVD", at(4*i, "DI"), r)
	}
	p.linef("singleLoop:")
	for i, r := range regs {
		p.op("VMOVDQA32", r, saved[i])
	}
	for _, s := range schedule() {
		a, _, _, _ := role(s.index, regs)
		p.op("VPADDD.BCST", at(4*s.index, "R8"), a, a)
		p.op("VPADDD.BCST", at(4*s.word, "SI"), a, a)
		ternaryStep(p, s, regs, "X8")
	}
	for i, r := range regs {
		p.op("VPADDD", saved[i], r, r)
	}
	p.op("ADDQ", 64, "SI")
	p.op("DECQ", "CX")
	p.op("JNZ", "singleLoop")
	for i, r := range regs {
		p.op("VMOVD", r, at(4*i, "DI"))
	}
	p.op("RET")
}

// ternaryStep prints what of a step depends on b: a has the constant and the
// message word already.
func ternaryStep(p *printer, s step, regs [4]string, temp string) {
	a, b, c, d := role(s.index, regs)
	p.op("VMOVDQA32", d, temp)
	p.op("VPTERNLOGD", ternary(s.round), b, c, temp)
	p.op("VPADDD", temp, a, a)
	p.op("VPROLD", s.rotate, a, a)
	p.op("VPADDD", b, a, a)
}

// wide512 prints a kernel with AVX-512: of sixteen streams in registers of kind
// 'Z', or of eight in kind 'Y', which three ports of the CPU work on instead of
// two, so that the shuffles are not in the way of the chain.
//
// All of a block stays in registers: places of the frame would share the cache
// sets of sixteen buffers that start at the same offset of a page.
func wide512(p *printer, kind byte) {
	name, streams, features := "wide512x2", 16, "AVX-512F"
	if kind == 'Y' {
		name, streams, features = "wide512x1", 8, "AVX-512VL"
	}
	regs := [4]string(vectors(kind, 0, 4))
	saved := [4]string(vectors(kind, 4, 4))
	p.text(fmt.Sprintf("%sBlocks advances streams 0 to %d of sixteen by n > 0 blocks, with %s.", name, streams-1, features),
		name+"Blocks", 0, "state *[4][16]uint32", "p *[16]*byte", "n int")
	p.op("MOVQ", "state+0(FP)", "DI")
	p.op("MOVQ", "p+8(FP)", "SI")
	p.op("MOVQ", "n+16(FP)", "CX")
	p.op("LEAQ", "sines<>(SB)", "R14")
	p.op("XORQ", "DX", "DX")
	for i, r := range regs {
		p.op("VMOVDQU32", at(64*i, "DI"), r)
	}
	p.linef("%sLoop:", name)
	var words [16]string
	if kind == 'Z' {
		words = transpose16(p)
	} else {
		words = transpose8(p)
	}
	for i, r := range regs {
		p.op("VMOVDQA32", r, saved[i])
	}
	for _, s := range schedule() {
		a, _, _, _ := role(s.index, regs)
		p.op("VPADDD.BCST", at(4*s.index, "R14"), a, a)
		p.op("VPADDD", words[s.word], a, a)
		ternaryStep(p, s, regs, fmt.Sprintf("%c8", kind))
	}
	for i, r := range regs {
		p.op("VPADDD", saved[i], r, r)
	}
	p.op("ADDQ", 64, "DX")
	p.op("DECQ", "CX")
	p.op("JNZ", name+"Loop")
	for i, r := range regs {
		p.op("VMOVDQU32", r, at(64*i, "DI"))
	}
	p.op("VZEROUPPER")
	p.op("RET")
}

// transpose16 loads a block of each of the sixteen streams and returns the
// registers that hold word 0 to 15 of all of them, stream i in lane i.
func transpose16(p *printer) (words [16]string) {
	spare := "Z9"
	// two replaces the registers x and y by the low and the high combination.
	two := func(low, high string, x, y *string, imm ...any) {
		p.op(low, append(imm[:len(imm)/2:len(imm)/2], *y, *x, spare)...)
		p.op(high, append(imm[len(imm)/2:], *y, *x, *x)...)
		*x, *y, spare = spare, *x, *y
	}
	row := [16]string(vectors('Z', 16, 16))
	for q := 0; q < 16; q += 4 {
		for i := q; i < q+4; i++ {
			p.op("MOVQ", at(8*i, "SI"), "AX")
			p.op("VMOVDQU32", "(AX)(DX*1)", row[i])
			prefetch(p, "AX")
		}
		two("VPUNPCKLDQ", "VPUNPCKHDQ", &row[q], &row[q+1])
		two("VPUNPCKLDQ", "VPUNPCKHDQ", &row[q+2], &row[q+3])
		two("VPUNPCKLQDQ", "VPUNPCKHQDQ", &row[q], &row[q+2])
		two("VPUNPCKLQDQ", "VPUNPCKHQDQ", &row[q+1], &row[q+3])
		// Now the four hold words 0, 2, 1 and 3 of each quarter of the block.
		row[q+1], row[q+2] = row[q+2], row[q+1]
	}
	for j := range 4 {
		const even, odd = 0x88, 0xdd
		two("VSHUFI32X4", "VSHUFI32X4", &row[j], &row[4+j], even, odd)
		two("VSHUFI32X4", "VSHUFI32X4", &row[8+j], &row[12+j], even, odd)
		two("VSHUFI32X4", "VSHUFI32X4", &row[j], &row[8+j], even, odd)
		two("VSHUFI32X4", "VSHUFI32X4", &row[4+j], &row[12+j], even, odd)
		for i := range 4 {
			words[4*i+j] = row[4*i+j]
		}
	}
	return words
}

// transpose8 does the same for the first eight streams.
func transpose8(p *printer) (words [16]string) {
	loadLanes(p, 0)
	for q := range 4 {
		row := [4]string(vectors('Y', 9, 4))
		loadRows(p, q, row, "VMOVDQU32", "VINSERTI32X4")
		four := [4]string(vectors('Y', 16+4*q, 4))
		combine(p, row, [3]string{"Y13", "Y14", "Y15"}, four)
		copy(words[4*q:], four[:])
	}
	return words
}
