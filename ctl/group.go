package main

import (
	"context"
	"errors"
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

func (a *app) userShow() *cobra.Command {
	cmd := leaf("show NAME", "Show a user", 1, 1, func(cmd *cobra.Command, args []string) error {
		u, err := a.client().User(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(u, func(w io.Writer) {
			row(w, "Name:", u.Name)
			row(w, "Role:", u.Role)
			row(w, "State:", state(!u.Disabled))
			row(w, "Policies:", strings.Join(u.Policies, ","))
			row(w, "Groups:", strings.Join(u.Groups, ","))
			row(w, "Created:", u.Created.Format(time.RFC3339))
			row(w, "Modified:", u.Modified.Format(time.RFC3339))
		})
	})
	cmd.ValidArgsFunction = a.complete(0, a.userNames)
	return cmd
}

func state(enabled bool) string {
	if enabled {
		return "enabled"
	}
	return "disabled"
}

// userEnable makes "enable" and "disable".
func (a *app) userEnable(enabled bool) *cobra.Command {
	use, short := "enable NAME", "Let a disabled user in again"
	if !enabled {
		use, short = "disable NAME", "Shut a user out, with its keys, service accounts and sessions"
	}
	cmd := leaf(use, short, 1, 1, func(cmd *cobra.Command, args []string) error {
		u, err := a.client().EnableUser(cmd.Context(), args[0], enabled)
		if err != nil {
			return err
		}
		return a.show(u, func(w io.Writer) { fmt.Fprintf(w, "User %s %s\n", u.Name, state(enabled)) })
	})
	cmd.ValidArgsFunction = a.complete(0, a.userNames)
	return cmd
}

func (a *app) userKeyCmd() *cobra.Command {
	cmd := group("key", "Access keys of an S3 user besides its name and password", "keys", "access-key")
	add := leaf("add USER", "Give a user one more access key, to rotate keys with both live", 1, 1, func(cmd *cobra.Command, args []string) error {
		k, err := a.client().AddAccessKey(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) { showSecret(w, k.AccessKey.AccessKey, k.SecretKey) })
	}, "create")
	add.ValidArgsFunction = a.complete(0, a.userNames)
	list := leaf("list USER", "List a user's access keys", 1, 1, func(cmd *cobra.Command, args []string) error {
		keys, err := a.client().AccessKeys(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(keys, func(w io.Writer) { showKeys(w, keys) })
	}, "ls")
	list.ValidArgsFunction = a.complete(0, a.userNames)
	cmd.AddCommand(add, list, a.keyRemove(), a.keyEnable(true), a.keyEnable(false))
	return cmd
}

func showSecret(w io.Writer, key, secret string) {
	row(w, "Access key:", key)
	row(w, "Secret key:", secret)
	fmt.Fprintln(w, "The secret key is shown this once.")
}

func showKeys(w io.Writer, keys []api.AccessKey) {
	row(w, "ACCESS KEY", "STATE", "CREATED")
	for _, k := range keys {
		row(w, k.AccessKey, state(k.Enabled), k.Created.Format(time.RFC3339))
	}
}

func (a *app) keyRemove() *cobra.Command {
	return leaf("remove ACCESS_KEY", "Remove an access key", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().RemoveAccessKey(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Access key %s removed", args[0])
	}, "delete", "rm")
}

func (a *app) keyEnable(enabled bool) *cobra.Command {
	use, short := "enable ACCESS_KEY", "Enable an access key"
	if !enabled {
		use, short = "disable ACCESS_KEY", "Disable an access key"
	}
	return leaf(use, short, 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().EnableAccessKey(cmd.Context(), args[0], enabled); err != nil {
			return err
		}
		return a.done("Access key %s %s", args[0], state(enabled))
	})
}

// expiry parses "never", a duration from now ("72h", "30d") or an RFC 3339 time.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" || text == "never" {
		return time.Time{}, nil
	}
	if d, err := duration(text); err == nil {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	return time.Time{}, usageError{fmt.Errorf("%q is neither a duration such as 12h or 30d nor a time such as 2030-01-31T00:00:00Z", text)}
}

// duration parses what time.ParseDuration does, and days and weeks: "7d", "1w".
func duration(text string) (time.Duration, error) {
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(text, "d"):
		unit = 24 * time.Hour
	case strings.HasSuffix(text, "w"):
		unit = 7 * 24 * time.Hour
	default:
		d, err := time.ParseDuration(text)
		if err == nil && d <= 0 {
			err = errors.New("must be positive")
		}
		return d, err
	}
	var n int
	if _, err := fmt.Sscanf(text[:len(text)-1]+"\n", "%d\n", &n); err != nil || n <= 0 || n > 36500 {
		return 0, fmt.Errorf("%q is no duration", text)
	}
	return time.Duration(n) * unit, nil
}
