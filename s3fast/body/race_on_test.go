//go:build race

package body

// raceEnabled: the race detector makes pools drop objects at random.
const raceEnabled = true
