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

// roles are offered by shell completion.
func roles(context.Context) ([]string, error) {
	return []string{"clusteradmin", "orgadmin", "regular", "readonly", "s3"}, nil
}

func (a *app) userCmd() *cobra.Command {
	cmd := group("user", "Users and S3 access keys", "users")
	cmd.AddCommand(a.userAdd(), a.userList(), a.userDelete(), a.userPasswd(), a.userChangeRole(),
		a.userShow(), a.userEnable(true), a.userEnable(false), a.userKeyCmd())
	return cmd
}

func (a *app) userAdd() *cobra.Command {
	var generate bool
	cmd := leaf("add NAME ROLE [PASSWORD]", "Add a user", 2, 3, func(cmd *cobra.Command, args []string) error {
		in := api.CreateUser{Name: args[0], Role: args[1]}
		switch {
		case len(args) == 3 && generate:
			return usageError{fmt.Errorf("give a password or --generate, not both")}
		case len(args) == 3:
			in.Password = args[2]
		case !generate:
			password, err := a.password("Password for " + in.Name)
			if err != nil {
				return err
			}
			in.Password = password
		}
		u, err := a.client().CreateUser(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(u, func(w io.Writer) {
			fmt.Fprintf(w, "User %s added with role %s\n", u.Name, u.Role)
			if u.Password != "" {
				fmt.Fprintf(w, "Password (secret key), shown this once: %s\n", u.Password)
			}
		})
	}, "create")
	cmd.Long = "Add a user. ROLE is clusteradmin, orgadmin, regular, readonly or s3, in any case. An s3 user's name\n" +
		"is its access key and its password its secret key. A password left out is asked for on a terminal and\n" +
		"read from standard input otherwise."
	cmd.Flags().BoolVar(&generate, "generate", false, "let the daemon generate the password, and show it")
	cmd.ValidArgsFunction = a.complete(1, roles)
	return cmd
}

func (a *app) userList() *cobra.Command {
	return leaf("list", "List users", 0, 0, func(cmd *cobra.Command, _ []string) error {
		users, err := a.client().Users(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(users, func(w io.Writer) {
			row(w, "NAME", "ROLE", "POLICY", "STATE", "CREATED")
			for _, u := range users {
				row(w, u.Name, u.Role, strings.Join(u.Policies, ","), state(!u.Disabled), u.Created.Format(time.RFC3339))
			}
		})
	}, "ls")
}

func (a *app) userDelete() *cobra.Command {
	cmd := leaf("delete NAME", "Delete a user", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().DeleteUser(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("User %s deleted", args[0])
	}, "remove", "destroy", "rm")
	cmd.ValidArgsFunction = a.complete(0, a.userNames)
	return cmd
}

func (a *app) userPasswd() *cobra.Command {
	cmd := leaf("passwd NAME [PASSWORD]", "Change a user's password (an s3 user's secret key)", 1, 2, func(cmd *cobra.Command, args []string) error {
		var password string
		var err error
		if len(args) == 2 {
			password = args[1]
		} else if password, err = a.password("New password for " + args[0]); err != nil {
			return err
		}
		if err := a.client().SetPassword(cmd.Context(), args[0], password); err != nil {
			return err
		}
		return a.done("Password of %s changed", args[0])
	})
	cmd.ValidArgsFunction = a.complete(0, a.userNames)
	return cmd
}

func (a *app) userChangeRole() *cobra.Command {
	cmd := leaf("change-role NAME ROLE", "Change a user's role", 2, 2, func(cmd *cobra.Command, args []string) error {
		u, err := a.client().SetRole(cmd.Context(), args[0], args[1])
		if err != nil {
			return err
		}
		return a.show(u, func(w io.Writer) { fmt.Fprintf(w, "User %s now has role %s\n", u.Name, u.Role) })
	})
	cmd.ValidArgsFunction = a.complete(1, roles)
	return cmd
}

func (a *app) userNames(ctx context.Context) ([]string, error) {
	users, err := a.client().Users(ctx)
	names := make([]string, 0, len(users))
	for _, u := range users {
		names = append(names, u.Name)
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
