package engine

import "time"

// Timing is how long the engine's background work waits for things. A zero field has
// its default; tests set small ones.
type Timing struct {
	// HealthTick is the time between two looks at the drives' health. 1 s.
	HealthTick time.Duration
	// SuspectFor is how long a drive stays suspect after its last error. 1 min.
	SuspectFor time.Duration
	// ProtectAfter is how long a drive may be out of service before its fragments are
	// made anew on others. 10 min.
	ProtectAfter time.Duration
	// Retry is the pause after a repair that failed; it doubles up to 64 times that. 1 s.
	Retry time.Duration
	// Rescan is the time after which repairs that nothing can be done for are looked
	// at again, though nothing has changed. 1 min.
	Rescan time.Duration
	// Quiet is how long clients must have been quiet for repairs to work at full
	// speed. 50 ms.
	Quiet time.Duration
	// Yield is how many times as long as it worked a repair rests while clients are
	// active, at most: see yielder. 4; negative: it does not rest.
	Yield int
	// FreeDelay is how long the space that a moved fragment left is kept, for readers
	// that are on their way there. Config.Grace.
	FreeDelay time.Duration
	// ScrubSave is the time between two records of a scrub's progress. 10 s.
	ScrubSave time.Duration
	// CloseWait is how long Close waits for the devices. 30 s.
	CloseWait time.Duration
}

// complete fills in the defaults.
func (t *Timing) complete(grace time.Duration) {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.HealthTick, time.Second},
		{&t.SuspectFor, time.Minute},
		{&t.ProtectAfter, 10 * time.Minute},
		{&t.Retry, time.Second},
		{&t.Rescan, time.Minute},
		{&t.Quiet, 50 * time.Millisecond},
		{&t.FreeDelay, grace},
		{&t.ScrubSave, 10 * time.Second},
		{&t.CloseWait, 30 * time.Second},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	if t.Yield == 0 {
		t.Yield = 4
	}
}
