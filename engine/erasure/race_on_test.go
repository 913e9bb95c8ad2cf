//go:build race

package erasure

const raceDetector = true
