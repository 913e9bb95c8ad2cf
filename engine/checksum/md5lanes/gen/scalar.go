package main

// scalar prints the kernel of one stream on the general registers.
//
// F and I cost a chain of five operations a step, G and H of four: the two terms
// of G have no bit in common, so they are added one after the other and the one
// without b goes first.
func scalar(p *printer) {
	regs := [4]string{"AX", "BX", "CX", "DX"}
	saved := [4]string{"R10", "R11", "R12", "R13"}
	p.text("scalarBlocks advances one stream by n > 0 blocks.", "scalarBlocks", 0,
		"state *[4]uint32", "p *byte", "n int")
	p.op("MOVQ", "state+0(FP)", "DI")
	p.op("MOVQ", "p+8(FP)", "SI")
	p.op("MOVQ", "n+16(FP)", "R9")
	p.op("SHLQ", 6, "R9")
	p.op("LEAQ", "(SI)(R9*1)", "R9")
	for i, r := range regs {
		p.op("MOVL", at(4*i, "DI"), r)
	}
	p.linef("scalarLoop:")
	for i, r := range regs {
		p.op("MOVL", r, saved[i])
	}
	for _, s := range schedule() {
		a, b, c, d := role(s.index, regs)
		p.op("ADDL", at(4*s.word, "SI"), a)
		p.op("ADDL", int(int32(s.sine)), a)
		scalarFunction(p, s.round, a, b, c, d)
		p.op("ROLL", s.rotate, a)
		p.op("ADDL", b, a)
	}
	for i, r := range regs {
		p.op("ADDL", saved[i], r)
	}
	p.op("ADDQ", 64, "SI")
	p.op("CMPQ", "SI", "R9")
	p.op("JNE", "scalarLoop")
	for i, r := range regs {
		p.op("MOVL", r, at(4*i, "DI"))
	}
	p.op("RET")
}

// scalarFunction adds the function of a round to a, by way of R8.
func scalarFunction(p *printer, r round, a, b, c, d string) {
	switch r {
	case roundF:
		p.op("MOVL", c, "R8")
		p.op("XORL", d, "R8")
		p.op("ANDL", b, "R8")
		p.op("XORL", d, "R8")
	case roundG:
		p.op("MOVL", d, "R8")
		p.op("NOTL", "R8")
		p.op("ANDL", c, "R8")
		p.op("ADDL", "R8", a)
		p.op("MOVL", d, "R8")
		p.op("ANDL", b, "R8")
	case roundH:
		p.op("MOVL", c, "R8")
		p.op("XORL", d, "R8")
		p.op("XORL", b, "R8")
	case roundI:
		p.op("MOVL", d, "R8")
		p.op("NOTL", "R8")
		p.op("ORL", b, "R8")
		p.op("XORL", c, "R8")
	}
	p.op("ADDL", "R8", a)
}
