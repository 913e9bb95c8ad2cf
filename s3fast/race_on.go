//go:build race

package s3fast

import "syscall"

// beforeSend tells the race detector that what was done up to now happens before what the
// receiver does. It learns that from the calls of package syscall, none of which sends.
func beforeSend() { _, _ = syscall.Write(-1, nil) }
