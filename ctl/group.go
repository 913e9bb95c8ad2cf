package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) groupCmd() *cobra.Command {
	cmd := group("group", "Groups of S3 users", "groups")
	cmd.AddCommand(a.groupAdd(), a.groupList(), a.groupRemove(), a.groupMembers())
	return cmd
}

func (a *app) groupAdd() *cobra.Command {
	return leaf("add NAME", "Add a group", 1, 1, func(cmd *cobra.Command, args []string) error {
		g, err := a.client().CreateGroup(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(g, func(w io.Writer) { fmt.Fprintf(w, "Group %s added\n", g.Name) })
	}, "create")
}

func (a *app) groupList() *cobra.Command {
	return leaf("list", "List groups", 0, 0, func(cmd *cobra.Command, _ []string) error {
		groups, err := a.client().Groups(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(groups, func(w io.Writer) {
			row(w, "NAME", "MEMBERS", "POLICIES", "CREATED")
			for _, g := range groups {
				row(w, g.Name, len(g.Members), strings.Join(g.Policies, ","), g.Created.Format(time.RFC3339))
			}
		})
	}, "ls")
}

func (a *app) groupRemove() *cobra.Command {
	cmd := leaf("remove NAME", "Remove a group; its members stay", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().RemoveGroup(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Group %s removed", args[0])
	}, "delete", "destroy", "rm")
	cmd.ValidArgsFunction = a.complete(0, a.groupNames)
	return cmd
}

func (a *app) groupMembers() *cobra.Command {
	var in api.ChangeMembers
	cmd := leaf("members NAME", "Show or change the members of a group", 1, 1, func(cmd *cobra.Command, args []string) error {
		var g api.Group
		var err error
		if len(in.Add)+len(in.Remove) > 0 {
			g, err = a.client().ChangeMembers(cmd.Context(), args[0], in)
		} else {
			g, err = a.client().Group(cmd.Context(), args[0])
		}
		if err != nil {
			return err
		}
		return a.show(g, func(w io.Writer) {
			row(w, "USER")
			for _, m := range g.Members {
				row(w, m)
			}
		})
	}, "show")
	cmd.Flags().StringSliceVar(&in.Add, "add", nil, "`USER` to add (repeatable, comma-separated)")
	cmd.Flags().StringSliceVar(&in.Remove, "remove", nil, "`USER` to take out (repeatable, comma-separated)")
	a.completeFlag(cmd, "add", a.userNames)
	a.completeFlag(cmd, "remove", a.userNames)
	cmd.ValidArgsFunction = a.complete(0, a.groupNames)
	return cmd
}

func (a *app) groupNames(ctx context.Context) ([]string, error) {
	groups, err := a.client().Groups(ctx)
	names := make([]string, 0, len(groups))
	for _, g := range groups {
		names = append(names, g.Name)
	}
	return names, err
}
