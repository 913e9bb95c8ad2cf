package policy

import "unsafe"

// Size estimates the memory that a policy takes, in bytes, for those who keep
// many: up to some 150 times its document, for wildcards take more room than
// their letter. It walks the whole policy.
func (p *Policy) Size() int {
	if p == nil {
		return 0
	}
	n := int(unsafe.Sizeof(*p)) + size(p.keys) + cap(p.statements)*int(unsafe.Sizeof(statement{}))
	for i := range p.statements {
		s := &p.statements[i]
		n += len(s.sid) + sizeOf(s.actions.patterns) + sizeOf(s.resources.patterns)
		if who := s.principals; who != nil {
			n += int(unsafe.Sizeof(*who)) + size(who.accounts) + size(who.canonical) + size(who.federated)
			for _, a := range who.arns {
				n += int(unsafe.Sizeof(a)) + len(a.head) + len(a.tail)
			}
		}
		for j := range s.conditions {
			n += s.conditions[j].size()
		}
	}
	return n
}

// size of a list of strings.
func size(list []string) int {
	n := cap(list) * int(unsafe.Sizeof(""))
	for _, s := range list {
		n += len(s)
	}
	return n
}

func sizeOf(list []pattern) int {
	n := (cap(list) - len(list)) * int(unsafe.Sizeof(pattern{}))
	for i := range list {
		n += list[i].size()
	}
	return n
}

func (p *pattern) size() int {
	n := int(unsafe.Sizeof(*p)) + len(p.head) + sizeOfSegments(p.segs)
	if p.head != "" { // it was the first of the segments
		n += int(unsafe.Sizeof(segment{}))
	}
	return n
}

func sizeOfSegments(segs []segment) int {
	n := cap(segs) * int(unsafe.Sizeof(segment{}))
	for i := range segs {
		n += len(segs[i].text) + len(segs[i].def)
	}
	return n
}

func (t *condition) size() int {
	n := int(unsafe.Sizeof(*t)) + len(t.operator) + len(t.name) + len(t.key) + size(t.values)
	switch m := t.test.(type) {
	case patterns:
		n += sizeOf(m)
	case folded:
		for _, segs := range m {
			n += int(unsafe.Sizeof(segs)) + sizeOfSegments(segs)
		}
	case arns:
		for i := range m {
			for j := range m[i] {
				n += m[i][j].size()
			}
		}
	case *numbers:
		n += cap(m.limits) * int(unsafe.Sizeof(decimal{}))
	default: // no value is larger, nor without one
		n += len(t.values) * int(unsafe.Sizeof(instant{})+unsafe.Sizeof(""))
	}
	return n
}
