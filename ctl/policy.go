package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

// maxPolicy bounds a policy file in bytes; the daemon's own limit is lower.
const maxPolicy = 1 << 20

func (a *app) policyCmd() *cobra.Command {
	cmd := group("policy", "IAM policies", "policies")
	cmd.AddCommand(a.policyAdd(), a.policyList(), a.policyShow(), a.policyRemove(), a.policyAttach(), a.policyDetach())
	return cmd
}

func (a *app) policyAdd() *cobra.Command {
	var replace bool
	cmd := leaf("add NAME FILE", "Add a custom IAM policy from a JSON file (-: standard input)", 2, 2, func(cmd *cobra.Command, args []string) error {
		var src io.Reader = a.in
		if args[1] != "-" {
			f, err := os.Open(args[1])
			if err != nil {
				return err
			}
			defer f.Close()
			src = f
		}
		doc, err := io.ReadAll(io.LimitReader(src, maxPolicy))
		if err != nil {
			return err
		}
		p, err := a.client().PutPolicy(cmd.Context(), api.PutPolicy{Name: args[0], Document: string(doc), Replace: replace})
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) { fmt.Fprintf(w, "Policy %s added\n", p.Name) })
	}, "create")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace a custom policy of that name")
	cmd.ValidArgsFunction = nil // file names
	return cmd
}

func (a *app) policyList() *cobra.Command {
	return leaf("list", "List policies", 0, 0, func(cmd *cobra.Command, _ []string) error {
		policies, err := a.client().Policies(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(policies, func(w io.Writer) {
			row(w, "NAME", "TYPE", "USERS")
			for _, p := range policies {
				kind := "custom"
				if p.Predefined {
					kind = "predefined"
				}
				row(w, p.Name, kind, strings.Join(p.Users, ","))
			}
		})
	}, "ls")
}

func (a *app) policyShow() *cobra.Command {
	cmd := leaf("show NAME", "Show a policy's document", 1, 1, func(cmd *cobra.Command, args []string) error {
		p, err := a.client().Policy(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) { fmt.Fprintln(w, strings.TrimSpace(p.Document)) })
	})
	cmd.ValidArgsFunction = a.complete(0, a.policyNames)
	return cmd
}

func (a *app) policyRemove() *cobra.Command {
	cmd := leaf("remove NAME", "Remove a custom policy that is not attached", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().RemovePolicy(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Policy %s removed", args[0])
	}, "destroy", "delete", "rm")
	cmd.ValidArgsFunction = a.complete(0, a.policyNames)
	return cmd
}

func (a *app) policyAttach() *cobra.Command {
	cmd := leaf("attach POLICY [USER]", "Attach a policy to an S3 user (the only one, when left out)", 1, 2, func(cmd *cobra.Command, args []string) error {
		out, err := a.client().AttachPolicy(cmd.Context(), args[0], at(args, 1))
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { fmt.Fprintf(w, "Policy %s attached to %s\n", out.Policy, out.User) })
	})
	cmd.ValidArgsFunction = a.complete(0, a.policyNames)
	return cmd
}

func (a *app) policyDetach() *cobra.Command {
	cmd := leaf("detach [[POLICY] USER]", "Detach the policy of an S3 user (the only one, when left out)", 0, 2, func(cmd *cobra.Command, args []string) error {
		policy, user := "", at(args, 0)
		if len(args) == 2 {
			policy, user = args[0], args[1]
		}
		out, err := a.client().DetachPolicy(cmd.Context(), policy, user)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { fmt.Fprintf(w, "Policy %s detached from %s\n", out.Policy, out.User) })
	})
	cmd.ValidArgsFunction = a.complete(0, a.userNames)
	return cmd
}

// at returns args[i], or "" beyond the end.
func at(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

func (a *app) policyNames(ctx context.Context) ([]string, error) {
	policies, err := a.client().Policies(ctx)
	names := make([]string, 0, len(policies))
	for _, p := range policies {
		names = append(names, p.Name)
	}
	return names, err
}
