package ioring

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Mode chooses the implementation behind a Device.
type Mode string

// Modes.
const (
	ModeAuto  Mode = "auto"     // the ring where the kernel allows it, else pread
	ModeRing  Mode = "io_uring" // the ring, or an error
	ModePread Mode = "pread"    // the fallback

	// ModePolled is the ring, with completions polled where the drive can be: NVMe with
	// queues for that. Each such drive's loop takes a CPU while the drive works.
	ModePolled Mode = "polled"
)

// Depth of the queue: operations in flight per drive.
const (
	DefaultDepth = 128
	MaxDepth     = 4096
)

// Options of Open.
type Options struct {
	Mode   Mode // default ModeAuto
	Depth  int  // operations in flight per drive, 1…4096; default 128
	CPU    int  // CPU to pin the worker loop to; -1: none, see shared.go
	Logger *slog.Logger
	// Alone, with CPU -1, spares a thread while it is true: the process waits for no other
	// drive. nil: it may. It turns false before the process first waits for another one,
	// and never true again.
	Alone *atomic.Bool
	// OpenFile opens the file, as open(2) does; nil: open(2). A process that has
	// given up its privileges hands out here what it opened before.
	OpenFile func(path string, flags int, perm uint32) (fd int, err error)

	pollMost int // bytes of a transfer that ModePolled polls
}

// Open opens (or creates) the file, or opens the block device, at path with
// O_DIRECT where the file system supports it. Errors: ErrInUse when another
// Device or process has it, ErrInvalid for options out of range, else those of
// the operating system.
func Open(path string, arena *Arena, opts Options) (Device, error) {
	if opts.Mode == "" {
		opts.Mode = ModeAuto
	}
	if opts.Depth == 0 {
		opts.Depth = DefaultDepth
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case arena == nil:
		return nil, fmt.Errorf("%w: no arena", ErrInvalid)
	case opts.Depth < 1 || opts.Depth > MaxDepth:
		return nil, fmt.Errorf("%w: depth %d is not in 1…%d", ErrInvalid, opts.Depth, MaxDepth)
	case !slices.Contains([]Mode{ModeAuto, ModeRing, ModePread, ModePolled}, opts.Mode):
		return nil, fmt.Errorf("%w: mode %q", ErrInvalid, opts.Mode)
	}
	if opts.OpenFile == nil {
		opts.OpenFile = unix.Open
	}
	f, err := openFile(path, opts.Logger, opts.OpenFile)
	if err != nil {
		return nil, err
	}
	if opts.Mode == ModePread {
		return newPread(f, opts.Depth), nil
	}
	if opts.Mode == ModePolled {
		if opts.pollMost, err = f.pollable(); err != nil {
			opts.Logger.Warn("completions cannot be polled: the drive interrupts", "path", path, "err", err)
			opts.Mode = ModeAuto
		}
	}
	r, err := newRing(f, arena, opts)
	if err == nil {
		return r, nil
	}
	if opts.Mode == ModeRing {
		return nil, errors.Join(err, f.close())
	}
	opts.Logger.Warn("io_uring is not available: using pread and pwrite", "path", path, "err", err)
	return newPread(f, opts.Depth), nil
}
