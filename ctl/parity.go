package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

// paritySummary is the cluster's parity in a line: "2 (auto; 6 drives: 4+2)".
func paritySummary(p *api.Parity) string {
	setting, drives := "set", fmt.Sprintf("%d drives", p.Drives)
	if p.Setting == api.ParityAuto {
		setting = "auto"
	}
	if p.Drives == 1 {
		drives = "1 drive"
	}
	const widest = 16 // drives of one object (engine/ARCHITECTURE.md)
	switch data := min(p.Drives, widest) - p.Parity; {
	case p.Parity == 0:
		drives += ": no redundancy"
	case data < 1:
		drives += ": fewer than it needs"
	case data == 1:
		drives += ": mirrored"
	default:
		drives += fmt.Sprintf(": %d+%d", data, p.Parity)
	}
	return fmt.Sprintf("%d (%s; %s)", p.Parity, setting, drives)
}

// clusterParityFlag defines --parity of cluster create and update.
func clusterParityFlag(cmd *cobra.Command, parity *string) {
	cmd.Flags().StringVar(parity, "parity", "", "`drives` that may fail at a time without loss, 0 to 4, of what is written from now on;\n"+
		"auto: by their number (1: 0, 2 and 3: 1, more: 2)")
}

func (a *app) bucketParityCmd() *cobra.Command {
	cmd := group("parity", "How many drives may fail without loss of a bucket's objects")
	show := func(p api.BucketParity) error {
		return a.show(p, func(w io.Writer) {
			row(w, "BUCKET", "SETTING", "PARITY")
			row(w, p.Bucket, p.Setting, p.Parity)
		})
	}
	get := leaf("get BUCKET", "Show a bucket's parity", 1, 1, func(cmd *cobra.Command, args []string) error {
		p, err := a.client().BucketParity(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return show(p)
	}, "show")
	get.ValidArgsFunction = a.complete(0, a.bucketNames)
	set := leaf("set BUCKET N|default", "Set the parity of objects written from now on", 2, 2, func(cmd *cobra.Command, args []string) error {
		p, err := a.client().SetBucketParity(cmd.Context(), args[0], args[1])
		if err != nil {
			return err
		}
		return show(p)
	})
	set.Long = "Set how many drives may fail without loss of what is written to the bucket from now on, 0 to 4, or default for\n" +
		"the cluster's. Objects that are there stay as they are. The storage class REDUCED_REDUNDANCY of an object makes it\n" +
		"one less, but not less than 1 where the bucket has any."
	set.ValidArgsFunction = a.complete(0, a.bucketNames)
	cmd.AddCommand(get, set)
	return cmd
}
