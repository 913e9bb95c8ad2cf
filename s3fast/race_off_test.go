//go:build !race

package s3fast

const raceEnabled = false
