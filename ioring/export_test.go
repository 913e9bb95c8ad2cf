package ioring

import (
	"errors"

	"golang.org/x/sys/unix"
)

// OpenPolled opens a file for the polled loop, whether its drive can be polled or not.
func OpenPolled(path string, arena *Arena, opts Options) (Device, error) {
	opts.Mode, opts.pollMost = ModePolled, 256<<10
	f, err := openFile(path, discard, unix.Open)
	if err != nil {
		return nil, err
	}
	r, err := newRing(f, arena, opts)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return r, nil
}
