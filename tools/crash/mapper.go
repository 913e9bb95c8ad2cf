package main

import (
	"fmt"
	"os/exec"
	"time"
)

// This file is what happens to drives while the daemon serves: below them, in the kernel.
// A program that the user names does it, since how depends on the machine:
//
//	PROGRAM break DIR KIND     from now on the drive of DIR does as KIND says
//	PROGRAM mend DIR           it works again; nothing has DIR open
//
// tools/vm/mapper.sh is one for device-mapper.

// Kinds of broken drives.
const (
	breakError  fault = iota + faults // every request fails
	breakWrites                       // every write fails
	breakReads                        // every read returns wrong bytes
	breakFlaky                        // now and then everything fails
	breakHang                         // nothing is answered
	breakEnd
)

// mapper runs the program.
func (t *tester) mapper(args ...string) error {
	if out, err := exec.Command(t.o.mapper, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", t.o.mapper, args, err, out)
	}
	return nil
}

// breakDrives breaks drives below the daemon, which serves, at most as many as the
// cluster can do without, one after the other.
func (t *tester) breakDrives() error {
	if t.o.mapper == "" || t.o.parity < 1 || len(t.injured) > 0 {
		return nil
	}
	for _, path := range t.anyDrives() {
		in := injury{path, breakError + fault(t.rng.IntN(int(breakEnd-breakError)))}
		if err := t.mapper("break", path, in.fault.String()); err != nil {
			return err
		}
		t.injured = append(t.injured, in)
		t.hurts[in.fault]++
		t.o.printf("round %d: after %d answers drive %s: %s", t.round, t.acked.Load(), in.path, in.fault)
		time.Sleep(time.Duration(t.rng.Int64N(int64(t.o.load / 2))))
	}
	return nil
}

// letGo has hung drives fail instead, since no process ends that waits for one.
func (t *tester) letGo() error {
	for _, in := range t.injured {
		if in.fault == breakHang {
			if err := t.mapper("break", in.path, breakError.String()); err != nil {
				return err
			}
		}
	}
	return nil
}
