// Package faultfs is a file system that fails as a test tells it to: errorfs of
// Pebble, and logs that are used again fail with it, which errorfs leaves out.
package faultfs
