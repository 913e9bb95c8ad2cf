// Package metatest is the suite that every meta.Store must pass.
//
// Run checks the behaviour of every command and read on stores that a factory
// makes. RunMachine drives a store with random commands against a plain map
// model, with reopening and power loss among its actions. Verify checks a store
// against itself: whatever happened to it, its records must agree.
package metatest
