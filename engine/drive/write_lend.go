package drive

import "io"

// Lender is a body that reads the memory its Read has filled again, some time later,
// in order to hash it beside what other uploads have lent. Offsets are in bytes from
// the body's first.
type Lender interface {
	io.Reader
	// Settle returns once what was read of the body's first off bytes is not read
	// again: their memory may then be changed, released or lent to others. It may
	// take as long as hashing them.
	Settle(off int64)
	// StopLending returns at once, and no memory is read from then on. Unless all was
	// settled before, the body is of no use any more.
	StopLending()
}

// lent is a body's memory on loan; nil: the body does not lend.
type lent struct{ body Lender }

// lentBy returns the loans of body.
func lentBy(body io.Reader) lent {
	l, _ := body.(Lender)
	return lent{l}
}

func (l lent) settle(off int64) {
	if l.body != nil {
		l.body.Settle(off)
	}
}

func (l lent) stop() {
	if l.body != nil {
		l.body.StopLending()
	}
}
