//go:build race

package main

// raceOn: the race detector allocates where the program does not.
const raceOn = true
