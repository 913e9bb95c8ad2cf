package main

import (
	"context"
	"errors"
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
	cmd.AddCommand(a.policyAdd(), a.policyList(), a.policyShow(), a.policyRemove(), a.policyAttach(), a.policyDetach(),
		a.policySimulate())
	return cmd
}

func (a *app) policyAdd() *cobra.Command {
	var replace bool
	cmd := leaf("add NAME FILE", "Add a custom IAM policy from a JSON file (-: standard input)", 2, 2, func(cmd *cobra.Command, args []string) error {
		doc, err := a.document(args[1])
		if err != nil {
			return err
		}
		p, err := a.client().PutPolicy(cmd.Context(), api.PutPolicy{Name: args[0], Document: doc, Replace: replace})
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) { fmt.Fprintf(w, "Policy %s added\n", p.Name) })
	}, "create")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace a custom policy of that name")
	cmd.ValidArgsFunction = nil // file names
	return cmd
}

// document reads a policy from a file, or from standard input for "-". The
// empty name is no document.
func (a *app) document(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	src := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		src = f
	}
	doc, err := io.ReadAll(io.LimitReader(src, maxPolicy))
	return string(doc), err
}

func (a *app) policyList() *cobra.Command {
	return leaf("list", "List policies", 0, 0, func(cmd *cobra.Command, _ []string) error {
		policies, err := a.client().Policies(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(policies, func(w io.Writer) {
			row(w, "NAME", "TYPE", "USERS", "GROUPS")
			for _, p := range policies {
				kind := "custom"
				if p.Predefined {
					kind = "predefined"
				}
				row(w, p.Name, kind, strings.Join(p.Users, ","), strings.Join(p.Groups, ","))
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
	var in api.AttachPolicy
	cmd := leaf("attach POLICY [USER]", "Attach a policy to an S3 user (the only one, when left out) or to a group", 1, 2, func(cmd *cobra.Command, args []string) error {
		if in.User = at(args, 1); in.User != "" && in.Group != "" {
			return usageError{errors.New("name a user or a group, not both")}
		}
		out, err := a.client().AttachPolicy(cmd.Context(), args[0], in)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { fmt.Fprintf(w, "Policy %s attached to %s\n", out.Policy, holder(out)) })
	})
	cmd.Long = "Attach a policy to an S3 user, in place of the one attached, or with --add besides it. A group may have\n" +
		"any number of policies; they hold for all its members."
	cmd.Flags().StringVar(&in.Group, "group", "", "attach to this group")
	cmd.Flags().BoolVar(&in.Add, "add", false, "keep the user's other policies")
	a.completeFlag(cmd, "group", a.groupNames)
	cmd.ValidArgsFunction = a.completeEach(a.policyNames, a.userNames)
	return cmd
}

// holder names whom a policy was attached to or detached from.
func holder(at api.Attachment) string {
	if at.Group != "" {
		return "group " + at.Group
	}
	return at.User
}

func (a *app) policyDetach() *cobra.Command {
	var in api.AttachPolicy
	cmd := leaf("detach [[POLICY] USER]", "Detach a policy from an S3 user (the only one, when left out) or from a group", 0, 2, func(cmd *cobra.Command, args []string) error {
		policy := ""
		switch {
		case in.Group != "" && len(args) == 1:
			policy = args[0]
		case in.Group != "":
			return usageError{errors.New("usage: ctl policy detach POLICY --group GROUP")}
		case len(args) == 2:
			policy, in.User = args[0], args[1]
		default:
			in.User = at(args, 0)
		}
		out, err := a.client().DetachPolicy(cmd.Context(), policy, in)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { fmt.Fprintf(w, "Policy %s detached from %s\n", out.Policy, holder(out)) })
	})
	cmd.Flags().StringVar(&in.Group, "group", "", "detach from this group")
	a.completeFlag(cmd, "group", a.groupNames)
	// One argument is the user, of two the first is the policy.
	cmd.ValidArgsFunction = a.completeEach(func(ctx context.Context) ([]string, error) {
		if in.Group != "" {
			return a.policyNames(ctx)
		}
		users, err := a.userNames(ctx)
		if err != nil {
			return nil, err
		}
		policies, err := a.policyNames(ctx)
		return append(users, policies...), err
	}, a.userNames)
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
