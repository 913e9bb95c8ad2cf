package faultio

const pageSize = 4096

// sparse is a byte space of which only written pages take memory; the rest
// reads as zeros.
type sparse map[int64]*[pageSize]byte

func (s sparse) read(p []byte, off int64) {
	for len(p) > 0 {
		at := int(off % pageSize)
		n := min(len(p), pageSize-at)
		if page := s[off/pageSize]; page != nil {
			copy(p[:n], page[at:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

func (s sparse) write(p []byte, off int64) {
	for len(p) > 0 {
		at := int(off % pageSize)
		n := min(len(p), pageSize-at)
		page := s[off/pageSize]
		if page == nil {
			page = new([pageSize]byte)
			s[off/pageSize] = page
		}
		copy(page[at:], p[:n])
		p, off = p[n:], off+int64(n)
	}
}

func (s sparse) flip(off int64, mask byte) {
	var b [1]byte
	s.read(b[:], off)
	b[0] ^= mask
	s.write(b[:], off)
}

func (s sparse) clone() sparse {
	c := make(sparse, len(s))
	for i, page := range s {
		dup := *page
		c[i] = &dup
	}
	return c
}
