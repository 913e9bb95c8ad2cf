// Package devicetest is the suite that every ioring.Device must pass.
//
// It knows nothing of an implementation: a Maker opens a blank device, and the
// suite compares what it does with a plain byte slice and with the contract in
// package ioring.
package devicetest
