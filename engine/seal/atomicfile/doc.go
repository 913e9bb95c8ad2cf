// Package atomicfile writes small files of secrets whole: a crash at any moment
// leaves the old file or the new one, never a part, and when a function returns
// nil the file is on disk, its directory entry included. It is a leaf.
package atomicfile
