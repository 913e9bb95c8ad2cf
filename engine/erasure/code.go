package erasure

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/klauspost/reedsolomon"

	"github.com/sluicehq/sluice/engine/layout"
)

// Errors; test with errors.Is.
var (
	ErrShape  = errors.New("erasure: units do not form a row")
	ErrTooFew = errors.New("erasure: too few units to compute the others")
)

// maxUnits is the most units of a row.
const maxUnits = layout.MaxData + layout.MaxParity

// zeros stands for the units, or ends of units, that a row does not have. Nobody
// writes to it.
var zeros [layout.MaxUnit]byte

// Code computes the parity of rows of one (data, parity). It is safe for
// concurrent use.
//
// Parity unit p is the sum over the data units d of M[p][d] times unit d, byte by
// byte in GF(2^8) with the polynomial 0x11D. M is the lower part of V times the
// inverse of V's upper, square part, where V is the Vandermonde matrix of data +
// parity rows: V[r][c] = r to the power of c. With one data unit M is all ones: every
// parity unit is a copy.
type Code struct {
	data, parity int
	matrix       [][]byte // M
	whole        reedsolomon.Encoder
	// narrow[n-1] computes the parity of n data units, followed by units of zeros.
	narrow  [layout.MaxData]atomic.Pointer[reedsolomon.Encoder]
	scratch sync.Pool // of *row
}

// row is what a call needs besides its arguments.
type row struct {
	part [maxUnits][]byte
	want [maxUnits]bool
}

// codes makes each code once, by data and parity, when it is first asked for.
var codes = func() (table [layout.MaxData + 1][layout.MaxParity + 1]func() (*Code, error)) {
	for data := range table {
		for parity := range table[data] {
			table[data][parity] = sync.OnceValues(func() (*Code, error) { return newCode(data, parity) })
		}
	}
	return table
}()

// New returns the code, the same every time. data 1…layout.MaxData, parity
// 0…layout.MaxParity; else ErrShape.
func New(data, parity int) (*Code, error) {
	if data < 1 || data > layout.MaxData || parity < 0 || parity > layout.MaxParity {
		return nil, fmt.Errorf("%w: %d data and %d parity units", ErrShape, data, parity)
	}
	return codes[data][parity]()
}

func newCode(data, parity int) (*Code, error) {
	c := &Code{data: data, parity: parity}
	if data > 1 && parity > 0 {
		if err := c.prepare(); err != nil {
			return nil, fmt.Errorf("erasure: code of %d+%d: %w", data, parity, err)
		}
	}
	return c, nil
}

// prepare makes the encoder and reads its matrix out of it: the parity of the unit
// vectors.
func (c *Code) prepare() (err error) {
	// Parallelism comes from concurrent requests.
	if c.whole, err = reedsolomon.New(c.data, c.parity, reedsolomon.WithMaxGoroutines(1)); err != nil {
		return err
	}
	units := make([][]byte, c.data+c.parity)
	for i := range units {
		units[i] = make([]byte, c.data)
		if i < c.data {
			units[i][i] = 1
		}
	}
	c.matrix = units[c.data:]
	return c.whole.Encode(units)
}

// encoder returns the encoder for rows that have n data units.
func (c *Code) encoder(n int) (reedsolomon.Encoder, error) {
	if n == c.data {
		return c.whole, nil
	}
	at := &c.narrow[n-1]
	if e := at.Load(); e != nil {
		return *e, nil
	}
	matrix := make([][]byte, c.parity)
	for p := range matrix {
		matrix[p] = c.matrix[p][:n]
	}
	e, err := reedsolomon.New(n, c.parity, reedsolomon.WithMaxGoroutines(1), reedsolomon.WithCustomMatrix(matrix))
	if err != nil {
		return nil, fmt.Errorf("erasure: code of %d of %d+%d: %w", n, c.data, c.parity, err)
	}
	at.CompareAndSwap(nil, &e)
	return *at.Load(), nil
}

// row returns scratch memory, which goes back to c.scratch.
func (c *Code) row() *row {
	if r, ok := c.scratch.Get().(*row); ok {
		return r
	}
	return new(row)
}

func (c *Code) put(r *row) {
	*r = row{} // who reads it next must not hold buffers alive
	c.scratch.Put(r)
}

// Encode fills the parity units, which follow the data units; all of them have the
// length of the first. A data unit may be shorter than the one before it, or empty,
// and is not changed. ErrShape: the units are otherwise.
func (c *Code) Encode(units [][]byte) error {
	if len(units) != c.data+c.parity {
		return fmt.Errorf("%w: %d instead of %d+%d", ErrShape, len(units), c.data, c.parity)
	}
	for i, u := range units[1:] {
		if i+1 < c.data && len(u) > len(units[i]) || i+1 >= c.data && len(u) != len(units[0]) {
			return fmt.Errorf("%w: unit %d has %d bytes", ErrShape, i+1, len(u))
		}
	}
	switch {
	case c.parity == 0:
		return nil
	case c.data == 1:
		for _, u := range units[1:] {
			copy(u, units[0])
		}
		return nil
	}
	r := c.row()
	defer c.put(r)
	for n, lo := c.data, 0; lo < len(units[0]); lo = len(units[n-1]) {
		for len(units[n-1]) <= lo {
			n--
		}
		hi := len(units[n-1])
		e, err := c.encoder(n)
		if err != nil {
			return err
		}
		for i := range n {
			r.part[i] = units[i][lo:hi]
		}
		for i, u := range units[c.data:] {
			r.part[n+i] = u[lo:hi]
		}
		if err := e.Encode(r.part[:n+c.parity]); err != nil {
			return fmt.Errorf("erasure: encode: %w", err)
		}
	}
	return nil
}

// Reconstruct computes the units that want names into the memory given for them,
// whose length says how much of them. have tells which units are there: at least as
// many as there are data units. Data units that are there may be shorter than others,
// or empty, and count as extended with zeros; parity units may not. The same range of
// every unit will do instead of whole ones. Units that are neither had nor wanted are
// not looked at. ErrTooFew; ErrShape.
func (c *Code) Reconstruct(units [][]byte, have, want []bool) error {
	length, err := c.check(units, have, want)
	if err != nil {
		return err
	}
	if c.data == 1 {
		return mirror(units, have, want)
	}
	r := c.row()
	defer c.put(r)
	for lo := 0; lo < length; {
		hi, wanted := length, false
		for i, u := range units { // as far as every unit goes that goes farther than lo
			if (have[i] || want[i]) && len(u) > lo {
				hi = min(hi, len(u))
				wanted = wanted || want[i] && !have[i]
			}
		}
		if wanted {
			if err := c.reconstruct(r, units, have, want, lo, hi); err != nil {
				return err
			}
		}
		lo = hi
	}
	return nil
}

// check checks the arguments of Reconstruct and returns the length of the row.
func (c *Code) check(units [][]byte, have, want []bool) (length int, err error) {
	n := c.data + c.parity
	if len(units) != n || len(have) != n || len(want) != n {
		return 0, fmt.Errorf("%w: %d units, %d and %d flags instead of %d+%d", ErrShape, len(units), len(have), len(want), c.data, c.parity)
	}
	had := 0
	for i, u := range units {
		if have[i] {
			had++
		}
		if have[i] || want[i] {
			length = max(length, len(u))
		}
	}
	if had < c.data {
		return 0, fmt.Errorf("%w: %d of %d", ErrTooFew, had, c.data)
	}
	for i, u := range units {
		if i >= c.data && have[i] && len(u) != length {
			return 0, fmt.Errorf("%w: parity unit %d has %d bytes of %d", ErrShape, i, len(u), length)
		}
	}
	if length > len(zeros) {
		return 0, fmt.Errorf("%w: units of %d bytes", ErrShape, length)
	}
	return length, nil
}

// reconstruct computes bytes [lo, hi) of the units that are wanted and reach so far.
func (c *Code) reconstruct(r *row, units [][]byte, have, want []bool, lo, hi int) error {
	n := len(units)
	for i, u := range units {
		r.part[i], r.want[i] = nil, false
		switch {
		case have[i] && len(u) > lo:
			r.part[i] = u[lo:hi]
		case have[i]:
			r.part[i] = zeros[:hi-lo]
		case want[i] && len(u) > lo:
			r.part[i], r.want[i] = u[lo:lo:hi], true
		}
	}
	if c.whole == nil { // no parity: all of them are there
		return nil
	}
	if err := c.whole.ReconstructSome(r.part[:n], r.want[:n]); err != nil {
		return fmt.Errorf("%w: %w", ErrTooFew, err)
	}
	return nil
}

// mirror is Reconstruct of copies.
func mirror(units [][]byte, have, want []bool) error {
	for from := range units {
		if !have[from] {
			continue
		}
		for i, u := range units {
			if want[i] && !have[i] && copy(u, units[from]) < len(u) {
				return fmt.Errorf("%w: copy %d has %d bytes, %d are wanted", ErrShape, from, len(units[from]), len(u))
			}
		}
		return nil
	}
	return ErrTooFew
}
