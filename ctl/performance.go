package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

// choice is one of WEKA's settings of performance ("Configure S3 Performance
// Buckets").
type choice struct {
	name    string // of flag and command
	setting string // as the API has it
	short   string
	values  []string
	about   string
	field   func(p *api.Performance) *string
}

// choices are all of them.
func choices() []choice {
	return []choice{
		{
			"etag-alg", api.SettingETagAlg, "How ETags of new objects are made", []string{"md5", "uid"},
			"md5 makes ETags as S3 does. uid gives each new object, copy and part a unique one and computes no MD5, which is\n" +
				"most of what a large upload costs. Tools that compare an ETag with the MD5 of a file, or the ETags of two\n" +
				"objects, then have to compare checksums. A Content-MD5 that a client sends is verified all the same.",
			func(p *api.Performance) *string { return &p.ETagAlg },
		},
		{
			"integrity-mode", api.SettingIntegrityMode, "Whether checksums that clients send count", []string{"client_defined", "disabled"},
			"client_defined verifies Content-MD5 and x-amz-checksum-* of uploads and keeps a checksum with each object, as S3\n" +
				"does. disabled ignores them, and new objects have no checksum that could be asked for. A payload that is signed is\n" +
				"verified in either mode, and so is every byte that is read from a drive.",
			func(p *api.Performance) *string { return &p.IntegrityMode },
		},
		{
			"sorting", api.SettingSorting, "Order of listings, which are sorted here in either mode", []string{"sorted", "unsorted"},
			"The setting is kept and shown, as WEKA has it, and changes nothing: sorted listings cost no more here.",
			func(p *api.Performance) *string { return &p.Sorting },
		},
	}
}

// one is the choice of this value alone.
func (c *choice) one(value string) (p api.Performance) {
	*c.field(&p) = value
	return p
}

// performanceFlags defines --etag-alg, --integrity-mode and, with sorting, --sorting.
func (a *app) performanceFlags(cmd *cobra.Command, p *api.Performance, of string, sorting bool) {
	for _, c := range choices() {
		if c.setting == api.SettingSorting && !sorting {
			continue
		}
		cmd.Flags().StringVar(c.field(p), c.name, "", strings.ToLower(c.short[:1])+c.short[1:]+of+": "+strings.Join(c.values, ", ")+" or default")
		a.completeFlag(cmd, c.name, words(append(c.values, api.PerformanceDefault)...))
	}
}

// words completes to words that are known.
func words(list ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return list, nil }
}

// bucketChoiceCmds are bucket etag-alg, integrity-mode and sorting.
func (a *app) bucketChoiceCmds() (cmds []*cobra.Command) {
	for _, c := range choices() {
		cmd := group(c.name, c.short)
		cmd.Long = c.short + ".\n\n" + c.about
		show := func(p api.BucketPerformance, err error) error {
			if err != nil {
				return err
			}
			return a.show(p, func(w io.Writer) {
				row(w, "BUCKET", "TYPE", "SETTING", strings.ToUpper(c.name))
				row(w, p.Bucket, p.Type, *c.field(&p.Settings), *c.field(&p.Performance))
			})
		}
		get := leaf("get BUCKET", "Show a bucket's setting", 1, 1, func(cmd *cobra.Command, args []string) error {
			return show(a.client().BucketPerformance(cmd.Context(), args[0]))
		}, "show")
		set := leaf("set BUCKET "+strings.Join(c.values, "|")+"|default", "Change it for what is written from now on", 2, 2, func(cmd *cobra.Command, args []string) error {
			return show(a.client().SetBucketPerformance(cmd.Context(), args[0], c.one(args[1])))
		})
		set.Long = set.Short + "; default goes by the cluster's for buckets of its type.\n\n" + c.about
		reset := leaf("reset BUCKET", "Go by the cluster's setting for buckets of its type", 1, 1, func(cmd *cobra.Command, args []string) error {
			return show(a.client().SetBucketPerformance(cmd.Context(), args[0], c.one(api.PerformanceDefault)))
		})
		get.ValidArgsFunction, reset.ValidArgsFunction = a.complete(0, a.bucketNames), a.complete(0, a.bucketNames)
		set.ValidArgsFunction = a.completeEach(a.bucketNames, words(append(c.values, api.PerformanceDefault)...))
		cmd.AddCommand(get, set, reset)
		cmds = append(cmds, cmd)
	}
	return cmds
}

// clusterChoiceCmds are cluster performance-bucket, and cluster etag-alg,
// integrity-mode and sorting, which take their own setting from all buckets of type
// PERFORMANCE.
func (a *app) clusterChoiceCmds() []*cobra.Command {
	cmds := []*cobra.Command{leaf("performance-bucket", "Show what holds for buckets that chose nothing themselves", 0, 0, func(cmd *cobra.Command, _ []string) error {
		p, err := a.client().ClusterPerformance(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) {
			row(w, "TYPE", "ETAG-ALG", "INTEGRITY-MODE", "SORTING")
			row(w, api.BucketStandard, p.Standard.ETagAlg, p.Standard.IntegrityMode, p.Standard.Sorting)
			row(w, api.BucketPerformant, p.Performance.ETagAlg, p.Performance.IntegrityMode, p.Performance.Sorting)
		})
	})}
	for _, c := range choices() {
		cmd := group(c.name, "Reset the "+c.name+" of all PERFORMANCE buckets")
		cmd.AddCommand(leaf("reset", "Take their own setting from all PERFORMANCE buckets, which then go by the cluster's", 0, 0, func(cmd *cobra.Command, _ []string) error {
			done, err := a.client().ResetPerformance(cmd.Context(), c.setting)
			if err != nil {
				return err
			}
			return a.show(done, func(w io.Writer) {
				fmt.Fprintf(w, "PERFORMANCE buckets that had a setting of their own: %d\n", len(done.Buckets))
			})
		}))
		cmds = append(cmds, cmd)
	}
	return cmds
}

// updatePerformance is cluster update performance-bucket.
func (a *app) updatePerformance() *cobra.Command {
	var in api.UpdateCluster
	cmd := leaf("performance-bucket", "Change what holds for PERFORMANCE buckets that chose nothing themselves", 0, 0, func(cmd *cobra.Command, _ []string) error {
		if in.Performance == (api.Performance{}) {
			return usageError{fmt.Errorf("nothing to change: give --etag-alg, --integrity-mode or --sorting")}
		}
		c, err := a.client().UpdateCluster(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(c, func(w io.Writer) {
			fmt.Fprintf(w, "Defaults of PERFORMANCE buckets of S3 cluster %s updated\n", c.Name)
		})
	})
	var about []string
	for _, c := range choices() {
		about = append(about, "--"+c.name+": "+c.about)
	}
	cmd.Long = cmd.Short + ".\nWithout any choice that is: uid, client_defined, unsorted. What is there stays as it is.\n\n" + strings.Join(about, "\n\n")
	a.performanceFlags(cmd, &in.Performance, "", true)
	return cmd
}

// choiceSummary is what a cluster chose, in a line; "" is nothing.
func choiceSummary(c *api.Cluster) string {
	var parts []string
	for _, of := range []struct {
		kind   string
		chosen api.Performance
	}{{api.BucketStandard, c.Standard}, {api.BucketPerformant, c.Performance}} {
		for _, c := range choices() {
			if v := *c.field(&of.chosen); v != "" {
				parts = append(parts, fmt.Sprintf("%s %s in %s buckets", c.name, v, of.kind))
			}
		}
	}
	return strings.Join(parts, ", ")
}

// bucketDetails is bucket list --verbose.
func (a *app) bucketDetails(ctx context.Context) error {
	buckets, err := a.client().BucketDetails(ctx)
	if err != nil {
		return err
	}
	return a.show(buckets, func(w io.Writer) {
		row(w, append(bucketHead(), "TYPE", "ETAG-ALG", "INTEGRITY-MODE", "SORTING")...)
		for _, b := range buckets {
			row(w, append(bucketCells(&b.Bucket), b.Type, b.ETagAlg, b.IntegrityMode, b.Sorting)...)
		}
	})
}
