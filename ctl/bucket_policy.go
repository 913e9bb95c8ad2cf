package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

// presets are the bucket policies that have a name.
func presets() []string { return []string{"none", "download", "upload", "public"} }

func presetNames(context.Context) ([]string, error) { return presets(), nil }

func checkPreset(name string) error {
	if !slices.Contains(presets(), name) {
		return usageError{fmt.Errorf("%q is no bucket policy: one of %s; a document of your own is set by set-custom", name, strings.Join(presets(), ", "))}
	}
	return nil
}

func (a *app) bucketPolicyCmd() *cobra.Command {
	cmd := group("policy", "Anonymous access to a bucket, and its policy document")
	cmd.AddCommand(a.bucketPolicySet(), a.bucketPolicyGet(), a.bucketPolicyGetJSON(), a.bucketPolicySetCustom(), a.bucketPolicyReset())
	return cmd
}

func (a *app) bucketPolicySet() *cobra.Command {
	cmd := leaf("set BUCKET none|download|upload|public", "Set what anonymous clients may do", 2, 2, func(cmd *cobra.Command, args []string) error {
		if err := checkPreset(args[1]); err != nil {
			return err
		}
		out, err := a.client().SetBucketPolicy(cmd.Context(), args[0], api.SetBucketPolicy{Preset: args[1]})
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { fmt.Fprintf(w, "Policy of bucket %s set to %s\n", args[0], args[1]) })
	})
	cmd.Long = "Set what anonymous clients may do with a bucket:\n" +
		"  none      nothing\n" +
		"  download  list it and read its objects\n" +
		"  upload    write objects, in one request or in parts, and delete them\n" +
		"  public    both\n" +
		"It takes the place of the bucket's policy document."
	cmd.ValidArgsFunction = a.completeEach(a.bucketNames, presetNames)
	return cmd
}

func (a *app) bucketPolicyGet() *cobra.Command {
	cmd := leaf("get BUCKET", "Show which policy a bucket has", 1, 1, func(cmd *cobra.Command, args []string) error {
		p, err := a.client().BucketPolicy(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) {
			public := "no"
			if p.Public {
				public = "yes"
			}
			row(w, "BUCKET", "POLICY", "PUBLIC")
			row(w, p.Bucket, p.Policy, public)
		})
	}, "show")
	cmd.ValidArgsFunction = a.complete(0, a.bucketNames)
	return cmd
}

func (a *app) bucketPolicyGetJSON() *cobra.Command {
	cmd := leaf("get-json BUCKET", "Show a bucket's policy document", 1, 1, func(cmd *cobra.Command, args []string) error {
		p, err := a.client().BucketPolicy(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if p.Document == "" {
			return fmt.Errorf("bucket %s has no policy", args[0])
		}
		_, err = fmt.Fprintln(a.out, strings.TrimSpace(p.Document))
		return err
	})
	cmd.ValidArgsFunction = a.complete(0, a.bucketNames)
	return cmd
}

func (a *app) bucketPolicySetCustom() *cobra.Command {
	cmd := leaf("set-custom BUCKET FILE", "Set a bucket's policy from a JSON file (-: standard input)", 2, 2, func(cmd *cobra.Command, args []string) error {
		doc, err := a.document(args[1])
		if err != nil {
			return err
		}
		out, err := a.client().SetBucketPolicy(cmd.Context(), args[0], api.SetBucketPolicy{Document: doc})
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { fmt.Fprintf(w, "Policy of bucket %s set\n", args[0]) })
	})
	cmd.ValidArgsFunction = nil // bucket, then file names
	return cmd
}

func (a *app) bucketPolicyReset() *cobra.Command {
	cmd := leaf("reset BUCKET", "Remove a bucket's policy", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().ResetBucketPolicy(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Policy of bucket %s removed", args[0])
	}, "unset")
	cmd.ValidArgsFunction = a.complete(0, a.bucketNames)
	return cmd
}
