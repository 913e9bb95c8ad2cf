package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) bucketCmd() *cobra.Command {
	cmd := group("bucket", "Buckets", "buckets")
	cmd.AddCommand(a.bucketCreate(), a.bucketList(), a.bucketDestroy(), a.bucketPolicyCmd())
	return cmd
}

func (a *app) bucketCreate() *cobra.Command {
	var in api.CreateBucket
	cmd := leaf("create NAME", "Create a bucket", 1, 1, func(cmd *cobra.Command, args []string) error {
		in.Name = args[0]
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
	a.completeFlag(cmd, "policy", presetNames)
	return cmd
}

func (a *app) bucketList() *cobra.Command {
	return leaf("list", "List buckets", 0, 0, func(cmd *cobra.Command, _ []string) error {
		buckets, err := a.client().Buckets(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(buckets, func(w io.Writer) {
			row(w, "NAME", "OBJECTS", "SIZE", "OWNER", "CREATED")
			for _, b := range buckets {
				row(w, b.Name, b.Objects, humanize.IBytes(uint64(b.Bytes)), b.Owner, b.Created.Format(time.RFC3339))
			}
		})
	}, "ls")
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
