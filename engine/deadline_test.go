package engine

import (
	"testing"
	"time"
)

func TestDeadlineIsSharedAndNeverEarly(t *testing.T) {
	var d deadline
	before := time.Now()
	ctx := d.after(time.Hour)
	end, ok := ctx.Deadline()
	if !ok || end.Before(before.Add(time.Hour)) || end.After(time.Now().Add(time.Hour+deadlineStep)) {
		t.Errorf("ends %v after it was asked for", end.Sub(before))
	}
	if d.after(time.Hour) != ctx {
		t.Error("not shared within a step")
	}
	d.now.Load().until = time.Now() // the step has passed
	next := d.after(time.Hour)
	if later, _ := next.Deadline(); next == ctx || later.Before(end) {
		t.Error("the next step has the same deadline")
	}
	if n := testing.AllocsPerRun(100, func() { d.after(time.Hour) }); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
	ctx = new(deadline).after(-time.Hour)
	<-ctx.Done()
	if ctx.Err() == nil {
		t.Error("no error at the end")
	}
}
