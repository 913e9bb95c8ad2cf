//go:build race

package s3fast

// raceEnabled: the race detector makes pools drop objects at random.
const raceEnabled = true
