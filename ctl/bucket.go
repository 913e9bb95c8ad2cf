package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) bucketCmd() *cobra.Command {
	cmd := group("bucket", "Buckets", "buckets")
	cmd.AddCommand(a.bucketCreate(), a.bucketList(), a.bucketDestroy(), a.bucketPolicyCmd(), a.bucketParityCmd())
	cmd.AddCommand(a.bucketChoiceCmds()...)
	return cmd
}

func (a *app) bucketCreate() *cobra.Command {
	var in api.CreateBucket
	cmd := leaf("create NAME", "Create a bucket", 1, 1, func(cmd *cobra.Command, args []string) error {
		in.Name, in.Type = args[0], strings.ToUpper(in.Type)
		if err := checkPreset(in.Policy); err != nil {
			return err
		}
		b, err := a.client().CreateBucket(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(b, func(w io.Writer) { fmt.Fprintf(w, "Bucket %s created\n", b.Name) })
	}, "add")
	cmd.Flags().StringVar(&in.Policy, "policy", "none", "anonymous access: none, download, upload or public")
	cmd.Flags().BoolVar(&in.Encrypted, "encrypted", false, "encrypt objects by default")
	cmd.Flags().StringVar(&in.Parity, "parity", "", "`drives` that may fail without loss of its objects, 0 to 4, or default: the cluster's")
	cmd.Flags().StringVar(&in.Type, "type", "", "type of bucket: STANDARD, or PERFORMANCE: by default ETags are unique ids, not MD5s")
	a.performanceFlags(cmd, &in.Performance, "", true)
	a.completeFlag(cmd, "type", words(api.BucketStandard, api.BucketPerformant))
	a.completeFlag(cmd, "policy", presetNames)
	return cmd
}

func (a *app) bucketList() *cobra.Command {
	var verbose bool
	cmd := leaf("list", "List buckets", 0, 0, func(cmd *cobra.Command, _ []string) error {
		if verbose {
			return a.bucketDetails(cmd.Context())
		}
		buckets, err := a.client().Buckets(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(buckets, func(w io.Writer) {
			row(w, bucketHead()...)
			for _, b := range buckets {
				row(w, bucketCells(&b)...)
			}
		})
	}, "ls")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "also show types, and how ETags are made and checksums treated")
	return cmd
}

func bucketHead() []any { return []any{"NAME", "OBJECTS", "SIZE", "OWNER", "CREATED"} }

func bucketCells(b *api.Bucket) []any {
	return []any{b.Name, b.Objects, humanize.IBytes(uint64(b.Bytes)), b.Owner, b.Created.Format(time.RFC3339)}
}

func (a *app) bucketDestroy() *cobra.Command {
	cmd := leaf("destroy NAME", "Remove an empty bucket", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().DestroyBucket(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Bucket %s destroyed", args[0])
	}, "remove", "delete", "rm")
	cmd.ValidArgsFunction = a.complete(0, a.bucketNames)
	return cmd
}

func (a *app) bucketNames(ctx context.Context) ([]string, error) {
	buckets, err := a.client().Buckets(ctx)
	names := make([]string, 0, len(buckets))
	for _, b := range buckets {
		names = append(names, b.Name)
	}
	return names, err
}
