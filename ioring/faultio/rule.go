package faultio

import (
	"math/rand/v2"
	"time"

	"github.com/sluicehq/sluice/ioring"
)

// Rule describes a fault and the operations that suffer it. Operations are
// matched in the order of their submission; the first rule that applies wins.
type Rule struct {
	Code     ioring.Code // 0: reads, writes and syncs
	From, To int64       // transfers that touch bytes [From, To); To 0: anywhere
	Skip     int         // matching operations to leave alone first
	Times    int         // operations to strike after them; 0: all
	Chance   float64     // of striking, by the device's seed; 0: certain

	// Err fails the operation. A failed sync fails the device for ever, as
	// ioring requires; a failed read or write only itself.
	Err error
	// Short, if positive, transfers only that many bytes, and fails with Err or
	// else with io.ErrUnexpectedEOF or io.ErrShortWrite.
	Short int
	// Delay postpones the operation.
	Delay time.Duration
	// Hang, if not nil, holds the operation until it is closed, or the device
	// crashes. Close waits for it.
	Hang <-chan struct{}
	// Flip inverts one bit of what is read or written, silently.
	Flip bool
	// Lose acknowledges a write and does not perform it.
	Lose bool
}

// rule is a Rule at work.
type rule struct {
	Rule
	seen, struck int
}

// strikes tells whether op suffers r, and counts it.
func (r *rule) strikes(op *ioring.Op, rng *rand.Rand) bool {
	if r.Code != 0 && r.Code != op.Code || r.Times > 0 && r.struck >= r.Times {
		return false
	}
	if r.To > 0 && (op.Code == ioring.OpSync || op.Off >= r.To || op.Off+int64(op.Len()) <= r.From) {
		return false
	}
	r.seen++
	if r.seen <= r.Skip || r.Chance > 0 && rng.Float64() >= r.Chance {
		return false
	}
	r.struck++
	return true
}
