package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

// checkPoll is how often a check is asked how far it is.
const checkPoll = 200 * time.Millisecond

// errProblems makes the exit code 1.
var errProblems = errors.New("the check found problems")

func (a *app) clusterCheck() *cobra.Command {
	var deep, quiet bool
	cmd := leaf("check", "Hold metadata and drives against each other, while serving", 0, 0, func(cmd *cobra.Command, _ []string) error {
		c, err := a.check(cmd.Context(), deep, quiet)
		if err != nil {
			return err
		}
		if err := a.show(c, func(w io.Writer) { checkTable(w, &c) }); err != nil {
			return err
		}
		switch {
		case c.Error != "":
			return errors.New(c.Error)
		case c.Count > 0 || c.Unreadable > 0:
			return errProblems
		}
		return nil
	})
	cmd.Long = "Hold metadata and drives against each other, both ways, while the cluster serves: every object's and part's payload\n" +
		"has its place on the drives, no two share one, all space that is taken is taken by something, and the counters are\n" +
		"right. --deep also reads and verifies everything. The exit code is 1 when there are problems. What is merely less\n" +
		"redundant, because a drive is out, is counted as degraded and is no problem: it heals. Ctrl-C ends the check."
	cmd.Flags().BoolVar(&deep, "deep", false, "read and verify everything that is stored, too")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "do not show how far it is")
	return cmd
}

// check runs a check and waits for its end; the daemon is told when the wait is
// given up.
func (a *app) check(ctx context.Context, deep, quiet bool) (api.Check, error) {
	c, err := a.client().StartCheck(ctx, api.StartCheck{Deep: deep})
	if err != nil {
		return c, err
	}
	began := c.Started
	for tick := 0; c.Running; tick++ {
		select {
		case <-ctx.Done():
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_, err := a.client().StopCheck(stop)
			return c, errors.Join(errors.New("the check was stopped"), err)
		case <-time.After(checkPoll):
		}
		if c, err = a.client().Check(ctx); err != nil && ctx.Err() == nil {
			return c, err
		} else if err != nil {
			c.Running = true // to be stopped
			continue
		}
		if !c.Started.Equal(began) {
			return c, errors.New("another check was begun meanwhile")
		}
		if !quiet && !a.json && c.Running && tick%25 == 24 {
			fmt.Fprintf(a.err, "%d objects, %d blobs, %s verified; %d problems\n", c.Objects, c.Blobs, humanize.IBytes(uint64(c.Bytes)), c.Count)
		}
	}
	return c, nil
}

func checkTable(w io.Writer, c *api.Check) {
	row(w, "Buckets:", c.Buckets)
	row(w, "Objects:", c.Objects)
	row(w, "Uploads:", fmt.Sprintf("%d, of %d parts", c.Uploads, c.Parts))
	row(w, "Payloads on drives:", c.Blobs)
	row(w, "Payloads with the metadata:", c.Inline)
	if c.Deep {
		row(w, "Verified:", fmt.Sprintf("%s in %d fragments", humanize.IBytes(uint64(c.Bytes)), c.Fragments))
	}
	row(w, "Degraded:", c.Degraded)
	row(w, "Unreadable:", c.Unreadable)
	row(w, "Problems:", c.Count)
	if !c.Finished.IsZero() {
		row(w, "Took:", c.Finished.Sub(c.Started).Round(time.Millisecond))
	}
	if len(c.Problems) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, "PROBLEM", "BUCKET", "KEY", "BLOB", "DRIVE", "DETAIL")
	for _, p := range c.Problems {
		row(w, p.Kind, p.Bucket, fmt.Sprintf("%q", p.Key), short(p.Blob), short(p.Drive), p.Detail)
	}
	if more := c.Count - int64(len(c.Problems)); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}
