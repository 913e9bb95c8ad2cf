//go:build race

package drive

// raceEnabled: sync.Pool drops what it is given, at random.
const raceEnabled = true
