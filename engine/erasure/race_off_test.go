//go:build !race

package erasure

const raceDetector = false
