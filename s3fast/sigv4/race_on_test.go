//go:build race

package sigv4

// raceEnabled: the race detector makes pools drop objects at random.
const raceEnabled = true
